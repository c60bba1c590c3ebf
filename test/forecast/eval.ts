/**
 * `npm run forecast:eval`: the forecasting method beside the baselines, on real curves or on the synthetic set.
 *
 *   npm run forecast:eval -- [--series FILE] [--horizon N] [--markdown FILE] [--plots DIR] [--floors FILE] [--ablations]
 *
 * Without --series the synthetic set is judged, beside floors (test/forecast/floors.json) rather than targets: those
 * are for real curves, one checkpoint ahead. The table says what is met and what is not; the exit code is 1 only where
 * a floor of --floors is broken, and 2 where the question could not be put. With --ablations the method stands beside
 * itself with one part taken out, in place of the baselines.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { styleFor } from '../../src/cli/output.ts';
import { createProgress } from '../../src/cli/progress.ts';
import { type BacktestSeries, readSeries } from '../../src/domain/forecast/backtest-series.ts';
import { evaluate, type Figures } from './evaluate.ts';
import { brokenFloors, FloorsSchema } from './floors.ts';
import { ABLATIONS, BASELINE_CONTESTANTS, JUDGED } from './methods.ts';
import { writePlots } from './plots.ts';
import { markdownReport, sections, terminalReport } from './report.ts';
import { synthetic } from './synthetic.ts';
import { targets } from './targets.ts';

const { values: options } = parseArgs({
  options: {
    series: { type: 'string' },
    horizon: { type: 'string', default: '1' },
    markdown: { type: 'string' },
    plots: { type: 'string' },
    floors: { type: 'string' },
    ablations: { type: 'boolean', default: false },
  },
});

async function readAll(file: string): Promise<BacktestSeries[]> {
  const raw = z.array(z.unknown()).parse(JSON.parse(await readFile(file, 'utf8')));
  const read = raw.map((one, i) => readSeries(one, i));
  const problems = read.flatMap((one) => (one.ok ? [] : one.problems));
  if (problems.length > 0) throw new Error(`${file}: ${problems.slice(0, 20).join('\n')}`);
  return read.flatMap((one) => (one.ok ? [one.series] : []));
}

async function main(): Promise<number> {
  const floors =
    options.floors === undefined
      ? null
      : FloorsSchema.parse(JSON.parse(await readFile(options.floors, 'utf8')));
  const horizon = z.coerce.number().int().min(1).max(100).parse(options.horizon);
  const series = options.series === undefined ? synthetic() : await readAll(options.series);
  const startedMs = performance.now();
  const others = options.ablations ? ABLATIONS : BASELINE_CONTESTANTS;
  const contestants = [JUDGED, ...others];
  const { stderr, stdout } = process;
  const progress = createProgress({
    total: series.length * contestants.length,
    what: 'series',
    redraw: stderr.isTTY ? (text) => void stderr.write(`\r\u001b[K${text}`) : undefined,
    complain: (text) => console.error(text),
    nowMs: () => performance.now(),
  });
  const judge = (i: number): Figures => {
    const contestant = contestants[i] ?? JUDGED;
    return evaluate(series, contestant, {
      horizon,
      done: (count) => progress.done(i * series.length + count),
    });
  };
  const judged = judge(0);
  const baselines = others.map((_, i) => judge(i + 1));
  progress.end();
  const hasTargets = options.series !== undefined && horizon === 1 && !options.ablations;
  const report = sections(judged, baselines, hasTargets ? targets(judged, baselines) : []);
  console.log(terminalReport(report, styleFor({ isTty: stdout.isTTY === true, env: process.env })));
  console.error(`${series.length} series in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  if (options.markdown !== undefined) await writeFile(options.markdown, markdownReport(report));
  if (options.plots !== undefined) {
    const drawings = await writePlots(options.plots, series, JUDGED, judged, horizon);
    console.error(`wrote ${drawings} drawings and index.html`);
  }
  if (floors === null) return 0;
  const broken = brokenFloors(floors, judged, baselines);
  for (const line of broken) console.error(`floor broken: ${line}`);
  return broken.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
