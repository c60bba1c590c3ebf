/**
 * A category's evaluations, looked ahead from: what the method says of each, through the level map with the elicitation
 * margin, at any horizon. A history is followed once, however many horizons are asked about.
 */
import { type LevelMap, scoreOfLevel } from '../levels.ts';
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
}

export interface Outlook {
  readonly evaluations: readonly EvaluationHistory[];
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

export const combinedOf = (parts: readonly OutlookPart[], level: number): Combined =>
  combine(parts.map(({ levelAtLeast }) => levelAtLeast(level)));

export function outlookOf(
  method: ForecastMethod,
  evaluations: readonly EvaluationHistory[],
  histories: readonly SkillPoint[][] = evaluations.map(skillPoints),
): Outlook {
  return {
    evaluations,
    at: (horizonLog2Compute) =>
      evaluations.map((evaluation, i) => {
        const siblings = histories.filter((_, j) => j !== i);
        const prediction = method.forecast(histories[i] ?? [], horizonLog2Compute, siblings);
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
      return outlookOf(method, others, all);
    },
  };
}

export function skillOf(score: number, { chance, best }: LevelMap): number {
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
