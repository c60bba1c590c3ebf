/** Proportions: the Wilson interval, and exact binomial tails for operating characteristics. */

export interface Interval {
  readonly lower: number;
  readonly upper: number;
}

/**
 * Wilson score interval for `proportion` observed in `n` samples at `z` standard errors.
 * At 0 successes the upper limit is z^2 / (n + z^2), never 0.
 */
export function wilson(proportion: number, n: number, z: number): Interval {
  const z2 = z * z;
  const centre = (proportion + z2 / (2 * n)) / (1 + z2 / n);
  const half = (z / (1 + z2 / n)) * Math.sqrt((proportion * (1 - proportion)) / n + z2 / (4 * n * n));
  return { lower: Math.max(0, centre - half), upper: Math.min(1, centre + half) };
}

/** P(X >= k) for X ~ Binomial(n, p), each term in log space so that large n do not underflow. */
export function binomialAtLeast(k: number, n: number, p: number): number {
  if (k <= 0) return 1;
  if (k > n || p <= 0) return 0;
  if (p >= 1) return 1;
  const logP = Math.log(p);
  const logQ = Math.log(1 - p);
  let logChoose = 0;
  let sum = 0;
  for (let i = 0; i <= n; i += 1) {
    if (i > 0) logChoose += Math.log(n - i + 1) - Math.log(i);
    if (i >= k) sum += Math.exp(logChoose + i * logP + (n - i) * logQ);
  }
  return Math.min(1, sum);
}
