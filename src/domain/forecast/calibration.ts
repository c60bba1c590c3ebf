/**
 * Online calibration: a run that keeps passing its 95 % bounds is believed to pass the next one more often, too.
 *
 * The share of bounds that it passed, k of n, is drawn towards the one in twenty that was promised, as if DOUBT forecasts
 * had kept that promise beforehand. Where what results is more than one in twenty, what lies above the median counts so
 * many times: small probabilities are multiplied by it, one half stays one half, and what is above a half stays what it is.
 * It never counts less than once: a run that never passed a bound may be one that has not begun to move.
 *
 * The same factor at every level and horizon, and from what has come alone: so the order of levels and horizons stays what
 * it is, and a larger stated error still never narrows. DOUBT was chosen among three round numbers; docs/forecasting.md
 * says what it is worth.
 */
import { power } from '../statistics/power.ts';
import type { Combined } from './combine.ts';

/** How the 95 % bounds of a category's forecasts, one checkpoint ahead, have done in one run. */
export interface BoundRecord {
  readonly forecasts: number;
  /** What came lay above the bound, as it would have been without any calibration. */
  readonly passed: number;
}

export interface Calibration extends BoundRecord {
  /** How many times what lies above the median counts; from 1 to TAILS_MAX. */
  readonly tails: number;
}

export const NO_RECORD: BoundRecord = { forecasts: 0, passed: 0 };

/** Of the distribution. */
const BOUND = 0.95;
const MEDIAN = 0.5;
const DOUBT = 30;
/** Beyond it the bound would say nothing any more. */
const TAILS_MAX = 10;

export function calibrationOf({ forecasts, passed }: BoundRecord): Calibration {
  const promised = 1 - BOUND;
  const times = (passed + promised * DOUBT) / (promised * (forecasts + DOUBT));
  const tails = Math.round(Math.min(TAILS_MAX, Math.max(1, times)) * 1e4) / 1e4;
  return { forecasts, passed, tails };
}

/** P(at or above), once what lies above the median counts so many times. */
export function tailsCounted(atLeast: number, tails: number): number {
  if (tails === 1 || atLeast >= MEDIAN) return atLeast;
  return MEDIAN * (1 - power(1 - atLeast / MEDIAN, tails));
}

export function calibrated({ p, greatest, sum }: Combined, { tails }: Calibration): Combined {
  return {
    p: tailsCounted(p, tails),
    greatest: tailsCounted(greatest, tails),
    sum: tailsCounted(sum, tails),
  };
}

/** Whether what came, at `pit` of a distribution with this calibration, lay above the bound that there was without it. */
export const isPassed = (pit: number, tails: number): boolean => 1 - pit < tailsCounted(1 - BOUND, tails);

/** For those who read the forecast. */
export function calibrationNotes({ forecasts, passed, tails }: Calibration): string[] {
  if (tails === 1) return [];
  return [
    `this run has passed ${passed} of its ${forecasts} bounds of 95 %: what lies above counts ${tails.toFixed(1)} times`,
  ];
}
