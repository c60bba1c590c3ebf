/**
 * Series for a backtest: scores of one evaluation at successive compute, as files bring them.
 *
 * Scores are fractions with best = 1; `chance` is what guessing earns (null or absent: 0). Points are put in order
 * of compute. Several at one compute become one: the mean of their scores, with the root mean square of their
 * standard errors (not less, because repeats share their items) and the smallest n. A null standard error is
 * computed from n where the score is a proportion, and stays unknown otherwise.
 */

import { z } from 'zod';
import { fieldPath, fieldProblems } from '../field-errors.ts';
import { mean } from '../statistics/mean.ts';
import type { SkillPoint } from './score-forecast.ts';

const POINTS_MAX = 1_000;
/** Normalised scores may pass 1 by noise; far above it they are percentages or losses. */
const VALUE_MAX = 1.5;

const label = z.string().max(500).nullish();
const PointSchema = z.object({
  flop: z.number().positive(),
  value: z
    .number()
    .min(-1e6)
    .refine((value) => value <= VALUE_MAX, { message: 'must be a score whose best is 1 (a percentage?)' }),
  stderr: z.number().nonnegative().max(1e6).nullish(),
  n: z.number().positive().nullish(),
});

export const BacktestSeriesSchema = z.object({
  series_id: z.string().min(1).max(500),
  source: label,
  model: label,
  task: label,
  metric: label,
  chance: z.number().min(-1e6).max(0.999).nullish(),
  points: z.array(PointSchema).max(POINTS_MAX),
});
type RawPoint = z.infer<typeof PointSchema>;

export interface BacktestSeries {
  readonly id: string;
  readonly source: string | undefined;
  readonly model: string | undefined;
  readonly task: string | undefined;
  readonly metric: string | undefined;
  readonly chance: number;
  /** In order of compute, which rises from each to the next. */
  readonly points: readonly SeriesPoint[];
}

export interface SeriesPoint extends SkillPoint {
  readonly flop: number;
  readonly value: number;
}

export type ReadSeries =
  | { readonly ok: true; readonly series: BacktestSeries }
  | { readonly ok: false; readonly problems: readonly string[] };

/** `position` names a series that has no usable id. */
export function readSeries(raw: unknown, position: number): ReadSeries {
  const parsed = BacktestSeriesSchema.safeParse(raw);
  if (!parsed.success) {
    const name = nameOf(raw, position);
    return {
      ok: false,
      problems: fieldProblems(BacktestSeriesSchema, parsed.error).map(({ parts, message }) =>
        [name, fieldPath(parts), message].filter((part) => part !== '').join(' '),
      ),
    };
  }
  const { series_id: id, chance, points, source, model, task, metric } = parsed.data;
  const chanceLevel = chance ?? 0;
  return {
    ok: true,
    series: {
      id,
      source: source ?? undefined,
      model: model ?? undefined,
      task: task ?? undefined,
      metric: metric ?? undefined,
      chance: chanceLevel,
      points: onePerCompute(points).map((point) => seriesPoint(point, chanceLevel)),
    },
  };
}

export function skillOfScore(score: number, chance: number): number {
  return (score - chance) / (1 - chance);
}

export function scoreOfSkill(skill: number, chance: number): number {
  return chance + skill * (1 - chance);
}

const NamedSchema = z.object({ series_id: z.string().min(1).max(500) });

function nameOf(raw: unknown, position: number): string {
  const named = NamedSchema.safeParse(raw);
  return named.success ? `series ${position} (${named.data.series_id}):` : `series ${position}:`;
}

function onePerCompute(points: readonly RawPoint[]): RawPoint[] {
  const sorted = [...points].sort((a, b) => a.flop - b.flop);
  const groups: RawPoint[][] = [];
  for (const point of sorted) {
    const group = groups.at(-1);
    if (group?.[0]?.flop === point.flop) group.push(point);
    else groups.push([point]);
  }
  return groups.flatMap((group) => {
    const [first] = group;
    return first === undefined ? [] : group.length === 1 ? [first] : [pooled(first.flop, group)];
  });
}

function pooled(flop: number, group: readonly RawPoint[]): RawPoint {
  const errors = group.flatMap(({ stderr }) => (stderr == null ? [] : [stderr * stderr]));
  const counts = group.flatMap(({ n }) => (n == null ? [] : [n]));
  return {
    flop,
    value: mean(group.map(({ value }) => value)),
    stderr: errors.length === 0 ? null : Math.sqrt(mean(errors)),
    n: counts.length === 0 ? null : Math.min(...counts),
  };
}

function seriesPoint({ flop, value, stderr, n }: RawPoint, chance: number): SeriesPoint {
  const isProportion = value >= 0 && value <= 1;
  const sampled = isProportion && n != null ? Math.sqrt((value * (1 - value)) / n) : null;
  const error = stderr ?? sampled;
  return {
    flop,
    value,
    log2Compute: Math.log2(flop),
    skill: skillOfScore(value, chance),
    stderr: error === null ? null : error / (1 - chance),
  };
}
