/**
 * Fits the parameters of multi-process forecasting: the least of the mean over sources of the pinball losses of the 0.95 and
 * 0.99 quantiles one checkpoint ahead, each in units of the best baseline's in that source, and a little for every step away
 * from START.
 *
 * A source with thousands of series tells no more than one with sixty, and is drawn from. Deterministic: one seed.
 */
import { backtest } from '../../src/domain/forecast/backtest.ts';
import type { BacktestSeries } from '../../src/domain/forecast/backtest-series.ts';
import { BASELINES } from '../../src/domain/forecast/baselines.ts';
import { groupBy, pinballLoss, UNNAMED_SOURCE } from '../../src/domain/forecast/metrics.ts';
import { type MultiProcessParameters, multiProcess } from '../../src/domain/forecast/multi-process.ts';
import type { ForecastMethod } from '../../src/domain/forecast/score-forecast.ts';
import { mean } from '../../src/domain/statistics/mean.ts';
import { createRandom } from '../../src/domain/statistics/random.ts';
import { parametersOf, START, vectorOf } from './parameter-vector.ts';
import { patternSearch } from './pattern-search.ts';

export const FIT_ROUNDS = 6;
const SEED = 20_260_611;
const PER_SOURCE = 60;
const FIRST_STEP = 0.35;
/** Per squared unit of the vector: five sources are a small sample. */
const PULL_TO_START = 0.003;
const QUANTILES = [0.95, 0.99] as const;

const sourceOf = ({ source }: BacktestSeries): string => source ?? UNNAMED_SOURCE;

export function sourcesOf(series: readonly BacktestSeries[]): string[] {
  return [...new Set(series.map(sourceOf))].sort();
}

export const leavingOut = (series: readonly BacktestSeries[], source: string): BacktestSeries[] =>
  series.filter((one) => sourceOf(one) !== source);

/** At most PER_SOURCE of each source. */
export function drawn(series: readonly BacktestSeries[]): BacktestSeries[] {
  return [...groupBy(series, sourceOf).values()].flatMap((all) => {
    const random = createRandom(SEED);
    const left = [...all];
    const count = Math.min(PER_SOURCE, left.length);
    return Array.from({ length: count }, () => left.splice(random.below(left.length), 1)).flat();
  });
}

/** One of QUANTILES. */
type Losses = readonly number[];

function lossesOf(method: ForecastMethod, series: readonly BacktestSeries[]): Losses {
  const steps = series.flatMap((one) => [...backtest(one, () => method)]);
  return QUANTILES.map((p) =>
    mean(steps.map(({ quantile, target }) => pinballLoss(p, quantile(p), target.skill))),
  );
}

/** What a method loses on these series, where the best baseline of each source loses 1; sources without a forecast do not count. */
export function relativeLoss(series: readonly BacktestSeries[]): (method: ForecastMethod) => number {
  const sources = [...groupBy(series, sourceOf).values()].flatMap((own) => {
    const baselines = BASELINES.map((baseline) => lossesOf(baseline, own));
    const best = QUANTILES.map((_, i) => Math.min(...baselines.map((losses) => losses[i] ?? Number.NaN)));
    return best.every((loss) => loss > 0) ? [{ own, best }] : [];
  });
  return (method) =>
    mean(
      sources.map(({ own, best }) =>
        mean(lossesOf(method, own).map((loss, i) => loss / (best[i] ?? Number.NaN))),
      ),
    );
}

export interface Fit {
  readonly parameters: MultiProcessParameters;
  readonly lossAtStart: number;
  readonly loss: number;
}

export function fitParameters(
  series: readonly BacktestSeries[],
  { rounds = FIT_ROUNDS, done }: { rounds?: number; done?: (rounds: number, least: number) => void } = {},
): Fit {
  const sample = drawn(series);
  const from = vectorOf(START);
  const lossOf = relativeLoss(sample);
  const loss = (at: readonly number[]): number => lossOf(multiProcess('fit', parametersOf(at, START)));
  const { at, least } = patternSearch(
    (x) => loss(x) + PULL_TO_START * x.reduce((sum, value, i) => sum + (value - (from[i] ?? value)) ** 2, 0),
    from,
    { rounds, step: FIRST_STEP, ...(done === undefined ? {} : { done }) },
  );
  return { parameters: parametersOf(at, START), lossAtStart: loss(from), loss: least };
}
