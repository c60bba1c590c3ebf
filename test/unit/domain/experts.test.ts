/** Pooling of what experts think: the formula, its properties, and what contradicts itself. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  clampProbability,
  EXTREMISING,
  poolExperts,
  poolOfTwo,
  poolProbabilities,
  quantileProblem,
} from '../../../src/domain/forecast/experts.ts';
import { rows } from './table.ts';

const probability = fc.double({ min: 0, max: 1, noNaN: true });
const several = fc.array(probability, { minLength: 1, maxLength: 12 });
const exponent = fc.double({ min: 1, max: 4, noNaN: true });
/** Pools are rounded to the sixth decimal. */
const GRAIN = 1e-6;

describe('a pool of experts', () => {
  it.each(
    rows(`
      probabilities     | exponent | pool
      0.05              | 1        | 0.05
      0.5, 0.5          | 1.5      | 0.5
      0.1, 0.9          | 1        | 0.5
      0.2, 0.2          | 2        | 0.058824
      0.8, 0.8          | 2        | 0.941176
      0.01, 0.1, 0.4    | 1        | 0.083228
      0, 0.5            | 1        | 0.030668
      0, 1              | 1        | 0.5
    `).slice(1),
  )('of %s with exponent %s is %s', (said = '', power = '', expected = '') => {
    expect(poolProbabilities(said.split(',').map(Number), Number(power))).toBe(Number(expected));
  });

  it('does not depend on the order in which they are heard', () => {
    fc.assert(
      fc.property(several, exponent, fc.func(fc.nat()), (said, power, key) => {
        const shuffled = [...said].sort((a, b) => key(a) - key(b));
        expect(poolProbabilities(shuffled, power)).toBe(poolProbabilities(said, power));
        expect(poolExperts(shuffled)).toEqual(poolExperts(said));
      }),
    );
  });

  it('lies between the least and the greatest where it is not extremised', () => {
    fc.assert(
      fc.property(several, (said) => {
        const believed = said.map(clampProbability);
        const pool = poolProbabilities(said);
        expect(pool).toBeGreaterThanOrEqual(Math.min(...believed) - GRAIN);
        expect(pool).toBeLessThanOrEqual(Math.max(...believed) + GRAIN);
      }),
    );
  });

  it('never falls when one of them says more', () => {
    fc.assert(
      fc.property(several, exponent, probability, fc.nat(), (said, power, more, who) => {
        const index = who % said.length;
        const raised = said.map((p, i) => (i === index ? Math.max(p, more) : p));
        expect(poolProbabilities(raised, power)).toBeGreaterThanOrEqual(poolProbabilities(said, power));
        expect(poolExperts(raised).p).toBeGreaterThanOrEqual(poolExperts(said).p);
      }),
    );
  });

  it('takes in a new fact before or after pooling alike (external Bayesianity)', () => {
    const inside = fc.array(fc.double({ min: 0.05, max: 0.95, noNaN: true }), { minLength: 1, maxLength: 8 });
    const likelihood = fc.double({ min: 0.2, max: 5, noNaN: true });
    const updated = (p: number, ratio: number): number => {
      const odds = (p / (1 - p)) * ratio;
      return odds / (1 + odds);
    };
    fc.assert(
      fc.property(inside, likelihood, (said, ratio) => {
        const before = poolProbabilities(said.map((p) => updated(p, ratio)));
        expect(before).toBeCloseTo(updated(poolProbabilities(said), ratio), 4);
      }),
    );
  });

  it('of one expert is what the expert said, never extremised', () => {
    expect(poolExperts([0.9])).toMatchObject({ p: 0.9, geometricMean: 0.9, exponent: 1, n: 1 });
  });

  it('is extremised towards danger only: agreement on 6 % stays 6 %, on 60 % becomes more', () => {
    expect(poolExperts([0.06, 0.06, 0.06])).toMatchObject({ p: 0.06, exponent: EXTREMISING });
    const warned = poolExperts([0.6, 0.6, 0.6]);
    expect(warned.geometricMean).toBe(0.6);
    expect(warned.p).toBe(0.64753);
  });

  it('is told with median and quartiles', () => {
    expect(poolExperts([0.5, 0.1, 0.2, 0.3])).toMatchObject({
      median: 0.25,
      lowerQuartile: 0.175,
      upperQuartile: 0.35,
      n: 4,
    });
  });

  it('with a model lies between the two, and is exact where they agree', () => {
    fc.assert(
      fc.property(probability, probability, (a, b) => {
        const [low = 0, high = 0] = [clampProbability(a), clampProbability(b)].sort((x, y) => x - y);
        const pool = poolOfTwo(a, b);
        expect(pool).toBe(poolOfTwo(b, a));
        expect(pool).toBeGreaterThanOrEqual(low - GRAIN);
        expect(pool).toBeLessThanOrEqual(high + GRAIN);
      }),
    );
    expect(poolOfTwo(0.05, 0.05)).toBe(0.05);
    expect(poolOfTwo(0.01, 0.5)).toBe(0.091325);
  });
});

describe('quantiles', () => {
  it.each(
    rows(`
      quantiles                                    | probability of 4 | refused at
      []                                           | 0.3              | nowhere
      [{"p":0.5,"level":2.5}]                      | 0.3              | nowhere
      [{"p":0.5,"level":2.5},{"p":0.9,"level":4}]  | 0.1              | nowhere
      [{"p":0.9,"level":4.2}]                      | 0.1              | nowhere
      [{"p":0.9,"level":4.2}]                      | 0.05             | quantiles.0.level
      [{"p":0.9,"level":3.9}]                      | 0.2              | quantiles.0.level
      [{"p":0.5,"level":2},{"p":0.5,"level":3}]    | 0.1              | quantiles.1.p
      [{"p":0.5,"level":3},{"p":0.9,"level":2}]    | 0.1              | quantiles.1.level
    `).slice(1),
  )('%s with %s: %s', (quantiles = '', said = '', expected = '') => {
    expect(quantileProblem(JSON.parse(quantiles), Number(said), 4)?.path ?? 'nowhere').toBe(expected);
  });
});
