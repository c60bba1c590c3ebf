/**
 * `npm run forecast:fit`: finds the parameters of the forecasting method on curves, from a start that is written down.
 *
 *   npm run forecast:fit -- --series FILE [--leave-out SOURCE | --cross-validate] [--rounds N] [--write FILE]
 *
 * Prints the parameters and the loss at the start and at the end, as JSON. With --leave-out SOURCE the fit does not see that
 * source; with --cross-validate it is made once for each source left out. --write FILE keeps what was found for
 * `npm run forecast:eval -- --cross-validated FILE`, which judges each source by the parameters that have not seen it.
 * The same files give the same parameters. Exit code 2 where the question could not be put.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { createProgress } from '../../src/cli/progress.ts';
import { FIT_ROUNDS, fitParameters, leavingOut, sourcesOf } from './fitting.ts';
import type { LeftOut } from './left-out.ts';
import { rounded } from './parameter-vector.ts';
import { readAll } from './read-all.ts';

const { values: options } = parseArgs({
  options: {
    series: { type: 'string' },
    'leave-out': { type: 'string' },
    'cross-validate': { type: 'boolean', default: false },
    rounds: { type: 'string', default: String(FIT_ROUNDS) },
    write: { type: 'string' },
  },
});

async function main(): Promise<void> {
  if (options.series === undefined) throw new Error('which curves? --series FILE');
  const leaveOut = options['leave-out'];
  if (leaveOut !== undefined && options['cross-validate'])
    throw new Error('either --leave-out or --cross-validate');
  const rounds = z.coerce.number().int().min(1).max(1_000).parse(options.rounds);
  const series = await readAll(options.series);
  const sources = sourcesOf(series);
  if (leaveOut !== undefined && !sources.includes(leaveOut))
    throw new Error(`no source ${leaveOut}: ${sources.join(', ')}`);
  const folds = options['cross-validate'] ? sources : [leaveOut ?? null];
  const { stderr } = process;
  const progress = createProgress({
    total: folds.length * rounds,
    what: 'rounds',
    redraw: stderr.isTTY ? (text) => void stderr.write(`\r\u001b[K${text}`) : undefined,
    complain: (text) => console.error(text),
    nowMs: () => performance.now(),
  });
  const found: LeftOut = folds.map((source, fold) => {
    const { parameters, ...losses } = fitParameters(source === null ? series : leavingOut(series, source), {
      rounds,
      done: (round) => progress.done(fold * rounds + round),
    });
    return { leftOut: source, ...losses, parameters: rounded(parameters) };
  });
  progress.end();
  const text = `${JSON.stringify(found, null, 2)}\n`;
  console.log(text);
  if (options.write !== undefined) await writeFile(options.write, text);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
