/**
 * Pooling what several experts think: one probability, and how far apart they are.
 *
 * The geometric mean of odds: of the usual pools it alone comes out the same whether a new fact is taken in before or
 * after pooling (it is externally Bayesian), and it heeds a confident expert more than the mean of probabilities.
 * Each expert knows a part and holds back for the rest, so the mean of many is too timid: it is extremised, its log
 * odds times EXTREMISING (Satopää et al. 2014; Baron et al. 2014). Their events were near even; the right centre is
 * the prior (Neyman and Roughgarden 2022), which for a rare disaster lies far below one half. Extremised around one
 * half, five experts who all say 6 % would pool to 2 %, less than any of them said. So a pool is extremised towards
 * danger only: where that would lower it, the plain mean stands.
 *
 * Not here: rounds and who may answer (run/estimates.ts), which probability rules a verdict (run/expert-findings.ts).
 */
import { roundedShare } from '../statistics/rounded.ts';

/**
 * Near the low end of the 1.16 to 3.92 that Satopää et al. fitted: by the second round much of what the experts know
 * is shared, and the more is shared, the less there is to make up for. A judgement, sealed with every pool.
 */
export const EXTREMISING = 1.5;
/** Formula and exponent: another of either gets another name, and recheck must then know both. */
export const POOL_METHOD = 'geometric-mean-of-odds/1';

/** Nobody is believed to be surer than this: one certain expert would outvote all others. */
export const PROBABILITY_MIN = 0.001;
export const PROBABILITY_MAX = 0.999;

export interface Spread {
  readonly median: number;
  readonly lowerQuartile: number;
  readonly upperQuartile: number;
}

export interface ExpertPool extends Spread {
  /** What counts: the greater of the plain and the extremised mean. */
  readonly p: number;
  readonly geometricMean: number;
  readonly exponent: number;
  readonly n: number;
  readonly method: string;
}

export const clampProbability = (p: number): number =>
  Math.min(PROBABILITY_MAX, Math.max(PROBABILITY_MIN, p));

/** Logarithms may differ in their last bits between engines; the sixth decimal of a belief means nothing anyway. */
const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

/** Geometric mean of the odds, its log odds times `exponent`. */
export function poolProbabilities(probabilities: readonly number[], exponent = 1): number {
  if (probabilities.length === 0) throw new RangeError('there is nothing to pool');
  // Sorted, because a sum of doubles depends on its order.
  const clamped = ascending(probabilities.map(clampProbability));
  const logOdds = clamped.reduce((sum, p) => sum + Math.log(p / (1 - p)), 0) / clamped.length;
  return roundedShare(1 / (1 + Math.exp(-exponent * logOdds)));
}

export function poolExperts(probabilities: readonly number[]): ExpertPool {
  const n = probabilities.length;
  // One expert is not several who know different parts.
  const exponent = n > 1 ? EXTREMISING : 1;
  const geometricMean = poolProbabilities(probabilities);
  return {
    p: Math.max(geometricMean, poolProbabilities(probabilities, exponent)),
    geometricMean,
    exponent,
    n,
    ...spreadOf(probabilities),
    method: POOL_METHOD,
  };
}

/** The same pool of two, by square root alone: a verdict rests on it, and replay must give it to the last bit. */
export function poolOfTwo(a: number, b: number): number {
  const odds = (p: number): number => clampProbability(p) / (1 - clampProbability(p));
  const mean = Math.sqrt(odds(a) * odds(b));
  return roundedShare(mean / (1 + mean));
}

/** What the other of two may say at most for their pool to stay at `limit`. */
export function poolWithin(limit: number, one: number): number {
  const odds = (p: number): number => clampProbability(p) / (1 - clampProbability(p));
  const other = (odds(limit) * odds(limit)) / odds(one);
  return roundedShare(other / (1 + other));
}

export function spreadOf(values: readonly number[]): Spread {
  return {
    median: quantileOf(values, 0.5),
    lowerQuartile: quantileOf(values, 0.25),
    upperQuartile: quantileOf(values, 0.75),
  };
}

/** Linear between the order statistics, as spreadsheets and numpy do. */
function quantileOf(values: readonly number[], share: number): number {
  const sorted = ascending(values);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)];
  const above = sorted[Math.ceil(at)];
  if (below === undefined || above === undefined) throw new RangeError('there is nothing to summarise');
  return roundedShare(below + (above - below) * (at - Math.floor(at)));
}

export interface LevelQuantile {
  /** P(level at the horizon is at most `level`). */
  readonly p: number;
  readonly level: number;
}

/**
 * Where quantiles contradict each other or the probability of reaching `level`; null where they can all be true.
 * P(X <= q) = p means P(X > q) = 1 - p, so P(X >= level) is at most 1 - p where q lies below it, else at least.
 */
export function quantileProblem(
  quantiles: readonly LevelQuantile[],
  probability: number,
  level: number,
): { readonly path: string; readonly message: string } | null {
  for (const [i, { p, level: at }] of quantiles.entries()) {
    const before = quantiles[i - 1];
    if (before !== undefined && p <= before.p) {
      return { path: `quantiles.${i}.p`, message: 'must be greater than the one before it' };
    }
    if (before !== undefined && at < before.level) {
      return {
        path: `quantiles.${i}.level`,
        message: `must not be below the one before it, ${before.level}`,
      };
    }
    const beyond = 1 - p;
    if (at < level ? probability > beyond + SLACK : probability < beyond - SLACK) {
      // Values are not repeated: what an expert says in a round goes into no log.
      return {
        path: `quantiles.${i}.level`,
        message: 'contradicts the probability of reaching the level of the round',
      };
    }
  }
  return null;
}

/** People round. */
const SLACK = 0.005;
