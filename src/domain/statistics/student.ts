/**
 * Student's t where a normal limit would be too narrow: uncertainty that was itself measured, on few independent units.
 *
 * By bisection of the closed form in normal.ts: square roots, and one arc tangent for odd degrees of freedom, rounded.
 */
import { normalCdf, studentCdf } from './normal.ts';

/** Beyond as many degrees of freedom t and z differ by less than 0.4 % of z up to z = 4. */
const AS_NORMAL = 1_000;

/**
 * What takes the place of `z` where the standard error comes from `clusters` independent units: the t of the same
 * probability with one degree of freedom less. One unit alone says nothing of the scatter: infinite.
 */
export function criticalValue(z: number, clusters: number): number {
  if (clusters < 2) return Number.POSITIVE_INFINITY;
  const degreesOfFreedom = Math.floor(clusters) - 1;
  return degreesOfFreedom >= AS_NORMAL ? z : studentLimit(z, degreesOfFreedom);
}

/** t with P(T <= t) = P(Z <= z), z >= 0, rounded to 1e-9. */
export function studentLimit(z: number, degreesOfFreedom: number): number {
  // In the tail, where 1 - p would lose its digits.
  const tail = normalCdf(-z);
  let low = z;
  let high = z + 1;
  while (studentCdf(-high, degreesOfFreedom) > tail && high < 1e9) high *= 2;
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    if (studentCdf(-middle, degreesOfFreedom) > tail) low = middle;
    else high = middle;
  }
  return Math.round(high * 1e9) / 1e9;
}
