/** `interlock backtest`: lines and tables as promised, refusals that name the series, charts that a name cannot break. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createProgress } from '../../src/cli/progress.ts';
import { escaped, fanChart, reliabilityDiagram, safeFileName, tradeOffDiagram } from '../../src/cli/svg.ts';
import { say } from './cli-terminal.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-backtest-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function file(name: string, content: unknown): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const points = (values: readonly number[]) =>
  values.map((value, i) => ({ flop: 1e20 * 2 ** i, value, stderr: 0.01, n: 1000 }));
const series = (id: string, values: readonly number[], more = {}) => ({
  series_id: id,
  chance: 0.25,
  points: points(values),
  ...more,
});
const RISING = [0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55];

const Line = z.strictObject({
  series_id: z.string(),
  index: z.int(),
  flop: z.number(),
  q05: z.number(),
  q50: z.number(),
  q95: z.number(),
  q99: z.number(),
  actual: z.number(),
  pit: z.number(),
  basis: z.enum(['mostly-prior', 'mixed', 'data']),
});
const linesOf = (out: string) =>
  out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Line.parse(JSON.parse(line)));

describe('--json', () => {
  test('prints one line per forecast from index 2 on, in score space, in the order of the file', async () => {
    const path = await file('two.json', [series('b', RISING), series('a', RISING.slice(0, 4))]);
    const { code, out, err } = await say(['backtest', '--series', path, '--json']);
    expect([code, err]).toEqual([0, '']);
    const lines = linesOf(out);
    expect(lines.map(({ series_id, index }) => [series_id, index])).toEqual([
      ...[2, 3, 4, 5, 6].map((index) => ['b', index]),
      ['a', 2],
      ['a', 3],
    ]);
    for (const line of lines) {
      expect(line.actual).toBe(RISING[line.index]);
      expect(line.flop).toBe(1e20 * 2 ** line.index);
      expect([line.q05, line.q50, line.q95, line.q99]).toEqual(
        [line.q05, line.q50, line.q95, line.q99].sort((a, b) => a - b),
      );
      expect(line.q05).toBeGreaterThanOrEqual(0);
      expect(line.q99).toBeLessThanOrEqual(1);
    }
  });

  test('two checkpoints ahead, the first target has two points two checkpoints before it', async () => {
    const path = await file('ahead.json', [series('a', RISING)]);
    const { out } = await say(['backtest', '--series', path, '--json', '--horizon', '2']);
    expect(linesOf(out).map(({ index }) => index)).toEqual([3, 4, 5, 6]);
  });

  test('says nothing where nothing can be forecast', async () => {
    const path = await file('short.json', [series('a', [0.3, 0.4])]);
    expect(await say(['backtest', '--series', path, '--json'])).toEqual({ code: 0, out: '', err: '' });
  });
});

describe('the table', () => {
  test('puts the method beside the baselines, by source where asked', async () => {
    const path = await file('sources.json', [
      series('a', RISING, { source: 'one' }),
      series('b', RISING, { source: 'two' }),
    ]);
    const { code, out } = await say(['backtest', '--series', path]);
    expect(code).toBe(0);
    for (const method of ['multi-process/3', 'linear-last-four/1', 'last-and-jumps/1', 'last-value/1'])
      expect(out).toContain(method);
    expect(out).toContain('2 series, 10 forecasts');
    const bySource = await say(['backtest', '--series', path, '--by', 'source']);
    expect(bySource.out).toMatch(/^one +multi-process/m);
    expect(bySource.out).toMatch(/^two +multi-process/m);
  });

  test('of nothing is no table', async () => {
    const path = await file('none.json', []);
    expect(await say(['backtest', '--series', path])).toMatchObject({
      code: 0,
      out: '0 series, 0 forecasts 1 checkpoint ahead, each from at least two points',
    });
  });
});

describe('what cannot be used is refused whole, with exit 1, and named', () => {
  test.each([
    ['no JSON', '[{', 'is not a JSON list'],
    ['a bare NaN', '[NaN]', 'is not a JSON list'],
    ['no list', '{}', 'is not a JSON list'],
    ['no series', '[1]', 'series 0: must be an object'],
    ['no id', '[{"points":[]}]', 'series 0: series_id is required'],
    ['no points', '[{"series_id":"x"}]', 'series 0 (x): points is required'],
    [
      'an infinite value',
      '[{"series_id":"x","points":[{"flop":1,"value":1e999}]}]',
      'series 0 (x): points[0].value must be a finite number',
    ],
    [
      'a percentage',
      '[{"series_id":"x","points":[{"flop":1,"value":52}]}]',
      'series 0 (x): points[0].value must be a score whose best is 1',
    ],
    [
      'no compute',
      '[{"series_id":"x","points":[{"flop":0,"value":0}]}]',
      'series 0 (x): points[0].flop must be greater than 0',
    ],
    [
      'chance that is best',
      '[{"series_id":"x","chance":1,"points":[]}]',
      'series 0 (x): chance must be at most',
    ],
  ])('%s', async (_what, text, complaint) => {
    const path = await file('bad.json', text);
    const { code, out, err } = await say(['backtest', '--series', path, '--json']);
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain(complaint);
  });

  test('a good series beside a bad one is not forecast, and the list of problems ends somewhere', async () => {
    const bad = Array.from({ length: 30 }, (_, i) => ({ series_id: `bad-${i}` }));
    const path = await file('mixed.json', [series('good', RISING), ...bad]);
    const { code, out, err } = await say(['backtest', '--series', path, '--json']);
    expect([code, out]).toEqual([1, '']);
    expect(err.split('\n')).toHaveLength(21);
    expect(err).toContain('10 more problems');
  });

  test('more points than a backtest is for', async () => {
    const path = await file('long.json', [
      series(
        'long',
        Array.from({ length: 1001 }, () => 0.5),
      ),
    ]);
    const { code, err } = await say(['backtest', '--series', path]);
    expect(code).toBe(1);
    expect(err).toContain('series 0 (long): points must have at most 1000 elements');
  });

  test('a file that is not there is exit 2', async () => {
    const { code, err } = await say(['backtest', '--series', join(directory, 'absent.json')]);
    expect(code).toBe(2);
    expect(err).toContain('no such file');
  });
});

describe('--plot', () => {
  test('writes a chart per series and a page, whatever the series are called', async () => {
    const name = '../../etc/<script>alert("1")</script>&\u202e\u0000\ud800';
    const path = await file('evil.json', [series(name, RISING, { task: '"><b>' }), series('plain', RISING)]);
    const into = join(directory, 'plots');
    const { code, err } = await say(['backtest', '--series', path, '--json', '--plot', into]);
    expect(code).toBe(0);
    expect(err).toBe('wrote 2 charts and index.html');
    const files = (await readdir(into)).sort();
    expect(files).toEqual(['00001-etc-script-alert-1-script.svg', '00002-plain.svg', 'index.html']);
    for (const each of files) {
      const text = await readFile(join(into, each), 'utf8');
      for (const never of ['<script', '<b>', '\u202e', '\u0000', 'NaN', 'Infinity'])
        expect(text).not.toContain(never);
    }
    const chart = await readFile(join(into, files[1] ?? ''), 'utf8');
    expect(chart.match(/<circle /g)).toHaveLength(RISING.length);
    expect(chart.match(/fill="#d9e8f6"/g)).toHaveLength(RISING.length - 2);
    // One standard error up and down, of 272 pixels from 0 to 1: in score, not in skill.
    const [, from, to] = /<line [^>]*y1="([\d.]+)"[^>]*y2="([\d.]+)"[^>]*\/><circle/.exec(chart) ?? [];
    expect(Number(from) - Number(to)).toBeCloseTo(2 * 0.01 * 272, 1);
  });

  test.each([
    [1, 'Grok/A b.C', '00001-grok-a-b-c.svg'],
    [2, '...', '00002.svg'],
    [3, 'CON', '00003-con.svg'],
    [123_456, 'x'.repeat(300), `123456-${'x'.repeat(80)}.svg`],
  ])('file %i of %s is %s', (number, name, wanted) => {
    expect(safeFileName(number, name)).toBe(wanted);
  });

  test('a chart of one point, of equal points and of none is still a drawing', () => {
    const point = { flop: 1e20, score: 0, stderr: null, band: null };
    for (const points of [[], [point], [point, point]]) {
      const chart = fanChart({ title: 't', subtitle: '', points, chance: 0 });
      expect(chart).toMatch(/^<svg /);
      expect(chart).not.toMatch(/NaN|Infinity/);
    }
  });

  test('a reliability diagram has a mark for each bin', () => {
    const bins = [
      { stated: 0.01, came: 0.02, forecasts: 100 },
      { stated: 0.5, came: 0.4, forecasts: 10 },
    ];
    expect(reliabilityDiagram('r', bins).match(/<circle /g)).toHaveLength(2);
    expect(reliabilityDiagram('none', [])).not.toMatch(/NaN/);
    const points = [
      { name: 'a < b', cost: 0.1, covered: 0.5, isOnPath: true },
      { name: 'beside', cost: 0.1, covered: Number.NaN, isOnPath: false },
    ];
    for (const drawing of [tradeOffDiagram('t', 'loss', points), tradeOffDiagram('none', 'loss', [])]) {
      expect(drawing).not.toMatch(/NaN|Infinity|<b/);
    }
  });

  test('what XML would read as markup or refuses is written otherwise', () => {
    expect(escaped(`<a b='c' d="e">&\uffff`)).toBe('&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp; ');
  });
});

describe('progress', () => {
  const setUp = (isTty: boolean) => {
    const drawn: string[] = [];
    const said: string[] = [];
    let now = 0;
    const progress = createProgress({
      total: 200,
      what: 'series',
      redraw: isTty ? (text) => void drawn.push(text) : undefined,
      complain: (text) => void said.push(text),
      nowMs: () => now,
    });
    const at = (ms: number, done: number): void => {
      now = ms;
      progress.done(done);
    };
    return { drawn, said, at, end: () => progress.end() };
  };

  test('is a bar drawn over itself on a terminal, at most ten times a second, and taken away', () => {
    const { drawn, said, at, end } = setUp(true);
    at(50, 1);
    at(1000, 50);
    at(1050, 51);
    at(2000, 100);
    end();
    end();
    expect(drawn).toEqual([
      `${'█'.repeat(8)}${'·'.repeat(22)} 25% of 200 series, 3 s left`,
      `${'█'.repeat(15)}${'·'.repeat(15)} 50% of 200 series, 2 s left`,
      '',
    ]);
    expect(said).toEqual([]);
  });

  test('is a plain line every ten seconds elsewhere', () => {
    const { drawn, said, at, end } = setUp(false);
    at(9_000, 60);
    at(10_000, 100);
    at(12_000, 120);
    end();
    expect(said).toEqual(['50% of 200 series, 10 s left']);
    expect(drawn).toEqual([]);
  });
});
