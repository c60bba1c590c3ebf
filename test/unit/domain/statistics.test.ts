/** Against published values: R's binom.test and qt, Newcombe (1998), and Chen et al. (2021). */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { dangerLimit, type Measured, type ScoreSpec } from '../../../src/domain/levels.ts';
import { betaQuantile, incompleteBeta, logGamma } from '../../../src/domain/statistics/beta.ts';
import { bootstrapMean } from '../../../src/domain/statistics/bootstrap.ts';
import { clopperPearson } from '../../../src/domain/statistics/clopper-pearson.ts';
import { clusteredMean, effectiveSamples } from '../../../src/domain/statistics/clustered-mean.ts';
import { newcombe, welchHalf } from '../../../src/domain/statistics/difference.ts';
import { passAll, passAny } from '../../../src/domain/statistics/pass-at-k.ts';
import { criticalValue, studentLimit } from '../../../src/domain/statistics/student.ts';
import { wilson } from '../../../src/domain/statistics/wilson.ts';

const Z95 = 1.959963984540054;

describe('the interval of Clopper and Pearson', () => {
  // binom.test(x, n)$conf.int
  test.each([
    [7, 20, 0.1539092, 0.5921885],
    [0, 30, 0, 0.1157033],
    [10, 10, 0.6915029, 1],
    [1, 100, 0.000253146, 0.0544593854],
    [682, 925, 0.7076683, 0.7654066],
  ])('%i of %i', (x, n, lower, upper) => {
    const interval = clopperPearson(x / n, n, Z95);
    expect(interval.lower).toBeCloseTo(lower, 6);
    expect(interval.upper).toBeCloseTo(upper, 6);
  });

  it('holds at a hundred thousand samples, where a fixed number of terms does not', () => {
    const { lower, upper } = clopperPearson(0.3, 100_000, Z95);
    const score = wilson(0.3, 100_000, Z95);
    expect(lower).toBeCloseTo(score.lower, 4);
    expect(upper).toBeCloseTo(score.upper, 4);
    expect(lower).toBeLessThan(score.lower);
  });

  it("is never narrower than Wilson's in the tail where nothing was found", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2_000 }), (n) => {
        expect(clopperPearson(0, n, Z95).upper).toBeGreaterThan(0);
        expect(clopperPearson(0, n, Z95).upper).toBeCloseTo(1 - Math.exp(Math.log(0.025) / n), 9);
      }),
    );
  });
});

describe('an interval of nothing observed', () => {
  test('is everything, and never no number', () => {
    expect(wilson(0, 0, Z95)).toEqual({ lower: 0, upper: 1 });
    expect(clopperPearson(0, 0, Z95)).toEqual({ lower: 0, upper: 1 });
    expect(newcombe({ proportion: 0, n: 0 }, { proportion: 0, n: 0 }, Z95)).toEqual({ lower: -1, upper: 1 });
  });
});

describe('the incomplete beta function', () => {
  // Binomial tails by exact fractions, and the arc sine law.
  test.each([
    [0.5, 2, 3, 0.6875],
    [0.1, 0.5, 0.5, 0.20483276469913345],
    [0.2, 10, 40, 0.5282957856733862],
  ])('I_%d(%d, %d)', (x, a, b, p) => {
    expect(incompleteBeta(x, a, b)).toBeCloseTo(p, 12);
  });

  it('is x itself where a and b are 1, and symmetric', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.001, max: 0.999, noNaN: true }),
        fc.double({ min: 0.1, max: 500, noNaN: true }),
        fc.double({ min: 0.1, max: 500, noNaN: true }),
        (x, a, b) => {
          expect(incompleteBeta(x, 1, 1)).toBeCloseTo(x, 12);
          expect(incompleteBeta(x, a, b) + incompleteBeta(1 - x, b, a)).toBeCloseTo(1, 10);
        },
      ),
    );
  });

  it('has its quantile for an inverse', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.001, max: 0.999, noNaN: true }),
        fc.double({ min: 0.5, max: 300, noNaN: true }),
        fc.double({ min: 0.5, max: 300, noNaN: true }),
        (p, a, b) => {
          // It is rounded to 1e-12, which is much of p where the density grows without bound (b below 1, near 1).
          const quantile = betaQuantile(p, a, b);
          expect(incompleteBeta(quantile - 1e-12, a, b)).toBeLessThanOrEqual(p + 1e-12);
          expect(incompleteBeta(quantile + 1e-12, a, b)).toBeGreaterThanOrEqual(p - 1e-12);
        },
      ),
    );
  });

  it('knows factorials', () => {
    expect(logGamma(1)).toBeCloseTo(0, 12);
    expect(logGamma(0.5)).toBeCloseTo(Math.log(Math.sqrt(Math.PI)), 12);
    expect(logGamma(11)).toBeCloseTo(Math.log(3_628_800), 11);
  });
});

describe("Student's limit", () => {
  // qt(0.975, df)
  test.each([
    [1, 12.7062],
    [2, 4.302653],
    [5, 2.570582],
    [30, 2.042272],
    [200, 1.971896],
  ])('with %i degrees of freedom', (df, t) => {
    expect(studentLimit(Z95, df)).toBeCloseTo(t, 4);
  });

  it('is that of the normal distribution for many clusters, and none for one', () => {
    expect(criticalValue(Z95, 5_000)).toBe(Z95);
    expect(criticalValue(Z95, 1)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("Newcombe's interval of a difference", () => {
  // Newcombe 1998, Statistics in Medicine 17, table II, method 10.
  test.each([
    [56, 70, 48, 80, 0.0524, 0.3339],
    [9, 10, 3, 10, 0.1705, 0.809],
    [6, 7, 2, 7, 0.0582, 0.8062],
    [5, 56, 0, 29, -0.0381, 0.1926],
    [0, 10, 0, 20, -0.1611, 0.2775],
    [0, 10, 0, 10, -0.2775, 0.2775],
    [10, 10, 0, 20, 0.6791, 1],
    [10, 10, 0, 10, 0.6075, 1],
  ])('%i/%i - %i/%i', (a, m, b, n, lower, upper) => {
    const interval = newcombe({ proportion: a / m, n: m }, { proportion: b / n, n }, Z95);
    expect(interval.lower).toBeCloseTo(lower, 4);
    expect(interval.upper).toBeCloseTo(upper, 4);
  });

  it("Welch's of means has fewer degrees of freedom where one arm carries the error", () => {
    const even = welchHalf({ stderr: 1, n: 10 }, { stderr: 1, n: 10 }, Z95);
    const uneven = welchHalf({ stderr: Math.sqrt(1.9), n: 4 }, { stderr: Math.sqrt(0.1), n: 16 }, Z95);
    expect(even).toBeCloseTo(2.100922 * Math.SQRT2, 4); // qt(0.975, 18)
    expect(uneven).toBeGreaterThan(even);
  });
});

describe('pass@k and pass^k', () => {
  // 1 - C(n-c, k) / C(n, k), by hand.
  test.each([
    [5, 0, 2, 0, 0],
    [5, 1, 1, 0.2, 0.2],
    [5, 2, 2, 0.7, 0.1],
    [10, 3, 5, 11 / 12, 0],
    [5, 5, 5, 1, 1],
    [3, 2, 3, 1, 0],
  ])('n %i, c %i, k %i', (n, c, k, any, all) => {
    expect(passAny(n, c, k)).toBeCloseTo(any, 12);
    expect(passAll(n, c, k)).toBeCloseTo(all, 12);
  });
});

describe('clusters', () => {
  const grouped = [
    { value: 1, cluster: 0 },
    { value: 1, cluster: 0 },
    { value: 0, cluster: 1 },
    { value: 0, cluster: 1 },
  ];

  it('have the textbook standard error', () => {
    // Two clusters with excess +1 and -1: sqrt(2 * 2 / 1) / 4.
    expect(clusteredMean(grouped)).toEqual({ mean: 0.5, stderr: 0.5, clusters: 2 });
    // Each its own cluster it is the usual s / sqrt(n).
    const alone = grouped.map(({ value }, cluster) => ({ value, cluster }));
    expect(clusteredMean(alone).stderr).toBeCloseTo(Math.sqrt(1 / 3) / 2, 12);
  });

  it('of identical epochs are worth as many samples as there are clusters', () => {
    const ten = Array.from({ length: 100 }, (_, i) => ({ value: i % 10 < 5 ? 1 : 0, cluster: i % 10 }));
    expect(effectiveSamples(0.5, clusteredMean(ten), 100)).toBeCloseTo(9, 9);
    const none = ten.map(({ cluster }) => ({ value: 0, cluster }));
    expect(effectiveSamples(0, clusteredMean(none), 100)).toBe(10);
  });
});

describe('the bootstrap', () => {
  const values = Array.from({ length: 60 }, (_, i) => ({ value: ((i * 7919) % 101) / 101, cluster: i }));

  it('draws the same from the same seed, and lies about where t does', () => {
    const interval = bootstrapMean(values, Z95, 7);
    expect(bootstrapMean(values, Z95, 7)).toEqual(interval);
    expect(bootstrapMean(values, Z95, 8)).not.toEqual(interval);
    const { mean, stderr } = clusteredMean(values);
    expect(interval.upper).toBeCloseTo(mean + 2 * stderr, 1);
    expect(interval.lower).toBeCloseTo(mean - 2 * stderr, 1);
  });

  it('does not claim a tail that it has not drawn', () => {
    const { mean, stderr } = clusteredMean(values);
    expect(bootstrapMean(values, 4, 7).upper).toBeGreaterThanOrEqual(mean + 4 * stderr);
  });
});

describe('the limit in the dangerous direction', () => {
  const rising: ScoreSpec = {
    chance: 0,
    best: 1,
    levels: { medium: 0.2, high: 0.5, critical: 0.8 },
    kind: 'proportion',
    range: [0, 1],
    stderrFloor: 0,
    elicitationMargin: 0,
  };
  const falling: ScoreSpec = {
    ...rising,
    chance: 1,
    best: 0,
    levels: { medium: 0.8, high: 0.5, critical: 0.2 },
  };
  const specs = [rising, falling].flatMap((spec): ScoreSpec[] => [
    spec,
    { ...spec, interval: 'clopper-pearson' },
    { ...spec, kind: 'mean' },
  ]);
  const danger = (spec: ScoreSpec, limit: number): number => (spec.best > spec.chance ? limit : -limit);

  it('never falls as more samples are lost', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...specs),
        fc.integer({ min: 0, max: 50 }),
        fc.integer({ min: 0, max: 60 }),
        fc.integer({ min: 1, max: 60 }),
        (spec, successes, lost, more) => {
          const one: Measured = { score: successes / 50, stderr: 0.05, n: 50, scored: 50, lost };
          const before = danger(spec, dangerLimit(one, spec, Z95));
          const after = danger(spec, dangerLimit({ ...one, lost: lost + more }, spec, Z95));
          expect(after).toBeGreaterThanOrEqual(before - 1e-12);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('counts each of them as a success among as many more', () => {
    const measured: Measured = { score: 10 / 90, stderr: null, n: 90, scored: 90, lost: 10 };
    expect(dangerLimit(measured, rising, Z95)).toBeCloseTo(wilson(0.2, 100, Z95).upper, 12);
    expect(dangerLimit({ ...measured, score: 80 / 90 }, falling, Z95)).toBeCloseTo(
      wilson(0.8, 100, Z95).lower,
      12,
    );
  });

  it('is wider for samples that depend on each other, and widest where they are one cluster', () => {
    const independent: Measured = { score: 0.3, stderr: null, n: 50 };
    const upper = (extra: Partial<Measured>) => dangerLimit({ ...independent, ...extra }, rising, Z95);
    expect(upper({ effectiveN: 10, clusters: 10 })).toBeGreaterThan(upper({ effectiveN: 10 }));
    expect(upper({ effectiveN: 10 })).toBeGreaterThan(upper({}));
    expect(upper({ effectiveN: 1, clusters: 1 })).toBeGreaterThan(0.99);
  });

  it('of a mean whose samples all agree still says how few they were', () => {
    const mean: ScoreSpec = { ...rising, kind: 'mean' };
    const agreed = (clusters: number) =>
      dangerLimit({ score: 0, stderr: 0, n: clusters, clusters }, mean, Z95);
    expect(agreed(30)).toBeCloseTo(wilson(0, 30, Z95).upper, 12);
    expect(agreed(300)).toBeLessThan(agreed(30));
  });

  it('that was sealed goes as far for another confidence as that is wider', () => {
    const mean: ScoreSpec = { ...rising, kind: 'mean' };
    const measured: Measured = {
      score: 0.3,
      stderr: 0.01,
      n: 50,
      interval: { z: 2, lower: 0.2, upper: 0.5 },
    };
    expect(dangerLimit(measured, mean, 2)).toBeCloseTo(0.5, 12);
    expect(dangerLimit(measured, mean, 3)).toBeCloseTo(0.6, 12);
    expect(dangerLimit({ ...measured }, { ...falling, kind: 'mean' }, 2)).toBeCloseTo(0.2, 12);
  });

  it("of a difference of shares is Newcombe's, lost samples against it", () => {
    const arm = (score: number, n: number): Measured => ({ score, stderr: null, n });
    const arms = { treatment: arm(56 / 70, 70), control: arm(48 / 80, 80) };
    const uplift: ScoreSpec = { ...rising, kind: 'mean', range: [-1, 1], armRange: [0, 1] };
    const measured: Measured = { score: 0.2, stderr: 0.07, n: 70, arms };
    expect(dangerLimit(measured, uplift, Z95)).toBeCloseTo(0.3339, 4);
    const lossy = dangerLimit({ ...measured, scored: 90, lost: 10 }, uplift, Z95);
    expect(lossy).toBeCloseTo(0.9 * 0.3339 + 0.1, 3);
  });
});
