/**
 * How good a forecasting method is, from forecasts and what came after them.
 *
 * Series of one run are not independent and sources differ in size by a factor of a hundred: figures are means over
 * sources of the means over forecasts, and intervals are clustered by model. Everything is in skill r. The words
 * (silent plateau, large rise, benign, jump series) are in shapes.ts. Coverage is of upper bounds: wrong on the low
 * side is the expensive error.
 */
import { type ClusteredShare, clusteredShare } from '../statistics/clustered-share.ts';
import { mean } from '../statistics/mean.ts';
import type { BacktestStep } from './backtest.ts';
import type { BacktestSeries } from './backtest-series.ts';
import type { ForecastBasis } from './score-forecast.ts';
import { isJumpSeries, isLargeRise, isSilentPlateau, isSingleMmluSubject } from './shapes.ts';

/** Skills whose crossing is asked for. */
export const CROSSINGS = [0.15, 0.3, 0.5, 0.7] as const;
export const LEVELS_JUDGED = [0.5, 0.95, 0.99] as const;
/** Sources with fewer forecasts are pooled in tables of coverage. */
export const SOURCE_MIN_FORECASTS = 200;
export const POOLED_SOURCE = 'smaller sources';
/** Forecasts of the 3rd to 5th point are early. */
const EARLY_INDEX_MAX = 4;
/** Bisection and rounding, not mercy. */
const TOLERANCE = 1e-9;

/** One forecast beside what came. Plain figures, so that a hundred thousand of them fit in memory. */
export interface Judged {
  readonly seriesId: string;
  readonly source: string;
  readonly model: string;
  readonly index: number;
  readonly last: number;
  readonly actual: number;
  readonly q05: number;
  readonly q50: number;
  readonly q95: number;
  readonly q99: number;
  readonly pit: number;
  readonly basis: ForecastBasis;
  /** P(r >= threshold) at each of CROSSINGS. */
  readonly reaching: readonly number[];
  readonly isSilent: boolean;
  readonly isSingleSubject: boolean;
  readonly isOfJumpSeries: boolean;
}

export const UNNAMED_SOURCE = '(no source)';

/** The forecasts of one series. */
export function judge(series: BacktestSeries, steps: Iterable<BacktestStep>): Judged[] {
  const shared = {
    seriesId: series.id,
    source: series.source ?? UNNAMED_SOURCE,
    model: series.model ?? series.id,
    isSingleSubject: isSingleMmluSubject(series),
    isOfJumpSeries: isJumpSeries(series),
  };
  return Array.from(steps, ({ history, target, forecast, quantile, pit, index }) => ({
    ...shared,
    index,
    last: history.at(-1)?.skill ?? Number.NaN,
    actual: target.skill,
    q05: quantile(0.05),
    q50: quantile(0.5),
    q95: quantile(0.95),
    q99: quantile(0.99),
    pit,
    basis: forecast.basis,
    reaching: CROSSINGS.map((threshold) => forecast.atLeast(threshold)),
    isSilent: isSilentPlateau(history),
  }));
}

export const isEarly = ({ index }: Judged): boolean => index <= EARLY_INDEX_MAX;

/** Koenker and Bassett's check function: least in the mean at the true quantile. */
export function pinballLoss(p: number, quantile: number, actual: number): number {
  return actual >= quantile ? p * (actual - quantile) : (1 - p) * (quantile - actual);
}

export const covered95 = ({ actual, q95 }: Judged): boolean => actual <= q95 + TOLERANCE;
export const covered99 = ({ actual, q99 }: Judged): boolean => actual <= q99 + TOLERANCE;

export function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [item]);
    else group.push(item);
  }
  return groups;
}

/** The mean over sources of the mean over forecasts. NaN where there is none. */
export function meanOverSources<T extends { readonly source: string }>(
  items: readonly T[],
  figure: (item: T) => number,
): number {
  return mean([...groupBy(items, ({ source }) => source).values()].map((group) => mean(group.map(figure))));
}

const share = (yes: boolean): number => (yes ? 1 : 0);

export interface Losses {
  readonly forecasts: number;
  readonly pinball50: number;
  readonly pinball95: number;
  readonly pinball99: number;
  readonly coverage95: number;
  readonly coverage99: number;
}

export function losses(judged: readonly Judged[]): Losses {
  const over = (figure: (one: Judged) => number): number => meanOverSources(judged, figure);
  return {
    forecasts: judged.length,
    pinball50: over(({ q50, actual }) => pinballLoss(0.5, q50, actual)),
    pinball95: over(({ q95, actual }) => pinballLoss(0.95, q95, actual)),
    pinball99: over(({ q99, actual }) => pinballLoss(0.99, q99, actual)),
    coverage95: over((one) => share(covered95(one))),
    coverage99: over((one) => share(covered99(one))),
  };
}

export interface CoverageRow {
  readonly source: string;
  readonly when: 'early' | 'late' | 'all';
  readonly forecasts: number;
  readonly upper95: ClusteredShare;
  readonly upper99: ClusteredShare;
}

/** Coverage by source, small ones pooled, early and late apart. */
export function coverageTable(judged: readonly Judged[]): CoverageRow[] {
  const sizes = groupBy(judged, ({ source }) => source);
  const pooled = ({ source }: Judged): string =>
    (sizes.get(source)?.length ?? 0) >= SOURCE_MIN_FORECASTS ? source : POOLED_SOURCE;
  return [...groupBy(judged, pooled)].flatMap(([source, all]) =>
    (['all', 'early', 'late'] as const).flatMap((when) => {
      const chosen = when === 'all' ? all : all.filter((one) => isEarly(one) === (when === 'early'));
      if (chosen.length === 0) return [];
      const cluster = (one: Judged): string => JSON.stringify([one.source, one.model]);
      return [
        {
          source,
          when,
          forecasts: chosen.length,
          upper95: clusteredShare(chosen, covered95, cluster),
          upper99: clusteredShare(chosen, covered99, cluster),
        },
      ];
    }),
  );
}

/** Shares of forecasts whose PIT falls in each of `bins` equal parts of [0, 1]. Flat is calibrated. */
export function pitHistogram(judged: readonly Judged[], bins = 10): number[] {
  const binOf = ({ pit }: Judged): number => Math.min(bins - 1, Math.max(0, Math.floor(pit * bins)));
  return Array.from({ length: bins }, (_, bin) =>
    meanOverSources(judged, (one) => share(binOf(one) === bin)),
  );
}

export interface Rises {
  readonly count: number;
  /** Mean over the sources that have such rises. */
  readonly covered95: number;
  readonly covered99: number;
  /** Of all rises, whatever their source. */
  readonly pooled95: number;
  readonly pooled99: number;
}

/** Large rises from the last point to the target, and how many the upper bounds had room for. */
export function rises(judged: readonly Judged[]): Rises {
  const large = judged.filter(({ actual, last }) => isLargeRise(actual - last));
  return {
    count: large.length,
    covered95: meanOverSources(large, (one) => share(covered95(one))),
    covered99: meanOverSources(large, (one) => share(covered99(one))),
    pooled95: mean(large.map((one) => share(covered95(one)))),
    pooled99: mean(large.map((one) => share(covered99(one)))),
  };
}

/** A forecast made below one of the thresholds: it may warn of the crossing, and the crossing may come. */
export interface CrossingForecast {
  readonly source: string;
  readonly threshold: number;
  readonly probability: number;
  readonly isCrossed: boolean;
  readonly isSilent: boolean;
}

export function crossingForecasts(judged: readonly Judged[]): CrossingForecast[] {
  return judged.flatMap(({ source, last, actual, reaching, isSilent }) =>
    CROSSINGS.flatMap((threshold, i) =>
      last < threshold
        ? [{ source, threshold, probability: reaching[i] ?? 0, isCrossed: actual >= threshold, isSilent }]
        : [],
    ),
  );
}

/** Share of forecasts made below a threshold that warned of a crossing which did not come. */
export function falseAlarms(forecasts: readonly CrossingForecast[], warnFrom: number): number {
  return meanOverSources(forecasts, (one) => share(one.probability >= warnFrom && !one.isCrossed));
}

export const FALSE_ALARMS = 0.1;

/**
 * The least probability to warn from that keeps false alarms (mean over sources) within the share. Forecasts of
 * equal probability warn together or not at all, so the share may stay below what was allowed.
 */
export function warningProbability(forecasts: readonly CrossingForecast[], share = FALSE_ALARMS): number {
  const sizes = groupBy(forecasts, ({ source }) => source);
  const weight = ({ source }: CrossingForecast): number =>
    1 / ((sizes.get(source)?.length ?? 1) * Math.max(1, sizes.size));
  const quiet = forecasts.filter(({ isCrossed }) => !isCrossed).sort((a, b) => b.probability - a.probability);
  let warned = 0;
  for (const one of quiet) {
    warned += weight(one);
    if (warned > share + TOLERANCE) return justAbove(forecasts, one.probability);
  }
  return 0;
}

/** The least probability in use that is greater: warning from there leaves the refused ones out. */
function justAbove(forecasts: readonly CrossingForecast[], refused: number): number {
  return forecasts.reduce(
    (least, { probability }) => (probability > refused ? Math.min(least, probability) : least),
    Number.POSITIVE_INFINITY,
  );
}

export interface Crossings {
  readonly count: number;
  readonly forecasts: number;
  /** Share of crossings warned of one checkpoint ahead: mean over sources that have any, and of all. */
  readonly warned: number;
  readonly pooled: number;
  readonly falseAlarms: number;
  readonly warnFrom: number;
}

export function crossings(
  forecasts: readonly CrossingForecast[],
  warnFrom: number,
  chosen: (one: CrossingForecast) => boolean = () => true,
): Crossings {
  const some = forecasts.filter(chosen);
  const crossed = some.filter(({ isCrossed }) => isCrossed);
  const isWarned = (one: CrossingForecast): number => share(one.probability >= warnFrom);
  return {
    count: crossed.length,
    forecasts: some.length,
    warned: meanOverSources(crossed, isWarned),
    pooled: mean(crossed.map(isWarned)),
    falseAlarms: falseAlarms(some, warnFrom),
    warnFrom,
  };
}

export interface ReliabilityBin {
  readonly from: number;
  readonly to: number;
  readonly forecasts: number;
  readonly stated: number;
  readonly came: number;
}

const RELIABILITY_EDGES = [0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1] as const;

/** What came where the probability of a crossing was said to be so and so. Pooled over sources: bins are small. */
export function reliability(forecasts: readonly CrossingForecast[]): ReliabilityBin[] {
  return RELIABILITY_EDGES.slice(0, -1).flatMap((from, i) => {
    const to = RELIABILITY_EDGES[i + 1] ?? 1;
    const isLast = i === RELIABILITY_EDGES.length - 2;
    const inside = forecasts.filter(({ probability }) => probability >= from && (probability < to || isLast));
    if (inside.length === 0) return [];
    return [
      {
        from,
        to,
        forecasts: inside.length,
        stated: mean(inside.map(({ probability }) => probability)),
        came: mean(inside.map(({ isCrossed }) => share(isCrossed))),
      },
    ];
  });
}

/** The forecasts whose 99% bound was passed by most, one per series. */
export function worstMisses(judged: readonly Judged[], count = 10): Judged[] {
  const worst = new Map<string, Judged>();
  for (const one of judged) {
    const miss = one.actual - one.q99;
    const known = worst.get(one.seriesId);
    if (miss > TOLERANCE && (known === undefined || miss > known.actual - known.q99))
      worst.set(one.seriesId, one);
  }
  return [...worst.values()].sort((a, b) => b.actual - b.q99 - (a.actual - a.q99)).slice(0, count);
}
