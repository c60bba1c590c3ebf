/** Proportions: the Wilson score interval (Wilson, 1927). */

export interface Interval {
  readonly lower: number;
  readonly upper: number;
}

/**
 * Wilson score interval for `proportion` observed in `n` samples at `z` standard errors.
 * At 0 successes the upper limit is z^2 / (n + z^2), never 0.
 */
export function wilson(proportion: number, n: number, z: number): Interval {
  // Of nothing observed: anything is possible, where the formula would have no number.
  if (!(n > 0)) return { lower: 0, upper: 1 };
  const z2 = z * z;
  const centre = (proportion + z2 / (2 * n)) / (1 + z2 / n);
  const half = (z / (1 + z2 / n)) * Math.sqrt((proportion * (1 - proportion)) / n + z2 / (4 * n * n));
  return { lower: Math.max(0, centre - half), upper: Math.min(1, centre + half) };
}
