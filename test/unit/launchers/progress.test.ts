import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { matchesLogPattern } from '../../../src/domain/log-pattern.ts';
import type { EvaluationProgress } from '../../../src/evaluators/evaluator.ts';
import { mergedProgress } from '../../../src/evaluators/launchers/harness.ts';
import {
  growingRows,
  INSPECT_PROGRESS,
  PROMPTFOO_TOTAL,
  type ProgressLine,
  progressOfLines,
  STATED_PROGRESS,
  TQDM_PROGRESS,
  watchProgress,
} from '../../../src/evaluators/launchers/progress.ts';

describe('what a harness prints', () => {
  const rows: [string, ProgressLine, string, string | null][] = [
    ['any command', STATED_PROGRESS, 'interlock-progress: 12/50', '12/50 samples'],
    ['more done than there are', STATED_PROGRESS, 'interlock-progress: 51/50', null],
    ['a total of nothing', STATED_PROGRESS, 'interlock-progress: 0/0', null],
    [
      'a bar of requests',
      TQDM_PROGRESS,
      'Running generate_until requests:  12%|#2        | 6/50 [00:01<00:09,  4.9it/s]',
      '6/50 requests',
    ],
    [
      'a bar in blocks',
      TQDM_PROGRESS,
      'Requesting API: 100%|██████████| 50/50 [00:10<00:00,  4.9it/s]',
      '50/50 requests',
    ],
    ['a bar of preparations', TQDM_PROGRESS, '100%|##########| 50/50 [00:00<00:00, 1000it/s]', null],
    [
      'a plain display',
      INSPECT_PROGRESS,
      'Steps:  30/100  30% | Samples:   3/ 10 | accuracy: 0.5 | openai:  3/10',
      '3/10 samples',
    ],
    [
      'a plain display of two models',
      INSPECT_PROGRESS,
      'ctf | gpt | Steps:   1/2  50% | Samples:   1/  2',
      '1/2 samples',
    ],
    ['a count of tests', PROMPTFOO_TOTAL, 'Running 6 test cases (up to 4 at a time)...', '0/6 tests'],
    ['words of a model', INSPECT_PROGRESS, 'I looked at Samples: 3/10 and found', null],
  ];
  test.each(rows)('%s', (_, read, line, expected) => {
    const progress = read(line);
    expect(progress === null ? null : `${progress.done}/${progress.total} ${progress.unit}`).toBe(expected);
  });

  test('is read whole however it is cut, redrawn after carriage returns', () => {
    const text = Array.from({ length: 9 }, (_, i) => `interlock-progress: ${i + 1}/9`).join('\r');
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 })), (cuts) => {
        const heard: number[] = [];
        const push = progressOfLines(STATED_PROGRESS, ({ done }) => heard.push(done));
        let at = 0;
        for (const cut of [...cuts, text.length]) {
          push?.(Buffer.from(text.slice(at, at + cut)));
          at += cut;
        }
        push?.(Buffer.from('\n'));
        expect(heard.at(-1)).toBe(9);
        expect(heard).toEqual([...heard].sort((a, b) => a - b));
      }),
    );
  });

  test('costs no memory where no line ever ends', () => {
    const heard: EvaluationProgress[] = [];
    const push = progressOfLines(STATED_PROGRESS, (progress) => heard.push(progress));
    for (let i = 0; i < 200; i += 1) push?.(Buffer.alloc(100_000, 'x'));
    push?.(Buffer.from('\ninterlock-progress: 1/2\n'));
    expect(heard).toEqual([{ done: 1, total: 2, unit: 'samples' }]);
  });

  test('of two sources nothing falls back', () => {
    const heard: EvaluationProgress[] = [];
    const push = mergedProgress((progress) => heard.push(progress));
    push({ done: 0, total: 6, unit: 'tests' });
    push({ done: 4, total: null, unit: 'tests', errored: 1 });
    push({ done: 2, total: 6, unit: 'tests' });
    expect(heard.at(-1)).toEqual({ done: 4, total: 6, unit: 'tests', errored: 1 });
  });
});

test('a look that takes long is taken seldom: one part of ten of the time at most', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'performance'] });
  try {
    let looks = 0;
    const look = () =>
      new Promise<null>((resolve) => {
        looks += 1;
        setTimeout(() => resolve(null), 900);
      });
    const watch = watchProgress(look, () => undefined, 1_000);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(looks).toBeGreaterThan(9);
    expect(looks).toBeLessThanOrEqual(12);
    const stopped = watch.stop();
    await vi.advanceTimersByTimeAsync(1_000);
    await stopped;
  } finally {
    vi.useRealTimers();
  }
});

test('rows of a file that grows are counted once, with those that are errors', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'interlock-rows-'));
  try {
    const file = path.join(directory, 'rows.jsonl');
    const read = growingRows(file, (row) => row.includes('"error"'));
    await appendFile(file, '{"ok":1}\n{"err');
    expect(await read()).toEqual({ rows: 1, errored: 0 });
    await appendFile(file, 'or":1}\n');
    expect(await read()).toEqual({ rows: 2, errored: 1 });
    await appendFile(file, `{"error":1}\n${'x'.repeat(9_000_000)}\n{"ok":1}\n`);
    expect(await read()).toEqual({ rows: 5, errored: 2 });
  } finally {
    await rm(directory, { recursive: true });
  }
});

describe('a pattern of a log', () => {
  const rows: [string, string, boolean][] = [
    ['*.eval', 'a.eval', true],
    ['*.eval', 'b/a.eval', false],
    ['**', 'b/a.eval', true],
    ['**/*.json', 'a.json', true],
    ['**/*.json', 'x/y/a.json', true],
    ['**/results_*.json', 'm/results_1.json', true],
    ['**/results_*.json', 'm/samples_1.json', false],
    ['out.json', 'out.json', true],
    ['out.json', 'outXjson', false],
    ['a/*/c', 'a/b/c', true],
    ['a/*/c', 'a/c', false],
  ];
  test.each(rows)('%s and %s: %s', (pattern, file, means) => {
    expect(matchesLogPattern(pattern, file)).toBe(means);
  });

  test('takes no time, whatever it is', () => {
    const startedAt = performance.now();
    expect(matchesLogPattern('*a*a*a*a*a*a*a*a*b', 'a'.repeat(5_000))).toBe(false);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});
