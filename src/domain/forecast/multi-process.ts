/**
 * Multi-process forecasting (Harrison and Stevens 1976; West and Harrison 1997, chapter 12): nobody knows beforehand what kind
 * of run this is, so several models run beside each other, and each counts by how well it foresaw the points so far.
 *
 * The kinds are a calm run, one that rises and one that leaps. Each is a damped local linear trend with errors of Student's
 * t (trend-filter.ts), in which between two checkpoints a capability may arrive (a leap into the room that is left) or
 * be lost (a collapse). A leaping run is expected to leap at once; while nothing moves it is believed less and less,
 * and as soon as something does it is believed more: that is where the early signs go in. What was seen long ago
 * counts less (`memory`), so that no kind is ever ruled out for good. What other evaluations of the category do counts too:
 * one that begins to move makes the others likelier to leap, and one that does not takes nothing from them.
 *
 * How far scores scatter is learned in the same way, from the points alone: a stated error could only explain movement
 * away. It widens what is said of the next score, and nothing else, so that a larger one never makes a run look calmer.
 *
 * With no point at all the skill may be anything. The parameters are learned offline (parameters.ts).
 */
import { studentCdf } from '../statistics/normal.ts';
import { power } from '../statistics/power.ts';
import {
  type ForecastBasis,
  type ForecastMethod,
  SATURATED,
  type SkillForecast,
  type SkillPoint,
} from './score-forecast.ts';
import {
  carry,
  correct,
  startTrend,
  type TrendKind,
  type TrendSetting,
  type TrendState,
} from './trend-filter.ts';

export interface RunKind extends TrendKind {
  /** In words, for those who read the forecast. */
  readonly name: string;
  /** Before anything is known. */
  readonly prior: number;
  /** Of the t distribution; whole. */
  readonly degreesOfFreedom: number;
  /** Probability of a leap, and of a collapse, within one doubling. */
  readonly leap: number;
  readonly collapse: number;
  /** P(a leap goes further than the share u of the room) = (1 - u^a)^b. */
  readonly leapShape: { readonly a: number; readonly b: number };
}

/** How far scores lie from what they measure: sampling, the format, the seed. */
export interface Scatter {
  /** Standard deviation, in skill. */
  readonly size: number;
  /** Before anything is known. */
  readonly prior: number;
}

export interface MultiProcessParameters {
  readonly setting: TrendSetting;
  /** Share of the stated standard error that moves from one checkpoint to the next: the items are the same each time. */
  readonly samplingShare: number;
  /** Which of them a series has shows in its points, whatever errors are stated. */
  readonly scatters: readonly Scatter[];
  /** Of what the points said about the kind, what is left after one more point. */
  readonly memory: number;
  /** Of what the most moving sibling says for the last kind against the first, the share that counts, and the most. */
  readonly siblings: { readonly share: number; readonly evidenceMax: number };
  /** From the calmest to the one that leaps. */
  readonly kinds: readonly RunKind[];
}

const POINTS_FOR_A_TREND = 4;
const POINTS_FOR_DATA = 6;
/** Skill beyond these is no skill: such a value is taken as if it were the bound. */
const SKILL_BOUND = 3;
const DOUBLINGS_MAX = 64;
/** Half of the interval around a point whose probability says how well it was foreseen. Wide: a few hundredths are no sign. */
const FORESEEN_WITHIN = 0.03;
const FORESEEN_MIN = 1e-6;
/** The room above is never quite 0. */
const ROOM_FROM = 0.999;
const LEVEL_MIN = 1e-3;
/** What counts less is not worked out. */
const WEIGHT_MIN = 1e-9;

export function multiProcess(method: string, parameters: MultiProcessParameters): ForecastMethod {
  // Each evaluation of a category is a sibling of all the others: what a history says is worked out once.
  const known = new WeakMap<readonly SkillPoint[], readonly Process[]>();
  const followed: Follow = (points) => {
    const processes = known.get(points) ?? follow(parameters, points.map(possible));
    known.set(points, processes);
    return processes;
  };
  return {
    method,
    forecast: (history, horizonLog2Compute, siblings = []) =>
      forecast(parameters, followed, history, horizonLog2Compute, siblings),
  };
}

type Follow = (points: readonly SkillPoint[]) => readonly Process[];

interface Process {
  readonly kind: RunKind;
  readonly scatter: Scatter;
  readonly state: TrendState;
  /** log of the weight that the points gave it, beside the prior. */
  readonly evidence: number;
}

const bounded = (value: number, bound: number): number => Math.min(bound, Math.max(-bound, value));

const possible = ({ log2Compute, skill, stderr }: SkillPoint): SkillPoint => ({
  log2Compute,
  skill: bounded(skill, SKILL_BOUND),
  stderr: stderr === null ? null : bounded(stderr, SKILL_BOUND),
});

function forecast(
  parameters: MultiProcessParameters,
  followed: Follow,
  history: readonly SkillPoint[],
  horizonLog2Compute: number,
  siblings: readonly (readonly SkillPoint[])[],
): SkillForecast {
  const last = history.map(possible).at(-1);
  const basis = basisOf(history);
  if (last === undefined) {
    return {
      basis,
      points: 0,
      notes: ['no score yet'],
      atLeast: (skill) => Math.min(1, Math.max(0, 1 - skill)),
    };
  }
  const moving = Math.max(
    0,
    ...siblings.map((sibling) => leapEvidence(parameters, followed(upTo(sibling, last.log2Compute)))),
  );
  const lent = parameters.siblings.share * Math.min(parameters.siblings.evidenceMax, moving);
  const processes = followed(history);
  const weights = weightsOf(processes, parameters.kinds.at(-1), lent);
  const doublings = distance(last.log2Compute, horizonLog2Compute);
  const sampled = parameters.samplingShare * (last.stderr ?? 0);
  const predicted = processes.flatMap((process, i) => {
    const weight = weights[i] ?? 0;
    if (weight < WEIGHT_MIN) return [];
    const carried = carry(parameters.setting, process.kind, process.state, doublings);
    const noise = square(Math.max(process.scatter.size, sampled));
    return [{ weight, above: predictive(process, carried, doublings, noise) }];
  });
  const notes = [likeliest(parameters.kinds, processes, weights)];
  if (lent > 0) notes.push(`a signal beside it moves: a leap counts ${Math.exp(lent).toFixed(1)} times`);
  if (last.skill >= SATURATED) notes.push('saturated: no headroom, so no comfort');
  return {
    basis,
    points: history.length,
    notes,
    atLeast: (skill) =>
      Math.min(
        1,
        Math.max(
          0,
          predicted.reduce((sum, { weight, above }) => sum + weight * above(skill), 0),
        ),
      ),
  };
}

/** The same list where nothing lies beyond. */
function upTo(points: readonly SkillPoint[], log2Compute: number): readonly SkillPoint[] {
  const isWithin = (point: SkillPoint): boolean => point.log2Compute <= log2Compute;
  return points.every(isWithin) ? points : points.filter(isWithin);
}

/** Points at one compute are one point for this. */
function basisOf(points: readonly SkillPoint[]): ForecastBasis {
  const comparable = new Set(points.map(({ log2Compute }) => log2Compute)).size;
  if (comparable < POINTS_FOR_A_TREND) return 'mostly-prior';
  return comparable < POINTS_FOR_DATA ? 'mixed' : 'data';
}

const distance = (from: number, to: number): number => Math.min(DOUBLINGS_MAX, Math.max(0, to - from));

function follow(
  { setting, memory, kinds, scatters }: MultiProcessParameters,
  points: readonly SkillPoint[],
): Process[] {
  const [first, ...rest] = points;
  if (first === undefined) return [];
  let processes = kinds.flatMap((kind) =>
    scatters.map((scatter) => ({
      kind,
      scatter,
      state: startTrend(setting, kind, first.skill, square(scatter.size)),
      evidence: 0,
    })),
  );
  let before = first;
  for (const { log2Compute, skill } of rest) {
    const doublings = distance(before.log2Compute, log2Compute);
    processes = processes.map((process) => {
      const noise = square(process.scatter.size);
      const carried = carry(setting, process.kind, process.state, doublings);
      const above = predictive(process, carried, doublings, noise);
      const foreseen = above(skill - FORESEEN_WITHIN) - above(skill + FORESEEN_WITHIN);
      return {
        ...process,
        state: correct(carried, skill, noise),
        evidence: memory * process.evidence + Math.log(Math.max(FORESEEN_MIN, foreseen)),
      };
    });
    const most = Math.max(...processes.map(({ evidence }) => evidence));
    processes = processes.map((each) => ({ ...each, evidence: each.evidence - most }));
    before = { log2Compute, skill, stderr: null };
  }
  return processes;
}

/** What the points say for the last kind against the first, in natural logarithms; the prior of the kinds is not in it. */
function leapEvidence({ kinds }: MultiProcessParameters, processes: readonly Process[]): number {
  const [calm, leaping] = [kinds[0], kinds.at(-1)].map((kind) =>
    processes
      .filter((process) => process.kind === kind)
      .reduce((sum, { scatter, evidence }) => sum + scatter.prior * Math.exp(evidence), 0),
  );
  if (calm === undefined || leaping === undefined || processes.length === 0) return 0;
  return Math.log(Math.max(Number.MIN_VALUE, leaping) / Math.max(Number.MIN_VALUE, calm));
}

/** `lent`: evidence for the last kind, from elsewhere. */
function weightsOf(processes: readonly Process[], leaping: RunKind | undefined, lent: number): number[] {
  const raw = processes.map(
    ({ kind, scatter, evidence }) =>
      kind.prior * scatter.prior * Math.exp(evidence + (kind === leaping ? lent : 0)),
  );
  const total = raw.reduce((sum, weight) => sum + weight, 0);
  return raw.map((weight) => weight / total);
}

/** P(skill >= x) of one kind of run; `noise` is the variance of the measurement to come. */
function predictive(
  { kind, state: { level } }: Process,
  carried: TrendState,
  doublings: number,
  noise: number,
): (skill: number) => number {
  const { degreesOfFreedom, leapShape } = kind;
  const spread = Math.sqrt(carried.levelVariance + noise);
  const collapses = within(kind.collapse, doublings);
  const leaps = within(kind.leap, doublings) * (1 - collapses);
  const from = Math.min(ROOM_FROM, Math.max(-1, level, carried.level));
  const stood = Math.max(LEVEL_MIN, level);
  return (skill) => {
    const trend = studentCdf((carried.level - skill) / spread, degreesOfFreedom);
    const leapt = 1 - reached((skill - from) / (1 - from), leapShape);
    const collapsed = skill >= stood ? 0 : 1 - Math.max(0, skill / stood);
    return (1 - leaps - collapses) * trend + leaps * leapt + collapses * collapsed;
  };
}

/** Probability within so many doublings of what has probability `each` within one. */
function within(each: number, doublings: number): number {
  return 1 - Math.exp(doublings * Math.log(1 - each));
}

/** P(a leap goes no further than the share u of the room): Kumaraswamy's distribution. */
function reached(u: number, { a, b }: RunKind['leapShape']): number {
  if (u <= 0) return 0;
  if (u >= 1) return 1;
  return 1 - power(1 - power(u, a), b);
}

function likeliest(
  kinds: readonly RunKind[],
  processes: readonly Process[],
  weights: readonly number[],
): string {
  const shares = kinds.map((kind) =>
    weights.reduce((sum, weight, i) => sum + (processes[i]?.kind === kind ? weight : 0), 0),
  );
  const most = Math.max(...shares);
  const name = kinds[shares.indexOf(most)]?.name ?? 'is unknown';
  return `moves like a run that ${name} (${Math.round(100 * most)} %)`;
}

const square = (x: number): number => x * x;
