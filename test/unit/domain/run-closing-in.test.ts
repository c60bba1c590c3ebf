/** Closing in before people are woken, replicas before an evaluation is broken, budgets before it costs too much. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { closingInDirective } from '../../../src/service/heartbeats.ts';
import { BASE_POLICY, evaluation, policyOf, RunLife, success } from './run-life.ts';

const FAILED = { status: 'error', error: 'no' };
/** Estimate below High at 0.5, upper above it. */
const CLOSE = success(0.47, 200);

function life(more: JsonObject, changes: JsonObject = {}): RunLife {
  const run = new RunLife(
    policyOf({ evaluations: [evaluation('ctf', 'cyber', more), evaluation('labs', 'bio')], ...changes }),
  );
  run.register();
  return run;
}

/** Everything else in, `ctf` too close to call. */
function close(closingIn: JsonObject = { attempts: 2 }, changes: JsonObject = {}): RunLife {
  const run = life({ closingIn }, changes);
  run.report('c1', '1e21');
  run.result('c1/labs', 0.1);
  run.result('c1/ctf', CLOSE);
  return run;
}

describe('closing in', () => {
  it('holds the permit and wakes nobody while a further sample is on its way', () => {
    const run = close();
    expect(run.events.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['EvaluationRequeued', 'HoldPlaced']),
    );
    expect(run.count('AlertRaised')).toBe(0);
    expect(run.state.holds[0]?.closingIn).toEqual({ until: '2026-11-01T06:00:00.000Z' });
    expect(run.permit).toEqual({ granted: false, reason: 'on-hold' });
  });

  it('lets the run go on where the samples rule High out, and nobody was woken', () => {
    const run = close();
    expect(run.result('c1/ctf', success(0.44, 4000))).toContain('HoldLifted');
    expect(run.count('AlertRaised')).toBe(0);
    expect(run.permit).toMatchObject({ granted: true, ceiling: '1e22' });
    expect(run.state.lastCleared).toMatchObject({ checkpointId: 'c1' });
  });

  it('halts where they show it', () => {
    const run = close();
    expect(run.result('c1/ctf', success(0.52, 4000))).toContain('HaltOrdered');
  });

  it('wakes people once the budget is used up and it is still undecided', () => {
    const run = close();
    expect(run.result('c1/ctf', CLOSE)).not.toContain('AlertRaised');
    expect(run.result('c1/ctf', CLOSE)).toEqual(expect.arrayContaining(['ClosingInEnded', 'AlertRaised']));
    expect(run.last('ClosingInEnded').reason).toBe('undecided');
    expect(run.last('AlertRaised').summary).toContain('further samples did not decide it');
    expect(run.state.holds[0]?.closingIn).toBeUndefined();
    expect(run.tick()).toEqual([]);
  });

  it('draws the next sample after one that failed, and queues no other attempt beside it', () => {
    const run = close({ attempts: 2 }, {});
    run.result('c1/ctf', FAILED);
    const attempts = run.attempts('c1', 'ctf').map(({ purpose, state }) => `${purpose} ${state}`);
    expect(attempts).toEqual(['first reported', 'top-up reported', 'top-up queued']);
    expect(run.last('EvaluationReported').nextAttemptAt).toBeNull();
  });

  it('draws up to so many samples', () => {
    const run = close({ samples: 500 });
    run.result('c1/ctf', success(0.47, 200));
    expect(run.count('EvaluationRequeued')).toBe(2);
    run.result('c1/ctf', success(0.47, 200));
    expect(run.count('EvaluationRequeued')).toBe(2);
    expect(run.count('AlertRaised')).toBe(1);
  });

  it('wakes people when it takes too long', () => {
    const run = close({ within: '30m' });
    expect(run.work.find(({ kind }) => kind === 'tick')?.notBeforeMs).toBe(run.now.getTime() + 30 * 60_000);
    expect(run.wait('29m').tick()).toEqual([]);
    expect(run.wait('1m').tick()).toEqual(['ClosingInEnded', 'AlertRaised']);
    expect(run.last('ClosingInEnded').reason).toBe('time');
  });

  it('wakes people at once where something else holds the run too', () => {
    const run = life({ closingIn: { attempts: 2 } });
    run.report('c1', '1e21');
    run.result('c1/ctf', CLOSE);
    run.result('c1/labs', FAILED);
    run.wait('1m').result('c1/labs', FAILED);
    expect(run.count('HoldPlaced')).toBe(1);
    expect(run.count('AlertRaised')).toBe(1);
    expect(run.state.holds[0]?.closingIn).toBeUndefined();
  });

  it('wakes people when something else comes to hold the run meanwhile', () => {
    const run = close({ attempts: 2 });
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'labs'), by: 'operator' });
    expect(run.result('c1/labs', CLOSE)).toContain('ClosingInEnded');
    expect(run.count('AlertRaised')).toBe(1);
  });

  it('becomes a halt at the deadline of the hold like any other', () => {
    const run = close(
      { within: '10h' },
      {
        evaluations: [
          evaluation('ctf', 'cyber', { closingIn: { within: '19h' } }),
          evaluation('labs', 'bio'),
        ],
      },
    );
    run.now = new Date(run.state.holds[0]?.deadlineAt ?? '');
    expect(run.tick()).toContain('HaltOrdered');
  });

  it('lets the run train on under the permit in force, and pauses it when that runs out', () => {
    const run = close();
    const loaded = { state: run.state, policy: run.policy };
    const held = { refused: 'terms' } as const;
    const at = (minutes: number) => new Date(run.now.getTime() + minutes * 60_000);
    const compute = run.state.checkpoints[0]?.effectiveCompute ?? run.state.ceiling;
    expect(closingInDirective(loaded, compute, at(29), held)).toMatchObject({ action: 'continue' });
    expect(closingInDirective(loaded, compute, at(30), held)).toBeNull();
    expect(closingInDirective(loaded, run.state.ceiling, at(1), held)).toBeNull();
    run.press();
    expect(closingInDirective({ ...loaded, state: run.state }, compute, at(1), held)).toBeNull();
  });

  it.each([
    { refused: 'withheld', reason: 'the red button was pressed', retryAfterS: 5 } as const,
    { refused: 'ledger', retryAfterS: 1 } as const,
    null,
  ])('says nothing to a run that gets no permit for another reason: %o', (refused) => {
    const run = close();
    const compute = run.state.checkpoints[0]?.effectiveCompute ?? run.state.ceiling;
    const loaded = { state: run.state, policy: run.policy };
    expect(closingInDirective(loaded, compute, run.now, { refused: 'terms' })?.action).toBe('continue');
    expect(closingInDirective(loaded, compute, run.now, refused)).toBeNull();
  });
});

const callback = (more: JsonObject = {}): JsonObject => ({
  kind: 'http',
  mode: 'callback',
  timeout: '1h',
  attempts: 1,
  backoff: '10s',
  ...more,
});
const command: JsonObject = { kind: 'command', command: ['true'], timeout: '2h', attempts: 1 };

describe('replicas', () => {
  const start = (run: RunLife, attempt: number) =>
    run.does({ type: 'StartEvaluation', evaluationId: run.idOf('c1', 'ctf'), attempt, instance: 'i1' });
  const fail = (run: RunLife, attempt: number) => {
    start(run, attempt);
    const evaluationId = run.idOf('c1', 'ctf');
    return run.does({
      type: 'FailAttempt',
      evaluationId,
      attempt,
      reason: 'exit-nonzero',
      detail: null,
      result: null,
    });
  };

  it('are tried in turn, at once, before an evaluation is inconclusive; each attempt names its own', () => {
    const run = life({
      executor: callback(),
      replicas: [command, callback({ attempts: 2, backoff: '30s' })],
    });
    run.report('c1', '1e21');
    fail(run, 1);
    expect(run.last('EvaluationAttemptFailed').nextAttemptAt).toBe(run.now.toISOString());
    expect(run.work.find(({ ids }) => ids['attempt'] === 2)?.kind).toBe('evaluate');
    fail(run, 2);
    expect(run.last('EvaluationStarted')).toMatchObject({ replica: 1 });
    fail(run, 3);
    expect(run.last('EvaluationStarted')).toMatchObject({ replica: 2 });
    expect(run.last('EvaluationAttemptFailed').nextAttemptAt).toBe(
      new Date(run.now.getTime() + 30_000).toISOString(),
    );
    expect(run.state.holds).toEqual([]);
    run.wait('30s');
    fail(run, 4);
    expect(run.last('EvaluationAttemptFailed').nextAttemptAt).toBeNull();
    expect(run.attempts('c1', 'ctf').map(({ replica = 0 }) => replica)).toEqual([0, 1, 2, 2]);
  });

  it('draw further samples where the first result came from', () => {
    const run = life({ executor: callback(), replicas: [command], closingIn: {} });
    run.report('c1', '1e21');
    run.result('c1/labs', 0.1);
    fail(run, 1);
    start(run, 2);
    run.result('c1/ctf', CLOSE);
    expect(run.work.find(({ ids }) => ids['attempt'] === 3)?.kind).toBe('evaluate');
    start(run, 3);
    expect(run.last('EvaluationStarted')).toMatchObject({ replica: 1 });
  });

  it('keep the turn of an attempt that was handed back', () => {
    const run = life({ executor: callback(), replicas: [command] });
    run.report('c1', '1e21');
    start(run, 1);
    const evaluationId = run.idOf('c1', 'ctf');
    run.does({ type: 'ReturnAttempt', evaluationId, attempt: 1, instance: 'i1', reason: 'instance-lost' });
    start(run, 2);
    expect(run.attempts('c1', 'ctf').at(-1)).toMatchObject({ state: 'running' });
    expect(run.attempts('c1', 'ctf').at(-1)?.replica).toBeUndefined();
  });

  it('change nothing where there are none: the waits double as ever', () => {
    const run = life({ executor: callback({ attempts: 4 }) });
    run.report('c1', '1e21');
    const waits = [1, 2, 3, 4].map((attempt) => {
      fail(run, attempt);
      const next = run.last('EvaluationAttemptFailed').nextAttemptAt;
      return next === null ? null : Date.parse(next) - run.now.getTime();
    });
    expect(waits).toEqual([10_000, 20_000, 40_000, null]);
  });
});

describe('a budget', () => {
  const reasons = (run: RunLife) =>
    run
      .last('CheckpointAssessed')
      .scorecard.categories[0]?.stages['pre-mitigation']?.evidence.flatMap((row) => row.reasons);

  it('of attempts ends them: inconclusive, budget-exhausted', () => {
    const run = life({ executor: callback({ attempts: 5 }), budget: { attempts: 2 } });
    run.report('c1', '1e21');
    run.result('c1/labs', 0.1);
    run.result('c1/ctf', FAILED);
    run.wait('1m').result('c1/ctf', FAILED);
    expect(run.last('EvaluationReported')).toMatchObject({ exhausted: 'attempts', nextAttemptAt: null });
    expect(reasons(run)).toContain('budget-exhausted');
    expect(run.state.holds).toHaveLength(1);
    const evaluationId = run.idOf('c1', 'ctf');
    expect(run.refuses({ type: 'RetryEvaluation', evaluationId, by: 'operator' }).message).toContain(
      'used up',
    );
  });

  it('of wall time ends the attempt that uses it up, in the middle of it', () => {
    const run = life({
      executor: callback({ timeout: '2h', attempts: 3 }),
      budget: { gpuHours: 8, gpus: 8 },
    });
    run.report('c1', '1e21');
    const evaluationId = run.idOf('c1', 'ctf');
    run.does({ type: 'StartEvaluation', evaluationId, attempt: 1, instance: 'i1' });
    run.wait('40m').result('c1/ctf', FAILED);
    expect(run.last('EvaluationReported')).toMatchObject({ spentMs: 2_400_000 });
    run.wait('1m').does({ type: 'StartEvaluation', evaluationId, attempt: 2, instance: 'i1' });
    expect(run.wait('19m').tick()).toEqual([]);
    expect(run.wait('1m').tick()).toContain('EvaluationAttemptFailed');
    expect(run.last('EvaluationAttemptFailed')).toMatchObject({
      reason: 'budget-exhausted',
      exhausted: 'wallTime',
      nextAttemptAt: null,
    });
  });

  it('is used up by attempts that were lost with their worker, too', () => {
    const run = life({ executor: callback({ attempts: 5 }), budget: { attempts: 1 } });
    run.report('c1', '1e21');
    const evaluationId = run.idOf('c1', 'ctf');
    run.does({ type: 'StartEvaluation', evaluationId, attempt: 1, instance: 'i1' });
    run.does({ type: 'ReturnAttempt', evaluationId, attempt: 1, instance: 'i1', reason: 'instance-lost' });
    expect(run.attempts('c1', 'ctf')).toMatchObject([{ attempt: 1, state: 'failed', exhausted: 'attempts' }]);
    run.result('c1/labs', 0.1);
    expect(reasons(run)).toEqual(['instance-lost', 'budget-exhausted']);
    expect(run.state.holds).toHaveLength(1);
  });

  it('is not exceeded by what a resume asks for again', () => {
    const run = life({ executor: callback({ attempts: 5 }), budget: { attempts: 1 } });
    run.report('c1', '1e21');
    run.press();
    run.resume();
    expect(run.attempts('c1', 'labs')).toHaveLength(2);
    expect(run.attempts('c1', 'ctf')).toMatchObject([{ attempt: 1, state: 'cancelled' }]);
  });

  it('of wall time counts what a halt cut short', () => {
    const run = life({ executor: callback({ timeout: '2h', attempts: 3 }), budget: { wallTime: '1h' } });
    run.report('c1', '1e21');
    const evaluationId = run.idOf('c1', 'ctf');
    run.does({ type: 'StartEvaluation', evaluationId, attempt: 1, instance: 'i1' });
    run.wait('40m').press();
    expect(run.last('EvaluationsCancelled').spentMs).toEqual({ [evaluationId]: 2_400_000 });
    run.resume();
    run.does({ type: 'StartEvaluation', evaluationId, attempt: 2, instance: 'i1' });
    const { deadlineAt } = run.last('EvaluationStarted');
    expect(Date.parse(deadlineAt) - run.now.getTime()).toBe(20 * 60_000);
  });

  it('of samples ends closing in', () => {
    const run = life({ closingIn: { attempts: 9 }, budget: { samples: 500 } });
    run.report('c1', '1e21');
    run.result('c1/labs', 0.1);
    for (let i = 0; i < 3; i += 1) run.result('c1/ctf', CLOSE, i + 1);
    expect(run.count('EvaluationRequeued')).toBe(2);
    expect(run.count('AlertRaised')).toBe(1);
  });

  it('of samples counts those of an attempt that failed', () => {
    const run = life({ executor: callback({ attempts: 3 }), budget: { samples: 500 } });
    run.report('c1', '1e21');
    const evaluationId = run.idOf('c1', 'ctf');
    run.does({ type: 'StartEvaluation', evaluationId, attempt: 1, instance: 'i1' });
    const failed = { type: 'FailAttempt' as const, evaluationId, attempt: 1, detail: null };
    run.does({ ...failed, reason: 'exit-nonzero', result: success(0.1, 500) });
    expect(run.last('EvaluationAttemptFailed')).toMatchObject({ exhausted: 'samples', nextAttemptAt: null });
  });

  it('is never exceeded by attempts that Interlock asks for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.constantFrom(FAILED, CLOSE), { maxLength: 12 }),
        (most, results) => {
          const run = new RunLife(
            policyOf({
              evaluations: [
                evaluation('ctf', 'cyber', {
                  executor: callback({ attempts: 5 }),
                  budget: { attempts: most },
                  closingIn: {},
                }),
                evaluation('labs', 'bio'),
              ],
            }),
            { checked: false },
          );
          run.register();
          run.report('c1', '1e21');
          run.result('c1/labs', 0.1);
          for (const result of results) {
            if (run.attempts('c1', 'ctf').at(-1)?.state !== 'queued') break;
            run.wait('1h').result('c1/ctf', result);
          }
          expect(run.attempts('c1', 'ctf').length).toBeLessThanOrEqual(most);
        },
      ),
    );
  });
});

describe('policy check', () => {
  it.each([
    [
      { budget: { gpus: 2 } },
      'evaluations.0.budget: must limit something: attempts, wallTime, gpuHours or samples',
    ],
    [{ closingIn: {}, topUps: 1 }, 'evaluations.0.topUps: has closingIn in its place: leave it out'],
    [{ resources: ['gpu', 'gpu'] }, 'evaluations.0.resources: gpu is listed twice'],
    [
      { replicas: [{ ...command, timeout: '11h' }] },
      'evaluations.0.replicas.0.timeout: must not exceed cadence.scorecardDeadline (10h)',
    ],
    [
      { closingIn: { within: '20h' } },
      'evaluations.0.closingIn.within: must be shorter than cadence.holdDeadline (20h): people are to be woken before the hold becomes a halt',
    ],
  ])('refuses %j', (more, problem) => {
    const check = checkPolicy({
      ...BASE_POLICY,
      evaluations: [evaluation('ctf', 'cyber', more), evaluation('labs', 'bio')],
    });
    expect(check.ok ? [] : check.problems.map(({ path, message }) => `${path}: ${message}`)).toContain(
      problem,
    );
  });
});
