/**
 * Operating characteristics of a policy, as for any trip system: how often it would hold or halt a run that
 * is still below High, and the smallest rise it can see.
 *
 * Exact binomial for proportions at `minSamples` independent samples, by the evaluation's own interval. For means the harness's standard error is not known
 * beforehand, and nothing is claimed.
 */
import { levelsOf, type ScoreSpec, scoreOfLevel } from '../levels.ts';
import { confidenceZ, scoreSpecOf } from '../run/scorecard.ts';
import { normalQuantile } from '../statistics/normal.ts';
import { type Evaluation, isControl, levelAt, levelMarks, type Policy } from './schema.ts';

export const TRUE_LEVELS = [2.0, 2.3, 2.6] as const;
const POWER = 0.8;

export interface OperatingCharacteristics {
  readonly evaluation: string;
  readonly category: string;
  readonly stage: string;
  /** Samples assumed: `minSamples`. */
  readonly n: number;
  /** Per true level below High: the chance that one measurement halts, and that it holds. */
  readonly falseTrips: readonly { trueLevel: number; halt: number; hold: number }[] | null;
  /** Rise above level 2 that a second measurement tells from noise with 80 % power, in levels. */
  readonly smallestVisibleRise: number | null;
}

export function operatingCharacteristics(policy: Policy): OperatingCharacteristics[] {
  return policy.evaluations
    .filter((spec) => !isControl(spec))
    .map((spec) => {
      const { id: evaluation, category, stage } = spec;
      const n = spec.score.minSamples;
      const known = scoreSpecOf(spec).kind === 'proportion';
      return {
        evaluation,
        category,
        stage,
        n,
        falseTrips: known ? falseTrips(policy, spec) : null,
        smallestVisibleRise: known ? smallestVisibleRise(spec) : null,
      };
    });
}

function falseTrips(policy: Policy, spec: Evaluation): { trueLevel: number; halt: number; hold: number }[] {
  const scoreSpec = scoreSpecOf(spec);
  const n = spec.score.minSamples;
  const z = confidenceZ(policy, spec);
  const outcomes = outcomesOf(n, (k) => outcomeOf(policy, spec, scoreSpec, k / n, z));
  return TRUE_LEVELS.map((trueLevel) => {
    const p = proportionAt(trueLevel, spec, scoreSpec);
    const chances = binomialProbabilities(n, p);
    const total = (wanted: string): number =>
      Math.round(chances.reduce((sum, chance, k) => sum + (outcomes[k] === wanted ? chance : 0), 0) * 1e6) /
      1e6;
    return { trueLevel, halt: total('halt'), hold: total('hold') };
  });
}

type Outcome = 'halt' | 'hold' | 'none';

/**
 * Of every number of successes. More danger never fires less, so only where an outcome turns into another are the numbers in
 * between looked at: an exact interval takes its time.
 */
function outcomesOf(n: number, outcomeAt: (successes: number) => Outcome): Outcome[] {
  const outcomes = new Array<Outcome>(n + 1).fill('none');
  const fill = (from: number, first: Outcome, to: number, last: Outcome): void => {
    if (first === last) {
      outcomes.fill(first, from, to + 1);
      return;
    }
    outcomes[from] = first;
    outcomes[to] = last;
    if (to - from <= 1) return;
    const middle = Math.floor((from + to) / 2);
    const between = outcomeAt(middle);
    fill(from, first, middle, between);
    fill(middle, between, to, last);
  };
  fill(0, outcomeAt(0), n, outcomeAt(n));
  return outcomes;
}

function proportionAt(level: number, spec: Evaluation, { range: [low, high] }: ScoreSpec): number {
  const score = scoreOfLevel(level, scoreSpecOf(spec), spec.elicitationMargin);
  return Math.min(1, Math.max(0, (score - low) / (high - low)));
}

function outcomeOf(
  policy: Policy,
  spec: Evaluation,
  scoreSpec: ScoreSpec,
  proportion: number,
  z: number,
): Outcome {
  const [low, high] = scoreSpec.range;
  const score = low + proportion * (high - low);
  const levels = levelsOf({ score, stderr: null, n: spec.score.minSamples }, scoreSpec, z);
  const fired = policy.rules.flatMap((rule) =>
    rule.kind === 'level' &&
    rule.stage === spec.stage &&
    (rule.categories === undefined || rule.categories.includes(spec.category)) &&
    levels[rule.basis] >= levelAt(rule.atLeast)
      ? rule.then
      : [],
  );
  if (fired.includes('halt') || fired.includes('quarantine')) return 'halt';
  return fired.includes('hold') ? 'hold' : 'none';
}

/** All n + 1 probabilities, each in log space so that large n do not underflow. */
function binomialProbabilities(n: number, p: number): number[] {
  if (p <= 0) return Array.from({ length: n + 1 }, (_, k) => (k === 0 ? 1 : 0));
  if (p >= 1) return Array.from({ length: n + 1 }, (_, k) => (k === n ? 1 : 0));
  const logOdds = Math.log(p) - Math.log(1 - p);
  let log = n * Math.log(1 - p);
  return Array.from({ length: n + 1 }, (_, k) => {
    if (k > 0) log += Math.log(n - k + 1) - Math.log(k) + logOdds;
    return Math.exp(log);
  });
}

function smallestVisibleRise(spec: Evaluation): number {
  const scoreSpec = scoreSpecOf(spec);
  const [low, high] = scoreSpec.range;
  const p = proportionAt(2, spec, scoreSpec);
  const n = spec.score.minSamples;
  const noise = Math.sqrt((2 * p * (1 - p)) / n);
  const rise = (normalQuantile(0.975) + normalQuantile(POWER)) * noise * (high - low);
  const marks = levelMarks(spec);
  const perLevel = Math.abs(marks.high - marks.medium);
  return Math.round((rise / perLevel) * 100) / 100;
}
