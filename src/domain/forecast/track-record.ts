/**
 * The track record: what sealed forecasts have been worth, over many that have been scored.
 *
 * Coverage is of the upper bounds, with Wilson intervals. Forecasts of one run, and of several categories at one
 * checkpoint, are not independent: read the intervals as at least so wide. Horizons that differ are never summed up in
 * one group. Nothing here decides anything.
 */
import { type Compute, log2Compute } from '../compute.ts';
import { mean } from '../statistics/mean.ts';
import { wilson } from '../statistics/wilson.ts';
import { groupBy, type ReliabilityBin, reliability } from './metrics.ts';
import type { LevelScore } from './record.ts';
import type { ForecastBasis } from './score-forecast.ts';

export interface ForecastScore extends LevelScore {
  readonly runId: string;
  readonly checkpointId: string;
  readonly scoredBy: string;
  readonly category: string;
  readonly stage: 'pre-mitigation' | 'post-mitigation';
  readonly checkpoints: number;
  readonly method: string;
  readonly basis: ForecastBasis;
  readonly horizonCompute: Compute;
  readonly actualCompute: Compute;
  readonly observed: number;
  readonly excluded: 'sealed-late' | 'beyond-horizon' | 'partial' | null;
  readonly at: string;
}

/** Fewer say nothing: of 20 forecasts a sound 95 % bound is passed by one. */
export const ENOUGH_FORECASTS = 20;
const PIT_BINS = 10;
const WORST_MISSES = 10;
/** Two-sided 95 %. */
const Z = 1.959964;

export interface Coverage {
  readonly covered: number;
  readonly share: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
}

/** What came where the probability of reaching a level was stated. */
export interface LevelRecord {
  readonly level: number;
  readonly forecasts: number;
  readonly stated: number;
  readonly came: number;
  readonly brier: number;
}

export interface Figures {
  readonly forecasts: number;
  readonly runs: number;
  readonly isTooFew: boolean;
  readonly coverage95: Coverage;
  readonly coverage99: Coverage;
  readonly pinball50: number | null;
  readonly pinball95: number | null;
  readonly pinball99: number | null;
  /** How many fall in each tenth of [0, 1]. Even is calibrated; all on the left, too wide; the right end, too low. */
  readonly pit: number[];
  readonly levels: LevelRecord[];
  /** Of every level together. */
  readonly brier: number | null;
  readonly reliability: ReliabilityBin[];
  /** The level came above the 99 % bound. */
  readonly misses: number;
  /** Mean doublings of compute by which the checkpoint came before the horizon: the bounds had that much to spare. */
  readonly doublingsShort: number | null;
}

export interface TrackRecordGroup extends Figures {
  readonly method: string;
  readonly basis: ForecastBasis;
  readonly category: string;
  readonly stage: ForecastScore['stage'];
  readonly checkpoints: number;
}

export interface TrackRecordSummary {
  readonly total: Figures;
  readonly groups: TrackRecordGroup[];
  readonly worstMisses: ForecastScore[];
  readonly excluded: { sealedLate: number; beyondHorizon: number; partial: number };
}

export function summarise(scores: readonly ForecastScore[]): TrackRecordSummary {
  const counted = scores.filter(({ excluded }) => excluded === null);
  const left = (why: ForecastScore['excluded']): number =>
    scores.filter(({ excluded }) => excluded === why).length;
  return {
    total: figures(counted),
    groups: [...groupBy(counted, groupName)]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, group]) => {
        const [first] = group;
        if (first === undefined) return [];
        const { method, basis, category, stage, checkpoints } = first;
        return [{ method, basis, category, stage, checkpoints, ...figures(group) }];
      }),
    worstMisses: worstMisses(counted),
    excluded: {
      sealedLate: left('sealed-late'),
      beyondHorizon: left('beyond-horizon'),
      partial: left('partial'),
    },
  };
}

const groupName = ({ method, basis, category, stage, checkpoints }: ForecastScore): string =>
  JSON.stringify([method, category, stage, checkpoints, basis]);

function figures(scores: readonly ForecastScore[]): Figures {
  const over = (figure: (one: ForecastScore) => number): number | null =>
    scores.length === 0 ? null : mean(scores.map(figure));
  const stated = scores.flatMap(({ runId, exceedance }) =>
    exceedance.map(({ level, p, reached }) => ({ runId, level, p, reached })),
  );
  const brier = (all: typeof stated): number =>
    mean(all.map(({ p, reached }) => squared(p - (reached ? 1 : 0))));
  return {
    forecasts: scores.length,
    runs: new Set(scores.map(({ runId }) => runId)).size,
    isTooFew: scores.length < ENOUGH_FORECASTS,
    coverage95: coverage(scores.map(({ covered95 }) => covered95)),
    coverage99: coverage(scores.map(({ covered99 }) => covered99)),
    pinball50: over(({ pinball50 }) => pinball50),
    pinball95: over(({ pinball95 }) => pinball95),
    pinball99: over(({ pinball99 }) => pinball99),
    pit: histogram(scores.map(({ pit }) => pit)),
    levels: [...groupBy(stated, ({ level }) => String(level)).values()]
      .map((group) => ({
        level: group[0]?.level ?? 0,
        forecasts: group.length,
        stated: mean(group.map(({ p }) => p)),
        came: mean(group.map(({ reached }) => (reached ? 1 : 0))),
        brier: brier(group),
      }))
      .sort((a, b) => a.level - b.level),
    brier: stated.length === 0 ? null : brier(stated),
    reliability: reliability(
      stated.map(({ runId, level, p, reached }) => ({
        source: runId,
        threshold: level,
        probability: p,
        isCrossed: reached,
        isSilent: false,
      })),
    ),
    misses: scores.filter(({ covered99 }) => !covered99).length,
    doublingsShort: over(
      ({ horizonCompute, actualCompute }) => log2Compute(horizonCompute) - log2Compute(actualCompute),
    ),
  };
}

const squared = (value: number): number => value * value;

function coverage(covered: readonly boolean[]): Coverage {
  const n = covered.length;
  const count = covered.filter((each) => each).length;
  if (n === 0) return { covered: 0, share: null, lower: null, upper: null };
  return { covered: count, share: count / n, ...wilson(count / n, n, Z) };
}

function histogram(pits: readonly number[]): number[] {
  const counts = Array.from({ length: PIT_BINS }, () => 0);
  for (const pit of pits) {
    const bin = Math.min(PIT_BINS - 1, Math.max(0, Math.floor(pit * PIT_BINS)));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts;
}

function worstMisses(scores: readonly ForecastScore[]): ForecastScore[] {
  const by = ({ observed, q99 }: ForecastScore): number => observed - q99;
  return scores
    .filter(({ covered99 }) => !covered99)
    .sort((a, b) => by(b) - by(a))
    .slice(0, WORST_MISSES);
}
