/**
 * How one sealed forecast has done: its bounds and probabilities beside the level that came. In levels.
 *
 * Only sealed figures are read, so whoever has the ledger can work it out again; arithmetic alone, no logarithm.
 */
import { roundedShare } from '../statistics/rounded.ts';
import { pinballLoss } from './metrics.ts';

export interface SealedFigures {
  readonly quantiles: readonly { readonly p: number; readonly level: number }[];
  /** P(level >= `level`). */
  readonly exceedance: readonly { readonly level: number; readonly p: number }[];
}

export interface LevelScore {
  readonly q50: number;
  readonly q95: number;
  readonly q99: number;
  readonly pit: number;
  readonly pinball50: number;
  readonly pinball95: number;
  readonly pinball99: number;
  readonly covered95: boolean;
  readonly covered99: boolean;
  readonly exceedance: { level: number; p: number; reached: boolean }[];
}

/** Sealed quantiles are rounded to 1e-4: half of that is rounding, not mercy. */
const ROUNDING = 5e-5;
const LEVEL_MIN = 1;
const LEVEL_MAX = 5;

export const isAbove = (observed: number, bound: number): boolean => observed > bound + ROUNDING;

export function scoreLevel(sealed: SealedFigures, observed: number): LevelScore {
  const [q50, q95, q99] = [boundAt(sealed, 0.5), boundAt(sealed, 0.95), boundAt(sealed, 0.99)];
  return {
    q50,
    q95,
    q99,
    pit: pitOf(sealed, observed),
    pinball50: pinballLoss(0.5, q50, observed),
    pinball95: pinballLoss(0.95, q95, observed),
    pinball99: pinballLoss(0.99, q99, observed),
    covered95: !isAbove(observed, q95),
    covered99: !isAbove(observed, q99),
    exceedance: sealed.exceedance.map(({ level, p }) => ({ level, p, reached: observed >= level })),
  };
}

/** A bound that was not stated is taken as the next lower one that was: what is missing covers nothing. */
function boundAt({ quantiles }: SealedFigures, p: number): number {
  return Math.max(LEVEL_MIN, ...quantiles.filter((each) => each.p <= p).map(({ level }) => level));
}

/**
 * Probability integral transform: the sealed distribution function at the level that came.
 *
 * Linear between what is sealed: quantiles, exceedances (1 - P(level >= x)), and the ends of the scale (0 at level 1, 1
 * at level 5). Where several probabilities fall on one level, as at the ends, that level has a probability of its own,
 * and the middle of its step is taken (mid-PIT), so that the value is the same for whoever works it out.
 */
export function pitOf(sealed: SealedFigures, observed: number): number {
  const knots = distribution(sealed);
  const at = Math.min(LEVEL_MAX, Math.max(LEVEL_MIN, observed));
  const step = knots.filter(({ level }) => level === at).map(({ p }) => p);
  if (step.length > 0) return roundedShare((Math.min(...step) + Math.max(...step)) / 2);
  const below = knots.findLast(({ level }) => level < at) ?? { level: LEVEL_MIN, p: 0 };
  const above = knots.find(({ level }) => level > at) ?? { level: LEVEL_MAX, p: 1 };
  return roundedShare(below.p + ((above.p - below.p) * (at - below.level)) / (above.level - below.level));
}

/** Rising in both: what rounding has put out of order is levelled. */
function distribution({ quantiles, exceedance }: SealedFigures): { level: number; p: number }[] {
  const knots = [
    { level: LEVEL_MIN, p: 0 },
    ...quantiles,
    ...exceedance.map(({ level, p }) => ({ level, p: 1 - p })),
    { level: LEVEL_MAX, p: 1 },
  ].sort((a, b) => a.level - b.level || a.p - b.p);
  let highest = 0;
  return knots.map(({ level, p }) => {
    highest = Math.max(highest, p);
    return { level, p: highest };
  });
}
