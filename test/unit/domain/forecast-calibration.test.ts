/** Online calibration: what a run's own record of bounds does to the forecasts that come. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type BoundRecord,
  calibrationNotes,
  calibrationOf,
  isPassed,
  tailsCounted,
} from '../../../src/domain/forecast/calibration.ts';
import {
  categoryTail,
  type EvaluationHistory,
  forecastCategory,
} from '../../../src/domain/forecast/category-forecast.ts';
import { withOwnRecord } from '../../../src/domain/forecast/own-record.ts';
import { servedMethod } from '../../../src/domain/forecast/served-method.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import { digest, evaluation, policyOf, type RunLife, registered } from './run-life.ts';

const map = { chance: 0, best: 1, levels: { medium: 0.2, high: 0.5, critical: 0.8 } };
const LEVELS = [2, 3, 4];

function history(scores: readonly number[], stderr: number | null = null): EvaluationHistory {
  const points = scores.map((score, i) => ({ log2Compute: 70 + i, score, stderr, n: 1000 }));
  return { name: 'ctf/default', kind: 'proportion', map, elicitationMargin: 0, points };
}

const records = fc
  .record({ forecasts: fc.nat(200), passed: fc.nat(200) })
  .map(({ forecasts, passed }): BoundRecord => ({ forecasts, passed: Math.min(forecasts, passed) }));
const scoresOf = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 10 });

describe('a record of bounds', () => {
  it.each([
    [0, 0, 1],
    [20, 1, 1],
    [40, 2, 1],
    [3, 0, 1],
    [1, 1, 1.6129],
    [8, 3, 2.3684],
    [20, 20, 8.6],
    [100, 100, 10],
  ])(
    'of %i forecasts with %i passed has what lies above the median count %f times',
    (forecasts, passed, tails) => {
      expect(calibrationOf({ forecasts, passed })).toEqual({ forecasts, passed, tails });
    },
  );

  it('says what it did, and nothing where it did nothing', () => {
    expect(calibrationNotes(calibrationOf({ forecasts: 9, passed: 0 }))).toEqual([]);
    expect(calibrationNotes(calibrationOf({ forecasts: 8, passed: 3 }))).toEqual([
      'this run has passed 3 of its 8 bounds of 95 %: what lies above counts 2.4 times',
    ]);
  });

  it('makes graver with each bound that is passed, and milder with each that is kept', () => {
    fc.assert(
      fc.property(records, ({ forecasts, passed }) => {
        const { tails } = calibrationOf({ forecasts, passed });
        expect(calibrationOf({ forecasts: forecasts + 1, passed: passed + 1 }).tails).toBeGreaterThanOrEqual(
          tails,
        );
        expect(calibrationOf({ forecasts: forecasts + 1, passed }).tails).toBeLessThanOrEqual(tails);
      }),
    );
  });

  it('is of the bounds as they were without it, so that it does not feed on itself', () => {
    const { tails } = calibrationOf({ forecasts: 8, passed: 3 });
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (plain) => {
        // Beside the bound itself the last digit decides.
        fc.pre(Math.abs(plain - 0.95) > 1e-9);
        const pit = 1 - tailsCounted(1 - plain, tails);
        expect(isPassed(pit, tails)).toBe(plain > 0.95);
      }),
    );
  });
});

describe('a calibrated forecast', () => {
  const exceedance = (scores: readonly number[], record: BoundRecord, horizon = 71 + scores.length) =>
    forecastCategory(servedMethod, [history(scores), history([...scores].reverse())], horizon, LEVELS, {
      record,
    });

  it('gives no level less chance than without its record, and the same bounds in the same order', () => {
    fc.assert(
      fc.property(scoresOf, records, (scores, record) => {
        const plain = exceedance(scores, { forecasts: 0, passed: 0 });
        const own = exceedance(scores, record);
        for (const [i, { p, greatest, sum }] of own.exceedance.entries()) {
          const before = plain.exceedance[i];
          expect(p).toBeGreaterThanOrEqual(before?.p ?? 1);
          expect(greatest).toBeLessThanOrEqual(p);
          expect(p).toBeLessThanOrEqual(sum);
          expect(sum).toBeLessThanOrEqual(1);
        }
        const levels = own.quantiles.map(({ level }) => level);
        expect(levels).toEqual([...levels].sort((a, b) => a - b));
        for (const [i, level] of levels.entries())
          expect(level).toBeGreaterThanOrEqual(plain.quantiles[i]?.level ?? 5);
      }),
      { numRuns: 200 },
    );
  });

  it('is what the risk of a permit is made of, too', () => {
    const record = { forecasts: 8, passed: 4 };
    const scores = [0.1, 0.12, 0.11, 0.2, 0.35, 0.4];
    const tail = categoryTail(servedMethod, [history(scores)], 4, record);
    const forecast = forecastCategory(servedMethod, [history(scores)], 77, LEVELS, { record });
    expect(tail.atLeast(77)).toBe(forecast.exceedance.find(({ level }) => level === 4)?.p);
    expect(tail.atLeast(77)).toBeGreaterThan(categoryTail(servedMethod, [history(scores)], 4).atLeast(77));
  });

  it('from its own record alone, as in a backtest, is as with the record that it would have', () => {
    const scores = [0.05, 0.05, 0.06, 0.3, 0.32, 0.7, 0.72];
    const points = scores.map((skill, i) => ({ log2Compute: 70 + i, skill, stderr: null }));
    const passed = points.filter(
      ({ skill, log2Compute }, i) =>
        i > 0 && servedMethod.forecast(points.slice(0, i), log2Compute).atLeast(skill) < 0.05,
    ).length;
    expect(passed).toBeGreaterThan(1);
    const { tails } = calibrationOf({ forecasts: 6, passed });
    const own = withOwnRecord(servedMethod).forecast(points, 77);
    const plain = servedMethod.forecast(points, 77);
    for (const skill of [0.5, 0.8, 0.95])
      expect(own.atLeast(skill)).toBe(tailsCounted(plain.atLeast(skill), tails));
    expect(own.notes.at(-1)).toContain(`passed ${passed} of its 6 bounds`);
  });
});

describe('the record of a run', () => {
  const SCORES = [0.05, 0.06, 0.3, 0.31];
  const life = (): RunLife =>
    registered(
      policyOf({
        categories: [{ id: 'cyber', title: 'Cybersecurity' }],
        evaluations: [evaluation('ctf', 'cyber')],
      }),
    );
  const bounds = ({ state }: RunLife) => state.bounds;
  const sealedAt = ({ events }: RunLife, id: string) =>
    events.flatMap(({ kind, data }) =>
      kind === 'ForecastSealed' && data.checkpointId === id ? [data.forecast] : [],
    );

  it('counts what is one checkpoint ahead, and stands in the next seal', () => {
    const run = life();
    for (const [i, score] of SCORES.entries()) {
      run.report(`c${i}`, `${2 ** i}e22`);
      run.result(`c${i}/ctf`, score);
    }
    expect(bounds(run)).toEqual([{ category: 'cyber', stage: 'pre-mitigation', forecasts: 3, passed: 1 }]);
    expect(sealedAt(run, 'c1').map(({ calibration }) => calibration)).toEqual([
      { forecasts: 1, passed: 0, tails: 1 },
    ]);
    // With the jump in it at once, and once only: what is scored is scored before what comes is sealed.
    expect(sealedAt(run, 'c2').map(({ calibration }) => calibration)).toEqual([
      { forecasts: 2, passed: 1, tails: 1.5625 },
    ]);
  });

  it('does not count what somebody wished to see in between', () => {
    const run = life();
    run.pass('c0', '1e22');
    run.report('wish', '1.1e22', { evaluate: true });
    run.result('wish/ctf', 0.1);
    run.pass('c1', '2.2e22');
    expect(bounds(run)).toMatchObject([{ forecasts: 1 }]);
  });

  it('follows what came when its evidence is revised, and counts it once', () => {
    const run = life();
    for (const i of [0, 1, 2]) run.pass(`c${i}`, `${2 ** i}e22`, 0.05);
    expect(bounds(run)).toMatchObject([{ forecasts: 2, passed: 0 }]);
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c2', 'ctf'), by: 'operator' });
    run.result('c2/ctf', 0.3);
    expect(bounds(run)).toMatchObject([{ forecasts: 2, passed: 1 }]);
  });

  it('is checked when the ledger is replayed', () => {
    const run = life();
    run.pass('c0', '1e22');
    run.report('c1', '2e22');
    const opened = run.state;
    run.result('c1/ctf', 0.1);
    const event = run.events.findLast(({ kind }) => kind === 'ForecastSealed');
    if (event?.kind !== 'ForecastSealed') throw new Error('nothing was sealed');
    expect(opened.bounds).toBeUndefined();
    // Before the score of the same decision the record was another.
    expect(recheck(opened, event, run.policy, digest)).toContain('another record');
  });
});
