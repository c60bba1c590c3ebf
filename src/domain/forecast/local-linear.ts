/**
 * The first method: a straight line in log2 compute through the last points, a t interval around it,
 * and an allowance for jumps.
 *
 * Honest rather than clever. Under four points at different compute the answer is mostly prior and wide.
 * The jump allowance is a mixture: with JUMP_PER_DOUBLING per doubling the skill lands anywhere between
 * where it stands and the best, because some capabilities arrive between two checkpoints. The constants
 * are judgement, not fitted; the method that replaces this one learns them.
 */
import { studentCdf } from '../statistics/normal.ts';
import type { ForecastMethod, SkillForecast, SkillPoint } from './score-forecast.ts';

const WINDOW = 6;
const POINTS_FOR_A_TREND = 4;
const POINTS_FOR_DATA = 6;
const JUMP_PER_DOUBLING = 0.03;
/** No measurement is believed to be better than this, in skill. */
const NOISE_FLOOR = 0.02;
const PRIOR = { driftPerDoubling: 0.05, scale: 0.15, degreesOfFreedom: 3 } as const;
const SATURATED = 0.97;

interface Predictive {
  readonly centre: number;
  readonly scale: number;
  readonly degreesOfFreedom: number;
}

export const localLinear: ForecastMethod = { method: 'local-linear/1', forecast };

function forecast(history: readonly SkillPoint[], horizonLog2Compute: number): SkillForecast {
  const window = history.slice(-WINDOW);
  const last = window.at(-1);
  const doublings = Math.max(0, horizonLog2Compute - (last?.log2Compute ?? horizonLog2Compute));
  const trend = window.length >= POINTS_FOR_A_TREND ? line(window, horizonLog2Compute) : null;
  const predictive = trend ?? prior(last, doublings);
  const from = Math.min(1, Math.max(0, last?.skill ?? 0, predictive.centre));
  let stays = 1;
  for (let d = 0; d < doublings; d += 1) stays *= 1 - JUMP_PER_DOUBLING * Math.min(1, doublings - d);
  const notes: string[] = [];
  if (last === undefined) notes.push('no score yet');
  if (last !== undefined && last.skill >= SATURATED) notes.push('saturated: no headroom, so no comfort');
  return {
    basis: trend === null ? 'mostly-prior' : history.length >= POINTS_FOR_DATA ? 'data' : 'mixed',
    points: history.length,
    notes,
    atLeast: (skill) => {
      const steady = studentCdf((predictive.centre - skill) / predictive.scale, predictive.degreesOfFreedom);
      const jumped = skill <= from ? 1 : skill >= 1 ? 0 : (1 - skill) / (1 - from);
      return stays * steady + (1 - stays) * jumped;
    },
  };
}

/** Few points: near the last one, drifting up, wide. */
function prior(last: SkillPoint | undefined, doublings: number): Predictive {
  const { driftPerDoubling, scale, degreesOfFreedom } = PRIOR;
  const noise = last?.stderr ?? NOISE_FLOOR;
  return {
    centre: (last?.skill ?? 0) + driftPerDoubling * doublings,
    scale: Math.sqrt(scale * scale * Math.max(1, doublings) + noise * noise),
    degreesOfFreedom,
  };
}

/** Least squares; null where the points do not differ in compute. */
function line(points: readonly SkillPoint[], at: number): Predictive | null {
  const m = points.length;
  const meanX = points.reduce((sum, p) => sum + p.log2Compute, 0) / m;
  const meanY = points.reduce((sum, p) => sum + p.skill, 0) / m;
  const sxx = points.reduce((sum, p) => sum + (p.log2Compute - meanX) * (p.log2Compute - meanX), 0);
  if (sxx < 0.5) return null;
  const sxy = points.reduce((sum, p) => sum + (p.log2Compute - meanX) * (p.skill - meanY), 0);
  const slope = sxy / sxx;
  const rss = points.reduce((sum, p) => {
    const residual = p.skill - meanY - slope * (p.log2Compute - meanX);
    return sum + residual * residual;
  }, 0);
  const sampling = points.reduce((sum, p) => sum + (p.stderr ?? 0) * (p.stderr ?? 0), 0) / m;
  // A line through few points can fit by luck: never believe less noise than the sampling error alone.
  const variance = Math.max(rss / (m - 2), sampling, NOISE_FLOOR * NOISE_FLOOR);
  const reach = at - meanX;
  return {
    centre: meanY + slope * reach,
    scale: Math.sqrt(variance * (1 + 1 / m + (reach * reach) / sxx)),
    degreesOfFreedom: m - 2,
  };
}
