/** `--plot DIR`: one fan chart per series, and a page that shows them all. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BacktestStep } from '../domain/forecast/backtest.ts';
import { type BacktestSeries, scoreOfSkill } from '../domain/forecast/backtest-series.ts';
import { covered99, judge } from '../domain/forecast/metrics.ts';
import { plural } from './output.ts';
import { type Drawing, type FanPoint, fanChart, indexPage, safeFileName } from './svg.ts';

export interface Plots {
  add(series: BacktestSeries, steps: readonly BacktestStep[]): Promise<void>;
  /** Writes the page; the number of charts. */
  finish(): Promise<number>;
}

export async function openPlots(directory: string): Promise<Plots> {
  await mkdir(directory, { recursive: true });
  const drawings: Drawing[] = [];
  return {
    add: async (series, steps) => {
      if (steps.length === 0) return;
      const file = safeFileName(drawings.length + 1, series.id);
      const misses = judge(series, steps).filter((one) => !covered99(one)).length;
      const note = `${plural(steps.length, 'forecast')}, ${misses} above the 99% bound`;
      drawings.push({ file, title: series.id, note });
      await writeFile(join(directory, file), seriesChart(series, steps));
    },
    finish: async () => {
      await writeFile(join(directory, 'index.html'), indexPage('Backtest', drawings));
      return drawings.length;
    },
  };
}

export function seriesChart(series: BacktestSeries, steps: readonly BacktestStep[], marked?: number): string {
  const byIndex = new Map(steps.map((step) => [step.index, step]));
  const points = series.points.map(({ flop, value, stderr }, i): FanPoint => {
    const step = byIndex.get(i);
    return {
      flop,
      score: value,
      stderr: stderr === null ? null : stderr * (1 - series.chance),
      band: step === undefined ? null : band(step, series.chance),
    };
  });
  const subtitle = [series.source, series.model, series.task, series.metric]
    .filter((part) => part !== undefined)
    .join(', ');
  const mark = marked === undefined ? {} : { marked };
  return fanChart({ title: series.id, subtitle, points, chance: series.chance, ...mark });
}

function band({ quantile }: BacktestStep, chance: number): NonNullable<FanPoint['band']> {
  const score = (p: number): number => scoreOfSkill(quantile(p), chance);
  return {
    q01: score(0.01),
    q05: score(0.05),
    q25: score(0.25),
    q50: score(0.5),
    q75: score(0.75),
    q95: score(0.95),
    q99: score(0.99),
  };
}
