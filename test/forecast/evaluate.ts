/** Judges contestants on series: every figure of the report, as plain numbers. */
import { type BacktestStep, backtest } from '../../src/domain/forecast/backtest.ts';
import type { BacktestSeries } from '../../src/domain/forecast/backtest-series.ts';
import { type BagSeries, type BagTrips, bagSeries, bagTrips } from '../../src/domain/forecast/bags.ts';
import {
  type CrossingForecast,
  type Crossings,
  crossingForecasts,
  crossings,
  groupBy,
  type Judged,
  judge,
  type Losses,
  losses,
  type Rises,
  rises,
  warningProbability,
} from '../../src/domain/forecast/metrics.ts';
import { isBenign } from '../../src/domain/forecast/shapes.ts';
import { mean } from '../../src/domain/statistics/mean.ts';
import { createRandom } from '../simulation/random.ts';
import type { Contestant } from './methods.ts';

const BAG_SEED = 20_260_301;

export interface Figures {
  readonly name: string;
  readonly judged: readonly Judged[];
  readonly all: Losses;
  readonly withoutSubjects: Losses;
  readonly jumpSeries: Losses;
  readonly bySource: ReadonlyMap<string, Losses>;
  readonly rises: { readonly all: Rises; readonly announced: Rises; readonly silent: Rises };
  readonly risesBySource: ReadonlyMap<string, Rises>;
  readonly crossingForecasts: readonly CrossingForecast[];
  readonly crossings: { readonly all: Crossings; readonly announced: Crossings; readonly silent: Crossings };
  /** Warning from 5%: what the 0.95 quantile says. */
  readonly crossingsAt5: Crossings;
  readonly crossingsBySource: ReadonlyMap<string, Crossings>;
  readonly bags: readonly BagTrips[];
  readonly bagsEarly: number;
  readonly bagsLate: number;
}

export function evaluate(
  series: readonly BacktestSeries[],
  contestant: Contestant,
  { horizon = 1, done = () => {} }: { horizon?: number; done?: (series: number) => void } = {},
): Figures {
  const judged: Judged[] = [];
  const benign: BagSeries[] = [];
  for (const [i, one] of series.entries()) {
    const steps: BacktestStep[] = [...backtest(one, contestant.methodFor, { horizon })];
    judged.push(...judge(one, steps));
    if (isBenign(one)) benign.push(bagSeries(one, steps));
    done(i + 1);
  }
  const forecasts = crossingForecasts(judged);
  const warnFrom = warningProbability(forecasts);
  const bySource = groupBy(judged, ({ source }) => source);
  const bags = bagTrips(benign, {
    random: createRandom(BAG_SEED).next,
    categoryAtLeast: contestant.categoryAtLeast,
  });
  const finite = (values: readonly number[]): number => mean(values.filter(Number.isFinite));
  return {
    name: contestant.name,
    judged,
    all: losses(judged),
    withoutSubjects: losses(judged.filter(({ isSingleSubject }) => !isSingleSubject)),
    jumpSeries: losses(judged.filter(({ isOfJumpSeries }) => isOfJumpSeries)),
    bySource: mapped(bySource, losses),
    rises: {
      all: rises(judged),
      announced: rises(judged.filter(({ isSilent }) => !isSilent)),
      silent: rises(judged.filter(({ isSilent }) => isSilent)),
    },
    risesBySource: mapped(bySource, rises),
    crossingForecasts: forecasts,
    crossings: {
      all: crossings(forecasts, warnFrom),
      announced: crossings(forecasts, warnFrom, ({ isSilent }) => !isSilent),
      silent: crossings(forecasts, warnFrom, ({ isSilent }) => isSilent),
    },
    crossingsAt5: crossings(forecasts, 0.05),
    crossingsBySource: mapped(
      groupBy(forecasts, ({ source }) => source),
      (own) => crossings(own, warnFrom),
    ),
    bags,
    bagsEarly: finite(bags.map(({ early }) => early)),
    bagsLate: finite(bags.map(({ late }) => late)),
  };
}

function mapped<A, B>(groups: ReadonlyMap<string, A>, figure: (group: A) => B): Map<string, B> {
  return new Map([...groups].map(([name, group]) => [name, figure(group)]));
}
