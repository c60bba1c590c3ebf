/**
 * `npm run forecast:eval`: the forecasting method beside the baselines, on real curves or on the synthetic set.
 *
 *   npm run forecast:eval -- [--series FILE] [--horizon N] [--markdown FILE] [--plots DIR] [--floors FILE]
 *     [--ablations | --cross-validated FILE | --frontier | --horizons]
 *
 * Without --series the synthetic set is judged, beside floors (test/forecast/floors.json) rather than targets: those
 * are for real curves, one checkpoint ahead. The table says what is met and what is not; the exit code is 1 only where
 * a floor of --floors is broken, and 2 where the question could not be put. With --ablations the method stands beside
 * itself with one part taken out, in place of the baselines. With --cross-validated FILE (what `npm run forecast:fit --
 * --cross-validate --write FILE` found) every source is judged by the parameters that have not seen it, beside the served ones.
 * With --frontier the method is told to expect leaps so many times as often, beside an oracle (frontier.ts). With --horizons
 * it stands beside the straight line one, two and three checkpoints ahead.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { styleFor } from '../../src/cli/output.ts';
import { createProgress, type Progress } from '../../src/cli/progress.ts';
import type { BacktestSeries } from '../../src/domain/forecast/backtest-series.ts';
import { evaluate, type Figures } from './evaluate.ts';
import { brokenFloors, FloorsSchema } from './floors.ts';
import { frontierContestants, frontierDiagram, frontierSection } from './frontier.ts';
import { crossValidated, LeftOutSchema } from './left-out.ts';
import { ABLATIONS, BASELINE_CONTESTANTS, type Contestant, JUDGED } from './methods.ts';
import { writePlots } from './plots.ts';
import { readAll } from './read-all.ts';
import {
  crossValidationSections,
  horizonSection,
  markdownReport,
  type Section,
  sections,
  terminalReport,
} from './report.ts';
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
    'cross-validated': { type: 'string' },
    frontier: { type: 'boolean', default: false },
    horizons: { type: 'boolean', default: false },
  },
});

const AHEAD = [1, 2, 3] as const;

async function main(): Promise<number> {
  const floors =
    options.floors === undefined
      ? null
      : FloorsSchema.parse(JSON.parse(await readFile(options.floors, 'utf8')));
  const horizon = z.coerce.number().int().min(1).max(100).parse(options.horizon);
  const series = options.series === undefined ? synthetic() : await readAll(options.series);
  const startedMs = performance.now();
  const leftOutFile = options['cross-validated'];
  const leftOut =
    leftOutFile === undefined
      ? []
      : [crossValidated(LeftOutSchema.parse(JSON.parse(await readFile(leftOutFile, 'utf8'))))];
  if (options.horizons) return horizons(series);
  const frontier = options.frontier ? frontierContestants(series) : null;
  const others = frontier ?? (options.ablations ? ABLATIONS : BASELINE_CONTESTANTS);
  const contestants = [JUDGED, ...others, ...leftOut];
  const progress = progressOver(series.length * contestants.length);
  const judge = (i: number): Figures => {
    const contestant = contestants[i] ?? JUDGED;
    return evaluate(series, contestant, {
      horizon,
      done: (count) => progress.done(i * series.length + count),
    });
  };
  const judged = judge(0);
  const baselines = others.map((_, i) => judge(i + 1));
  const [heldOut] = leftOut.map(() => judge(contestants.length - 1));
  progress.end();
  const hasTargets = options.series !== undefined && horizon === 1 && others === BASELINE_CONTESTANTS;
  const met = hasTargets ? targets(judged, baselines) : [];
  const report =
    frontier !== null
      ? [frontierSection(baselines)]
      : heldOut === undefined
        ? sections(judged, baselines, met)
        : crossValidationSections(heldOut, judged, targets(heldOut, baselines), met);
  tell(report);
  console.error(`${series.length} series in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  if (options.markdown !== undefined) await writeFile(options.markdown, markdownReport(report));
  if (options.plots !== undefined && frontier !== null) {
    await mkdir(options.plots, { recursive: true });
    await writeFile(join(options.plots, 'frontier.svg'), frontierDiagram(baselines));
    console.error('wrote frontier.svg');
  } else if (options.plots !== undefined) {
    const drawings = await writePlots(options.plots, series, JUDGED, judged, horizon);
    console.error(`wrote ${drawings} drawings and index.html`);
  }
  if (floors === null) return 0;
  const broken = brokenFloors(floors, judged, baselines);
  for (const line of broken) console.error(`floor broken: ${line}`);
  return broken.length === 0 ? 0 : 1;
}

async function horizons(series: readonly BacktestSeries[]): Promise<number> {
  const linear = BASELINE_CONTESTANTS.find(({ name }) => name.startsWith('linear'));
  if (linear === undefined) throw new Error('there is no straight line among the baselines');
  const progress = progressOver(2 * AHEAD.length * series.length);
  let before = 0;
  const judge = (contestant: Contestant, horizon: number): Figures => {
    const done = (count: number): void => progress.done(before + count);
    const figures = evaluate(series, contestant, { horizon, done });
    before += series.length;
    return figures;
  };
  const pairs = AHEAD.map((ahead) => ({ ahead, judged: judge(JUDGED, ahead), linear: judge(linear, ahead) }));
  progress.end();
  const report = [horizonSection(pairs)];
  tell(report);
  if (options.markdown !== undefined) await writeFile(options.markdown, markdownReport(report));
  return 0;
}

function progressOver(total: number): Progress {
  const { stderr } = process;
  return createProgress({
    total,
    what: 'series',
    redraw: stderr.isTTY ? (text) => void stderr.write(`\r\u001b[K${text}`) : undefined,
    complain: (text) => console.error(text),
    nowMs: () => performance.now(),
  });
}

function tell(report: readonly Section[]): void {
  const style = styleFor({ isTty: process.stdout.isTTY === true, env: process.env });
  console.log(terminalReport(report, style));
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
