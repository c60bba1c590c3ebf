/**
 * `interlock backtest`: how would the forecast have done on these series, had it been asked at every checkpoint?
 *
 * Every point from the third on is forecast from the points before it. With `--json` each forecast is a line, written
 * as it is made and as fast as the reader takes it; otherwise a table beside the baselines. The file is one JSON list
 * and is held in memory, so it may have 256 MiB at most. All series are checked before the first is forecast.
 */
import { readFile, stat } from 'node:fs/promises';
import { type BacktestStep, backtest, backtestLine, type MethodFor } from '../domain/forecast/backtest.ts';
import { type BacktestSeries, readSeries } from '../domain/forecast/backtest-series.ts';
import { BASELINES } from '../domain/forecast/baselines.ts';
import {
  crossingForecasts,
  crossings,
  groupBy,
  type Judged,
  judge,
  losses,
  rises,
  warningProbability,
} from '../domain/forecast/metrics.ts';
import { withOwnRecord } from '../domain/forecast/own-record.ts';
import { servedMethod } from '../domain/forecast/served-method.ts';
import { openPlots, type Plots } from './backtest-plots.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { plural, printable, type Style, table } from './output.ts';
import { createProgress, type Progress } from './progress.ts';
import type { Terminal } from './terminal.ts';

/** The method that serves. */
const SERVED = withOwnRecord(servedMethod);
const METHOD_FOR: MethodFor = () => SERVED;

const FILE_MAX_BYTES = 256 * 1024 * 1024;
const PROBLEMS_SHOWN = 20;

export interface BacktestOptions {
  readonly series: string;
  readonly horizon: number;
  readonly json?: true;
  readonly by?: 'source';
  readonly plot?: string;
}

export async function backtestCommand(options: BacktestOptions, terminal: Terminal): Promise<ExitCode> {
  const series = await readFileOfSeries(options.series, terminal);
  if (series === null) return EXIT.negative;
  const plots = options.plot === undefined ? null : await openPlots(options.plot);
  if (options.json) await printLines(series, options, plots, terminal);
  else await printTable(series, options, plots, terminal);
  if (plots !== null) terminal.complain(`wrote ${plural(await plots.finish(), 'chart')} and index.html`);
  return EXIT.ok;
}

/** Null where they are refused, with every problem said. */
export async function readFileOfSeries(file: string, terminal: Terminal): Promise<BacktestSeries[] | null> {
  const { size } = await stat(file);
  if (size > FILE_MAX_BYTES) throw new UsageError(`${file} is larger than the 256 MiB that a file may have`);
  const raw = parsed(await readFile(file, 'utf8'));
  const problems: string[] = [];
  const series: BacktestSeries[] = [];
  if (Array.isArray(raw)) {
    for (const [i, one] of raw.entries()) {
      const read = readSeries(one, i);
      if (read.ok) series.push(read.series);
      else problems.push(...read.problems);
    }
  } else {
    problems.push('is not a JSON list of series');
  }
  if (problems.length === 0) return series;
  for (const problem of problems.slice(0, PROBLEMS_SHOWN))
    terminal.complain(`${file}: ${printable(problem)}`);
  const more = problems.length - PROBLEMS_SHOWN;
  if (more > 0) terminal.complain(`${file}: and ${plural(more, 'more problem')}`);
  return null;
}

/** Null where it is no JSON: null is no list of series either. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function printLines(
  series: readonly BacktestSeries[],
  { horizon }: BacktestOptions,
  plots: Plots | null,
  terminal: Terminal,
): Promise<void> {
  const progress = progressOf(series.length, terminal);
  for (const [i, one] of series.entries()) {
    const steps = [...backtest(one, METHOD_FOR, { horizon })];
    if (steps.length > 0) {
      // Standard output may be the same terminal.
      progress.end();
      const lines = steps.map((step) => `${JSON.stringify(backtestLine(one, step))}\n`);
      await terminal.write(Buffer.from(lines.join('')));
    }
    await plots?.add(one, steps);
    progress.done(i + 1);
  }
  progress.end();
}

async function printTable(
  series: readonly BacktestSeries[],
  { horizon, by }: BacktestOptions,
  plots: Plots | null,
  terminal: Terminal,
): Promise<void> {
  const baselines = BASELINES.map((baseline) => ({ name: baseline.method, methodFor: () => baseline }));
  const contestants = [{ name: METHOD_FOR(undefined).method, methodFor: METHOD_FOR }, ...baselines];
  const judged = new Map<string, Judged[]>(contestants.map(({ name }) => [name, []]));
  const progress = progressOf(series.length, terminal);
  for (const [i, one] of series.entries()) {
    for (const [place, { name, methodFor }] of contestants.entries()) {
      const steps: BacktestStep[] = [...backtest(one, methodFor, { horizon })];
      judged.get(name)?.push(...judge(one, steps));
      if (place === 0) await plots?.add(one, steps);
    }
    progress.done(i + 1);
  }
  progress.end();
  const count = [...judged.values()][0]?.length ?? 0;
  terminal.print(
    `${plural(series.length, 'series', 'series')}, ${plural(count, 'forecast')} ${plural(horizon, 'checkpoint')} ahead, each from at least two points`,
  );
  if (count > 0) terminal.print(comparison(judged, by === 'source', terminal.style));
}

function progressOf(total: number, { redraw, complain }: Terminal): Progress {
  return createProgress({ total, what: 'series', redraw, complain, nowMs: () => performance.now() });
}

function comparison(judged: ReadonlyMap<string, Judged[]>, isBySource: boolean, style: Style): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  const columns = [
    { title: isBySource ? 'source' : '' },
    { title: 'method' },
    right('forecasts'),
    right('pinball .5'),
    right('.95'),
    right('.99'),
    right('within 95%'),
    right('within 99%'),
    right('rises'),
    right('within 99%'),
    right('crossings'),
    right('warned'),
  ];
  const rowsOf = (title: string, chosen: (one: Judged) => boolean): string[][] =>
    [...judged].map(([name, all], i) => {
      const own = all.filter(chosen);
      const figures = losses(own);
      const large = rises(own);
      const forecasts = crossingForecasts(own);
      const crossed = crossings(forecasts, warningProbability(forecasts));
      return [
        i === 0 ? printable(title) : '',
        name,
        String(figures.forecasts),
        figures.pinball50.toFixed(4),
        figures.pinball95.toFixed(4),
        figures.pinball99.toFixed(4),
        percent(figures.coverage95),
        percent(figures.coverage99),
        String(large.count),
        percent(large.covered99),
        String(crossed.count),
        percent(crossed.warned),
      ];
    });
  const sources = [...groupBy([...judged.values()][0] ?? [], ({ source }) => source).keys()];
  const rows = isBySource
    ? sources.flatMap((source) => rowsOf(source, (one) => one.source === source))
    : rowsOf('all', () => true);
  return [
    table(columns, rows, style),
    '',
    'Skill is (score - chance) / (1 - chance). Pinball loss: smaller is better. Within: came at or below the upper bound.',
    'Rises: of at least 0.15 from the last point known. Crossings: of 0.15, 0.3, 0.5 and 0.7, warned of at 10% false alarms.',
    ...(isBySource ? [] : ['Figures are means over sources of the mean over forecasts.']),
  ].join('\n');
}

const percent = (share: number): string => (Number.isNaN(share) ? '-' : `${(100 * share).toFixed(1)}%`);
