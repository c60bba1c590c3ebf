/** Which file is the log: the one there is, and none where there may be others. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readLog } from '../../../src/evaluators/formats/detect.ts';
import { findLog } from '../../../src/evaluators/launchers/find-log.ts';

const LOG = JSON.stringify({
  results: { ctf: { 'acc,none': 0.42, 'acc_stderr,none': 0.01 } },
  versions: { ctf: 1 },
  config: { model: 'hf', model_args: 'pretrained=org/model' },
});

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'interlock-find-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function put(name: string, text = LOG): void {
  const file = path.join(directory, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}
const found = async (pattern: string): Promise<string> => {
  const log = await findLog({ directory, pattern, format: 'lm-eval' }, readLog, {});
  return log.ok ? path.relative(directory, log.file) : log.problem;
};

test('one among more files than are looked at is not taken for the only one', async () => {
  put('a/results.json');
  for (let i = 0; i < 10_000; i += 1) put(`b/${i}`, '');
  put('c/results.json');
  expect(await found('**/*.json')).toBe('log-ambiguous');
  // Named, it is the one.
  expect(await found('c/results.json')).toBe('c/results.json');
  // Nothing below is meant by it.
  put('results.json');
  expect(await found('*.json')).toBe('results.json');
});

test('one above a place too deep to look into is not taken for the only one', async () => {
  put('results.json');
  put(`${'d/'.repeat(14)}results.json`);
  expect(await found('**/*.json')).toBe('log-ambiguous');
});

test('a link is not followed, whichever part of the path it is', async () => {
  put('real/results.json');
  symlinkSync('real', path.join(directory, 'linked'));
  symlinkSync('real/results.json', path.join(directory, 'results.json'));
  expect(await found('linked/results.json')).toBe('log-missing');
  expect(await found('results.json')).toBe('log-missing');
  expect(await found('**/results.json')).toBe('real/results.json');
});
