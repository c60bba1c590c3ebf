/** What becomes of a log beside its reading: kept, and never in the way of what it says. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readLog } from '../../../src/evaluators/formats/detect.ts';
import type { LogSource } from '../../../src/evaluators/formats/log-source.ts';
import { settleLogOf } from '../../../src/evaluators/launchers/log-outcome.ts';
import { exampleRequest } from '../../contract/describe-evaluator.ts';

const LOG = JSON.stringify({
  results: { ctf: { 'acc,none': 0.42, 'acc_stderr,none': 0.01 } },
  versions: { ctf: 1 },
  config: { model: 'hf', model_args: 'pretrained=org/model' },
});

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'interlock-log-'));
  await writeFile(path.join(directory, 'results_1.json'), LOG);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function textOf(source: LogSource): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of source.stream()) parts.push(part);
  return Buffer.concat(parts).toString();
}

const settled = (keepLog: (source: LogSource) => Promise<void>) =>
  settleLogOf(
    { failure: null, exitCode: 0 },
    { directory, pattern: '**/*.json', format: 'lm-eval' },
    exampleRequest,
    { readLog, keepLog },
  );

test('a store of evidence that does not answer holds no score up', async () => {
  const outcome = await settled(() => new Promise(() => undefined));
  expect(outcome).toMatchObject({ kind: 'reported', result: { harnessLog: { harness: 'lm-eval' } } });
});

test('what is kept is read to its end although its directory is gone by then', async () => {
  let go: () => void = () => undefined;
  const removed = new Promise<void>((resolve) => {
    go = resolve;
  });
  let kept: Promise<string> = Promise.resolve('nothing');
  await settled((source) => {
    kept = removed.then(() => textOf(source));
    return kept.then(() => undefined);
  });
  await rm(directory, { recursive: true });
  go();
  expect(await kept).toBe(LOG);
});
