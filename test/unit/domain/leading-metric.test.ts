/** What stands beside a score: a leading metric may raise a forecast, another protocol begins a series anew. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { type EvaluationHistory, forecastCategory } from '../../../src/domain/forecast/category-forecast.ts';
import { servedMethod } from '../../../src/domain/forecast/served-method.ts';
import { parseNativeResult } from '../../../src/domain/native-result.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { SeriesSchema } from '../../../src/domain/run/state.ts';
import { rejudged } from '../../../src/domain/run/what-if-evidence.ts';
import { BASE_POLICY, evaluation, policyOf, type RunLife, registered, success } from './run-life.ts';

const LEADS = { metric: 'answer-likelihood', chance: 0, best: 1 };
const RULE = {
  id: 'ahead',
  kind: 'forecast',
  stage: 'pre-mitigation',
  atLeast: 'critical',
  probability: 0.5,
  then: ['alert'],
};

function led(leads: JsonObject | null = LEADS): RunLife {
  const more = leads === null ? {} : { leads };
  const evaluations = [evaluation('ctf', 'cyber', more), evaluation('labs', 'bio')];
  const [halting = {}] = Array.isArray(BASE_POLICY['rules']) ? BASE_POLICY['rules'] : [];
  return registered(policyOf({ evaluations, rules: [halting, RULE] }));
}

/** One checkpoint: the score of `ctf` and what is said beside it. */
function pass(
  life: RunLife,
  i: number,
  score: number,
  more: JsonObject = {},
  compute = `${2 ** i}e22`,
): void {
  life.report(`c${i}`, compute, { evaluate: true });
  life.result(`c${i}/labs`, success(0.02, 10_000));
  life.result(`c${i}/ctf`, { ...success(score), ...more });
}

const likelihood = (value: number | string, stderr?: number): JsonObject => ({
  metrics: {
    'answer-likelihood': { value, ...(stderr === undefined ? {} : { stderr }) },
    other: { value: 7 },
  },
});

function forecastOf(life: RunLife, checkpointId: string) {
  const sealed = life.events.flatMap((event) =>
    event.kind === 'ForecastSealed' &&
    event.data.checkpointId === checkpointId &&
    event.data.forecast.category === 'cyber'
      ? [event.data.forecast]
      : [],
  );
  const forecast = sealed.at(-1);
  if (forecast === undefined) throw new Error(`nothing is forecast at ${checkpointId}`);
  const critical = forecast.exceedance.find(({ level }) => level === 4)?.p ?? Number.NaN;
  return { ...forecast, critical, told: forecast.notes.join('; ') };
}

describe('a leading metric', () => {
  const SILENT = [0.01, 0.01, 0.01, 0.01, 0.01, 0.01];
  const MOVING = [0.1, 0.1, 0.1, 0.12, 0.2, 0.5];

  it('is kept beside the score, in the reading, the scorecard and the series, where the policy names it', () => {
    const life = led();
    pass(life, 0, 0.05, likelihood(0.3, 0.01));
    const lead = { value: 0.3, stderr: 0.01 };
    expect(
      life.events.flatMap((event) => (event.kind === 'EvaluationReported' ? [event.data.reading.lead] : [])),
    ).toEqual([undefined, lead]);
    const [category] = life.last('CheckpointAssessed').scorecard.categories;
    expect(category?.stages['pre-mitigation']?.evidence[0]).toMatchObject({ evaluation: 'ctf', lead });
    expect(life.state.series.find((each) => each.evaluation === 'ctf')?.points[0]).toMatchObject({ lead });
    const unnamed = led(null);
    pass(unnamed, 0, 0.05, likelihood(0.3, 0.01));
    expect(JSON.stringify(unnamed.events)).not.toContain('"lead"');
  });

  it('that moves while the score is silent raises the forecast, and says so', () => {
    const [silent, moving] = [led(null), led()];
    for (const [i, score] of SILENT.entries()) {
      pass(silent, i, score);
      pass(moving, i, score, likelihood(MOVING[i] ?? 0));
    }
    const [without, raised] = [forecastOf(silent, 'c5'), forecastOf(moving, 'c5')];
    expect(raised.critical).toBeGreaterThan(1.2 * without.critical);
    expect(raised.told).toContain('ctf/default: its leading metric answer-likelihood moves');
    expect(raised.reasons?.[0]?.facts.join()).toContain('its leading metric answer-likelihood moves');
    expect(without.told).not.toContain('leading');
    // It decides no level.
    const levels = (life: RunLife) => life.last('CheckpointAssessed').scorecard.overall;
    expect(levels(moving)).toEqual(levels(silent));
  });

  it('is read on its own scale, falling too', () => {
    const [rising, falling] = [led(), led({ metric: 'answer-likelihood', chance: 12, best: 2 })];
    for (const [i, score] of SILENT.entries()) {
      pass(rising, i, score, likelihood(MOVING[i] ?? 0, 0.02));
      pass(falling, i, score, likelihood(12 - 10 * (MOVING[i] ?? 0), 0.2));
    }
    expect(forecastOf(falling, 'c5').critical).toBeCloseTo(forecastOf(rising, 'c5').critical, 5);
  });

  it.each([
    ['missing', {}],
    ['not finite', likelihood('NaN')],
    ['without a value', { metrics: { 'answer-likelihood': { stderr: 0.1 } } }],
  ])('that is %s refuses nothing, comforts nobody, and is told of', (_what, more: JsonObject) => {
    const [without, life] = [led(null), led()];
    for (const [i, score] of SILENT.entries()) {
      pass(without, i, score);
      pass(life, i, score, more);
    }
    const { told, critical, basis } = forecastOf(life, 'c5');
    expect(told).toContain('its leading metric answer-likelihood was not reported: no comfort from it');
    expect({ critical, basis }).toEqual({
      critical: forecastOf(without, 'c5').critical,
      basis: forecastOf(without, 'c5').basis,
    });
    expect(life.last('CheckpointAssessed').verdict).toBe('proceed');
  });

  it('never lowers a forecast, whatever it shows', () => {
    const value = fc.double({ min: -3, max: 3, noNaN: true });
    const histories = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), value), {
      maxLength: 10,
    });
    const map = { chance: 0, best: 1, levels: { medium: 0.2, high: 0.5, critical: 0.8 } };
    fc.assert(
      fc.property(histories, fc.double({ min: 0.1, max: 3, noNaN: true }), (pairs, ahead) => {
        const at = (i: number): number => 70 + i;
        const alone: EvaluationHistory = {
          name: 'ctf/default',
          kind: 'proportion',
          map,
          elicitationMargin: 0,
          points: pairs.map(([score], i) => ({ log2Compute: at(i), score, stderr: null, n: 500 })),
        };
        const points = pairs.map(([, each], i) => ({ log2Compute: at(i), value: each, stderr: null }));
        const chances = (one: EvaluationHistory) =>
          forecastCategory(servedMethod, [one], at(pairs.length - 1) + ahead, [2, 3, 4]).exceedance;
        const without = chances(alone);
        for (const [i, { p }] of chances({ ...alone, lead: { ...LEADS, points } }).entries()) {
          expect(p).toBeGreaterThanOrEqual((without[i]?.p ?? 0) - 1e-6);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('of two attempts counts as the more dangerous', () => {
    const life = led();
    pass(life, 0, 0.05, likelihood(0.4));
    const evaluationId = life.last('CheckpointReported').evaluations[0]?.evaluationId ?? '';
    life.does({ type: 'RetryEvaluation', evaluationId, by: 'operator' });
    life.result('c0/ctf', { ...success(0.04), ...likelihood(0.2) }, 2);
    expect(life.state.series.find((each) => each.evaluation === 'ctf')?.points[0]?.lead?.value).toBe(0.4);
  });

  it('stands for nothing under a policy that names another one', () => {
    const specs = (leads?: JsonObject) =>
      policyOf({
        evaluations: [
          evaluation('ctf', 'cyber', leads === undefined ? {} : { leads }),
          evaluation('labs', 'bio'),
        ],
      }).evaluations[0];
    const [own, same, other, none] = [LEADS, { ...LEADS, best: 2 }, { ...LEADS, metric: 'x' }, undefined].map(
      specs,
    );
    if (!own || !same || !other || !none) throw new Error('no evaluation');
    const lead = { value: 0.3, stderr: null };
    const reading = { conclusive: true, score: 0.2, stderr: null, n: 1000, reasons: [], lead };
    expect([same, other, none].map((spec) => rejudged(reading, own, spec).lead)).toEqual([
      lead,
      undefined,
      undefined,
    ]);
  });

  it('is checked in the policy, and a policy without one is as it was', () => {
    const problems = (leads: JsonObject): string[] => {
      const evaluations = [evaluation('ctf', 'cyber', { leads }), evaluation('labs', 'bio')];
      const check = checkPolicy({ ...BASE_POLICY, evaluations });
      return check.ok ? [] : check.problems.map(({ path }) => path);
    };
    expect(problems(LEADS)).toEqual([]);
    expect(problems({ ...LEADS, best: 0 })).toEqual(['evaluations.0.leads.best']);
    expect(problems({ ...LEADS, metric: 'accuracy' })).toEqual(['evaluations.0.leads.metric']);
    expect(problems({ metric: 'x', chance: 0 })).toEqual(['evaluations.0.leads.best']);
    expect(Object.keys(policyOf().evaluations[0] ?? {})).not.toContain('leads');
  });
});

describe('a protocol', () => {
  const RISING = [0.02, 0.05, 0.09, 0.14, 0.2, 0.27];
  const measured = (protocols: readonly (string | null)[]): RunLife => {
    const life = led(null);
    for (const [i, protocol] of protocols.entries()) {
      pass(life, i, RISING[i] ?? 0, protocol === null ? {} : { protocol });
    }
    return life;
  };

  it.each([
    ['a a a a a a', 6, 'data'],
    ['- - - - - -', 6, 'data'],
    ['a a a a a b', 1, 'mostly-prior'],
    ['a a a a b b', 2, 'mostly-prior'],
    ['- - - - - a', 1, 'mostly-prior'],
    ['a a a a a -', 1, 'mostly-prior'],
    ['a a a b b a', 4, 'mixed'],
  ])('that goes %s leaves %d points to compare: %s', (said, points, basis) => {
    const life = measured(said.split(' ').map((each) => (each === '-' ? null : each)));
    expect(forecastOf(life, 'c5')).toMatchObject({ points, basis });
    const before = said.split(' ').at(-2);
    const changed = said.split(' ').at(-1) !== before;
    const { findings } = life.last('CheckpointAssessed');
    expect(findings.some(({ rule }) => rule === 'suspicion:protocol-changed')).toBe(changed);
    expect(forecastOf(life, 'c5').told.includes('measured by another protocol before')).toBe(points < 6);
  });

  it('that changes is told to people once, and the policy may let it hold', () => {
    const life = measured(['a', 'a', 'b']);
    const told = life.events.flatMap((event) =>
      event.kind === 'AlertRaised' && event.data.summary.includes('another protocol') ? [event.data] : [],
    );
    expect(told).toHaveLength(1);
    expect(told[0]?.summary).toContain(
      'ctf/default measured by another protocol than at the checkpoint before',
    );
    const [halting = {}] = Array.isArray(BASE_POLICY['rules']) ? BASE_POLICY['rules'] : [];
    const strict = registered(
      policyOf({ rules: [halting, { id: 'doubt', kind: 'suspicion', then: ['hold'] }] }),
    );
    pass(strict, 0, 0.05, { protocol: 'a' });
    pass(strict, 1, 0.05, { protocol: 'b' });
    expect(strict.last('CheckpointAssessed').verdict).toBe('hold');
  });

  it('of attempts that differ is neither', () => {
    const life = measured(['a', 'a', 'a', 'a']);
    const evaluationId = life.last('CheckpointReported').evaluations[0]?.evaluationId ?? '';
    life.does({ type: 'RetryEvaluation', evaluationId, by: 'operator' });
    life.result('c3/ctf', { ...success(0.1), protocol: 'b' }, 2);
    expect(life.state.series.find((each) => each.evaluation === 'ctf')?.points.at(-1)?.protocol).toBe(
      'a and b',
    );
  });

  it.each([
    ['inspect-0.3.120+prompts-9f3a', 'inspect-0.3.120+prompts-9f3a'],
    [`sha256:${'a'.repeat(64)}`, `sha256:${'a'.repeat(64)}`],
    ['the model said "hello"', 'unusable'],
    ['', 'unusable'],
    ['x'.repeat(200), 'unusable'],
    [null, undefined],
  ])('named %j is kept as %j: a name, never prose', (protocol, kept) => {
    const parsed = parseNativeResult({ status: 'success', score: 0.1, n: 100, protocol });
    if (!parsed.ok) throw new Error('refused');
    expect(parsed.result.protocol).toBe(kept);
    expect(parseNativeResult(parsed.result)).toEqual(parsed);
  });

  it('and a leading metric are absent from what was recorded before there were any', () => {
    const point = { checkpointId: 'c', effectiveCompute: '1e22', score: 0.1, stderr: null, n: 100 };
    const old = { evaluation: 'ctf', variant: 'default', points: [point] };
    expect(SeriesSchema.parse(old)).toEqual({ ...old, points: [{ ...point, effectiveCompute: '1e22' }] });
  });
});

describe('a restart', () => {
  const SCORES = [0.05, 0.06, 0.05, 0.06, 0.05];

  it('at less compute forecasts from what lies below it alone', () => {
    const life = led(null);
    for (const [i, score] of SCORES.entries()) pass(life, i, score);
    pass(life, 5, 0.45, {}, '3.2e23');
    // From the weights of c2, by another way.
    pass(life, 6, 0.06, {}, '4.5e22');
    const back = forecastOf(life, 'c6');
    expect(back).toMatchObject({ points: 4, basis: 'mixed' });
    expect(back.critical).toBeLessThan(forecastOf(life, 'c5').critical / 5);
  });

  it('at the same compute adds evidence, and no point of a trend', () => {
    const life = led(null);
    for (const [i, score] of SCORES.slice(0, 3).entries()) pass(life, i, score);
    for (const i of [3, 4, 5]) pass(life, i, 0.05, {}, '4e22');
    expect(forecastOf(life, 'c5')).toMatchObject({ points: 6, basis: 'mostly-prior' });
  });

  it('is forecast the same whichever of two checkpoints at one compute has which name', () => {
    const [one, other] = [led(null), led(null)];
    for (const life of [one, other]) for (const [i, score] of SCORES.entries()) pass(life, i, score);
    for (const [life, names] of [
      [one, [5, 6]],
      [other, [6, 5]],
    ] as const) {
      for (const [i, name] of names.entries()) pass(life, name, [0.06, 0.2][i] ?? 0, {}, '3.2e23');
    }
    const { exceedance, quantiles } = forecastOf(one, 'c6');
    expect(forecastOf(other, 'c5')).toMatchObject({ exceedance, quantiles });
  });
});
