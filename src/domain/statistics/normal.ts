/**
 * The standard normal and Student's t distribution.
 *
 * `normalQuantile` is Wichura's AS 241 (PPND16), accurate to about 1e-16, and is used for verdicts, so
 * its result is rounded to 1e-12: the last bits of Math.log may not depend on the engine's version.
 */

function horner(x: number, coefficients: readonly number[]): number {
  return coefficients.reduceRight((sum, coefficient) => sum * x + coefficient, 0);
}

const CENTRAL_NUMERATOR = [
  3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
  45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727,
];
const CENTRAL_DENOMINATOR = [
  1, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
  39307.89580009271061, 28729.085735721942674, 5226.495278852854561,
];
const MIDDLE_NUMERATOR = [
  1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
  1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4,
];
const MIDDLE_DENOMINATOR = [
  1, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459,
  0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9,
];
const TAIL_NUMERATOR = [
  6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
  0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
];
const TAIL_DENOMINATOR = [
  1, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525, 7.868691311456132591e-4,
  1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15,
];

/** z with P(Z <= z) = p, for 0 < p < 1. */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1)) throw new RangeError(`a probability strictly between 0 and 1, not ${p}`);
  return Math.round(quantile(p) * 1e12) / 1e12;
}

function quantile(p: number): number {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return (q * horner(r, CENTRAL_NUMERATOR)) / horner(r, CENTRAL_DENOMINATOR);
  }
  const r = Math.sqrt(-Math.log(q < 0 ? p : 1 - p));
  const size =
    r <= 5
      ? horner(r - 1.6, MIDDLE_NUMERATOR) / horner(r - 1.6, MIDDLE_DENOMINATOR)
      : horner(r - 5, TAIL_NUMERATOR) / horner(r - 5, TAIL_DENOMINATOR);
  return q < 0 ? -size : size;
}

/**
 * P(T <= t) for Student's t with a whole number of degrees of freedom: the closed form as a finite
 * trigonometric sum (Abramowitz and Stegun 26.7.3 and 26.7.4). Exact up to rounding; O(df).
 */
export function studentCdf(t: number, degreesOfFreedom: number): number {
  if (!Number.isInteger(degreesOfFreedom) || degreesOfFreedom < 1) {
    throw new RangeError(`degrees of freedom must be a whole number of at least 1, not ${degreesOfFreedom}`);
  }
  if (!Number.isFinite(t)) return t > 0 ? 1 : 0;
  const theta = Math.atan(t / Math.sqrt(degreesOfFreedom));
  const sin = Math.sin(theta);
  const cos = Math.cos(theta);
  const odd = degreesOfFreedom % 2 === 1;
  let term = odd ? cos : 1;
  let sum = degreesOfFreedom === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k <= degreesOfFreedom - 2; k += 2) {
    term *= (cos * cos * (k - 1)) / k;
    sum += term;
  }
  const central = odd ? (2 / Math.PI) * (theta + sin * sum) : sin * sum;
  return Math.min(1, Math.max(0, 0.5 + central / 2));
}
