/**
 * `forecast:eval --frontier`: what cannot be had at once. The served method with leaps so many times as likely, and beside it an
 * oracle that has seen what it forecasts: of each source it knows how often a silent plateau ends in a large rise, and how
 * far those rises went. Nobody can know that of a run; what even the oracle does not reach is not to be had from such series.
 */
import { tradeOffDiagram } from '../../src/cli/svg.ts';
import { backtest, type MethodFor } from '../../src/domain/forecast/backtest.ts';
import type { BacktestSeries } from '../../src/domain/forecast/backtest-series.ts';
import { coverageTable, groupBy, POOLED_SOURCE, UNNAMED_SOURCE } from '../../src/domain/forecast/metrics.ts';
import { type MultiProcessParameters, multiProcess } from '../../src/domain/forecast/multi-process.ts';
import { withOwnRecord } from '../../src/domain/forecast/own-record.ts';
import { PARAMETERS } from '../../src/domain/forecast/parameters.ts';
import type { ForecastMethod } from '../../src/domain/forecast/score-forecast.ts';
import { isLargeRise, isSilentPlateau } from '../../src/domain/forecast/shapes.ts';
import type { Figures } from './evaluate.ts';
import { type Contestant, combined } from './methods.ts';
import type { Section } from './report.ts';

const TIMES = [0, 0.25, 0.5, 1, 2, 4] as const;
const LEAP_MAX = 0.9;
const ORACLE = 'oracle';

export function frontierContestants(series: readonly BacktestSeries[]): Contestant[] {
  return [...TIMES.map(leapsTimes), oracle(series)];
}

function withLeaps(times: number): MultiProcessParameters {
  const kinds = PARAMETERS.kinds.map((kind) => ({ ...kind, leap: Math.min(LEAP_MAX, kind.leap * times) }));
  return { ...PARAMETERS, kinds };
}

function leapsTimes(times: number): Contestant {
  const method = withOwnRecord(
    multiProcess(times === 1 ? 'as served' : `leaps x ${times}`, withLeaps(times)),
  );
  return combined(method.method, () => method);
}

/** Of the forecasts of one source that start from a silent plateau. */
interface Plateaus {
  readonly rate: number;
  /** Of the large rises, how much of the room each took. */
  readonly shares: readonly number[];
}

function plateausOf(series: readonly BacktestSeries[]): Plateaus {
  const shares: number[] = [];
  let forecasts = 0;
  for (const one of series)
    for (const { history, target } of backtest(one, () => multiProcess('', PARAMETERS))) {
      const last = history.at(-1);
      if (last === undefined || !isSilentPlateau(history)) continue;
      forecasts += 1;
      const rise = target.skill - last.skill;
      if (isLargeRise(rise)) shares.push(rise / (1 - last.skill));
    }
  return { rate: forecasts === 0 ? 0 : shares.length / forecasts, shares };
}

function oracle(series: readonly BacktestSeries[]): Contestant {
  const name = ORACLE;
  const served = multiProcess(name, PARAMETERS);
  const leapless = multiProcess(name, withLeaps(0));
  const known = new Map<string, ForecastMethod>(
    [...groupBy(series, ({ source }) => String(source ?? UNNAMED_SOURCE))].map(([source, own]) => {
      const { rate, shares } = plateausOf(own);
      const method: ForecastMethod = {
        method: name,
        forecast: (history, horizonLog2Compute, siblings) => {
          const last = history.at(-1);
          if (last === undefined || !isSilentPlateau(history))
            return served.forecast(history, horizonLog2Compute, siblings);
          const quiet = leapless.forecast(history, horizonLog2Compute, siblings);
          const room = 1 - last.skill;
          const reached = (skill: number): number =>
            shares.filter((share) => last.skill + share * room >= skill).length / Math.max(1, shares.length);
          return {
            ...quiet,
            atLeast: (skill) => (1 - rate) * quiet.atLeast(skill) + rate * reached(skill),
          };
        },
      };
      return [source, withOwnRecord(method)];
    }),
  );
  const methodFor: MethodFor = (source) => known.get(source ?? UNNAMED_SOURCE) ?? served;
  return combined(name, methodFor);
}

/** Rises out of silence that the 99% bound covers, against what that bound costs. */
export function frontierDiagram(all: readonly Figures[]): string {
  return tradeOffDiagram(
    'rises >= 0.15 out of silence, within the 99% bound',
    'mean pinball loss at 0.99',
    all.map(({ name, all: { pinball99 }, rises }) => ({
      name,
      cost: pinball99,
      covered: rises.silent.pooled99,
      isOnPath: name !== ORACLE,
    })),
  );
}

export function frontierSection(all: readonly Figures[]): Section {
  const percent = (share: number): string => (Number.isFinite(share) ? `${(100 * share).toFixed(1)}%` : '-');
  const loss = (value: number): string => value.toFixed(4);
  const sources = [
    ...new Set(all.flatMap(({ judged }) => coverageTable(judged).map(({ source }) => source))),
  ];
  const rows: [string, (figures: Figures) => string][] = [
    ['pinball loss at 0.95', (each) => loss(each.all.pinball95)],
    ['pinball loss at 0.99', (each) => loss(each.all.pinball99)],
    ['rises >= 0.15 out of silence, within the 99% bound', (each) => percent(each.rises.silent.pooled99)],
    ['rises >= 0.15 announced, within the 99% bound', (each) => percent(each.rises.announced.pooled99)],
    ['crossings announced, warned', (each) => percent(each.crossings.announced.pooled)],
    ...sources
      .filter((source) => source !== POOLED_SOURCE)
      .flatMap((source) =>
        (['early', 'late'] as const).map((when): [string, (figures: Figures) => string] => [
          `95% bound, ${source}, ${when}`,
          ({ judged }) =>
            percent(
              coverageTable(judged).find((row) => row.source === source && row.when === when)?.upper95
                .share ?? Number.NaN,
            ),
        ]),
      ),
    ...[...(all[0]?.bySource.keys() ?? [])].map((source): [string, (figures: Figures) => string] => [
      `pinball loss at 0.99, ${source}`,
      ({ bySource }) => loss(bySource.get(source)?.pinball99 ?? Number.NaN),
    ]),
    [
      'benign bags of the worst source: trips per 100, 6 points on',
      ({ bags }) =>
        (100 * Math.max(...bags.map(({ late }) => late).filter((late) => Number.isFinite(late)))).toFixed(1),
    ],
  ];
  return {
    title: 'the frontier: leaps so many times as likely, and an oracle',
    note: 'The oracle knows of each source how often, and how far, silent plateaus leap.',
    columns: [{ title: '' }, ...all.map(({ name }) => ({ title: name, align: 'right' as const }))],
    rows: rows.map(([what, figure]) => [what, ...all.map(figure)]),
  };
}
