/** A file of series for the evaluation and for the fit; every problem at once. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { type BacktestSeries, readSeries } from '../../src/domain/forecast/backtest-series.ts';

export async function readAll(file: string): Promise<BacktestSeries[]> {
  const raw = z.array(z.unknown()).parse(JSON.parse(await readFile(file, 'utf8')));
  const read = raw.map((one, i) => readSeries(one, i));
  const problems = read.flatMap((one) => (one.ok ? [] : one.problems));
  if (problems.length > 0) throw new Error(`${file}: ${problems.slice(0, 20).join('\n')}`);
  return read.flatMap((one) => (one.ok ? [one.series] : []));
}
