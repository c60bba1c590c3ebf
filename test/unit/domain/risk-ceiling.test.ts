/** The furthest ceiling within a risk: its limits, and that it never reaches further for more risk. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Compute, compareCompute, compute, onePlus, timesCompute } from '../../../src/domain/compute.ts';
import { categoryTail, type EvaluationHistory } from '../../../src/domain/forecast/category-forecast.ts';
import {
  type Cadence,
  type CategoryRisk,
  type Choice,
  chooseCeiling,
  informed,
  type Limits,
} from '../../../src/domain/forecast/risk-ceiling.ts';
import { servedMethod } from '../../../src/domain/forecast/served-method.ts';

const CLEARED = compute('1e22');
const CADENCE: Cadence = { ratio: 2, grace: 0.1, minRatio: 1.19 };
const FREE: Limits = { probability: 0.05, budgetLeft: null, referenceUpTo: null };

/** A category that risks so much per doubling beyond the cleared checkpoint. */
const rising = (perDoubling: number, basis: CategoryRisk['basis'] = 'data'): CategoryRisk => ({
  category: 'cyber',
  basis,
  points: 8,
  atLeast: (log2) => Math.min(1, perDoubling * (log2 - Math.log2(1e22))),
});

const choose = (risks: readonly CategoryRisk[], limits: Partial<Limits> = {}): Choice =>
  chooseCeiling(CLEARED, CADENCE, risks, { ...FREE, ...limits });

const isAtMost = (a: Compute, b: Compute): boolean => compareCompute(a, b) <= 0;

describe('the ceiling', () => {
  it('is the full one, and the checkpoint due at the ratio, where nothing is risked', () => {
    const { chosen, full, dueCompute } = choose([rising(0)]);
    expect(chosen).toEqual(full);
    expect([chosen.compute, dueCompute]).toEqual(['2.2e22', '2e22']);
  });

  it('lies where the limit is reached, and the checkpoint is due a grace before it', () => {
    // 5 % are reached half a doubling on, at 1.41e22; the steps are a twentieth of a doubling apart.
    const { chosen, dueCompute } = choose([rising(0.1)]);
    expect(Number(chosen.compute)).toBeGreaterThan(1.36e22);
    expect(Number(chosen.compute)).toBeLessThan(1.4143e22);
    expect(Number(dueCompute)).toBeCloseTo(Number(chosen.compute) / 1.1, -19);
    expect(chosen.p).toBeLessThanOrEqual(0.05);
  });

  it('is the nearest one where even that is over the limit, and says by how much', () => {
    const { chosen, least, dueCompute } = choose([rising(0.5)]);
    expect(chosen).toEqual(least);
    expect(least.compute).toBe('1.19e22');
    expect(Number(dueCompute)).toBeGreaterThan(1e22);
    expect(least.p).toBeCloseTo(0.5 * Math.log2(1.19), 5);
  });

  it('counts what was risked on the way, although the forecast falls again', () => {
    const hump: CategoryRisk = { ...rising(0), atLeast: (log2) => (log2 < 73.5 ? 0.2 : 0) };
    const { chosen, least, full } = choose([hump]);
    expect(chosen).toEqual(least);
    expect(full.p).toBe(0.2);
  });

  it('is held by the budget that is left', () => {
    const wide = choose([rising(0.01)]);
    const narrow = choose([rising(0.01)], { budgetLeft: 0.005 });
    expect(wide.chosen).toEqual(wide.full);
    expect(narrow.chosen.p).toBeLessThanOrEqual(0.005);
    expect(compareCompute(narrow.chosen.compute, wide.chosen.compute)).toBe(-1);
  });

  it('takes categories together between their greatest and their sum', () => {
    const { full } = choose([rising(0.01), { ...rising(0.02), category: 'bio' }]);
    expect(full.greatest).toBeLessThan(full.p);
    expect(full.p).toBeLessThan(full.sum);
  });
});

describe('a reference run', () => {
  const limits = { probability: 0.001, referenceUpTo: compute('1.5e22') };

  it('stands in for what is mostly prior, as far as it goes', () => {
    const { chosen } = choose([rising(0.1, 'mostly-prior')], limits);
    expect(Number(chosen.compute)).toBeGreaterThan(1.45e22);
    expect(isAtMost(chosen.compute, compute('1.5e22'))).toBe(true);
  });

  it('excuses nothing that the history of the run says, and no budget', () => {
    expect(choose([rising(0.1, 'mixed')], limits).chosen.compute).toBe('1.19e22');
    const spent = choose([rising(0.1, 'mostly-prior')], { ...limits, budgetLeft: 0.001 });
    expect(spent.chosen.compute).toBe('1.19e22');
  });
});

// --- properties ------------------------------------------------------------------------------------------

const cadences = fc
  .record({
    ratio: fc.double({ min: 1.3, max: 8, noNaN: true }),
    grace: fc.double({ min: 0, max: 0.1, noNaN: true }),
    share: fc.double({ min: 0.05, max: 0.95, noNaN: true }),
  })
  .map(({ ratio, grace, share }): Cadence => {
    const least = 1.02 * (1 + grace);
    return { ratio, grace, minRatio: least + share * (ratio - least) };
  });
const computes = fc.double({ min: 1e18, max: 1e27, noNaN: true }).map(compute);
const chances = fc.double({ min: 1e-4, max: 0.5, noNaN: true });
const bases = fc.constantFrom('mostly-prior' as const, 'mixed' as const, 'data' as const);
/** Any curve over compute, also one that falls. */
const tails = fc.array(
  fc.record({ basis: bases, from: chances, slope: fc.double({ min: -0.3, max: 0.3, noNaN: true }) }),
  { minLength: 1, maxLength: 4 },
);
type Tail = { basis: CategoryRisk['basis']; from: number; slope: number };

const risksOf = (all: readonly Tail[], cleared: Compute, more = 0): CategoryRisk[] =>
  all.map(({ basis, from, slope }, i) => ({
    category: `c${i}`,
    basis,
    points: 3,
    atLeast: (log2) =>
      Math.min(
        1,
        Math.max(0, Math.round(1e6 * (from + more + slope * (log2 - Math.log2(Number(cleared))))) / 1e6),
      ),
  }));

describe('for any cadence, forecast and limit, the ceiling', () => {
  it('lies between the shortest step and the longest, beyond what is cleared, and is due before it is reached', () => {
    fc.assert(
      fc.property(cadences, computes, tails, chances, (cadence, cleared, all, probability) => {
        const { chosen, least, full, dueCompute } = chooseCeiling(cleared, cadence, risksOf(all, cleared), {
          ...FREE,
          probability,
        });
        const longest = timesCompute(cleared, cadence.ratio, onePlus(cadence.grace));
        expect(compareCompute(full.compute, longest)).toBe(0);
        expect(isAtMost(least.compute, chosen.compute) && isAtMost(chosen.compute, full.compute)).toBe(true);
        expect(compareCompute(cleared, dueCompute)).toBe(-1);
        expect(isAtMost(dueCompute, chosen.compute)).toBe(true);
        expect(isAtMost(dueCompute, timesCompute(cleared, cadence.ratio))).toBe(true);
      }),
    );
  });

  it('risks no more than the limit and the budget, or is the nearest', () => {
    fc.assert(
      fc.property(computes, tails, chances, chances, (cleared, all, probability, budgetLeft) => {
        const risks = risksOf(all, cleared);
        const limits = { probability, budgetLeft, referenceUpTo: null };
        const { chosen, least } = chooseCeiling(cleared, CADENCE, risks, limits);
        if (compareCompute(chosen.compute, least.compute) > 0) {
          expect(chosen.p).toBeLessThanOrEqual(Math.min(probability, budgetLeft));
        }
      }),
    );
  });

  it('comes no nearer for a larger limit or budget, and no further for a graver forecast', () => {
    fc.assert(
      fc.property(
        computes,
        tails,
        chances,
        chances,
        chances,
        (cleared, all, probability, budgetLeft, more) => {
          const limits = { probability, budgetLeft, referenceUpTo: null };
          const ceiling = (extra: Partial<Limits>, graver = 0): Compute =>
            chooseCeiling(cleared, CADENCE, risksOf(all, cleared, graver), { ...limits, ...extra }).chosen
              .compute;
          const own = ceiling({});
          expect(isAtMost(own, ceiling({ probability: probability + more }))).toBe(true);
          expect(isAtMost(own, ceiling({ budgetLeft: budgetLeft + more }))).toBe(true);
          expect(isAtMost(own, ceiling({ referenceUpTo: compute('1e30') }))).toBe(true);
          expect(isAtMost(ceiling({}, more), own)).toBe(true);
        },
      ),
    );
  });

  it('does not depend on the order of the categories', () => {
    fc.assert(
      fc.property(computes, tails, chances, (cleared, all, probability) => {
        const risks = risksOf(all, cleared);
        const [one, other] = [risks, [...risks].reverse()].map((each) =>
          chooseCeiling(cleared, CADENCE, each, { ...FREE, probability }),
        );
        expect(other?.chosen).toEqual(one?.chosen);
      }),
    );
  });
});

describe('by the served method, the ceiling', () => {
  const history = (scores: readonly number[]): EvaluationHistory => ({
    name: 'ctf/default',
    kind: 'proportion',
    map: { chance: 0, best: 1, levels: { medium: 0.2, high: 0.5, critical: 0.8 } },
    elicitationMargin: 0,
    points: scores.map((score, i) => ({ log2Compute: 70 + i, score, stderr: null, n: 500 })),
  });
  const ceilingOf = (scores: readonly number[], probability: number): Compute => {
    const tail = categoryTail(servedMethod, [history(scores)], 4);
    const cleared = compute(2 ** (69 + scores.length));
    const { chosen } = chooseCeiling(cleared, CADENCE, [{ category: 'cyber', ...tail }], {
      ...FREE,
      probability,
    });
    return chosen.compute;
  };

  it('is nearer where a history nears the level', () => {
    const histories = [
      [0.05, 0.05, 0.05, 0.05],
      [0.05, 0.15, 0.3, 0.5],
      [0.05, 0.2, 0.4, 0.7],
    ];
    const [calm, rises, nears] = histories.map((scores) => Number(ceilingOf(scores, 0.05)));
    expect(calm).toBeCloseTo(2.2 * 2 ** 73, -12);
    expect(rises).toBeLessThan(calm ?? 0);
    expect(nears).toBeLessThan(rises ?? 0);
  });

  it('is short at first, and reaches further the longer nothing moves', () => {
    const ceilings = [1, 2, 3, 4].map((n) => {
      const ratio = Number(ceilingOf(Array(n).fill(0.05), 0.004)) / 2 ** (69 + n);
      return Number(ratio.toFixed(9));
    });
    expect(ceilings).toEqual([...ceilings].sort((a, b) => a - b));
    expect(ceilings[0]).toBeLessThan(1.4);
    expect(ceilings.at(-1)).toBeCloseTo(2.2, 10);
  });
});

it('only what rests on the own history of the run is informed', () => {
  expect(informed([{ basis: 'mostly-prior', p: 0.9 }])).toBe(0);
  expect(informed([{ basis: 'mixed', p: 0.1 }])).toBe(0.1);
});
