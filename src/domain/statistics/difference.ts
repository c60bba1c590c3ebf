/** The difference of two independent arms: of proportions by Newcombe's hybrid score interval, of means by Welch's. */
import { criticalValue } from './student.ts';
import { type Interval, wilson } from './wilson.ts';

export interface ProportionArm {
  readonly proportion: number;
  readonly n: number;
}

/** Newcombe (1998), method 10: first minus second, in [-1, 1]. `limits` of either proportion; Wilson's unless given. */
export function newcombe(
  first: ProportionArm,
  second: ProportionArm,
  z: number,
  limits: (proportion: number, n: number, z: number) => Interval = wilson,
): Interval {
  const one = limits(first.proportion, first.n, z);
  const two = limits(second.proportion, second.n, z);
  const difference = first.proportion - second.proportion;
  const down = hypotenuse(first.proportion - one.lower, two.upper - second.proportion);
  const up = hypotenuse(one.upper - first.proportion, second.proportion - two.lower);
  return { lower: Math.max(-1, difference - down), upper: Math.min(1, difference + up) };
}

/** By multiplication and square root alone, which IEEE 754 fixes; Math.hypot is the engine's own. */
const hypotenuse = (a: number, b: number): number => Math.sqrt(a * a + b * b);

export interface MeanArm {
  readonly stderr: number;
  /** Independent units; null where nobody says. */
  readonly n: number | null;
}

/** Half the width of Welch's interval: t with the Welch-Satterthwaite degrees of freedom, rounded down. */
export function welchHalf(first: MeanArm, second: MeanArm, z: number): number {
  const a = first.stderr * first.stderr;
  const b = second.stderr * second.stderr;
  const stderr = Math.sqrt(a + b);
  if (first.n === null || second.n === null || stderr === 0) return z * stderr;
  if (first.n < 2 || second.n < 2) return Number.POSITIVE_INFINITY;
  const degreesOfFreedom = ((a + b) * (a + b)) / ((a * a) / (first.n - 1) + (b * b) / (second.n - 1));
  return criticalValue(z, Math.max(2, Math.floor(degreesOfFreedom) + 1)) * stderr;
}
