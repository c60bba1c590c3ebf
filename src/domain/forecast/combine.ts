/**
 * From the probabilities of a category's evaluations to the category's, without assuming that they are independent.
 *
 * Whatever depends on what, P(any) lies between the greatest of them and their sum (Boole, Fréchet). The sum would trip for
 * ever: eight evaluations that each allow one jump in a hundred come to 8 %. In measured runs the evaluations of one
 * run mostly move together, so the truth lies near the greatest. `p` takes of what lies between the share that measured
 * bags of eight series call for: docs/forecasting.md has the calibration.
 */
import { roundedShare } from '../statistics/rounded.ts';

export interface Combined {
  readonly p: number;
  readonly greatest: number;
  /** At most 1. */
  readonly sum: number;
}

/** Of the way from the greatest to the sum. */
export const SEPARATE_SHARE = 0.3;

export function combine(probabilities: readonly number[]): Combined {
  const greatest = Math.max(0, ...probabilities);
  const sum = Math.min(
    1,
    // Sorted, so that the order of the evaluations does not show in the last digit.
    [...probabilities].sort((a, b) => a - b).reduce((total, p) => total + p, 0),
  );
  return { p: greatest + SEPARATE_SHARE * (sum - greatest), greatest, sum };
}

/** As it is sealed. */
export function rounded({ p, greatest, sum }: Combined): Combined {
  return { p: roundedShare(p), greatest: roundedShare(greatest), sum: roundedShare(sum) };
}
