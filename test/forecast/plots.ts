/** Drawings of an evaluation: reliability, and the worst misses with what the method saw. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seriesChart } from '../../src/cli/backtest-plots.ts';
import { type Drawing, indexPage, reliabilityDiagram, safeFileName } from '../../src/cli/svg.ts';
import { backtest } from '../../src/domain/forecast/backtest.ts';
import type { BacktestSeries } from '../../src/domain/forecast/backtest-series.ts';
import { reliability, worstMisses } from '../../src/domain/forecast/metrics.ts';
import type { Figures } from './evaluate.ts';
import type { Contestant } from './methods.ts';

export async function writePlots(
  directory: string,
  series: readonly BacktestSeries[],
  { methodFor }: Contestant,
  { name, judged, crossingForecasts }: Figures,
  horizon: number,
): Promise<number> {
  await mkdir(directory, { recursive: true });
  const title = `${name}: reliability of P(r >= threshold)`;
  const drawings: Drawing[] = [
    { file: 'reliability.svg', title, note: 'forecasts made below the threshold' },
  ];
  await writeFile(
    join(directory, 'reliability.svg'),
    reliabilityDiagram(title, reliability(crossingForecasts)),
  );
  for (const [i, miss] of worstMisses(judged).entries()) {
    const one = series.find(({ id }) => id === miss.seriesId);
    if (one === undefined) continue;
    const file = safeFileName(i + 1, miss.seriesId);
    const note = `point ${miss.index} came ${(miss.actual - miss.q99).toFixed(3)} above the 99% bound, in r`;
    drawings.push({ file, title: miss.seriesId, note });
    await writeFile(
      join(directory, file),
      seriesChart(one, [...backtest(one, methodFor, { horizon })], miss.index),
    );
  }
  await writeFile(join(directory, 'index.html'), indexPage(`Forecast evaluation: ${name}`, drawings));
  return drawings.length;
}
