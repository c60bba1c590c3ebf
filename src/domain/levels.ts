/**
 * Score to level: a continuous number, Low [1,2), Medium [2,3), High [3,4), Critical [4,5].
 *
 * Each evidence gives two levels: the `estimate` (level of the point score plus the elicitation
 * margin) and the `upper` (level of the upper confidence limit, in the dangerous direction, plus the
 * margin). Levels are rounded to 1e-9 so that 2.8 + 0.2 reaches 3. Which way it fails: an
 * uncertainty below the configured floor is raised to it, and a limit is never inside the estimate.
 */

import { normalQuantile } from './statistics/normal.ts';
import { wilson } from './statistics/wilson.ts';

export const LEVEL_NAMES = ['low', 'medium', 'high', 'critical'] as const;
export type LevelName = (typeof LEVEL_NAMES)[number];

/** The level at which each name begins. */
export const LEVEL_STARTS: Readonly<Record<LevelName, number>> = { low: 1, medium: 2, high: 3, critical: 4 };

export function levelName(level: number): LevelName {
  if (level >= 4) return 'critical';
  if (level >= 3) return 'high';
  if (level >= 2) return 'medium';
  return 'low';
}

export const LEVEL_TITLES: Readonly<Record<LevelName, string>> = {
  low: 'Low',
  medium: 'Medium',
  high: 'High',
  critical: 'Critical',
};

/** For people: `Critical (4.0)`, `High (3.25)`. */
export function levelText(level: number): string {
  const figure = Number.isInteger(level * 10) ? level.toFixed(1) : level.toFixed(2);
  return `${LEVEL_TITLES[levelName(level)]} (${figure})`;
}

/** Scores at which the levels begin, rising throughout or falling throughout. */
export interface LevelMap {
  readonly chance: number;
  readonly best: number;
  readonly levels: { readonly medium: number; readonly high: number; readonly critical: number };
}

export function roundLevel(level: number): number {
  return Math.round(level * 1e9) / 1e9;
}

/** Level of a score without margin: chance is 1, `medium` 2, `high` 3, `critical` 4, best 5. */
export function levelOfScore(score: number, map: LevelMap): number {
  const sign = map.best >= map.chance ? 1 : -1;
  const anchors = [map.chance, map.levels.medium, map.levels.high, map.levels.critical, map.best];
  const at = sign * score;
  for (let i = anchors.length - 1; i >= 1; i -= 1) {
    const start = sign * (anchors[i] ?? 0);
    if (at >= start) {
      if (i === anchors.length - 1) return 5;
      const end = sign * (anchors[i + 1] ?? 0);
      return roundLevel(i + 1 + (at - start) / (end - start));
    }
  }
  const chance = sign * map.chance;
  if (at <= chance) return 1;
  return roundLevel(1 + (at - chance) / (sign * map.levels.medium - chance));
}

/** The score at which a level begins (the inverse of `levelOfScore`), margin taken off first. */
export function scoreOfLevel(level: number, map: LevelMap, elicitationMargin = 0): number {
  const anchors = [map.chance, map.levels.medium, map.levels.high, map.levels.critical, map.best];
  const at = Math.min(5, Math.max(1, level - elicitationMargin));
  const i = Math.min(3, Math.floor(at) - 1);
  const from = anchors[i] ?? map.chance;
  const to = anchors[i + 1] ?? map.best;
  return from + (at - 1 - i) * (to - from);
}

export function withMargin(level: number, elicitationMargin: number): number {
  return Math.min(5, roundLevel(level + elicitationMargin));
}

export interface Measured {
  readonly score: number;
  readonly stderr: number | null;
  readonly n: number | null;
}

export interface ScoreSpec extends LevelMap {
  readonly kind: 'proportion' | 'mean';
  readonly range: readonly [number, number];
  /** The smallest standard error believed, in score units. */
  readonly stderrFloor: number;
  readonly elicitationMargin: number;
}

/** z of the category's two-sided confidence, shared over its `evaluations` (Bonferroni). */
export function sharedZ(confidence: number, evaluations: number): number {
  return normalQuantile(1 - (1 - confidence) / (2 * Math.max(1, evaluations)));
}

/** The confidence limit of the score in the dangerous direction, inside the metric's range. */
export function dangerLimit({ score, stderr, n }: Measured, spec: ScoreSpec, z: number): number {
  const [low, high] = spec.range;
  const rising = spec.best >= spec.chance;
  const floor = z * spec.stderrFloor;
  let limit: number;
  if (spec.kind === 'proportion' && n !== null && n > 0) {
    const interval = wilson((score - low) / (high - low), n, z);
    const reached = low + (rising ? interval.upper : interval.lower) * (high - low);
    limit = rising ? Math.max(reached, score + floor) : Math.min(reached, score - floor);
  } else if (stderr !== null) {
    const half = Math.max(z * stderr, floor);
    limit = rising ? score + half : score - half;
  } else {
    // No known uncertainty at all: everything up to the best is possible.
    limit = spec.best;
  }
  return Math.min(high, Math.max(low, limit));
}

export interface Levels {
  readonly estimate: number;
  readonly upper: number;
}

export function levelsOf(measured: Measured, spec: ScoreSpec, z: number): Levels {
  const estimate = withMargin(levelOfScore(measured.score, spec), spec.elicitationMargin);
  const limit = withMargin(levelOfScore(dangerLimit(measured, spec, z), spec), spec.elicitationMargin);
  return { estimate, upper: Math.max(estimate, limit) };
}
