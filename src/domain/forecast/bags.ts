/**
 * Bags of benign series: how often would a category of eight evaluations trip although nothing is happening?
 *
 * A bag holds eight series of one source that are flat or gradual and stay below r = 0.45; at each checkpoint the
 * category's probability of r >= 0.7 (Critical) at the next one is computed from the eight forecasts. The first
 * series of a bag is drawn from all, the rest from those at least as long, so that late checkpoints are seen too.
 * How eight forecasts become one probability is a parameter: the sum bound here, or a joint model.
 */

import { mean } from '../statistics/mean.ts';
import type { BacktestStep } from './backtest.ts';
import type { BacktestSeries } from './backtest-series.ts';
import { groupBy, UNNAMED_SOURCE } from './metrics.ts';
import type { SkillForecast, SkillPoint } from './score-forecast.ts';

export const CRITICAL_SKILL = 0.7;
export const TRIP_PROBABILITY = 0.05;
const BAG_SIZE = 8;
/** Eight rounded probabilities that add up to 5% on paper do so here. */
const TOLERANCE = 1e-12;

export interface BagMember {
  readonly source: string | undefined;
  readonly history: readonly SkillPoint[];
  readonly forecast: SkillForecast;
  readonly horizonLog2Compute: number;
}

/** P(category's skill >= x), from the forecasts of its evaluations. */
export type CategoryAtLeast = (members: readonly BagMember[], skill: number) => number;

/** Holds under any dependence, and errs towards stopping. */
export const sumBound: CategoryAtLeast = (members, skill) =>
  Math.min(
    1,
    members.reduce((sum, { forecast }) => sum + forecast.atLeast(skill), 0),
  );

/** The other end, for comparison: as if all eight moved together. */
export const greatest: CategoryAtLeast = (members, skill) =>
  Math.max(0, ...members.map(({ forecast }) => forecast.atLeast(skill)));

export interface BagSeries {
  readonly source: string;
  /** By number of points in the history. */
  readonly members: ReadonlyMap<number, BagMember>;
}

export function bagSeries(series: BacktestSeries, steps: readonly BacktestStep[]): BagSeries {
  return {
    source: series.source ?? UNNAMED_SOURCE,
    members: new Map(
      steps.map(({ history, forecast, target }) => [
        history.length,
        { source: series.source, history, forecast, horizonLog2Compute: target.log2Compute },
      ]),
    ),
  };
}

export interface BagTrips {
  readonly source: string;
  readonly series: number;
  readonly bags: number;
  /** Trips per checkpoint with four or five points, and with six or more. NaN where there is no such checkpoint. */
  readonly early: number;
  readonly late: number;
}

const EARLY_POINTS = [4, 5] as const;
const LATE_POINTS_MIN = 6;

export function bagTrips(
  benign: readonly BagSeries[],
  {
    random,
    bagsPerSource = 400,
    categoryAtLeast = sumBound,
  }: { random: () => number; bagsPerSource?: number; categoryAtLeast?: CategoryAtLeast },
): BagTrips[] {
  return [...groupBy(benign, ({ source }) => source)].flatMap(([source, all]) => {
    const early: number[] = [];
    const late: number[] = [];
    let bags = 0;
    for (let i = 0; i < bagsPerSource; i += 1) {
      const bag = draw(all, random);
      if (bag === null) continue;
      bags += 1;
      for (const points of bag[0]?.members.keys() ?? []) {
        const members = bag.flatMap((one) => one.members.get(points) ?? []);
        const isTripped = categoryAtLeast(members, CRITICAL_SKILL) >= TRIP_PROBABILITY - TOLERANCE;
        if (points >= LATE_POINTS_MIN) late.push(isTripped ? 1 : 0);
        else if (EARLY_POINTS.some((early) => early === points)) early.push(isTripped ? 1 : 0);
      }
    }
    return bags === 0 ? [] : [{ source, series: all.length, bags, early: mean(early), late: mean(late) }];
  });
}

/** Eight different series; null where the first is so long that too few can go with it. */
function draw(all: readonly BagSeries[], random: () => number): BagSeries[] | null {
  const first = all[Math.floor(random() * all.length)];
  if (first === undefined) return null;
  const others = all.filter((one) => one !== first && one.members.size >= first.members.size);
  if (others.length < BAG_SIZE - 1) return null;
  const bag = [first];
  while (bag.length < BAG_SIZE) {
    const [next] = others.splice(Math.floor(random() * others.length), 1);
    if (next !== undefined) bag.push(next);
  }
  return bag;
}
