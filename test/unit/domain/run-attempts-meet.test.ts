/** Attempts where features meet: further samples that are handed back, fail or are cancelled, and words that come too late. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { locate } from '../../../src/domain/run/evaluation.ts';
import { evaluationRequest } from '../../../src/service/evaluation-request.ts';
import { evaluation, grants, policyOf, type RunLife, registered, success } from './run-life.ts';

const FAILED = { status: 'error', error: 'no' };
/** Estimate below High at 0.5, upper above it. */
const CLOSE = success(0.47, 200);

/** Everything else in, `ctf` too close to call: its first further sample is asked for. */
function close(more: JsonObject = { closingIn: { attempts: 2 } }, changes: JsonObject = {}): RunLife {
  const run = registered(
    policyOf({ evaluations: [evaluation('ctf', 'cyber', more), evaluation('labs', 'bio')], ...changes }),
  );
  run.report('c1', '1e21');
  run.result('c1/labs', 0.1);
  run.result('c1/ctf', CLOSE);
  return run;
}

const start = (run: RunLife, attempt: number, name = 'ctf') =>
  run.does({ type: 'StartEvaluation', evaluationId: run.idOf('c1', name), attempt, instance: 'i1' });
const fail = (run: RunLife, attempt: number, name = 'ctf') => {
  start(run, attempt, name);
  return run.does({
    type: 'FailAttempt',
    evaluationId: run.idOf('c1', name),
    attempt,
    reason: 'exit-nonzero',
    detail: null,
    result: null,
  });
};
const handBack = (run: RunLife, attempt: number, name = 'ctf') => {
  start(run, attempt, name);
  return run.does({
    type: 'ReturnAttempt',
    evaluationId: run.idOf('c1', name),
    attempt,
    instance: 'i1',
    reason: 'shutdown',
  });
};
const purposes = (run: RunLife, name = 'ctf') => run.attempts('c1', name).map(({ purpose }) => purpose);

describe('a further sample', () => {
  it('that is handed back with its worker is drawn again as one, and costs none', () => {
    const run = close({ closingIn: { attempts: 1 } });
    handBack(run, 2);
    expect(purposes(run)).toEqual(['first', 'top-up', 'top-up']);
    expect(run.count('AlertRaised')).toBe(0);
    // Pooled with the first, as it would have been.
    expect(run.result('c1/ctf', success(0.44, 4000))).toContain('HoldLifted');
    expect(run.count('AlertRaised')).toBe(0);
  });

  it('that is handed back waits for what it had begun elsewhere', () => {
    const run = close({ closingIn: {} });
    handBack(run, 2);
    const located = locate(run.state, run.idOf('c1', 'ctf'), run.policy);
    if (located === null) throw new Error('not there');
    expect(evaluationRequest('r1', 3, located, () => '')).toMatchObject({
      attempt: 3,
      submission: 2,
      topUp: 1,
    });
    expect(evaluationRequest('r1', 1, located, () => '').topUp).toBeUndefined();
  });

  it('that fails is followed by no attempt but another sample, after the wait of its executor', () => {
    const run = close({ closingIn: { attempts: 3 } });
    fail(run, 2);
    expect(purposes(run)).toEqual(['first', 'top-up', 'top-up']);
    const [waitMs = 0] = run.work.flatMap(({ ids, notBeforeMs }) =>
      ids['attempt'] === 3 ? [notBeforeMs - run.now.getTime()] : [],
    );
    expect(waitMs).toBeGreaterThan(0);
    run.wait('10m');
    fail(run, 3);
    expect(
      run.work.flatMap(({ ids, notBeforeMs }) =>
        ids['attempt'] === 4 ? [notBeforeMs - run.now.getTime()] : [],
      ),
    ).toEqual([2 * waitMs]);
    run.wait('10m');
    expect(fail(run, 4)).toEqual(expect.arrayContaining(['ClosingInEnded', 'AlertRaised']));
    expect(purposes(run)).toEqual(['first', 'top-up', 'top-up', 'top-up']);
  });

  it('that is inconclusive is followed by another, until the budget is used up', () => {
    const run = close();
    run.result('c1/ctf', FAILED);
    expect(purposes(run)).toEqual(['first', 'top-up', 'top-up']);
    expect(run.wait('10m').result('c1/ctf', { ...FAILED, error: 'again' })).toContain('AlertRaised');
    expect(purposes(run)).toEqual(['first', 'top-up', 'top-up']);
  });

  it('is asked for once: never beside an attempt that people asked for', () => {
    const run = registered(
      policyOf({
        evaluations: [evaluation('ctf', 'cyber', { closingIn: {} }), evaluation('labs', 'bio')],
      }),
    );
    run.report('c1', '1e21');
    run.result('c1/labs', 0.1);
    run.result('c1/ctf', 0.1);
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'ctf'), by: 'operator' });
    run.does({ ...lateOf(run, CLOSE), attempt: 2 });
    expect(purposes(run)).toEqual(['first', 'retry', 'top-up']);
  });

  it('that a halt cancelled is drawn after the resume as one, and closing in goes on from there', () => {
    const run = close({ closingIn: { attempts: 3, within: '19h' } });
    run.press();
    expect(run.attempts('c1', 'ctf').at(-1)?.state).toBe('cancelled');
    run.resume();
    expect(purposes(run)).toEqual(['first', 'top-up', 'top-up']);
    run.result('c1/ctf', CLOSE);
    // By itself beyond what the resume waived: what was cancelled is not on its way for ever.
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'ctf'), by: 'operator' });
    run.result('c1/ctf', success(0.48, 100));
    expect(purposes(run)).toEqual(['first', 'top-up', 'top-up', 'retry', 'top-up']);
  });

  it.each([
    ['of a quarantined run', (run: RunLife) => run.press('ann', 'safety', 'quarantine'), {}],
    ['of a run that a person halted', (run: RunLife) => run.press(), {}],
  ])('is not drawn %s', (_name, stop, changes: JsonObject) => {
    const run = registered(
      policyOf({
        evaluations: [evaluation('ctf', 'cyber', { closingIn: {} }), evaluation('labs', 'bio')],
        ...changes,
      }),
    );
    run.report('c1', '1e21');
    stop(run);
    // It was on its way when the button was pressed.
    expect(run.result('c1/ctf', CLOSE)).not.toContain('EvaluationRequeued');
    expect(run.work.filter(({ kind }) => kind === 'dispatch' || kind === 'evaluate')).toEqual([]);
  });
});

const lateOf = (run: RunLife, result: JsonObject) => ({
  type: 'RecordResult' as const,
  evaluationId: run.idOf('c1', 'ctf'),
  attempt: 1,
  result,
  resultDigest: JSON.stringify(result),
  by: 'evaluator',
});

describe('an attempt', () => {
  it('that was asked for again and is handed back is no evidence: the hold stays', () => {
    const run = registered();
    run.report('c1', '1e21');
    fail(run, 1);
    run.wait('10m');
    fail(run, 2);
    expect(run.state.holds).toHaveLength(1);
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'ctf'), by: 'operator' });
    expect(run.state.holds).toHaveLength(1);
    expect(handBack(run, 3)).not.toContain('HoldLifted');
    expect(run.state.holds).toHaveLength(1);
  });

  it('that a person stopped is followed by none, whatever its evaluator still says', () => {
    const run = registered();
    run.report('c1', '1e21');
    start(run, 1);
    run.press();
    run.result('c1/ctf', FAILED);
    expect(run.attempts('c1', 'ctf')).toHaveLength(1);
    expect(run.work.filter(({ kind }) => kind === 'dispatch' || kind === 'evaluate')).toEqual([]);
  });

  it.each(['queued', 'cancelled'])(
    'that is %s trips by a score of which the weights cannot be shown',
    (state) => {
      const run = registered(
        policyOf({
          rules: [
            { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
            {
              id: 'critical',
              kind: 'level',
              stage: 'pre-mitigation',
              atLeast: 'critical',
              then: ['quarantine'],
            },
          ],
        }),
      );
      run.report('c1', '1e21');
      if (state === 'cancelled') run.press();
      const evaluationId = run.idOf('c1', 'ctf');
      const word = {
        type: 'FailAttempt',
        evaluationId,
        attempt: 1,
        reason: 'weights-gone',
        detail: null,
      } as const;
      run.does({ ...word, result: success(0.95) });
      expect(run.state.halt).toMatchObject({ action: 'quarantine' });
      expect(run.attempts('c1', 'ctf')[0]?.reading).toMatchObject({ conclusive: false, score: 0.95 });
      if (state === 'cancelled') expect(run.attempts('c1', 'ctf')).toMatchObject([{ state: 'cancelled' }]);
      expect(run.does({ ...word, result: success(0.95) })).toEqual([]);
    },
  );

  it('keeps the time that it has used, however late its word comes', () => {
    const run = registered(
      policyOf({
        evaluations: [evaluation('ctf', 'cyber', { budget: { wallTime: '3h' } }), evaluation('labs', 'bio')],
      }),
    );
    run.report('c1', '1e21');
    start(run, 1);
    run.wait('2h').tick();
    expect(run.last('EvaluationAttemptFailed')).toMatchObject({ reason: 'timed-out', spentMs: 7_200_000 });
    run.wait('5h');
    run.does({ ...lateOf(run, FAILED) });
    expect(run.attempts('c1', 'ctf')[0]?.spentMs).toBe(7_200_000);
    expect(run.last('EvaluationReported').exhausted).toBeUndefined();
  });
});

describe('a replica', () => {
  const outside: JsonObject = { kind: 'outside', party: 'institute', timeout: '5h', attempts: 1 };
  const command: JsonObject = { kind: 'command', command: ['true'], timeout: '2h', attempts: 1 };

  it('of an outside evaluator is heard for its own attempts, and the party for its own', () => {
    const run = registered(
      policyOf({
        evaluations: [
          evaluation('ctf', 'cyber', { executor: outside, replicas: [command] }),
          evaluation('labs', 'bio'),
        ],
      }),
    );
    run.report('c1', '1e21');
    fail(run, 1);
    start(run, 2);
    const result = { ...lateOf(run, success(0.1)), attempt: 2 };
    expect(run.does({ ...result, by: 'interlock' })).toContain('EvaluationReported');
    expect(run.attempts('c1', 'ctf').at(-1)?.reading?.conclusive).toBe(true);
    // Theirs may still come, and from nobody else.
    const late = { ...lateOf(run, success(0.2)), resultDigest: 'theirs' };
    expect(run.refuses({ ...late, by: 'interlock' }).code).toBe('forbidden');
    expect(run.does({ ...late, by: 'institute' })).toContain('EvaluationReported');
  });

  it('that is an outside evaluator reports under its own signature', () => {
    const run = registered(
      policyOf({
        evaluations: [
          evaluation('ctf', 'cyber', { executor: command, replicas: [outside] }),
          evaluation('labs', 'bio'),
        ],
      }),
    );
    run.report('c1', '1e21');
    run.does(grants());
    fail(run, 1);
    start(run, 2);
    const { type: _type, by: _by, ...result } = lateOf(run, success(0.1));
    const signed = { messageId: 'm', timestamp: '1', signature: 's', publicKeys: [], bodyDigest: 'b' };
    const submitted = {
      ...result,
      type: 'SubmitOutsideResult',
      party: 'institute',
      signed,
    } as const;
    expect(run.refuses({ ...submitted, attempt: 1 }).code).toBe('forbidden');
    expect(run.does({ ...submitted, attempt: 2 })).toContain('EvaluationReported');
  });
});
