/**
 * A damped local linear trend, filtered: level and slope per doubling of compute (Harvey 1989; Gardner and McKenzie 1985).
 *
 * Works on skill. What moves is scaled by where the level stands: skill moves most half-way up and least at chance and at
 * the best. A surprise (an innovation of over two standard deviations) loosens the state, so that the level follows a
 * jump at once. Steps in compute may be of any length.
 */

/** Shared by all kinds of run. */
export interface TrendSetting {
  /** Variance scale at chance and at the best, where skill (1 - skill) is 0. */
  readonly edge: number;
  /** What is left of a slope after one doubling. */
  readonly damping: number;
}

/** Of one kind of run. Standard deviations are in skill per square root of doubling, at variance scale 1. */
export interface TrendKind {
  readonly levelDrift: number;
  readonly slopeDrift: number;
  readonly initialSlope: number;
  readonly initialSlopeSpread: number;
}

export interface TrendState {
  readonly level: number;
  readonly slope: number;
  readonly levelVariance: number;
  readonly covariance: number;
  readonly slopeVariance: number;
}

/** In squared standard deviations. */
const SURPRISED_FROM = 4;
const LOOSENED_MAX = 1e4;
/** Share of the loosening that goes into the slope. */
const SLOPE_LOOSENED = 0.25;
const VARIANCE_MIN = 1e-12;

const within = (value: number): number => Math.min(1, Math.max(0, value));

function varianceScale({ edge }: TrendSetting, level: number): number {
  const at = within(level);
  return edge + at * (1 - at);
}

/** `noise`, here and below: the variance of a measurement. */
export function startTrend(setting: TrendSetting, kind: TrendKind, skill: number, noise: number): TrendState {
  const scale = varianceScale(setting, skill);
  return {
    level: skill,
    slope: kind.initialSlope * scale,
    levelVariance: noise,
    covariance: 0,
    slopeVariance: kind.initialSlopeSpread * kind.initialSlopeSpread * scale,
  };
}

/** The state `doublings` on. */
export function carry(
  setting: TrendSetting,
  kind: TrendKind,
  state: TrendState,
  doublings: number,
): TrendState {
  const { damping } = setting;
  const kept = Math.exp(Math.log(damping) * doublings);
  const gain = (1 - kept) / (1 - damping);
  const moved = varianceScale(setting, state.level) * doublings;
  const levelNoise = kind.levelDrift * kind.levelDrift * moved;
  const slopeNoise = kind.slopeDrift * kind.slopeDrift * moved;
  const { covariance, slopeVariance } = state;
  return {
    level: state.level + gain * state.slope,
    slope: kept * state.slope,
    levelVariance:
      state.levelVariance +
      2 * gain * covariance +
      gain * gain * slopeVariance +
      levelNoise +
      (slopeNoise * doublings * doublings) / 3,
    covariance: kept * (covariance + gain * slopeVariance) + (slopeNoise * doublings) / 2,
    slopeVariance: kept * kept * slopeVariance + slopeNoise,
  };
}

/** What was carried to a point, corrected by what was measured there. */
export function correct(carried: TrendState, skill: number, noise: number): TrendState {
  const innovation = skill - carried.level;
  const squared = (innovation * innovation) / (carried.levelVariance + noise);
  const loosened = Math.min(LOOSENED_MAX, Math.max(1, squared / SURPRISED_FROM));
  const levelVariance = carried.levelVariance * loosened;
  const added = (levelVariance - carried.levelVariance) * SLOPE_LOOSENED;
  const covariance = carried.covariance + added;
  const slopeVariance = carried.slopeVariance + added;
  const total = levelVariance + noise;
  const levelGain = levelVariance / total;
  const slopeGain = covariance / total;
  return {
    level: carried.level + levelGain * innovation,
    slope: carried.slope + slopeGain * innovation,
    levelVariance: (1 - levelGain) * levelVariance,
    covariance: (1 - levelGain) * covariance,
    slopeVariance: Math.max(VARIANCE_MIN, slopeVariance - slopeGain * covariance),
  };
}
