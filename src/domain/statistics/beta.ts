/**
 * The regularised incomplete beta function and its quantile, for exact binomial limits with any real number of samples.
 *
 * Lentz's evaluation of the continued fraction (DLMF 8.17.22) and Stirling's series (DLMF 5.11.1), as many terms as it takes:
 * a fixed hundred, as common libraries have, fails above some ten thousand samples. Quantiles are rounded to 1e-12:
 * Math.log and Math.exp are all that an engine could do differently.
 */
const TINY = 1e-300;
const CLOSE = 1e-15;
const TERMS_MAX = 200_000;

/** I_x(a, b): P(X <= x) of the beta distribution, for a, b > 0. */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (!(a > 0 && b > 0)) throw new RangeError(`a and b above 0, not ${a} and ${b}`);
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const log = a * Math.log(x) + b * Math.log1p(-x) + logGamma(a + b) - logGamma(a) - logGamma(b);
  const front = Math.exp(log);
  // The fraction converges fast on this side of the mean, and I_x(a, b) = 1 - I_(1-x)(b, a) on the other.
  return x < (a + 1) / (a + b + 2)
    ? (front * continuedFraction(x, a, b)) / a
    : 1 - (front * continuedFraction(1 - x, b, a)) / b;
}

/** x with I_x(a, b) = p. */
export function betaQuantile(p: number, a: number, b: number): number {
  if (!(p >= 0 && p <= 1)) throw new RangeError(`a probability, not ${p}`);
  let low = 0;
  let high = 1;
  for (let i = 0; i < 100 && high - low > 1e-16; i += 1) {
    const middle = (low + high) / 2;
    if (incompleteBeta(middle, a, b) < p) low = middle;
    else high = middle;
  }
  return Math.round(((low + high) / 2) * 1e12) / 1e12;
}

function continuedFraction(x: number, a: number, b: number): number {
  let c = 1;
  let d = 1 / awayFromZero(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m <= TERMS_MAX; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / awayFromZero(1 + even * d);
    c = awayFromZero(1 + even / c);
    fraction *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / awayFromZero(1 + odd * d);
    c = awayFromZero(1 + odd / c);
    const step = d * c;
    fraction *= step;
    if (Math.abs(step - 1) < CLOSE) break;
  }
  return fraction;
}

const awayFromZero = (value: number): number => (Math.abs(value) < TINY ? TINY : value);

/** Stirling's series where it has converged to the last digit; below, by the recurrence. */
export function logGamma(x: number): number {
  let shift = 0;
  let at = x;
  while (at < 15) {
    shift += Math.log(at);
    at += 1;
  }
  const r = 1 / (at * at);
  const series =
    (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r * (1 / 1188 - (r * 691) / 360_360))))) / at;
  return (at - 0.5) * Math.log(at) - at + 0.9189385332046727 + series - shift;
}
