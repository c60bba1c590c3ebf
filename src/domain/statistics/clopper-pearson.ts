/** Proportions: the exact interval of Clopper and Pearson (1934), which never covers less than it says. */
import { betaQuantile } from './beta.ts';
import { normalCdf } from './normal.ts';
import type { Interval } from './wilson.ts';

/**
 * For `proportion` of `n` samples, at the two-sided confidence of `z` standard errors. Neither successes nor n need be whole:
 * with a design effect they are effective ones (Korn and Graubard, 1998).
 */
export function clopperPearson(proportion: number, n: number, z: number): Interval {
  const tail = normalCdf(-z);
  const successes = proportion * n;
  const failures = n - successes;
  return {
    lower: successes <= 0 ? 0 : betaQuantile(tail, successes, failures + 1),
    upper: failures <= 0 ? 1 : 1 - betaQuantile(tail, failures, successes + 1),
  };
}
