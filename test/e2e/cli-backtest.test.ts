/** `interlock backtest` as a process: a reader that has seen enough ends it quietly. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { interlock, start } from './cli-process.ts';

/** More than a pipe holds, and done before there is progress to tell of. */
const SERIES = 400;
const POINTS = 20;

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'interlock-backtest-'));
  const series = Array.from({ length: SERIES }, (_, s) => ({
    series_id: `s${s}`,
    points: Array.from({ length: POINTS }, (_, i) => ({
      flop: 2 ** (60 + i),
      value: (i / 40 + s / 9000) % 1,
    })),
  }));
  await writeFile(join(home, 'series.json'), JSON.stringify(series));
});
afterAll(() => rm(home, { recursive: true, force: true }));

describe('backtest --json', () => {
  test('prints every line, and nothing else', async () => {
    const { code, out, err } = await interlock(['backtest', '--series', 'series.json', '--json'], {
      cwd: home,
    });
    expect([code, err]).toEqual([0, '']);
    const lines = out.split('\n');
    expect(lines).toHaveLength(SERIES * (POINTS - 2) + 1);
    expect(JSON.parse(lines.at(-2) ?? '')).toMatchObject({ series_id: `s${SERIES - 1}`, index: POINTS - 1 });
  });

  test('ends quietly when its reader has gone', async () => {
    const { child, ended } = start(['backtest', '--series', 'series.json', '--json'], { cwd: home });
    if (child.stdout === null) throw new Error('no standard output');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    expect(await ended).toMatchObject({ code: 0, err: '' });
  });
});
