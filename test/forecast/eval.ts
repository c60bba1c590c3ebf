/**
 * `npm run forecast:eval`: the forecasting method beside the baselines, on real curves or on the synthetic set.
 *
 *   npm run forecast:eval -- [--series FILE] [--horizon N] [--markdown FILE] [--plots DIR] [--floors FILE]
 *     [--ablations | --cross-validated FILE | --frontier]
 *
 * Without --series the synthetic set is judged, beside floors (test/forecast/floors.json) rather than targets: those
 * are for real curves, one checkpoint ahead. The table says what is met and what is not; the exit code is 1 only where
 * a floor of --floors is broken, and 2 where the question could not be put. With --ablations the method stands beside
 * itself with one part taken out, in place of the baselines. With --cross-validated FILE (what `npm run forecast:fit --
 * --cross-validate --write FILE` found) every source is judged by the parameters that have not seen it, beside the served ones.
 * With --frontier the method is told to expect leaps so many times as often, beside an oracle (frontier.ts).
 */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { styleFor } from '../../src/cli/output.ts';
import { createProgress } from '../../src/cli/progress.ts';
import { evaluate, type Figures } from './evaluate.ts';
import { brokenFloors, FloorsSchema } from './floors.ts';
import { frontierContestants, frontierSection } from './frontier.ts';
import { crossValidated, LeftOutSchema } from './left-out.ts';
import { ABLATIONS, BASELINE_CONTESTANTS, JUDGED } from './methods.ts';
import { writePlots } from './plots.ts';
import { readAll } from './read-all.ts';
import { crossValidationSections, markdownReport, sections, terminalReport } from './report.ts';
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
  },
});

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
  const frontier = options.frontier ? frontierContestants(series) : null;
  const others = frontier ?? (options.ablations ? ABLATIONS : BASELINE_CONTESTANTS);
  const contestants = [JUDGED, ...others, ...leftOut];
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
