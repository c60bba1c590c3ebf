/** The fit of the forecasting method: a search that finds, a vector that loses nothing, sources that stay unseen. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BacktestSeries, readSeries } from '../../src/domain/forecast/backtest-series.ts';
import { BASELINES } from '../../src/domain/forecast/baselines.ts';
import { multiProcess } from '../../src/domain/forecast/multi-process.ts';
import { PARAMETERS } from '../../src/domain/forecast/parameters.ts';
import { drawn, fitParameters, leavingOut, relativeLoss, sourcesOf } from '../forecast/fitting.ts';
import { crossValidated, LeftOutSchema } from '../forecast/left-out.ts';
import { ParametersSchema, parametersOf, rounded, START, vectorOf } from '../forecast/parameter-vector.ts';
import { patternSearch } from '../forecast/pattern-search.ts';
import { synthetic } from '../forecast/synthetic.ts';

describe('the pattern search', () => {
  it('finds the floor of a valley that lies askew', () => {
    const valley = ([x = 0, y = 0]: readonly number[]): number => 10 * (x - y - 1) ** 2 + (x + y - 3) ** 2;
    const { at, least } = patternSearch(valley, [-3, 5], { rounds: 40, step: 0.5 });
    expect(least).toBeLessThan(1e-3);
    expect(at[0]).toBeCloseTo(2, 1);
    expect(at[1]).toBeCloseTo(1, 1);
  });

  it('never ends above where it began, and says the value of where it ends', () => {
    const value = fc.double({ min: -5, max: 5, noNaN: true });
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 4 }), value, (from, centre) => {
        const of = (at: readonly number[]): number =>
          at.reduce((sum, x, i) => sum + Math.abs(x - centre * i), 0);
        const { at, least } = patternSearch(of, from, { rounds: 5, step: 0.5 });
        expect(least).toBeLessThanOrEqual(of(from));
        expect(of(at)).toBe(least);
      }),
    );
  });

  it('does not go where there is no value', () => {
    const of = ([x = 0]: readonly number[]): number => (x > 1 ? Number.NaN : -x);
    expect(patternSearch(of, [0], { rounds: 20, step: 0.5 }).at[0]).toBeLessThanOrEqual(1);
  });
});

describe('parameters as a vector', () => {
  it.each([
    ['the served ones', PARAMETERS],
    ['the start', START],
  ])('come back as they were: %s', (_, parameters) => {
    expect(ParametersSchema.parse(parameters)).toEqual(parameters);
    expect(rounded(parametersOf(vectorOf(parameters), parameters))).toEqual(rounded(parameters));
  });

  it('are possible ones wherever the vector is', () => {
    const anywhere = vectorOf(START).map(() => fc.double({ min: -8, max: 8, noNaN: true }));
    fc.assert(
      fc.property(fc.tuple(...anywhere), (vector) => {
        const parameters = parametersOf(vector, START);
        ParametersSchema.parse(parameters);
        expect(parameters.kinds.at(-1)).toEqual(START.kinds.at(-1));
      }),
    );
  });

  it('refuses a vector of another length', () => {
    expect(() => parametersOf(vectorOf(START).slice(1), START)).toThrow('too short');
    expect(() => parametersOf([...vectorOf(START), 0], START)).toThrow('too long');
  });
});

const few = synthetic().filter((_, i) => i % 12 === 0);

describe('the fit', () => {
  it('is the same again, and no worse than its start', () => {
    const first = fitParameters(few, { rounds: 1 });
    expect(fitParameters(few, { rounds: 1 })).toEqual(first);
    expect(first.loss).toBeLessThan(first.lossAtStart);
    const { parameters, loss } = first;
    expect(relativeLoss(few)(multiProcess('fit', parameters))).toBeLessThanOrEqual(loss);
  }, 60_000);

  it('does not see the source that is left out', () => {
    const rest = leavingOut(few, 'jump');
    expect(sourcesOf(few)).toContain('jump');
    expect(sourcesOf(rest)).not.toContain('jump');
    expect(rest).toHaveLength(few.filter(({ source }) => source !== 'jump').length);
  });

  it('counts every source the same, however many series it has', () => {
    const [one] = few;
    if (one === undefined) throw new Error('no series');
    const method = multiProcess('start', START);
    const twice = few.flatMap((series) => (series.source === one.source ? [series, series] : [series]));
    expect(relativeLoss(twice)(method)).toBeCloseTo(relativeLoss(few)(method), 12);
  });

  it('loses 1 where it is the best baseline', () => {
    const own = few.filter(({ source }) => source === 'jump');
    const lossOf = relativeLoss(own);
    const losses = BASELINES.map((baseline) => lossOf(baseline));
    // The best at one quantile need not be the best at the other.
    expect(Math.min(...losses)).toBeGreaterThanOrEqual(1);
    expect(Math.min(...losses)).toBeLessThan(1.2);
  });

  it('draws at most sixty series of a source, the same ones each time', () => {
    const many = synthetic().map((series): BacktestSeries => ({ ...series, source: 'one' }));
    expect(drawn(many)).toHaveLength(60);
    expect(new Set(drawn(many).map(({ id }) => id)).size).toBe(60);
    expect(drawn(many)).toEqual(drawn(many));
    expect(drawn(few)).toHaveLength(few.length);
  });
});

describe('cross-validation', () => {
  const found = LeftOutSchema.parse([
    { leftOut: 'a', lossAtStart: 1, loss: 0.9, parameters: START },
    { leftOut: 'b', lossAtStart: 1, loss: 0.9, parameters: PARAMETERS },
  ]);
  const points = [0.1, 0.2, 0.3].map((value, i) => ({ flop: 2 ** (60 + i), value, n: 100 }));
  const read = readSeries({ series_id: 's', points }, 0);

  it('judges each source by the parameters that have not seen it, and none that was in every fit', () => {
    if (!read.ok) throw new Error(read.problems.join());
    const { methodFor } = crossValidated(found);
    const at = (source: string): number => methodFor(source).forecast(read.series.points, 63).atLeast(0.5);
    expect(at('a')).not.toBe(at('b'));
    expect(() => methodFor('c')).toThrow('no fit leaves c out');
    expect(() => methodFor(undefined)).toThrow('no fit leaves');
  });
});
