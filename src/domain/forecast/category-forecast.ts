/**
 * From score forecasts to a category's forecast: through the level map with the elicitation margin, then
 * over the evaluations (combine.ts). Quantiles are those of the combination.
 *
 * Why it is what it is, for the limits that a policy sets, is worked out here too, with the same figures: explanation.ts.
 */

import { type BoundRecord, type Calibration, calibrationOf, NO_RECORD } from './calibration.ts';
import { type Combined, rounded } from './combine.ts';
import { type Asked, explain, type Reasons } from './explanation.ts';
import { combinedOf, type EvaluationHistory, type OutlookPart, outlookOf } from './outlook.ts';
import { quantileOf } from './quantile.ts';
import type { ForecastBasis, ForecastMethod } from './score-forecast.ts';

export type { EvaluationHistory } from './outlook.ts';

export interface CategoryForecast {
  readonly method: string;
  readonly basis: ForecastBasis;
  /** Points of the shortest history: the weakest evidence names the basis. */
  readonly points: number;
  readonly quantiles: { p: number; level: number }[];
  /** With the two bounds that `p` lies between, whatever depends on what: see combine.ts. */
  readonly exceedance: { level: number; p: number; greatest: number; sum: number }[];
  readonly calibration: Calibration;
  readonly notes: string[];
  /** One for each limit that was asked about. */
  readonly reasons: Reasons[];
}

const LEVEL_MIN = 1;
const LEVEL_MAX = 5;
const QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95, 0.99] as const;
/** A tenth of what they are rounded to. */
const QUANTILE_GRAIN = 1e-5;
/** The weakest first. */
export const BASES: readonly ForecastBasis[] = ['mostly-prior', 'mixed', 'data'];

export function forecastCategory(
  method: ForecastMethod,
  evaluations: readonly EvaluationHistory[],
  horizonLog2Compute: number,
  levels: readonly number[],
  { asked = null, record = NO_RECORD }: { asked?: Asked | null; record?: BoundRecord } = {},
): CategoryForecast {
  const calibration = calibrationOf(record);
  const outlook = outlookOf(method, evaluations, calibration);
  const parts = outlook.at(horizonLog2Compute);
  const combined = (level: number): Combined => combinedOf(parts, level, calibration);
  const atLeast = (level: number): number => combined(level).p;
  const quantile = (p: number): number =>
    round(quantileOf(atLeast, p, LEVEL_MIN, LEVEL_MAX, QUANTILE_GRAIN), 1e4);
  return {
    method: method.method,
    ...standingOf(parts),
    quantiles: QUANTILES.map((p) => ({ p, level: quantile(p) })),
    exceedance: levels.map((level) => {
      return { level, ...rounded(combined(level)) };
    }),
    calibration,
    notes: parts.flatMap(({ name, prediction }) => prediction.notes.map((note) => `${name}: ${note}`)),
    reasons: asked === null ? [] : explain(outlook, parts, horizonLog2Compute, asked),
  };
}

/** P(the category is at or above the level), for as many horizons as somebody asks about. */
export interface CategoryTail {
  readonly basis: ForecastBasis;
  readonly points: number;
  readonly atLeast: (horizonLog2Compute: number) => number;
}

export function categoryTail(
  method: ForecastMethod,
  evaluations: readonly EvaluationHistory[],
  level: number,
  record: BoundRecord = NO_RECORD,
): CategoryTail {
  const calibration = calibrationOf(record);
  const outlook = outlookOf(method, evaluations, calibration);
  const last = Math.max(
    0,
    ...evaluations.flatMap(({ points }) => points.map(({ log2Compute }) => log2Compute)),
  );
  return {
    ...standingOf(outlook.at(last)),
    atLeast: (horizonLog2Compute) =>
      rounded(combinedOf(outlook.at(horizonLog2Compute), level, calibration)).p,
  };
}

function standingOf(parts: readonly OutlookPart[]): Pick<CategoryTail, 'basis' | 'points'> {
  return {
    basis:
      BASES.find((basis) => parts.some(({ prediction }) => prediction.basis === basis)) ?? 'mostly-prior',
    points: parts.length === 0 ? 0 : Math.min(...parts.map(({ prediction }) => prediction.points)),
  };
}

function round(value: number, grain: number): number {
  return Math.round(value * grain) / grain;
}
