import { describe, expect, test } from 'vitest';
import {
  json,
  levelBar,
  PLAIN,
  plural,
  printable,
  relative,
  shortCompute,
  span,
  styleFor,
  table,
} from '../../src/cli/output.ts';

describe('colours', () => {
  test.each([
    ['a terminal', true, {}, true],
    ['a pipe', false, {}, false],
    ['a terminal with NO_COLOR', true, { NO_COLOR: '1' }, false],
    ['a terminal with an empty NO_COLOR, which means nothing', true, { NO_COLOR: '' }, true],
    ['a dumb terminal', true, { TERM: 'dumb' }, false],
  ])('%s', (_where, isTty, env, isColoured) => {
    expect(styleFor({ isTty, env }).red('x') !== 'x').toBe(isColoured);
  });
});

describe('text from outside', () => {
  test.each([
    ['an escape sequence', 'a\u001b[2Jb', 'a [2Jb'],
    ['a line break', 'a\nb\r\u2028c', 'a b  c'],
    ['a C1 control', 'a\u009b2Jb', 'a 2Jb'],
    ['a direction override', 'halted\u202edetlah', 'halted detlah'],
    ['a zero width space', 'de\u200bmo', 'de mo'],
    ['letters of any script', 'Überprüfung 評価', 'Überprüfung 評価'],
  ])('cannot move the cursor: %s', (_what, text, shown) => {
    expect(printable(text)).toBe(shown);
  });
});

describe('a table', () => {
  test('aligns by what is seen, not by colour codes, and ends lines without spaces', () => {
    const { red } = styleFor({ isTty: true, env: {} });
    const text = table(
      [{ title: 'run' }, { title: 'n', align: 'right' }, { title: 'note' }],
      [
        [red('a'), '7', 'x'],
        ['long-name', '123', ''],
      ],
    );
    expect(text.split('\n')).toEqual([
      'run          n  note',
      `${red('a')}            7  x`,
      'long-name  123',
    ]);
  });

  test('with no rows is its head', () => {
    expect(table([{ title: 'run' }, { title: 'n' }], [], PLAIN)).toBe('run  n');
  });
});

describe('a level bar', () => {
  test.each([
    [null, null, '····|····|····|····'],
    [1, null, '····|····|····|····'],
    [2, null, '████|····|····|····'],
    [3.2, null, '████|████|█···|····'],
    [2.5, 3.2, '████|██▒▒|▒···|····'],
    [5, 5, '████|████|████|████'],
    [0, 9, '▒▒▒▒|▒▒▒▒|▒▒▒▒|▒▒▒▒'],
  ])('of %s up to %s', (estimate, upper, bar) => {
    expect(levelBar(estimate, upper)).toBe(bar);
  });
});

describe('figures', () => {
  test.each([
    [0, '0 ms'],
    [-5, '0 ms'],
    [999.4, '999 ms'],
    [999.6, '1 s'],
    [61_000, '1 min 1 s'],
    [3_600_000, '1 h'],
    [3_661_000, '1 h 1 min'],
    [90 * 86_400_000, '90 d'],
  ])('%s ms is %s', (ms, text) => {
    expect(span(ms)).toBe(text);
  });

  test('a time before or after now, and one that cannot be read', () => {
    const now = new Date('2030-01-01T00:00:00Z');
    expect(relative('2029-12-31T23:59:00Z', now)).toBe('1 min ago');
    expect(relative('2030-01-01T02:00:00Z', now)).toBe('in 2 h');
    expect(relative('later', now)).toBe('later');
  });

  test.each([
    [null, '-'],
    ['16400000000000000000000', '1.64e22'],
    ['1e25', '1e25'],
    ['0', '0e0'],
    ['1200', '1.2e3'],
    ['1e400', '1e400'],
  ])('compute %s is %s', (compute, text) => {
    expect(shortCompute(compute)).toBe(text);
  });

  test('counts', () => {
    expect([plural(1, 'run'), plural(2, 'run'), plural(0, 'entry', 'entries')]).toEqual([
      '1 run',
      '2 runs',
      '0 entries',
    ]);
  });

  test('JSON is JSON', () => {
    expect(JSON.parse(json({ a: [1] }))).toEqual({ a: [1] });
  });
});
