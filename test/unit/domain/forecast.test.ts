/** The forecast and the way from scores to a category: honest about how little it knows. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EvaluationHistory, forecastCategory } from '../../../src/domain/forecast/category-forecast.ts';
import { servedMethod } from '../../../src/domain/forecast/served-method.ts';

const map = { chance: 0, best: 1, levels: { medium: 0.2, high: 0.5, critical: 0.8 } };

function history(scores: readonly number[], more: Partial<EvaluationHistory> = {}): EvaluationHistory {
  const points = scores.map((score, i) => ({ log2Compute: 70 + i, score, stderr: null, n: 1000 }));
  return { name: 'ctf/default', kind: 'proportion', map, elicitationMargin: 0, points, ...more };
}

const skills = (scores: readonly number[]) =>
  scores.map((skill, i) => ({ log2Compute: 70 + i, skill, stderr: null }));

const LEVELS = [2, 3, 4];
const next = (scores: readonly number[]): number => 70 + scores.length;
const predict = (scores: readonly number[], horizon = next(scores)) =>
  forecastCategory(servedMethod, [history(scores)], horizon, LEVELS);
const chanceOf = (forecast: ReturnType<typeof predict>, level: number): number =>
  forecast.exceedance.find((each) => each.level === level)?.p ?? Number.NaN;
const width = (forecast: ReturnType<typeof predict>): number =>
  (forecast.quantiles.find(({ p }) => p === 0.95)?.level ?? 0) -
  (forecast.quantiles.find(({ p }) => p === 0.05)?.level ?? 0);

const series = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 0, maxLength: 12 });

describe('a forecast', () => {
  it.each([
    [0, 'mostly-prior'],
    [1, 'mostly-prior'],
    [3, 'mostly-prior'],
    [4, 'mixed'],
    [5, 'mixed'],
    [6, 'data'],
    [12, 'data'],
  ])('from %d points is %s', (points, basis) => {
    const forecast = predict(Array.from({ length: points }, () => 0.1));
    expect(forecast).toMatchObject({ basis, points, method: 'multi-process/3' });
  });

  it('from many points at one compute is still mostly prior', () => {
    const points = Array.from({ length: 6 }, () => ({ log2Compute: 70, score: 0.1, stderr: null, n: 100 }));
    expect(forecastCategory(servedMethod, [history([], { points })], 71, LEVELS).basis).toBe('mostly-prior');
  });

  it('is wider the less it knows', () => {
    expect(width(predict([0.3]))).toBeGreaterThan(width(predict([0.3, 0.3, 0.3, 0.3])));
    expect(width(predict([0.3, 0.3, 0.3, 0.3]))).toBeGreaterThan(width(predict(Array(8).fill(0.3))));
  });

  it('is wider the further it looks, and gives a High the more chance', () => {
    const scores = [0.1, 0.12, 0.11, 0.13, 0.12, 0.14];
    const horizons = [76, 77, 78, 79].map((horizon) => predict(scores, horizon));
    for (const [i, forecast] of horizons.entries()) {
      const before = horizons[i - 1];
      if (before === undefined) continue;
      expect(width(forecast)).toBeGreaterThan(width(before));
      expect(chanceOf(forecast, 3)).toBeGreaterThan(chanceOf(before, 3));
    }
  });

  it('follows a trend', () => {
    const median = predict([0.1, 0.15, 0.2, 0.25, 0.3, 0.35]).quantiles.find(({ p }) => p === 0.5);
    // A little below the line: slopes do not last.
    expect(median?.level).toBeGreaterThan(2.5);
    expect(median?.level).toBeLessThanOrEqual(2 + (0.4 - 0.2) / 0.3);
  });

  it('never rules a jump out, however flat the series', () => {
    expect(chanceOf(predict(Array(12).fill(0.05)), 3)).toBeGreaterThan(5e-4);
  });

  it('expects a leap as soon as a flat series moves', () => {
    const flat = predict([0.05, 0.05, 0.05, 0.05, 0.05, 0.05]);
    const moved = predict([0.05, 0.05, 0.05, 0.05, 0.05, 0.13]);
    expect(chanceOf(moved, 3)).toBeGreaterThan(5 * chanceOf(flat, 3));
  });

  it('expects more of a flat evaluation where another of its category moves, and never less where it does not', () => {
    const flat = [0.05, 0.05, 0.05];
    const moving = [0.05, 0.05, 0.3];
    const at = (siblings: readonly (readonly number[])[]): number =>
      servedMethod.forecast(skills(flat), next(flat), siblings.map(skills)).atLeast(0.5);
    expect(at([moving])).toBeGreaterThan(1.5 * at([]));
    expect(at([moving, flat])).toBe(at([flat, moving]));
    fc.assert(fc.property(fc.array(series, { maxLength: 4 }), (siblings) => at(siblings) >= at([])));
  });

  it('does not look at what a sibling did at more compute', () => {
    const flat = [0.05, 0.05, 0.05, 0.05];
    const at = (sibling: readonly number[]): number =>
      servedMethod.forecast(skills(flat), 75, [skills(sibling)]).atLeast(0.5);
    expect(at([0.05, 0.05, 0.05, 0.05, 0.3, 0.6])).toBe(at(flat));
  });

  it('says that a saturated metric gives no comfort', () => {
    expect(predict([0.9, 0.95, 0.98]).notes).toContain('ctf/default: saturated: no headroom, so no comfort');
    expect(predict([]).notes).toEqual(['ctf/default: no score yet']);
  });

  it('is the same for the same history, in whatever order it comes', () => {
    fc.assert(
      fc.property(series, (scores) => {
        const shuffled = history(scores);
        const reversed = { ...shuffled, points: [...shuffled.points].reverse() };
        const horizon = next(scores);
        expect(forecastCategory(servedMethod, [reversed], horizon, LEVELS)).toEqual(predict(scores));
      }),
    );
  });

  it('is a distribution: probabilities in [0, 1] that fall with the level, quantiles that rise', () => {
    fc.assert(
      fc.property(series, fc.integer({ min: 0, max: 6 }), (scores, ahead) => {
        const forecast = predict(scores, next(scores) + ahead);
        const chances = forecast.exceedance.map(({ p }) => p);
        const levels = forecast.quantiles.map(({ level }) => level);
        for (const p of chances) expect(p >= 0 && p <= 1).toBe(true);
        expect(chances).toEqual([...chances].sort((a, b) => b - a));
        expect(levels).toEqual([...levels].sort((a, b) => a - b));
        for (const level of levels) expect(level >= 1 && level <= 5).toBe(true);
      }),
    );
  });

  it('of a category is at least as grave as that of any of its evaluations alone, and at most their sum', () => {
    const holds = (a: number[], b: number[]): void => {
      const [one, two] = [history(a), history(b)];
      const horizon = 90;
      const both = forecastCategory(servedMethod, [one, two], horizon, LEVELS);
      const alone = [one, two].map((each) => forecastCategory(servedMethod, [each], horizon, LEVELS));
      for (const { level, p, greatest, sum } of both.exceedance) {
        // Beside another that moves, each is graver than alone: the sum is of what they are together.
        for (const each of alone) expect(p).toBeGreaterThanOrEqual(chanceOf(each, level) - 1e-9);
        expect(p).toBeGreaterThanOrEqual(greatest);
        expect(p).toBeLessThanOrEqual(sum);
      }
    };
    // One falls back to nothing at once, which raises the other.
    holds([0.030761154801944808, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0]);
    fc.assert(fc.property(series, series, holds));
  });

  it('takes its basis from the weakest evidence', () => {
    const both = [history(Array(8).fill(0.1)), history([0.1])];
    expect(forecastCategory(servedMethod, both, 80, LEVELS)).toMatchObject({
      basis: 'mostly-prior',
      points: 1,
    });
  });

  it('counts the elicitation margin: with it every level is likelier', () => {
    const scores = [0.1, 0.12, 0.11, 0.13, 0.12, 0.14];
    const margin = forecastCategory(servedMethod, [history(scores, { elicitationMargin: 0.5 })], 76, LEVELS);
    for (const level of [3, 4])
      expect(chanceOf(margin, level)).toBeGreaterThan(chanceOf(predict(scores), level));
  });

  it('works on metrics that fall as on those that rise', () => {
    const falling = { chance: 1, best: 0, levels: { medium: 0.8, high: 0.5, critical: 0.2 } };
    const scores = [0.1, 0.15, 0.2, 0.25];
    const mirrored = history(
      scores.map((score) => 1 - score),
      { map: falling },
    );
    const forecast = forecastCategory(servedMethod, [mirrored], next(scores), LEVELS);
    for (const level of LEVELS)
      expect(chanceOf(forecast, level)).toBeCloseTo(chanceOf(predict(scores), level), 4);
  });
});
