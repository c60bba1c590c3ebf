/** Whose file it is: by its content, by one reader alone, or by none. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { claimantsOf, glimpseOf, readLog } from '../../src/evaluators/formats/detect.ts';
import { logOfDirectory, logsIn } from '../../src/evaluators/formats/directory.ts';
import { logOfBytes } from '../../src/evaluators/formats/log-source.ts';
import { FORMATS } from '../../src/evaluators/formats/registry.ts';
import { SPECIMENS, type Specimen } from '../formats/specimens.ts';

const kinds = Object.entries(SPECIMENS);
const source = (text: string, fileName = 'log') => logOfBytes(new TextEncoder().encode(text), fileName);
const problemOf = async (text: string, format?: string) => {
  const reading = await readLog(source(text), { format });
  return reading.ok ? reading.log.format : reading.problem;
};

function specimen(kind: string): Specimen {
  const found = SPECIMENS[kind];
  if (found === undefined) throw new TypeError(`no specimen of ${kind}`);
  return found;
}

describe('detection', () => {
  test.each(kinds)('%s is claimed by one reader, whatever its name, and read', async (kind, { text }) => {
    const claimants = claimantsOf(await glimpseOf(source(text, 'anything')));
    expect(claimants.map(({ kinds }) => kinds.includes(kind))).toEqual([true]);
    const reading = await readLog(source(text, 'anything'));
    expect(reading).toMatchObject({ ok: true, log: { format: kind } });
  });

  test('every kind that a reader names has a specimen or a reason', () => {
    const without = FORMATS.filter(({ name }) => name !== 'inspect')
      .flatMap(({ kinds }) => kinds)
      .filter((kind) => SPECIMENS[kind] === undefined);
    // Companions that are recognised and not read any further.
    expect(without).toEqual(['helm-scenario-state', 'garak-hitlog-jsonl']);
  });

  test.each(kinds)('%s read by the name of another format disagrees', async (kind, { text }) => {
    const other = FORMATS.find((format) => !format.kinds.includes(kind));
    expect(await problemOf(text, other?.name)).toBe('format-disagrees');
  });

  test.each([
    ['', 'log-empty'],
    [' \n\t\n', 'log-empty'],
    ['{}', 'format-unknown'],
    ['[]', 'format-unknown'],
    ['{"model":"m","max_steps":5}', 'format-unknown'],
    ['14:59:45 INFO trainer: Log file: train.log\n', 'format-unknown'],
    ['{"results":{"note":"no rows"},"versions":1}', 'format-unknown'],
    ['\u0000\u0001\u0002', 'format-unknown'],
  ])('%j: %s', async (text, problem) => {
    expect(await problemOf(text)).toBe(problem);
  });

  test('a file that two readers claim is ambiguous, and either of them may be named', async () => {
    const both = JSON.stringify({
      ...JSON.parse(specimen('swe-bench-run-report').text),
      ...JSON.parse(specimen('mle-bench-grading-report').text),
    });
    expect(await problemOf(both)).toBe('log-ambiguous');
    expect(await problemOf(both, 'mle-bench')).toBe('mle-bench-grading-report');
  });

  test('a format that there is none of is unknown', async () => {
    expect(await problemOf(specimen('native').text, 'csv')).toBe('format-unknown');
  });

  test.each(kinds.filter(([kind]) => kind !== 'openai-evals-jsonl' && kind !== 'garak-report-jsonl'))(
    '%s cut at any byte is no success that it does not bear out',
    async (kind, { text, fileName }) => {
      const bytes = new TextEncoder().encode(text);
      const whole = await readLog(logOfBytes(bytes, fileName));
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 0, max: bytes.length - 1 }), async (length) => {
          const reading = await readLog(logOfBytes(bytes.subarray(0, length), fileName));
          if (!reading.ok || reading.log.status === null) return;
          // Whole lines are a shorter file of the same kind; all but a last line's end is the whole file.
          expect(reading.log.format).toBe(kind);
          expect(text[length] === '\n' || text[length - 1] === '\n' || text.slice(length).trim() === '').toBe(
            true,
          );
          expect(whole.ok).toBe(true);
        }),
        { numRuns: 60 },
      );
    },
  );
});

describe('a directory', () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'interlock-formats-'));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  async function directory(name: string, files: Record<string, string>): Promise<string> {
    const place = join(root, name);
    for (const [file, text] of Object.entries(files)) {
      await mkdir(join(place, file, '..'), { recursive: true });
      await writeFile(join(place, file), text);
    }
    return place;
  }

  test('companions are no rivals of the log', async () => {
    const { text, beside = {} } = specimen('lm-eval-results');
    const place = await directory('run', {
      'org__model/results_2025-06-30T19-40-09.461247.json': text,
      ...Object.fromEntries(Object.entries(beside).map(([file, samples]) => [`org__model/${file}`, samples])),
      'train.log': 'step 1\n',
      'manifest.json': '{"model":"m"}',
    });
    expect(await logOfDirectory(place)).toMatchObject({ ok: true, log: { format: 'lm-eval-results' } });
    expect((await logsIn(place))?.length).toBe(2);
  });

  test('a HELM run is its statistics', async () => {
    const { text, beside = {} } = specimen('helm-stats');
    const place = await directory('helm', { 'stats.json': text, ...beside });
    expect(await logOfDirectory(place)).toMatchObject({
      ok: true,
      log: { format: 'helm-stats', model: 'org/model' },
    });
  });

  test('two logs are ambiguous, none is missing', async () => {
    const two = await directory('two', {
      'a.json': specimen('lm-eval-results').text,
      'b.json': specimen('dclm-evaluation').text,
    });
    expect(await logOfDirectory(two)).toMatchObject({ ok: false, problem: 'log-ambiguous' });
    expect(await logOfDirectory(two, { format: 'dclm' })).toMatchObject({ ok: true });
    const none = await directory('none', { 'train.log': 'step 1\n' });
    expect(await logOfDirectory(none)).toMatchObject({ ok: false, problem: 'log-missing' });
  });

  test('a damaged log beside a good one leaves nobody the choice', async () => {
    const { text } = specimen('lm-eval-results');
    const place = await directory('damaged', { 'a.json': text, 'b.json': text.slice(0, -20) });
    expect(await logOfDirectory(place)).toMatchObject({ ok: false, problem: 'log-ambiguous' });
  });

  test('a damaged log alone is what is wrong with it', async () => {
    const place = await directory('alone', { 'b.json': specimen('lm-eval-results').text.slice(0, -20) });
    expect(await logOfDirectory(place)).toMatchObject({ ok: false, problem: 'log-truncated' });
  });

  test('links are not followed', async () => {
    const place = await directory('linked', { 'real/a.json': specimen('native').text });
    await mkdir(join(place, 'only'));
    await symlink(join(place, 'real', 'a.json'), join(place, 'only', 'a.json'));
    expect(await logOfDirectory(join(place, 'only'))).toMatchObject({ ok: false, problem: 'log-missing' });
  });
});
