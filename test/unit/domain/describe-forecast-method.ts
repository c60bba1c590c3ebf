/**
 * What every forecasting method owes to whoever relies on it, as properties over the seam.
 *
 * INTERLOCK_FORECAST_CASES is the number of cases over all methods and properties (100,000 unless it is set); each has
 * a share, and never fewer than CASES_MIN.
 * Widths are compared where the scale does not end: a band that is cut off at the best score is narrower for a reason
 * that is none of the method's. The tolerances, in skill, are for mixtures: where noise or distance moves the median
 * of one component through the other, the distance between two quantiles may shrink a little although every component
 * has become wider.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EvaluationHistory, forecastCategory } from '../../../src/domain/forecast/category-forecast.ts';
import { quantileOf } from '../../../src/domain/forecast/quantile.ts';
import type {
  ForecastMethod,
  SkillForecast,
  SkillPoint,
} from '../../../src/domain/forecast/score-forecast.ts';

const CASES = Number(process.env['INTERLOCK_FORECAST_CASES'] ?? 100_000);
const CASES_MIN = 500;
const TIMEOUT_MS = 300_000;

export const PROPERTIES = [
  'finite for every finite input',
  'falls',
  'quantiles never cross',
  'noise never narrows',
  'further ahead never narrower',
  'monotone in the elicitation margin',
  'order of evaluations does not matter',
  'the same again',
] as const;
export type PropertyName = (typeof PROPERTIES)[number];

export interface MethodPromises {
  readonly method: ForecastMethod;
  /** Properties that the method is known not to have, each with the reason. */
  readonly except?: Partial<Record<PropertyName, string>>;
  readonly tolerance?: { readonly noise?: number; readonly horizon?: number };
  /** Of all cases. */
  readonly casesShare?: number;
}

/** log2 of what compute may be in FLOP, from 1e-6 to 1e40. */
const LOG2_MIN = -20;
const LOG2_MAX = 133;

const anyFinite = fc.double({ noNaN: true, noDefaultInfinity: true });
const anyError = fc.option(fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }), { nil: null });

/** Whatever numbers can be, in order of compute. */
const wildHistory = fc
  .array(
    fc.record({
      log2Compute: fc.double({ min: LOG2_MIN, max: LOG2_MAX, noNaN: true }),
      skill: anyFinite,
      stderr: anyError,
    }),
    { maxLength: 16 },
  )
  .map((points) => points.sort((a, b) => a.log2Compute - b.log2Compute));

/** What evaluations give: walks, plateaus, S-shaped rises and jumps, with sampling error or without. */
export const skillHistory: fc.Arbitrary<SkillPoint[]> = fc
  .record({
    kind: fc.constantFrom('walk', 'plateau', 'logistic', 'jump'),
    start: fc.double({ min: -0.2, max: 1, noNaN: true }),
    rate: fc.double({ min: 0, max: 0.3, noNaN: true }),
    at: fc.double({ min: 0, max: 20, noNaN: true }),
    stderr: fc.option(fc.double({ min: 0, max: 0.08, noNaN: true }), { nil: null }),
    steps: fc.array(
      fc.record({
        doublings: fc.double({ min: 0.2, max: 2.5, noNaN: true }),
        shock: fc.double({ min: -1, max: 1, noNaN: true }),
      }),
      { maxLength: 15 },
    ),
  })
  .map(({ kind, start, rate, at, stderr, steps }) => {
    let log2Compute = 60;
    let walked = start;
    return steps.map(({ doublings, shock }) => {
      log2Compute += doublings;
      const gone = log2Compute - 60;
      walked += rate * shock;
      const truth = {
        walk: walked,
        plateau: 0,
        logistic: 1 / (1 + Math.exp(-5 * rate * (gone - at))),
        jump: gone < at ? 0 : Math.max(0.2, start),
      }[kind];
      const skill = Math.min(1, Math.max(-0.4, truth + (stderr ?? 0.01) * shock));
      return { log2Compute, skill, stderr };
    });
  });

const ahead = fc.double({ min: 0.1, max: 4, noNaN: true });
const horizonOf = (history: readonly SkillPoint[], doublings: number): number =>
  (history.at(-1)?.log2Compute ?? 60) + doublings;

/** Far beyond what skill can be: nothing is cut off. */
const openQuantile = (forecast: SkillForecast, p: number): number => quantileOf(forecast.atLeast, p, -20, 20);

const map = { chance: 0.1, best: 1, levels: { medium: 0.3, high: 0.5, critical: 0.8 } };
const LEVELS = [1.5, 2, 2.5, 3, 3.5, 4, 4.5];

const evaluation = (
  name: string,
  points: readonly SkillPoint[],
  elicitationMargin: number,
): EvaluationHistory => ({
  name,
  kind: 'mean',
  map,
  elicitationMargin,
  points: points.map(({ log2Compute, skill, stderr }) => ({
    log2Compute,
    score: map.chance + (map.best - map.chance) * skill,
    stderr,
    n: 100,
  })),
});

export function describeForecastMethod({
  method,
  except = {},
  tolerance: { noise: noiseTolerance = 1e-6, horizon: horizonTolerance = 1e-6 } = {},
  casesShare = 1,
}: MethodPromises): void {
  const { forecast } = method;
  const share = (of: number): { numRuns: number } => ({
    numRuns: Math.max(CASES_MIN, Math.round(CASES * casesShare * of)),
  });
  const property = (name: PropertyName, check: () => void): void => {
    const reason = except[name];
    if (reason === undefined) it(name, check, TIMEOUT_MS);
    // A property that has come to hold must not stay on the list of exceptions.
    else it(`is known not to have: ${name} (${reason})`, () => expect(check).toThrow(), TIMEOUT_MS);
  };

  describe(`${method.method} as a forecasting method`, () => {
    property('finite for every finite input', () => {
      fc.assert(
        fc.property(
          wildHistory,
          fc.double({ min: 0, max: 20, noNaN: true }),
          anyFinite,
          (history, more, skill) => {
            const { atLeast, points, basis, notes } = forecast(history, horizonOf(history, more));
            let before = 1;
            for (const x of [skill, 0, 0.5, 1, ...history.map((point) => point.skill)].sort(
              (a, b) => a - b,
            )) {
              const p = atLeast(x);
              if (!(p >= 0 && p <= before + 1e-12))
                throw new Error(`P(skill >= ${x}) is ${p} after ${before}`);
              before = p;
            }
            expect(points).toBe(history.length);
            expect(['mostly-prior', 'mixed', 'data']).toContain(basis);
            expect(notes.every((note) => note !== '')).toBe(true);
          },
        ),
        share(0.5),
      );
    });

    property('falls', () => {
      const grid = Array.from({ length: 41 }, (_, i) => -0.5 + i * 0.05);
      fc.assert(
        fc.property(skillHistory, ahead, (history, doublings) => {
          const { atLeast } = forecast(history, horizonOf(history, doublings));
          expect(atLeast(-1e6)).toBeGreaterThan(0.999);
          expect(atLeast(1e6)).toBeLessThan(0.001);
          let before = 1;
          for (const x of grid) {
            const p = atLeast(x);
            if (p > before + 1e-12) throw new Error(`P(skill >= ${x}) rises from ${before} to ${p}`);
            before = p;
          }
        }),
        share(0.1),
      );
    });

    property('quantiles never cross', () => {
      const levels = [0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999];
      fc.assert(
        fc.property(skillHistory, ahead, (history, doublings) => {
          const predicted = forecast(history, horizonOf(history, doublings));
          for (const [least, most] of [
            [-20, 20],
            [0, 1],
          ] as const) {
            const quantiles = levels.map((p) => quantileOf(predicted.atLeast, p, least, most));
            expect(quantiles).toEqual([...quantiles].sort((a, b) => a - b));
          }
        }),
        share(0.06),
      );
    });

    property('noise never narrows', () => {
      fc.assert(
        fc.property(
          skillHistory.filter((history) => history.length > 0),
          ahead,
          fc.double({ min: 0, max: 0.1, noNaN: true }),
          (history, doublings, noise) => {
            const noisier = history.map((point) => ({
              ...point,
              stderr: Math.hypot(point.stderr ?? 0, noise),
            }));
            const known = history.map((point) => ({ ...point, stderr: point.stderr ?? 0 }));
            const [plain, blurred] = [known, noisier].map((each) =>
              forecast(each, horizonOf(each, doublings)),
            );
            if (plain === undefined || blurred === undefined) return;
            for (const [low, high] of [
              [0.5, 0.99],
              [0.05, 0.95],
            ] as const) {
              const width = (of: SkillForecast): number => openQuantile(of, high) - openQuantile(of, low);
              expect(width(blurred)).toBeGreaterThanOrEqual(width(plain) - noiseTolerance);
            }
          },
        ),
        share(0.08),
      );
    });

    property('further ahead never narrower', () => {
      fc.assert(
        fc.property(skillHistory, ahead, ahead, (history, doublings, more) => {
          const near = forecast(history, horizonOf(history, doublings));
          const far = forecast(history, horizonOf(history, doublings + more));
          const width = (one: SkillForecast): number => openQuantile(one, 0.99) - openQuantile(one, 0.05);
          expect(width(far)).toBeGreaterThanOrEqual(width(near) - horizonTolerance);
        }),
        share(0.08),
      );
    });

    property('monotone in the elicitation margin', () => {
      const margin = fc.double({ min: 0, max: 1.5, noNaN: true });
      fc.assert(
        fc.property(skillHistory, ahead, margin, margin, (history, doublings, a, b) => {
          const horizon = horizonOf(history, doublings);
          const [less, more] = [Math.min(a, b), Math.max(a, b)].map((each) =>
            forecastCategory(method, [evaluation('one', history, each)], horizon, LEVELS),
          );
          for (const [i, { p }] of (more?.exceedance ?? []).entries())
            expect(p).toBeGreaterThanOrEqual((less?.exceedance[i]?.p ?? Number.NaN) - 1e-6);
          for (const [i, { level }] of (more?.quantiles ?? []).entries())
            expect(level).toBeGreaterThanOrEqual((less?.quantiles[i]?.level ?? Number.NaN) - 1e-4);
        }),
        share(0.08),
      );
    });

    property('order of evaluations does not matter', () => {
      fc.assert(
        fc.property(
          fc.array(skillHistory, { minLength: 2, maxLength: 5 }),
          ahead,
          fc.nat({ max: 4 }),
          (histories, doublings, turn) => {
            const all = histories.map((history, i) => evaluation(`e${i}`, history, 0.1 * i));
            const at = turn % all.length;
            const turned = [...all.slice(at), ...all.slice(0, at)].reverse();
            const horizon = Math.max(...histories.map((history) => horizonOf(history, doublings)));
            const [one, other] = [all, turned].map((each) => forecastCategory(method, each, horizon, LEVELS));
            if (one === undefined || other === undefined) return;
            expect(other.basis).toBe(one.basis);
            expect(other.points).toBe(one.points);
            expect([...other.notes].sort()).toEqual([...one.notes].sort());
            // A sum in another order may round the other way, in the last digit that is kept.
            for (const [i, { p }] of one.exceedance.entries())
              expect(Math.abs(p - (other.exceedance[i]?.p ?? Number.NaN))).toBeLessThan(2.5e-6);
            for (const [i, { level }] of one.quantiles.entries())
              expect(Math.abs(level - (other.quantiles[i]?.level ?? Number.NaN))).toBeLessThan(2.5e-4);
          },
        ),
        share(0.05),
      );
    });

    property('the same again', () => {
      fc.assert(
        fc.property(skillHistory, ahead, skillHistory, (history, doublings, another) => {
          const horizon = horizonOf(history, doublings);
          const frozen = Object.freeze(history.map((point) => Object.freeze({ ...point })));
          const first = forecast(frozen, horizon);
          const ps = (one: SkillForecast): number[] => [-0.1, 0, 0.1, 0.3, 0.6, 0.9].map(one.atLeast);
          const before = ps(first);
          forecast(another, horizonOf(another, 1)).atLeast(0.5);
          const again = forecast(history, horizon);
          expect(ps(again)).toEqual(before);
          expect(ps(first)).toEqual(before);
          expect([again.basis, again.points, again.notes]).toEqual([first.basis, first.points, first.notes]);
        }),
        share(0.05),
      );
    });
  });
}
