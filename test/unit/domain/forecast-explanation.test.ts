/** Why a forecast fires, in words that are sealed with it: true of the method, and the same when replayed. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { log2Compute } from '../../../src/domain/compute.ts';
import { type EvaluationHistory, forecastCategory } from '../../../src/domain/forecast/category-forecast.ts';
import type { Reasons } from '../../../src/domain/forecast/explanation.ts';
import type { ForecastMethod } from '../../../src/domain/forecast/score-forecast.ts';
import { servedMethod } from '../../../src/domain/forecast/served-method.ts';
import { assess } from '../../../src/domain/run/assess.ts';
import { ForecastSchema } from '../../../src/domain/run/forecast-documents.ts';
import { evaluation, policyOf, type RunLife, registered, success } from './run-life.ts';

const map = { chance: 0, best: 1, levels: { medium: 0.2, high: 0.5, critical: 0.8 } };
const FALLING = { chance: 1, best: 0, levels: { medium: 0.8, high: 0.5, critical: 0.2 } };

function history(scores: readonly number[], more: Partial<EvaluationHistory> = {}): EvaluationHistory {
  const points = scores.map((score, i) => ({ log2Compute: 70 + i, score, stderr: null, n: 1000 }));
  return { name: 'ctf/default', kind: 'proportion', map, elicitationMargin: 0, points, ...more };
}

function ask(
  evaluations: readonly EvaluationHistory[],
  { level = 4, probability = 0.05, doublings = 1.14, method = servedMethod } = {},
) {
  const from = Math.max(70, ...evaluations.flatMap(({ points }) => points.map((each) => each.log2Compute)));
  const asked = { limits: [{ level, probability }], fromLog2Compute: from };
  const forecast = forecastCategory(method, evaluations, from + doublings, [level], { asked });
  const [reasons] = forecast.reasons;
  if (reasons === undefined) throw new Error('no reasons');
  return { from, p: forecast.exceedance[0]?.p ?? Number.NaN, reasons };
}

const LEAPS = [0.05, 0.06, 0.05, 0.06, 0.16, 0.44];
const FLAT = [0.05, 0.06, 0.05, 0.06, 0.05, 0.06];

function figureIn({ unless = '' }: Reasons, pattern: RegExp): number | null {
  const found = pattern.exec(unless)?.[1];
  return found === undefined ? null : Number(found);
}
const scoreIn = (reasons: Reasons): number | null => figureIn(reasons, /been at (?:most|least) ([\d.e-]+)/);
const stepIn = (reasons: Reasons): number | null => figureIn(reasons, /permit to at most ([\d.]+)x/);

/** The same evaluations with another last score of the first. */
const withLast = ([first, ...rest]: readonly EvaluationHistory[], score: number): EvaluationHistory[] => {
  if (first === undefined) return [];
  const points = first.points.map((each, i) => (i === first.points.length - 1 ? { ...each, score } : each));
  return [{ ...first, points }, ...rest];
};

describe('the reasons of a forecast', () => {
  it('name the evaluation that gives most, where it stands, how it moved, and how the method reads it', () => {
    const { reasons } = ask([history(LEAPS), history(FLAT, { name: 'web/default' })]);
    expect(reasons.evaluation).toBe('ctf/default');
    expect(reasons.share).toBeGreaterThan(0.9);
    expect(reasons.facts).toEqual([
      expect.stringMatching(
        /^ctf\/default gives most of it \(\d+ % of the sum\): its last score 0\.44 is Medium \(2\.8\), 0\.36 short of 0\.8, where Critical \(4\.0\) begins$/,
      ),
      expect.stringMatching(
        /^it rose by 0\.13 per doubling over its last 4 points, the last step by \+0\.28, 28 times the usual one$/,
      ),
      expect.stringMatching(/^read as: moves like a run that leaps \(\d+ %\)$/),
    ]);
  });

  it('say what would have to be true, and it is true of the method', () => {
    const evaluations = [history(LEAPS), history(FLAT, { name: 'web/default' })];
    const { p, from, reasons } = ask(evaluations);
    expect(p).toBeGreaterThan(0.05);
    const [score, step] = [scoreIn(reasons), stepIn(reasons)];
    if (score === null || step === null) throw new Error(`no figures in "${reasons.unless}"`);
    expect(ask(withLast(evaluations, score)).p).toBeLessThan(0.05);
    expect(ask(withLast(evaluations, score + 0.01)).p).toBeGreaterThanOrEqual(0.05);
    const at = (ratio: number) =>
      forecastCategory(servedMethod, evaluations, from + Math.log2(ratio), [4]).exceedance[0]?.p;
    expect(at(step)).toBeLessThan(0.05);
    expect(at(step + 0.02)).toBeGreaterThanOrEqual(0.05);
  });

  it('say nothing of what would have to be true while the probability is under the limit', () => {
    const { p, reasons } = ask([history(FLAT)]);
    expect(p).toBeLessThan(0.05);
    expect(reasons.unless).toBeUndefined();
    expect(reasons.facts).toHaveLength(3);
  });

  it('say so where neither a score nor a step would do', () => {
    const { reasons } = ask([history([]), history([], { name: 'web/default' })]);
    expect(reasons.facts[0]).toContain('it has no score, so nothing is ruled out');
    expect(reasons.unless).toBe(
      'Neither a score of ctf/default alone, however harmless, nor a shorter step would bring it under the limit',
    );
  });

  it('tell of a falling metric in its own direction', () => {
    const { reasons } = ask([
      history(
        LEAPS.map((score) => 1 - score),
        { map: FALLING },
      ),
    ]);
    expect(reasons.facts[0]).toContain('its last score 0.56 is Medium (2.8), 0.36 short of 0.2');
    expect(reasons.facts[1]).toMatch(/^it rose by 0\.13 per doubling/);
    expect(reasons.unless).toMatch(/been at least 0\.\d+/);
    const score = scoreIn(reasons) ?? Number.NaN;
    const evaluations = [
      history(
        LEAPS.map((each) => 1 - each),
        { map: FALLING },
      ),
    ];
    expect(ask(withLast(evaluations, score)).p).toBeLessThan(0.05);
  });

  it('own up to few points and to a saturated evaluation, which gives no comfort', () => {
    const late = { medium: 0.98, high: 0.99, critical: 0.995 };
    const saturated = history([0.9, 0.97, 0.975], { name: 'web/default', map: { ...map, levels: late } });
    const { reasons } = ask([history([0.1, 0.1, 0.1]), saturated]);
    expect(reasons.facts.join('; ')).toContain('with 3 points it is mostly what is believed of any run');
    expect(reasons.facts.at(-1)).toBe(
      'web/default is saturated (0.975 of 1) and gives no comfort; the category rests on its other evidence',
    );
  });

  const scores = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 10 });

  it('hold for any history: figures are numbers, and whoever meets them is under the limit', () => {
    const probability = fc.constantFrom(0.01, 0.05, 0.3, 0.9);
    fc.assert(
      fc.property(scores, scores, probability, fc.boolean(), (one, other, limit, falls) => {
        const shown = falls ? { map: FALLING } : {};
        const evaluations = [history(one, shown), history(other, { name: 'web/default' })];
        const { from, p, reasons } = ask(evaluations, { probability: limit });
        const text = [...reasons.facts, reasons.unless ?? ''].join(' ');
        expect(text).not.toMatch(/NaN|Infinity|undefined|null/);
        expect(reasons.unless !== undefined).toBe(p >= limit);
        const [score, step] = [scoreIn(reasons), stepIn(reasons)];
        const index = evaluations.findIndex(({ name }) => name === reasons.evaluation);
        const turned = index === 0 ? evaluations : [...evaluations].reverse();
        if (score !== null && (turned[0]?.points.length ?? 0) > 0) {
          expect(forecastCategory(servedMethod, withLast(turned, score), from + 1.14, [4]).exceedance[0]?.p)
            // Rounded as it is sealed.
            .toBeLessThanOrEqual(limit);
        }
        if (step !== null) {
          const nearer = from + Math.log2(step);
          expect(
            forecastCategory(servedMethod, evaluations, nearer, [4]).exceedance[0]?.p,
          ).toBeLessThanOrEqual(limit);
        }
      }),
      { numRuns: 200, examples: [[[0, 0, 5e-324, 8.9e-16], [], 0.01, true]] },
    );
  });

  it('ask the method a bounded number of times', () => {
    let asked = 0;
    const counting: ForecastMethod = {
      method: servedMethod.method,
      forecast: (...all) => {
        asked += 1;
        return servedMethod.forecast(...all);
      },
    };
    const evaluations = Array.from({ length: 8 }, (_, i) => history(LEAPS, { name: `e${i}/default` }));
    ask(evaluations, { probability: 0.2, method: counting });
    expect(asked).toBeLessThanOrEqual(8 * 32);
  });
});

describe('a forecast finding', () => {
  const halting = { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] };
  const rule = {
    id: 'rule',
    kind: 'forecast',
    stage: 'pre-mitigation',
    atLeast: 'critical',
    probability: 0.05,
    then: ['hold'],
  };
  function leaping(scores: readonly number[] = LEAPS): RunLife {
    const evaluations = [evaluation('ctf', 'cyber'), evaluation('web', 'cyber'), evaluation('labs', 'bio')];
    const life = registered(policyOf({ evaluations, rules: [halting, rule] }));
    for (const [i, score] of scores.entries()) {
      life.report(`c${i}`, `${2 ** i}e22`);
      for (const name of ['labs', 'web']) life.result(`c${i}/${name}`, success(0.02, 10_000));
      life.result(`c${i}/ctf`, success(score, 1_000));
    }
    return life;
  }
  const explanationOf = (life: RunLife): string =>
    life.last('CheckpointAssessed').findings.find((each) => each.rule === 'rule')?.explanation ?? '';

  it('carries the figures, the bounds, the basis, the facts and what would have to be true', () => {
    expect(explanationOf(leaping())).toMatch(
      new RegExp(
        [
          '^Cybersecurity pre-mitigation: forecast to reach Critical \\(4\\.0\\) within 2\\.2x the compute \\(7\\.04e23 FLOP\\) ',
          'with probability \\d+\\.\\d %, the limit is 5\\.0 % ',
          '\\(data; at least \\d+\\.\\d %, the greatest of its evaluations, and at most \\d+\\.\\d %, their sum\\)\\. ',
          'ctf/default gives most of it .*; it rose by .*; read as: .*\\. ',
          'It would be under the limit had the last score of ctf/default been at most 0\\.\\d+, or with a permit to at most 1\\.\\d+x the compute$',
        ].join(''),
      ),
    );
  });

  it('reads what is sealed: without reasons it is told as before there were any', () => {
    const life = leaping();
    const { at, checkpointId } = life.last('CheckpointAssessed');
    const checkpoint = life.state.checkpoints.find((each) => each.checkpointId === checkpointId);
    if (checkpoint === undefined) throw new Error('the checkpoint is gone');
    const forecasts = checkpoint.forecasts.map(({ reasons: _reasons, ...old }) => ForecastSchema.parse(old));
    const { findings } = assess(life.state, { ...checkpoint, forecasts }, life.policy, new Date(at));
    const p = /with probability (\S+ %)/.exec(explanationOf(life))?.[1];
    expect(findings.find((each) => each.rule === 'rule')?.explanation).toBe(
      `Cybersecurity pre-mitigation: forecast to reach 4.00 by ${checkpoint.forecasts[0]?.horizonCompute} FLOP with probability ${p}, the limit is 5.0 % (data)`,
    );
  });

  it('has reasons sealed for each limit of the policy, and for those alone', () => {
    const life = leaping([0.1]);
    const { forecast, checkpointId } = life.last('ForecastSealed');
    expect(forecast.reasons?.map(({ level, probability }) => [level, probability])).toEqual([[4, 0.05]]);
    const reported = life.state.checkpoints.find((each) => each.checkpointId === checkpointId);
    expect(log2Compute(forecast.horizonCompute)).toBeGreaterThan(
      log2Compute(reported?.effectiveCompute ?? forecast.horizonCompute),
    );
    const silent = registered(policyOf({ rules: [halting] }));
    silent.pass('c1', '1e22', 0.1);
    expect(silent.last('ForecastSealed').forecast.reasons).toEqual([]);
  });
});
