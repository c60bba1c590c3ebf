/** Score to level and back, and the uncertainty on the way. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  dangerLimit,
  levelName,
  levelOfScore,
  levelsOf,
  type ScoreSpec,
  scoreOfLevel,
  sharedZ,
} from '../../../src/domain/levels.ts';
import { normalQuantile, studentCdf } from '../../../src/domain/statistics/normal.ts';
import { wilson } from '../../../src/domain/statistics/wilson.ts';
import { rows } from './table.ts';

const rising: ScoreSpec = {
  chance: 0.25,
  best: 1,
  levels: { medium: 0.4, high: 0.7, critical: 0.9 },
  kind: 'proportion',
  range: [0, 1],
  stderrFloor: 0,
  elicitationMargin: 0,
};
/** Perplexity-like: less is more dangerous. */
const falling: ScoreSpec = {
  chance: 100,
  best: 0,
  levels: { medium: 60, high: 20, critical: 5 },
  kind: 'mean',
  range: [0, 200],
  stderrFloor: 1,
  elicitationMargin: 0,
};

describe('levels', () => {
  it.each(
    rows(`
      map     | score | level
      rising  | 0     | 1
      rising  | 0.25  | 1
      rising  | 0.325 | 1.5
      rising  | 0.4   | 2
      rising  | 0.55  | 2.5
      rising  | 0.6999999999 | 2.999999999667
      rising  | 0.7   | 3
      rising  | 0.8   | 3.5
      rising  | 0.9   | 4
      rising  | 0.95  | 4.5
      rising  | 1     | 5
      falling | 200   | 1
      falling | 100   | 1
      falling | 80    | 1.5
      falling | 60    | 2
      falling | 40    | 2.5
      falling | 20    | 3
      falling | 5     | 4
      falling | 2.5   | 4.5
      falling | 0     | 5
    `).slice(1),
  )('of a %s metric: score %s is level %s', (map = '', score = '', level = '') => {
    expect(levelOfScore(Number(score), map === 'rising' ? rising : falling)).toBeCloseTo(Number(level), 8);
  });

  it.each([rising, falling])('hit their anchors exactly', (map) => {
    const { medium, high, critical } = map.levels;
    expect([map.chance, medium, high, critical, map.best].map((score) => levelOfScore(score, map))).toEqual([
      1, 2, 3, 4, 5,
    ]);
  });

  it('reach 3 by a margin of 0.2 on 2.8, in spite of binary fractions', () => {
    const spec = { ...rising, elicitationMargin: 0.2 };
    const score = scoreOfLevel(2.8, rising);
    expect(levelsOf({ score, stderr: null, n: 1_000_000 }, spec, 1.96).estimate).toBe(3);
  });

  it('never pass 5, whatever the margin', () => {
    const spec = { ...rising, elicitationMargin: 2 };
    expect(levelsOf({ score: 0.9, stderr: null, n: 10 }, spec, 1.96)).toEqual({ estimate: 5, upper: 5 });
  });

  it.each([
    [1, 'low'],
    [1.999999999, 'low'],
    [2, 'medium'],
    [2.999999999, 'medium'],
    [3, 'high'],
    [4, 'critical'],
    [5, 'critical'],
  ])('%d is named %s', (level, name) => {
    expect(levelName(level)).toBe(name);
  });

  it('never fall when the score moves towards the dangerous end', () => {
    const score = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(score, score, fc.constantFrom(rising, falling), (a, b, map) => {
        const at = (u: number): number => levelOfScore(map.chance + u * (map.best - map.chance), map);
        expect(at(Math.max(a, b))).toBeGreaterThanOrEqual(at(Math.min(a, b)));
      }),
    );
  });

  it('and scores are each other inverse', () => {
    const level = fc.double({ min: 1, max: 5, noNaN: true });
    fc.assert(
      fc.property(level, fc.constantFrom(rising, falling), (value, map) => {
        expect(levelOfScore(scoreOfLevel(value, map), map)).toBeCloseTo(value, 6);
      }),
    );
  });
});

describe('the upper level', () => {
  it.each(
    rows(`
      kind       | score | stderr | n    | floor | limit at z = 2
      proportion | 0.5   | none   | 100  | 0     | 0.5981
      proportion | 0     | none   | 100  | 0     | 0.0385
      proportion | 1     | none   | 100  | 0     | 1
      proportion | 0.5   | none   | 100  | 0.1   | 0.7
      proportion | 0.5   | 0.2    | 100  | 0     | 0.5981
      proportion | 0.5   | 0.05   | none | 0     | 0.6
      proportion | 0.95  | 0.05   | none | 0     | 1
      proportion | 0.5   | none   | none | 0     | 1
      mean       | 0.5   | 0.05   | 100  | 0     | 0.6
      mean       | 0.5   | 0.05   | 100  | 0.1   | 0.7
      mean       | 0.5   | none   | 100  | 0     | 1
    `).slice(1),
  )('of a %s %s (stderr %s, n %s, floor %s) is at score %s', (...cells) => {
    const [kind, score, stderr, n, floor, limit] = cells;
    const spec = {
      ...rising,
      kind: kind === 'mean' ? ('mean' as const) : ('proportion' as const),
      stderrFloor: Number(floor),
    };
    const number = (cell: string | undefined): number | null => (cell === 'none' ? null : Number(cell));
    const measured = { score: Number(score), stderr: number(stderr), n: number(n) };
    expect(dangerLimit(measured, spec, 2)).toBeCloseTo(Number(limit), 4);
  });

  it('lies on the low side of a metric that falls', () => {
    expect(dangerLimit({ score: 50, stderr: 5, n: null }, falling, 2)).toBe(40);
    expect(dangerLimit({ score: 50, stderr: 0, n: null }, falling, 2)).toBe(48);
    expect(dangerLimit({ score: 50, stderr: null, n: 7 }, falling, 2)).toBe(0);
  });

  it('is never below the estimate', () => {
    const measured = fc.record({
      score: fc.double({ min: 0, max: 1, noNaN: true }),
      stderr: fc.option(fc.double({ min: 0, max: 0.5, noNaN: true })),
      n: fc.option(fc.integer({ min: 1, max: 10_000 })),
    });
    fc.assert(
      fc.property(measured, fc.double({ min: 0.1, max: 4, noNaN: true }), (value, z) => {
        const { estimate, upper } = levelsOf(value, rising, z);
        expect(upper).toBeGreaterThanOrEqual(estimate);
      }),
    );
  });

  it('shares the confidence over the evaluations of a category', () => {
    expect(sharedZ(0.95, 1)).toBeCloseTo(1.959964, 6);
    expect(sharedZ(0.95, 2)).toBeCloseTo(2.241403, 6);
    expect(sharedZ(0.95, 5)).toBeCloseTo(2.575829, 6);
    expect(sharedZ(0.95, 0)).toBe(sharedZ(0.95, 1));
  });
});

describe('statistics', () => {
  it.each(
    rows(`
      successes | n   | lower  | upper    Newcombe 1998, method 3
      81        | 263 | 0.2553 | 0.3662
      15        | 148 | 0.0624 | 0.1605
      0         | 20  | 0.0000 | 0.1611
      1         | 29  | 0.0061 | 0.1718
      20        | 20  | 0.8389 | 1.0000
    `).slice(1),
  )('Wilson gives %s of %s the interval %s to %s', (successes, n, lower, upper) => {
    const interval = wilson(Number(successes) / Number(n), Number(n), normalQuantile(0.975));
    expect(interval.lower).toBeCloseTo(Number(lower), 4);
    expect(interval.upper).toBeCloseTo(Number(upper), 4);
  });

  it('Wilson at zero successes is z^2 / (n + z^2)', () => {
    for (const n of [1, 10, 100, 10_000]) expect(wilson(0, n, 2).upper).toBeCloseTo(4 / (n + 4), 12);
  });

  it.each(
    rows(`
      p                   | z        the first three are AS 241's own test values
      0.25                | -0.6744897501960817
      0.001               | -3.090232306167814
      1e-20               | -9.262340089798408
      0.5                 | 0
      0.9                 | 1.2815515655446004
      0.975               | 1.959963984540054
      0.99                | 2.3263478740408408
      0.995               | 2.5758293035489004
      0.9999              | 3.719016485455709
    `).slice(1),
  )('the normal quantile of %s is %s', (p, z) => {
    expect(normalQuantile(Number(p))).toBeCloseTo(Number(z), 11);
  });

  it('the normal quantile refuses what is no probability strictly inside', () => {
    for (const p of [0, 1, -0.1, 1.1, Number.NaN]) expect(() => normalQuantile(p)).toThrow(RangeError);
  });

  it.each(
    rows(`
      t                  | df | P(T <= t)
      1                  | 1  | 0.75
      12.706204736174694 | 1  | 0.975
      4.302652729749464  | 2  | 0.975
      3.182446305283708  | 3  | 0.975
      2.7764451051977934 | 4  | 0.975
      2.5705818356363146 | 5  | 0.975
      2.2281388519862744 | 10 | 0.975
      2.042272456301238  | 30 | 0.975
      -2.042272456301238 | 30 | 0.025
      0                  | 7  | 0.5
      Infinity           | 3  | 1
      -Infinity          | 3  | 0
    `).slice(1),
  )('Student t at %s with %s degrees of freedom is %s', (t, df, p) => {
    expect(studentCdf(Number(t), Number(df))).toBeCloseTo(Number(p), 10);
  });
});
