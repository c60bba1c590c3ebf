/** The walk, the series it walks along, the baselines, and the words for shapes. */
import { describe, expect, it } from 'vitest';
import { type BacktestStep, backtest, backtestLine } from '../../../src/domain/forecast/backtest.ts';
import { type BacktestSeries, readSeries } from '../../../src/domain/forecast/backtest-series.ts';
import { lastAndJumps, lastValue, linearLastFour } from '../../../src/domain/forecast/baselines.ts';
import { quantileOf } from '../../../src/domain/forecast/quantile.ts';
import type { ForecastMethod, SkillForecast } from '../../../src/domain/forecast/score-forecast.ts';
import {
  isBenign,
  isJumpSeries,
  isSilentPlateau,
  isSingleMmluSubject,
} from '../../../src/domain/forecast/shapes.ts';
import { clusteredShare } from '../../../src/domain/statistics/clustered-share.ts';
import { normalCdf, normalQuantile } from '../../../src/domain/statistics/normal.ts';

function read(raw: object): BacktestSeries {
  const result = readSeries({ series_id: 's', ...raw }, 0);
  if (!result.ok) throw new Error(result.problems.join('; '));
  return result.series;
}

const seriesOf = (values: readonly number[], stderr: number | null = 0.01, more = {}): BacktestSeries =>
  read({ points: values.map((value, i) => ({ flop: 2 ** (60 + i), value, stderr, n: null })), ...more });

/** Uniform between two skills: quantiles can be read off. */
const uniform = (low: number, high: number): SkillForecast => ({
  basis: 'data',
  points: 0,
  notes: [],
  atLeast: (skill) => Math.min(1, Math.max(0, (high - skill) / (high - low))),
});

describe('a series', () => {
  it('comes in order of compute, in skill', () => {
    const { points } = read({
      chance: 0.5,
      points: [
        { flop: 8, value: 0.75, stderr: 0.02 },
        { flop: 2, value: 0.5, stderr: null },
        { flop: 4, value: 0.25, stderr: 0.01 },
      ],
    });
    expect(points.map(({ log2Compute, skill, stderr }) => [log2Compute, skill, stderr])).toEqual([
      [1, 0, null],
      [2, -0.5, 0.02],
      [3, 0.5, 0.04],
    ]);
  });

  it('averages what was measured twice at one compute, without becoming more certain', () => {
    const { points } = read({
      points: [
        { flop: 4, value: 0.2, stderr: 0.03, n: 100 },
        { flop: 2, value: 0.1, stderr: 0.01, n: 100 },
        { flop: 4, value: 0.4, stderr: 0.04, n: 50 },
        { flop: 4, value: 0.6, stderr: null },
      ],
    });
    expect(points).toHaveLength(2);
    expect(points[1]?.value).toBeCloseTo(0.4, 12);
    expect(points[1]?.stderr).toBeCloseTo(Math.sqrt((0.0009 + 0.0016) / 2), 12);
  });

  it.each([
    ['from n for a proportion', { value: 0.5, n: 100 }, 0.05],
    ['as stated before that', { value: 0.5, n: 100, stderr: 0.01 }, 0.01],
    ['not at all without either', { value: 0.5 }, null],
    ['not at all below 0, which is no proportion', { value: -0.1, n: 100 }, null],
  ])('has its sampling error %s', (_how, point, stderr) => {
    expect(read({ points: [{ flop: 1, ...point }] }).points[0]?.stderr).toBe(stderr);
  });
});

describe('the walk', () => {
  const spy = (seen: [number, number][]): ForecastMethod => ({
    method: 'spy/1',
    forecast: (history, horizon) => {
      seen.push([history.length, horizon]);
      return uniform(0, 1);
    },
  });

  it.each([
    [
      1,
      [2, 3, 4],
      [
        [2, 62],
        [3, 63],
        [4, 64],
      ],
    ],
    [
      2,
      [3, 4],
      [
        [2, 63],
        [3, 64],
      ],
    ],
    [3, [4], [[2, 64]]],
    [4, [], []],
  ])('%i ahead: targets, and what the method is given', (horizon, targets, given) => {
    const seen: [number, number][] = [];
    const method = spy(seen);
    const steps = [...backtest(seriesOf([0, 0.1, 0.2, 0.3, 0.4]), () => method, { horizon })];
    expect(steps.map(({ index }) => index)).toEqual(targets);
    expect(seen).toEqual(given);
  });

  it('asks for the method of the series\u2019 source', () => {
    const asked: (string | undefined)[] = [];
    for (const more of [{ source: 'a' }, {}]) {
      const walk = backtest(seriesOf([0, 0, 0], 0.01, more), (source) => {
        asked.push(source);
        return linearLastFour;
      });
      for (const _ of walk);
    }
    expect(asked).toEqual(['a', undefined]);
  });

  it.each([
    [0.05, 0.1],
    [0.5, 0.55],
    [0.95, 1],
    [0.99, 1],
  ])('the %f quantile of a uniform on [0.05, 1.05] is %f, inside what is possible', (p, wanted) => {
    expect(quantileOf(uniform(0.05, 1.05).atLeast, p, 0, 1)).toBeCloseTo(wanted, 9);
  });

  it('keeps a quantile at the least possible where the distribution lies below it', () => {
    expect(quantileOf(uniform(-1, -0.5).atLeast, 0.99, -0.25, 1)).toBe(-0.25);
  });

  const stepsOf = (values: readonly number[], predicted: SkillForecast, chance = 0): BacktestStep[] => [
    ...backtest(seriesOf(values, 0.01, { chance }), () => ({ method: 'm/1', forecast: () => predicted })),
  ];

  it.each([
    ['inside', 0.25, 0.25],
    ['at the best, halfway into what lies beyond', 1, (0.5 + 1) / 2],
    ['at the least, halfway into what lies below', 0, 0.125],
  ])('the PIT of what came %s', (_where, actual, wanted) => {
    const low = actual === 0 ? -0.5 : 0;
    const high = actual === 0 ? 1.5 : actual === 1 ? 2 : 1;
    expect(stepsOf([0, 0, actual], uniform(low, high))[0]?.pit).toBeCloseTo(wanted, 12);
  });

  it('a line is in score space', () => {
    const series = seriesOf([0.5, 0.5, 0.8], 0.01, { chance: 0.5 });
    const [step] = backtest(series, () => ({ method: 'm/1', forecast: () => uniform(0, 1) }));
    if (step === undefined) throw new Error('no step');
    const line = backtestLine(series, step);
    expect(line).toMatchObject({ series_id: 's', index: 2, flop: 2 ** 62, actual: 0.8, basis: 'data' });
    for (const [key, wanted] of Object.entries({ q05: 0.525, q50: 0.75, q95: 0.975, q99: 0.995, pit: 0.6 }))
      expect(Object.entries(line).find(([name]) => name === key)?.[1]).toBeCloseTo(wanted, 9);
  });
});

describe('the baselines', () => {
  const { points } = seriesOf([0.1, 0.2, 0.3, 0.4, 0.5], 0.02);
  const quantile = (method: ForecastMethod, p: number, history = points, at = 65): number => {
    const { forecast } = method;
    return quantileOf(forecast(history, at).atLeast, p, -10, 10);
  };

  it('last value: both measurements have their sampling error', () => {
    expect(quantile(lastValue, 0.5)).toBeCloseTo(0.5, 9);
    expect(quantile(lastValue, 0.95)).toBeCloseTo(0.5 + 1.6448536 * Math.SQRT2 * 0.02, 6);
  });

  it('linear: t with two degrees of freedom, no less noise than the sampling error', () => {
    // x = -1.5 .. 1.5, reach 2.5, sxx 5: scale = 0.02 sqrt(1 + 1/4 + 6.25/5); t(2) at 0.95 is 2.919986.
    expect(quantile(linearLastFour, 0.5)).toBeCloseTo(0.6, 9);
    expect(quantile(linearLastFour, 0.95)).toBeCloseTo(0.6 + 2.919986 * 0.02 * Math.sqrt(2.5), 6);
  });

  it('linear: residuals where they are larger', () => {
    // 0, 1, 0, 1 at x = 0..3: slope 0.2, residuals -0.2, 0.6, -0.6, 0.2, rss 0.8, variance 0.4.
    const history = seriesOf([0, 1, 0, 1], 0).points;
    const scale = Math.sqrt(0.4 * 2.5);
    expect(quantile(linearLastFour, 0.5, history, 64)).toBeCloseTo(1, 9);
    expect(quantile(linearLastFour, 0.95, history, 64)).toBeCloseTo(1 + 2.919986 * scale, 5);
  });

  it('linear through two points has one degree of freedom', () => {
    // x = -0.5, 0.5, reach 1.5, sxx 0.5; t(1) at 0.95 is 6.313752.
    const two = points.slice(-2);
    expect(quantile(linearLastFour, 0.95, two, 65)).toBeCloseTo(0.6 + 6.313752 * 0.02 * Math.sqrt(6), 5);
  });

  it('last and jumps: one past rise in two is one chance in two', () => {
    const history = seriesOf([0.1, 0.1, 0.5], null).points;
    const { atLeast } = lastAndJumps.forecast(history, 63);
    expect(atLeast(0.7)).toBeCloseTo(0.5, 6);
    expect(atLeast(0.9)).toBeCloseTo(0.25, 6);
    // Two checkpoints ahead a rise may come twice.
    expect(lastAndJumps.forecast(history, 64).atLeast(1.2)).toBeCloseTo(0.5, 6);
  });

  it('last and jumps: a fall is no rise', () => {
    const { atLeast } = lastAndJumps.forecast(seriesOf([0.5, 0.3, 0.1], null).points, 63);
    expect(atLeast(0.1)).toBeCloseTo(0.5, 9);
  });

  it.each([lastValue, linearLastFour, lastAndJumps])('$method of no point is uniform', ({ forecast }) => {
    expect([0, 0.25, 1].map(forecast([], 60).atLeast)).toEqual([1, 0.75, 0]);
  });
});

describe('a silent plateau', () => {
  it.each([
    ['exactly at chance', [0, 0, 0, 0], 0, true],
    ['noise around chance', [0.01, -0.02, 0.015, 0], 0.02, true],
    ['beyond 0.05 but within 3 standard errors', [0.1, -0.08, 0.02, 0.05], 0.04, true],
    ['beyond both', [0, 0, 0.07], 0.02, false],
    ['below chance by as much', [0, 0, -0.07], 0.02, false],
    ['near chance with a rise that noise does not make', [0, 0.01, 0.02, 0.03, 0.04], 0.001, false],
    ['near chance, falling', [0.04, 0.03, 0.02, 0.01], 0.001, true],
    ['a slope of 0.01 per doubling with errors of 0.02', [0, 0.01, 0.02, 0.03, 0.04], 0.02, true],
    ['two points apart by more than their errors', [0, 0.04], 0.01, false],
    ['two points apart by their errors', [0, 0.02], 0.01, true],
    ['unknown errors, a straight rise', [0, 0.01, 0.02], null, false],
  ])('%s', (_what, values, stderr, wanted) => {
    expect(isSilentPlateau(seriesOf(values, stderr).points)).toBe(wanted);
  });
});

describe('shapes', () => {
  it.each([
    ['one large step among small ones', [0, 0.01, 0.02, 0.4, 0.41], 0.01, true],
    ['below 0.15', [0, 0.01, 0.02, 0.16, 0.17], 0.01, false],
    ['less than three times the median other step', [0, 0.1, 0.2, 0.4, 0.5], 0.001, false],
    ['less than four standard errors', [0, 0.01, 0.02, 0.22, 0.23], 0.04, false],
    ['a fall', [0.5, 0.5, 0.1, 0.1], 0.01, false],
  ])('jump: %s', (_what, values, stderr, wanted) => {
    expect(isJumpSeries(seriesOf(values, stderr))).toBe(wanted);
  });

  it('a rise over more than 1.75 doublings is no jump', () => {
    const at = (log2: number, value: number) => ({ flop: 2 ** log2, value, stderr: 0.001 });
    const upTo = (log2: number) =>
      isJumpSeries(read({ points: [at(60, 0), at(61, 0.01), at(62, 0.02), at(log2, 0.5)] }));
    expect([upTo(63.7), upTo(63.8)]).toEqual([true, false]);
  });

  it.each([
    ['flat', [0, 0.01, 0], true],
    ['gradual', [0.1, 0.2, 0.3, 0.4], true],
    ['too high', [0.4, 0.45], false],
    ['a step up', [0, 0.16], false],
    ['a step down', [0.3, 0.14], false],
  ])('benign: %s', (_what, values, wanted) => {
    expect(isBenign(seriesOf(values))).toBe(wanted);
  });

  it.each([
    ['pythia', 'mmlu_anatomy', true],
    ['pythia', 'mmlu_avg_stem', false],
    ['pythia', 'piqa', false],
    ['olmo_ladder', 'mmlu_stem_test', false],
    [undefined, 'mmlu_anatomy', false],
  ])('single MMLU subject: %s %s', (source, task, wanted) => {
    expect(isSingleMmluSubject({ source, task })).toBe(wanted);
  });
});

describe('a share in clusters', () => {
  const answers = (clusters: readonly (readonly number[])[]) =>
    clusters.flatMap((cluster, c) => cluster.map((yes) => ({ yes: yes === 1, cluster: `c${c}` })));
  const of = (clusters: readonly (readonly number[])[]) =>
    clusteredShare(
      answers(clusters),
      ({ yes }) => yes,
      ({ cluster }) => cluster,
    );

  it('by hand: three clusters of four', () => {
    // Excess over 0.5 in each: 2, 0, -2; variance = 8 * 3/2 / 144; t(2) at 0.975 is 4.302653.
    const share = of([
      [1, 1, 1, 1],
      [1, 1, 0, 0],
      [0, 0, 0, 0],
    ]);
    expect(share).toMatchObject({ share: 0.5, clusters: 3, low: 0, high: 1 });
  });

  it('by hand: nine clusters that agree more', () => {
    // Nine clusters of ten; five have 9 yes, four have 8: mean 77/90, excess 4/9 and -5/9.
    const cluster = (yes: number): number[] => Array.from({ length: 10 }, (_, i) => (i < yes ? 1 : 0));
    const { share, low, high } = of([9, 9, 9, 9, 9, 8, 8, 8, 8].map(cluster));
    const stderr = Math.sqrt(((5 * 16 + 4 * 25) / 81) * (9 / 8)) / 90;
    expect(share).toBeCloseTo(77 / 90, 12);
    expect(low).toBeCloseTo(77 / 90 - 2.306004 * stderr, 6);
    expect(high).toBeCloseTo(77 / 90 + 2.306004 * stderr, 6);
  });

  it('one cluster says nothing of the scatter', () => {
    expect(of([[1, 1, 0]])).toMatchObject({ clusters: 1, low: 0, high: 1 });
  });
});

describe('the normal distribution', () => {
  it.each([1e-300, 1e-15, 1e-5, 0.025, 0.3, 0.5, 0.7, 0.95, 0.99999])('at its %d quantile is that', (p) => {
    expect(normalCdf(normalQuantile(p)) / p).toBeCloseTo(1, 7);
  });

  it('rises, from 0 to 1', () => {
    expect([normalCdf(-40), normalCdf(40), normalCdf(-Infinity), normalCdf(Infinity)]).toEqual([0, 1, 0, 1]);
    let before = 0;
    for (let z = -39; z < 39; z += 0.01) {
      expect(normalCdf(z)).toBeGreaterThanOrEqual(before);
      before = normalCdf(z);
    }
  });
});
