/**
 * From score forecasts to a category's forecast: through the level map with the elicitation margin, then
 * over the evaluations (combine.ts). Quantiles are those of the combination.
 */

import type { LevelMap } from '../levels.ts';
import { scoreOfLevel } from '../levels.ts';
import { combine } from './combine.ts';
import { quantileOf } from './quantile.ts';
import type { ForecastBasis, ForecastMethod, SkillPoint } from './score-forecast.ts';

export interface EvaluationHistory {
  readonly name: string;
  readonly kind: 'proportion' | 'mean';
  readonly map: LevelMap;
  readonly elicitationMargin: number;
  readonly points: readonly {
    readonly log2Compute: number;
    readonly score: number;
    readonly stderr: number | null;
    readonly n: number | null;
  }[];
}

export interface CategoryForecast {
  readonly method: string;
  readonly basis: ForecastBasis;
  /** Points of the shortest history: the weakest evidence names the basis. */
  readonly points: number;
  readonly quantiles: { p: number; level: number }[];
  /** With the two bounds that `p` lies between, whatever depends on what: see combine.ts. */
  readonly exceedance: { level: number; p: number; greatest: number; sum: number }[];
  readonly notes: string[];
}

const LEVEL_MIN = 1;
const LEVEL_MAX = 5;
const QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95, 0.99] as const;
const BASES: readonly ForecastBasis[] = ['mostly-prior', 'mixed', 'data'];

export function forecastCategory(
  method: ForecastMethod,
  evaluations: readonly EvaluationHistory[],
  horizonLog2Compute: number,
  levels: readonly number[],
): CategoryForecast {
  const histories = evaluations.map(skillPoints);
  const parts = evaluations.map((evaluation, i) => {
    const { forecast } = method;
    const siblings = histories.filter((_, j) => j !== i);
    const prediction = forecast(histories[i] ?? [], horizonLog2Compute, siblings);
    const levelAtLeast = (level: number): number => {
      if (level <= 1 + evaluation.elicitationMargin) return 1;
      const score = scoreOfLevel(level, evaluation.map, evaluation.elicitationMargin);
      return prediction.atLeast(skillOf(score, evaluation.map));
    };
    return { name: evaluation.name, prediction, levelAtLeast };
  });
  const combined = (level: number) => combine(parts.map(({ levelAtLeast }) => levelAtLeast(level)));
  const atLeast = (level: number): number => combined(level).p;
  return {
    method: method.method,
    basis:
      BASES.find((basis) => parts.some(({ prediction }) => prediction.basis === basis)) ?? 'mostly-prior',
    points: parts.length === 0 ? 0 : Math.min(...parts.map(({ prediction }) => prediction.points)),
    quantiles: QUANTILES.map((p) => ({ p, level: round(quantileOf(atLeast, p, LEVEL_MIN, LEVEL_MAX), 1e4) })),
    exceedance: levels.map((level) => {
      const { p, greatest, sum } = combined(level);
      return { level, p: round(p, 1e6), greatest: round(greatest, 1e6), sum: round(sum, 1e6) };
    }),
    notes: parts.flatMap(({ name, prediction }) => prediction.notes.map((note) => `${name}: ${note}`)),
  };
}

function skillOf(score: number, { chance, best }: LevelMap): number {
  return (score - chance) / (best - chance);
}

function skillPoints({ kind, map, points }: EvaluationHistory): SkillPoint[] {
  const width = Math.abs(map.best - map.chance);
  return [...points]
    .sort((a, b) => a.log2Compute - b.log2Compute)
    .map(({ log2Compute, score, stderr, n }) => {
      // Only a proportion has its sampling error in itself; a mean has the one its harness states.
      const inside = kind === 'proportion' && score >= 0 && score <= 1;
      const sampled = inside && n !== null && n > 0 ? Math.sqrt((score * (1 - score)) / n) : null;
      const error = stderr ?? sampled;
      return {
        log2Compute,
        skill: skillOf(score, map),
        stderr: error === null ? null : error / width,
      };
    });
}

function round(value: number, grain: number): number {
  return Math.round(value * grain) / grain;
}
