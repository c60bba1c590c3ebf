/** Quantiles of a distribution that is known by its tail, by bisection. */
const HALVINGS_MAX = 40;

/**
 * The greatest x in [least, most] that is reached or passed with probability 1 - p; `least` where none is.
 * `atLeast` falls; where it stays level, the graver end of the step is taken. Found to `grain`, from below.
 */
export function quantileOf(
  atLeast: (x: number) => number,
  p: number,
  least: number,
  most: number,
  grain = 0,
): number {
  if (atLeast(most) >= 1 - p) return most;
  let low = least;
  let high = most;
  for (let i = 0; i < HALVINGS_MAX && high - low > grain; i += 1) {
    const middle = (low + high) / 2;
    if (atLeast(middle) >= 1 - p) low = middle;
    else high = middle;
  }
  return low;
}
