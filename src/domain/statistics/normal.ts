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
  3.3871328727963665, 133.14166789178438, 1971.5909503065513, 13731.69376550946, 45921.95393154987,
  67265.7709270087, 33430.57558358813, 2509.0809287301227,
];
const CENTRAL_DENOMINATOR = [
  1, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597, 39307.89580009271,
  28729.085735721943, 5226.495278852854,
];
const MIDDLE_NUMERATOR = [
  1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045, 1.2704582524523684,
  0.2417807251774506, 0.022723844989269184, 0.0007745450142783414,
];
const MIDDLE_DENOMINATOR = [
  1, 2.053191626637759, 1.6763848301838038, 0.6897673349851, 0.14810397642748008, 0.015198666563616457,
  0.0005475938084995345, 1.0507500716444169e-9,
];
const TAIL_NUMERATOR = [
  6.657904643501103, 5.463784911164114, 1.7848265399172913, 0.29656057182850487, 0.026532189526576124,
  0.0012426609473880784, 2.7115555687434876e-5, 2.0103343992922881e-7,
];
const TAIL_DENOMINATOR = [
  1, 0.599832206555888, 0.1369298809227358, 0.014875361290850615, 0.0007868691311456133,
  1.8463183175100548e-5, 1.421511758316446e-7, 2.0442631033899397e-15,
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

const HART_NUMERATOR = [
  220.206867912376, 221.213596169931, 112.079291497871, 33.912866078383, 6.37396220353165, 0.700383064443688,
  0.0352624965998911,
];
const HART_DENOMINATOR = [
  440.413735824752, 793.826512519948, 637.333633378831, 296.564248779674, 86.7807322029461, 16.064177579207,
  1.75566716318264, 0.0883883476483184,
];

/** P(Z <= z): Hart's rational approximation as given by West (2005), accurate to about 1e-15. */
export function normalCdf(z: number): number {
  if (Number.isNaN(z)) throw new RangeError('a number, not NaN');
  const size = Math.abs(z);
  if (size > 38) return z > 0 ? 1 : 0;
  const density = Math.exp((-size * size) / 2);
  const tail =
    size < 7.07106781186547
      ? (density * horner(size, HART_NUMERATOR)) / horner(size, HART_DENOMINATOR)
      : density / (size + 1 / (size + 2 / (size + 3 / (size + 4 / (size + 0.65))))) / 2.506628274631;
  return z > 0 ? 1 - tail : tail;
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
  const tan = t / Math.sqrt(degreesOfFreedom);
  // Of the angle: without trigonometric functions, which cost most of the time, where the square cannot overflow.
  const cos = Math.abs(tan) < 1e100 ? 1 / Math.sqrt(1 + tan * tan) : Math.abs(1 / tan);
  const sin = tan * cos;
  const odd = degreesOfFreedom % 2 === 1;
  let term = odd ? cos : 1;
  let sum = degreesOfFreedom === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k <= degreesOfFreedom - 2; k += 2) {
    term *= (cos * cos * (k - 1)) / k;
    sum += term;
  }
  const central = odd ? (2 / Math.PI) * (Math.atan(tan) + sin * sum) : sin * sum;
  return Math.min(1, Math.max(0, 0.5 + central / 2));
}
