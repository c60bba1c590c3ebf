/** The metrics on forecasts that can be judged by hand. */
import { describe, expect, it } from 'vitest';
import { backtest } from '../../../src/domain/forecast/backtest.ts';
import { readSeries } from '../../../src/domain/forecast/backtest-series.ts';
import { type BagSeries, bagTrips, greatest, sumBound } from '../../../src/domain/forecast/bags.ts';
import {
  coverageTable,
  crossingForecasts,
  crossings,
  falseAlarms,
  type Judged,
  judge,
  losses,
  meanOverSources,
  POOLED_SOURCE,
  pinballLoss,
  pitHistogram,
  reliability,
  rises,
  warningProbability,
  worstMisses,
} from '../../../src/domain/forecast/metrics.ts';
import type { SkillForecast } from '../../../src/domain/forecast/score-forecast.ts';
import { createRandom } from '../../simulation/random.ts';

const one = (more: Partial<Judged>): Judged => ({
  seriesId: 's',
  source: 'a',
  model: 'm',
  index: 5,
  last: 0.2,
  actual: 0.2,
  q05: 0.1,
  q50: 0.2,
  q95: 0.4,
  q99: 0.6,
  pit: 0.5,
  basis: 'data',
  reaching: [0.9, 0.2, 0.03, 0.005],
  isSilent: false,
  isSingleSubject: false,
  isOfJumpSeries: false,
  ...more,
});

describe('pinball loss', () => {
  it.each([
    [0.95, 0.4, 0.5, 0.095],
    [0.95, 0.4, 0.2, 0.01],
    [0.99, 0.6, 0.7, 0.099],
    [0.99, 0.6, 0.1, 0.005],
    [0.5, 0.2, 0.6, 0.2],
    [0.5, 0.2, 0.2, 0],
  ])('at %f, said %f, came %f', (p, quantile, actual, wanted) => {
    expect(pinballLoss(p, quantile, actual)).toBeCloseTo(wanted, 12);
  });
});

describe('figures', () => {
  // Source a: 0.2 twice and 0.5; source b: 0.7 alone, which counts as much as all of a.
  const judged = [one({}), one({}), one({ actual: 0.5 }), one({ source: 'b', actual: 0.7 })];

  it('are means over sources of means over forecasts', () => {
    expect(meanOverSources(judged, ({ actual }) => actual)).toBeCloseTo((0.3 + 0.7) / 2, 12);
    const figures = losses(judged);
    expect(figures.forecasts).toBe(4);
    // a: (0.01 + 0.01 + 0.095) / 3, b: 0.285.
    expect(figures.pinball95).toBeCloseTo((0.115 / 3 + 0.285) / 2, 12);
    // a: (0.004 + 0.004 + 0.001) / 3, b: 0.099.
    expect(figures.pinball99).toBeCloseTo((0.003 + 0.099) / 2, 12);
    // a: (0 + 0 + 0.15) / 3, b: 0.25.
    expect(figures.pinball50).toBeCloseTo((0.05 + 0.25) / 2, 12);
    expect(figures.coverage95).toBeCloseTo((2 / 3 + 0) / 2, 12);
    expect(figures.coverage99).toBeCloseTo((1 + 0) / 2, 12);
  });

  it('of nothing are not numbers rather than zero', () => {
    expect(losses([])).toMatchObject({ forecasts: 0, pinball95: Number.NaN, coverage95: Number.NaN });
  });

  it('a bound is covered by what comes exactly at it', () => {
    expect(losses([one({ actual: 0.4 })]).coverage95).toBe(1);
    expect(losses([one({ actual: 0.4 + 1e-6 })]).coverage95).toBe(0);
  });

  it('rises: large ones only, within the bounds or not', () => {
    const large = [
      one({ last: 0.2, actual: 0.35 }),
      one({ last: 0.2, actual: 0.5 }),
      one({ last: 0.2, actual: 0.9, source: 'b' }),
      one({ last: 0.2, actual: 0.349 }),
      one({ last: 0.6, actual: 0.2 }),
    ];
    const { count, ...shares } = rises(large);
    expect(count).toBe(3);
    expect(shares.covered95).toBeCloseTo((0.5 + 0) / 2, 12);
    expect(shares.covered99).toBeCloseTo((1 + 0) / 2, 12);
    expect(shares.pooled95).toBeCloseTo(1 / 3, 12);
    expect(shares.pooled99).toBeCloseTo(2 / 3, 12);
  });

  it('the PIT histogram sums to one and knows its ends', () => {
    const histogram = pitHistogram([0, 0.05, 0.1, 0.95, 1].map((pit) => one({ pit })));
    expect(histogram.map((share) => Math.round(share * 5))).toEqual([2, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
  });

  it('the worst misses: above the 99% bound, one of each series, the worst first', () => {
    const found = worstMisses([
      one({ seriesId: 'x', actual: 0.7 }),
      one({ seriesId: 'x', actual: 0.8 }),
      one({ seriesId: 'y', actual: 0.9 }),
      one({ seriesId: 'z', actual: 0.6 }),
    ]);
    expect(found.map(({ seriesId, actual }) => [seriesId, actual])).toEqual([
      ['y', 0.9],
      ['x', 0.8],
    ]);
  });
});

describe('coverage by source', () => {
  it('pools small sources, and tells early from late', () => {
    const many = (source: string, count: number, more: Partial<Judged> = {}): Judged[] =>
      Array.from({ length: count }, (_, i) =>
        one({ source, model: `m${i % 4}`, index: 2 + (i % 6), ...more }),
      );
    const rows = coverageTable([
      ...many('big', 200),
      ...many('small', 60),
      ...many('tiny', 60, { actual: 0.5 }),
    ]);
    expect(rows.map(({ source, when, forecasts }) => [source, when, forecasts])).toEqual([
      ['big', 'all', 200],
      ['big', 'early', 101],
      ['big', 'late', 99],
      [POOLED_SOURCE, 'all', 120],
      [POOLED_SOURCE, 'early', 60],
      [POOLED_SOURCE, 'late', 60],
    ]);
    const pooled = rows.find(({ source, when }) => source === POOLED_SOURCE && when === 'all');
    expect(pooled?.upper95.share).toBe(0.5);
    expect(pooled?.upper99.share).toBe(1);
    // Models of one name in two sources are two models.
    expect(pooled?.upper95.clusters).toBe(8);
  });
});

describe('crossings', () => {
  it('are asked for only where the last point was below', () => {
    const forecasts = crossingForecasts([one({ last: 0.2, actual: 0.55, isSilent: true })]);
    expect(forecasts).toEqual([
      { source: 'a', threshold: 0.3, probability: 0.2, isCrossed: true, isSilent: true },
      { source: 'a', threshold: 0.5, probability: 0.03, isCrossed: true, isSilent: true },
      { source: 'a', threshold: 0.7, probability: 0.005, isCrossed: false, isSilent: true },
    ]);
  });

  const forecast = (probability: number, isCrossed: boolean, source = 'a', isSilent = false) => ({
    source,
    threshold: 0.3,
    probability,
    isCrossed,
    isSilent,
  });
  const ten = [
    forecast(0.9, true),
    forecast(0.8, false),
    forecast(0.7, true),
    forecast(0.6, false),
    forecast(0.5, true),
    ...[0.4, 0.3, 0.2, 0.1, 0.05].map((p) => forecast(p, false)),
  ];

  it.each([
    ['one false alarm in ten: everything above the second quiet one', 0.1, 0.7, 0.1],
    ['two in ten', 0.2, 0.5, 0.2],
    ['none', 0, 0.9, 0],
    ['nine in ten: everything may warn', 0.9, 0, 0.7],
  ])('the probability to warn from: %s', (_what, share, wanted, alarms) => {
    const from = warningProbability(ten, share);
    expect(from).toBe(wanted);
    expect(falseAlarms(ten, from)).toBeCloseTo(alarms, 12);
  });

  it('equal probabilities warn together or not at all', () => {
    const tied = [forecast(0.9, true), ...Array.from({ length: 9 }, () => forecast(0.5, false))];
    expect(warningProbability(tied, 0.1)).toBe(0.9);
    const allTied = Array.from({ length: 10 }, (_, i) => forecast(0.5, i === 0));
    expect(warningProbability(allTied, 0.1)).toBe(Number.POSITIVE_INFINITY);
    expect(crossings(allTied, Number.POSITIVE_INFINITY)).toMatchObject({ warned: 0, falseAlarms: 0 });
  });

  it('a small source weighs as much as a large one', () => {
    // One quiet forecast of b is half of all false alarms there can be.
    const mixed = [...ten, forecast(0.95, false, 'b'), forecast(0.01, false, 'b')];
    expect(falseAlarms(mixed, 0.95)).toBeCloseTo(0.25, 12);
    expect(warningProbability(mixed, 0.1)).toBe(Number.POSITIVE_INFINITY);
    expect(warningProbability(mixed, 0.25)).toBe(0.9);
  });

  it('the share warned, over sources and of all, from a plateau or not', () => {
    const mixed = [...ten, forecast(0.1, true, 'b', true)];
    expect(crossings(mixed, 0.7)).toMatchObject({ count: 4, forecasts: 11, pooled: 0.5 });
    expect(crossings(mixed, 0.7).warned).toBeCloseTo((2 / 3 + 0) / 2, 12);
    expect(crossings(mixed, 0.7, ({ isSilent }) => isSilent)).toMatchObject({ count: 1, warned: 0 });
  });

  it('reliability: what came beside what was said', () => {
    const bins = reliability([
      forecast(0.1, false),
      forecast(0.15, true),
      forecast(1, true),
      forecast(0, false),
    ]);
    expect(bins).toEqual([
      { from: 0, to: 0.005, forecasts: 1, stated: 0, came: 0 },
      { from: 0.1, to: 0.2, forecasts: 2, stated: 0.125, came: 0.5 },
      { from: 0.9, to: 1, forecasts: 1, stated: 1, came: 1 },
    ]);
  });
});

describe('bags of benign series', () => {
  const constant = (p: number): SkillForecast => ({ basis: 'data', points: 0, notes: [], atLeast: () => p });
  const benign = (source: string, length: number, p: (points: number) => number): BagSeries => ({
    source,
    members: new Map(
      Array.from({ length }, (_, i) => [
        i + 2,
        { source, history: [], forecast: constant(p(i + 2)), horizonLog2Compute: 60 },
      ]),
    ),
  });
  const options = { random: createRandom(1).next, bagsPerSource: 20 };

  it('trip where the eight probabilities add up to 5%', () => {
    const nine = Array.from({ length: 9 }, () => benign('a', 8, (points) => (points <= 5 ? 0.00625 : 0.006)));
    expect(bagTrips(nine, options)).toEqual([{ source: 'a', series: 9, bags: 20, early: 1, late: 0 }]);
  });

  it('trip as the joint model says', () => {
    const nine = Array.from({ length: 9 }, () => benign('a', 8, () => 0.03));
    expect(bagTrips(nine, { ...options, categoryAtLeast: sumBound })[0]).toMatchObject({ early: 1, late: 1 });
    expect(bagTrips(nine, { ...options, categoryAtLeast: greatest })[0]).toMatchObject({ early: 0, late: 0 });
  });

  it('give a joint model eight members of one source, each time', () => {
    const sizes = new Set<number>();
    const two = ['a', 'b'].flatMap((source) =>
      Array.from({ length: 10 }, (_, i) => benign(source, 3 + i, () => (source === 'a' ? 0.1 : 0.2))),
    );
    bagTrips(two, {
      ...options,
      categoryAtLeast: (members) => {
        sizes.add(members.length);
        expect(new Set(members.map(({ forecast }) => forecast.atLeast(0))).size).toBe(1);
        return 0;
      },
    });
    expect([...sizes]).toEqual([8]);
  });

  it('need eight series', () => {
    const seven = Array.from({ length: 7 }, () => benign('a', 8, () => 0));
    expect(bagTrips(seven, options)).toEqual([]);
  });

  it('are the same for the same seed', () => {
    const some = Array.from({ length: 30 }, (_, i) => benign('a', 3 + (i % 9), () => i / 4000));
    const draw = (seed: number) => bagTrips(some, { random: createRandom(seed).next });
    expect(draw(5)).toEqual(draw(5));
    expect(draw(5)).not.toEqual(draw(6));
  });
});

describe('judging a step', () => {
  it('keeps what the figures need', () => {
    const read = readSeries(
      {
        series_id: 'x/y',
        source: 'pythia',
        task: 'mmlu_law',
        points: [0, 0, 0.4].map((value, i) => ({ flop: 2 ** i, value, stderr: 0.01 })),
      },
      0,
    );
    if (!read.ok) throw new Error('unreadable');
    const uniform = (): SkillForecast => ({
      ...{ basis: 'mixed', points: 2, notes: [] },
      atLeast: (x) => 1 - x,
    });
    const steps = backtest(read.series, () => ({ method: 'u/1', forecast: uniform }));
    expect(judge(read.series, steps)).toMatchObject([
      {
        seriesId: 'x/y',
        source: 'pythia',
        model: 'x/y',
        index: 2,
        last: 0,
        actual: 0.4,
        q50: expect.closeTo(0.5, 9),
        pit: expect.closeTo(0.4, 9),
        basis: 'mixed',
        reaching: [0.15, 0.3, 0.5, 0.7].map((x) => expect.closeTo(1 - x, 12)),
        isSilent: true,
        isSingleSubject: true,
        isOfJumpSeries: true,
      },
    ]);
  });
});
