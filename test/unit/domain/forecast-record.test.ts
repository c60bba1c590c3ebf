/** The score of a forecast and the record of many, by hand; and what every score owes, as properties. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compute } from '../../../src/domain/compute.ts';
import { pitOf, type SealedFigures, scoreLevel } from '../../../src/domain/forecast/record.ts';
import { type ForecastScore, summarise } from '../../../src/domain/forecast/track-record.ts';
import { rows } from './table.ts';

/** Between 1 and 5, with a tenth of the probability at level 1 itself. */
const SEALED: SealedFigures = {
  quantiles: [
    { p: 0.05, level: 1 },
    { p: 0.1, level: 1 },
    { p: 0.5, level: 1.5 },
    { p: 0.95, level: 2.4 },
    { p: 0.99, level: 3.2 },
  ],
  exceedance: [
    { level: 2, p: 0.2 },
    { level: 3, p: 0.03 },
    { level: 4, p: 0.004 },
  ],
};

describe('a score', () => {
  it.each(
    rows(`
      came | pinball .5, .95, .99    | covered  | levels reached
      1.5  | 0 0.045 0.017           | both     |
      1.1  | 0.2 0.065 0.021         | both     |
      2.4  | 0.45 0 0.008            | both     | 2
      3    | 0.75 0.57 0.002         | 99 alone | 2 3
      4.2  | 1.35 1.71 0.99          | neither  | 2 3 4
    `).slice(1),
  )(
    'where %s came: losses %s, covered %s, reached %s',
    (came = '', losses = '', covered = '', reached = '') => {
      const score = scoreLevel(SEALED, Number(came));
      const lost = [score.pinball50, score.pinball95, score.pinball99];
      expect(lost.map((loss) => Number(loss.toFixed(9))).join(' ')).toBe(losses);
      const bounds = score.covered95 ? 'both' : score.covered99 ? '99 alone' : 'neither';
      expect(bounds).toBe(covered);
      const levels = score.exceedance.filter((each) => each.reached).map(({ level }) => level);
      expect(levels.join(' ')).toBe(reached);
    },
  );

  it('covers what is above a bound by its rounding alone', () => {
    expect(scoreLevel(SEALED, 2.40004).covered95).toBe(true);
    expect(scoreLevel(SEALED, 2.4001).covered95).toBe(false);
  });

  it('takes the next lower bound for one that was not stated', () => {
    const { q95, q99 } = scoreLevel({ quantiles: SEALED.quantiles.slice(0, 4), exceedance: [] }, 2);
    expect([q95, q99]).toEqual([2.4, 2.4]);
  });
});

describe('PIT', () => {
  it.each([
    ['a quantile', 1.5, 0.5],
    ['an exceedance', 2, 0.8],
    ['half way between two quantiles and an exceedance', 1.75, 0.65],
    ['between an exceedance and a quantile', 2.2, 0.875],
    ['the end of the scale, in the middle of its step', 1, 0.05],
    ['the other end, where no probability was left', 5, 1],
    ['below the scale as at its end', 0.5, 0.05],
  ])('at %s', (_where, came, wanted) => {
    expect(pitOf(SEALED, came)).toBeCloseTo(wanted, 6);
  });

  it('is in the middle of what a forecast leaves above the scale', () => {
    const open = {
      quantiles: [
        { p: 0.5, level: 3 },
        { p: 0.95, level: 5 },
        { p: 0.99, level: 5 },
      ],
      exceedance: [],
    };
    expect(pitOf(open, 5)).toBeCloseTo(0.975, 6);
    expect(pitOf(open, 4)).toBeCloseTo(0.725, 6);
  });
});

const level = fc.double({ min: 1, max: 5, noNaN: true }).map((value) => Math.round(value * 1e4) / 1e4);
/** Whatever a method may seal: rising quantiles, falling exceedances, not necessarily in step with each other. */
const sealed = fc
  .record({
    levels: fc.array(level, { minLength: 6, maxLength: 6 }),
    chances: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 }),
  })
  .map(({ levels, chances }): SealedFigures => {
    const rising = [...levels].sort((a, b) => a - b);
    const falling = [...chances].sort((a, b) => b - a);
    return {
      quantiles: [0.05, 0.25, 0.5, 0.75, 0.95, 0.99].map((p, i) => ({ p, level: rising[i] ?? 1 })),
      exceedance: [2, 3, 4].map((at, i) => ({ level: at, p: falling[i] ?? 0 })),
    };
  });

describe('every score', () => {
  it('has losses that are not negative, and a PIT from 0 to 1', () => {
    fc.assert(
      fc.property(sealed, level, (figures, came) => {
        const { pinball50, pinball95, pinball99, pit } = scoreLevel(figures, came);
        expect(Math.min(pinball50, pinball95, pinball99)).toBeGreaterThanOrEqual(0);
        expect(pit).toBeGreaterThanOrEqual(0);
        expect(pit).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('is no better covered and of no lower PIT where a higher level came', () => {
    fc.assert(
      fc.property(sealed, level, level, (figures, a, b) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map((came) => scoreLevel(figures, came));
        expect(more?.pit).toBeGreaterThanOrEqual(less?.pit ?? 1);
        expect(more?.covered99 === true && less?.covered99 === false).toBe(false);
        expect(more?.covered95 === true && less?.covered95 === false).toBe(false);
      }),
    );
  });

  it('misses the 99 % bound only where it misses the 95 % bound', () => {
    fc.assert(
      fc.property(sealed, level, (figures, came) => {
        const { covered95, covered99 } = scoreLevel(figures, came);
        expect(covered95 && !covered99).toBe(false);
      }),
    );
  });
});

let made = 0;
function score(came: number, more: Partial<ForecastScore> = {}): ForecastScore {
  made += 1;
  return {
    runId: 'r1',
    checkpointId: `c${made}`,
    scoredBy: `c${made + 1}`,
    category: 'cyber',
    stage: 'pre-mitigation',
    checkpoints: 1,
    method: 'a/1',
    basis: 'data',
    horizonCompute: compute('2.2e22'),
    actualCompute: compute('1.1e22'),
    observed: came,
    excluded: null,
    at: '2030-01-01T00:00:00.000Z',
    ...scoreLevel(SEALED, came),
    ...more,
  };
}

describe('the record', () => {
  it('of nothing has no figures, and says that it is too little', () => {
    const { total, groups, worstMisses } = summarise([]);
    expect(total).toMatchObject({
      forecasts: 0,
      runs: 0,
      isTooFew: true,
      pinball95: null,
      brier: null,
      misses: 0,
    });
    expect(total.coverage95).toEqual({ covered: 0, share: null, lower: null, upper: null });
    expect([groups, worstMisses]).toEqual([[], []]);
  });

  it('counts coverage with the Wilson interval, losses as means, PIT in tenths', () => {
    const { total } = summarise([score(1.5), score(1.5), score(2.2), score(3)]);
    expect(total).toMatchObject({ forecasts: 4, misses: 0, doublingsShort: 1 });
    expect(total.coverage95).toMatchObject({ covered: 3, share: 0.75 });
    // Of 3 in 4, by the tables.
    expect(total.coverage95.lower).toBeCloseTo(0.3006, 4);
    expect(total.coverage95.upper).toBeCloseTo(0.9544, 4);
    expect(total.coverage99.share).toBe(1);
    expect(total.pinball50).toBeCloseTo((0 + 0 + 0.35 + 0.75) / 4, 9);
    expect(total.pit).toEqual([0, 0, 0, 0, 0, 2, 0, 0, 1, 1]);
  });

  it('holds what came against what was stated, level by level', () => {
    const { total } = summarise([score(1.5), score(2.2)]);
    // Level 2 was stated at 0.2 twice, and came once: (0.2^2 + 0.8^2) / 2.
    const [two, three] = total.levels;
    expect(two).toMatchObject({ level: 2, forecasts: 2, stated: 0.2, came: 0.5 });
    expect(two?.brier).toBeCloseTo(0.34, 9);
    expect(three?.brier).toBeCloseTo(0.0009, 9);
    expect(total.brier).toBeCloseTo((0.34 + 0.0009 + 0.000016) / 3, 9);
    expect(total.reliability.map(({ from, forecasts, came }) => [from, forecasts, came])).toEqual([
      [0, 2, 0],
      [0.02, 2, 0],
      [0.2, 2, 0.5],
    ]);
  });

  it('never sums up methods, bases, categories or horizons that differ', () => {
    const { groups, total } = summarise([
      score(1.5),
      score(1.5, { method: 'b/1' }),
      score(1.5, { basis: 'mixed' }),
      score(1.5, { category: 'bio' }),
      score(1.5, { checkpoints: 2 }),
      score(1.5, { runId: 'r2' }),
    ]);
    expect(groups.map(({ forecasts }) => forecasts).sort()).toEqual([1, 1, 1, 1, 2]);
    expect(total).toMatchObject({ forecasts: 6, runs: 2 });
  });

  it('leaves out what does not count, says how many, and shows the worst misses first', () => {
    const { total, worstMisses, excluded } = summarise([
      score(3.5, { checkpointId: 'bad' }),
      score(4.5, { checkpointId: 'worse' }),
      score(4.9, { excluded: 'sealed-late' }),
      score(4.9, { excluded: 'beyond-horizon' }),
      score(1.2, { excluded: 'partial' }),
    ]);
    expect(total).toMatchObject({ forecasts: 2, misses: 2 });
    expect(worstMisses.map(({ checkpointId }) => checkpointId)).toEqual(['worse', 'bad']);
    expect(excluded).toEqual({ sealedLate: 1, beyondHorizon: 1, partial: 1 });
  });

  it('is enough from twenty on', () => {
    const many = Array.from({ length: 20 }, () => score(1.5));
    expect(summarise(many).total.isTooFew).toBe(false);
    expect(summarise(many.slice(1)).total.isTooFew).toBe(true);
  });
});
