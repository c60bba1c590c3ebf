/** `results parse`: what people and programs are shown of a harness's log. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LM_EVAL, SPECIMENS } from '../formats/specimens.ts';
import { say } from './cli-terminal.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'interlock-results-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function file(name: string, text: string): Promise<string> {
  const place = join(root, name);
  await mkdir(dirname(place), { recursive: true });
  await writeFile(place, text);
  return place;
}

const specimen = (kind: string): string => SPECIMENS[kind]?.text ?? '';
const parse = (...args: string[]) => say(['results', 'parse', ...args]);

describe('a file', () => {
  test('is recognised, and its JSON has the members of the contract first', async () => {
    const { code, out } = await parse(await file('results.json', specimen('lm-eval-results')), '--json');
    expect(code).toBe(0);
    const parsed = JSON.parse(out);
    expect(Object.keys(parsed).slice(0, 8)).toEqual([
      'format',
      'status',
      'task',
      'model',
      'created',
      'metrics',
      'samples',
      'error',
    ]);
    expect(parsed).toMatchObject({
      format: 'lm-eval-results',
      status: 'success',
      task: 'mmlu',
      model: 'org/model',
      created: '2024-04-04T00:44:35Z',
      samples: { total: 20, completed: 20 },
      error: null,
      harness: 'lm-eval',
      harnessVersion: '0.4.8',
    });
    expect(parsed.metrics[1]).toMatchObject({ scorer: 'none', name: 'acc', value: 0.4, stderr: null });
    expect(out).not.toContain('sampleScores');
  });

  test('for people is a table with its groups', async () => {
    const { code, out } = await parse(await file('results.json', specimen('lm-eval-results')));
    expect(code).toBe(0);
    expect(out).toMatch(/^format +lm-eval-results \(lm-eval 0\.4\.8\)$/m);
    expect(out).toMatch(/^samples +20 of 20 completed$/m);
    expect(out).toMatch(/^mmlu \(group\) +none +acc +0\.5 +0\.1/m);
  });

  test.each(['lm-eval', 'lm-eval-results'])('may be named %s', async (format) => {
    const path = await file('results.json', specimen('lm-eval-results'));
    expect((await parse(path, '--format', format, '--json')).code).toBe(0);
  });

  test.each([
    ['promptfoo', 'is of the format lm-eval, not promptfoo'],
    ['lm-eval-samples', 'is lm-eval-results, not lm-eval-samples'],
  ])('named %s is another: exit 1', async (format, complaint) => {
    const path = await file('results.json', specimen('lm-eval-results'));
    const { code, out, err } = await parse(path, '--format', format);
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain(complaint);
    expect(err).toContain('format-disagrees');
  });

  test('that breaks off says what it was and what is wrong: exit 1', async () => {
    const path = await file('cut.json', specimen('lm-eval-results').slice(0, -30));
    const { code, out, err } = await parse(path, '--json');
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      format: 'lm-eval-results',
      status: 'unreadable',
      problem: 'log-truncated',
    });
    expect(err).toContain('log-truncated');
  });

  test('that accompanies logs is no failed evaluation: exit 0', async () => {
    const path = await file('run_spec.json', specimen('helm-run-spec'));
    const { code, out } = await parse(path);
    expect(code).toBe(0);
    expect(out).toContain('accompanies logs');
    expect(JSON.parse((await parse(path, '--json')).out)).toMatchObject({
      format: 'helm-run-spec',
      status: null,
    });
  });

  test('that is no log at all is said to be none: exit 0; where it was to be one: exit 1', async () => {
    const path = await file('train.log', '14:59 step 1\n');
    const { code, out } = await parse(path, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ format: 'not-an-eval-log', status: null, error: null });
    expect((await parse(path, '--format', 'lm-eval')).code).toBe(1);
  });

  test('that is empty is a log that was not written: exit 1', async () => {
    const { code, err } = await parse(await file('empty.json', ''));
    expect(code).toBe(1);
    expect(err).toContain('log-empty');
  });

  test('behind a link is read: a person chose it', async () => {
    const path = await file('real.json', specimen('native'));
    await symlink(path, join(root, 'link.json'));
    expect((await parse(join(root, 'link.json'))).code).toBe(0);
  });

  test('that is not there: exit 2', async () => {
    expect((await parse(join(root, 'none.json'))).code).toBe(2);
  });

  test('cannot move the cursor, nor fill the screen', async () => {
    const task = `\u001b[2J${'t'.repeat(5_000)}`;
    const text = JSON.stringify({
      ...LM_EVAL,
      results: { [task]: { 'acc,none': 1 } },
      group_subtasks: {},
      groups: {},
    });
    const { out } = await parse(await file('hostile.json', text));
    expect(out).not.toContain('\u001b');
    expect(out.length).toBeLessThan(2_000);
  });
});

describe('a directory', () => {
  test('is every log in it, one line each', async () => {
    await file('set/a/results.json', specimen('lm-eval-results'));
    await file('set/b.json', specimen('dclm-evaluation'));
    await file('set/run_spec.json', specimen('helm-run-spec'));
    await file('set/train.log', 'step 1\n');
    const { code, out } = await parse(join(root, 'set'));
    expect(code).toBe(0);
    expect(out.split('\n')).toHaveLength(4);
    const lines = (await parse(join(root, 'set'), '--json')).out.trimEnd().split('\n');
    expect(
      lines.map((line) => JSON.parse(line)).map(({ file, format, status }) => [file, format, status]),
    ).toEqual([
      ['a/results.json', 'lm-eval-results', 'success'],
      ['b.json', 'dclm-evaluation', 'success'],
      ['run_spec.json', 'helm-run-spec', null],
    ]);
  });

  test('with one that cannot be read: exit 1, and the others are shown', async () => {
    await file('damaged/a.json', specimen('dclm-evaluation'));
    await file('damaged/b.json', specimen('lm-eval-results').slice(0, -30));
    const { code, out, err } = await parse(join(root, 'damaged'));
    expect(code).toBe(1);
    expect(out).toContain('dclm-evaluation');
    expect(out).toContain('log-truncated');
    expect(err).toContain('1 log cannot be read');
  });

  test('without a log: exit 1', async () => {
    await file('nothing/train.log', 'step 1\n');
    expect((await parse(join(root, 'nothing'))).code).toBe(1);
  });
});
