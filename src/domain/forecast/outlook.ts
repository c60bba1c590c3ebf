/**
 * A category's evaluations, looked ahead from: what the method says of each, through the level map with the elicitation
 * margin, at any horizon. A history is followed once, however many horizons are asked about.
 */
import { type LevelMap, scoreOfLevel } from '../levels.ts';
import { type Calibration, calibrated } from './calibration.ts';
import { type Combined, combine } from './combine.ts';
import type { ForecastMethod, SkillForecast, SkillPoint } from './score-forecast.ts';

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
  /** A smoother metric of the same evaluation, on a scale of its own; `points` are those at which it is known. */
  readonly lead?: {
    readonly metric: string;
    readonly chance: number;
    readonly best: number;
    readonly points: readonly {
      readonly log2Compute: number;
      readonly value: number;
      readonly stderr: number | null;
    }[];
  };
  /** What was found about the history before it came here, for those who read the forecast. */
  readonly notes?: readonly string[];
}

export interface Outlook {
  readonly evaluations: readonly EvaluationHistory[];
  readonly calibration: Calibration;
  readonly at: (horizonLog2Compute: number) => OutlookPart[];
  /** The same with another history of one of them. */
  readonly with: (index: number, points: EvaluationHistory['points']) => Outlook;
}

export interface OutlookPart {
  readonly name: string;
  readonly prediction: SkillForecast;
  /** P(level >= x), with the elicitation margin. */
  readonly levelAtLeast: (level: number) => number;
}

/** P(the category is at or above the level), with what the run's record calls for. */
export const combinedOf = (
  parts: readonly OutlookPart[],
  level: number,
  calibration: Calibration,
): Combined => calibrated(combine(parts.map(({ levelAtLeast }) => levelAtLeast(level))), calibration);

export function outlookOf(
  method: ForecastMethod,
  evaluations: readonly EvaluationHistory[],
  calibration: Calibration,
  histories: readonly SkillPoint[][] = evaluations.map(skillPoints),
): Outlook {
  const leads = evaluations.map(leadPoints);
  // The same lists for every horizon.
  const siblingsOf = histories.map((_, i) => histories.filter((_history, j) => j !== i));
  return {
    evaluations,
    calibration,
    at: (horizonLog2Compute) =>
      evaluations.map((evaluation, i) => {
        const prediction = predict(
          method,
          histories[i] ?? [],
          horizonLog2Compute,
          siblingsOf[i] ?? [],
          evaluation,
          leads[i],
        );
        const levelAtLeast = (level: number): number => {
          if (level <= 1 + evaluation.elicitationMargin) return 1;
          const score = scoreOfLevel(level, evaluation.map, evaluation.elicitationMargin);
          return prediction.atLeast(skillOf(score, evaluation.map));
        };
        return { name: evaluation.name, prediction, levelAtLeast };
      }),
    with: (index, points) => {
      const others = evaluations.map((each, i) => (i === index ? { ...each, points } : each));
      const changed = others[index];
      const all = histories.map((each, i) => (i === index && changed ? skillPoints(changed) : each));
      return outlookOf(method, others, calibration, all);
    },
  };
}

export function skillOf(score: number, { chance, best }: LevelMap): number {
  return (score - chance) / (best - chance);
}

/** The leading metric beside the siblings: it may raise the forecast and never lowers it, and missing it says nothing. */
function predict(
  method: ForecastMethod,
  history: readonly SkillPoint[],
  horizonLog2Compute: number,
  siblings: readonly (readonly SkillPoint[])[],
  { lead, notes = [] }: EvaluationHistory,
  leadHistory: readonly SkillPoint[] = [],
): SkillForecast {
  const alone = method.forecast(history, horizonLog2Compute, siblings);
  if (lead === undefined || leadHistory.length === 0) return { ...alone, notes: [...alone.notes, ...notes] };
  const led = method.forecast(history, horizonLog2Compute, [...siblings, leadHistory]);
  const moves = led.notes.join() === alone.notes.join() ? [] : [`its leading metric ${lead.metric} moves`];
  return {
    ...led,
    notes: [...led.notes, ...moves, ...notes],
    // A run that may leap may also fall back: that must not make a level less likely that is reached already.
    atLeast: (skill) => Math.max(alone.atLeast(skill), led.atLeast(skill)),
  };
}

function leadPoints({ lead }: EvaluationHistory): SkillPoint[] {
  if (lead === undefined) return [];
  const { chance, best, points } = lead;
  return ascending(
    points.map(({ log2Compute, value, stderr }) => ({
      log2Compute,
      skill: (value - chance) / (best - chance),
      stderr: stderr === null ? null : stderr / Math.abs(best - chance),
    })),
  );
}

/** Of several at one compute the most dangerous last: what ids happened to sort by must not show in a forecast. */
const ascending = (points: readonly SkillPoint[]): SkillPoint[] =>
  [...points].sort((a, b) => a.log2Compute - b.log2Compute || a.skill - b.skill);

function skillPoints({ kind, map, points }: EvaluationHistory): SkillPoint[] {
  const width = Math.abs(map.best - map.chance);
  return ascending(
    points.map(({ log2Compute, score, stderr, n }) => {
      // Only a proportion has its sampling error in itself; a mean has the one its harness states.
      const inside = kind === 'proportion' && score >= 0 && score <= 1;
      const sampled = inside && n !== null && n > 0 ? Math.sqrt((score * (1 - score)) / n) : null;
      const error = stderr ?? sampled;
      return {
        log2Compute,
        skill: skillOf(score, map),
        stderr: error === null ? null : error / width,
      };
    }),
  );
}
