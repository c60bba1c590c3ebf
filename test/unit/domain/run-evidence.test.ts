/** From a checkpoint to its verdict: what clears, holds and halts, and that missing is never safe. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { compareCompute, compute } from '../../../src/domain/compute.ts';
import { checkpoint, evaluation, policyOf, RunLife, registered, registration, success } from './run-life.ts';
import { rows } from './table.ts';

describe('a registered run', () => {
  it('may train up to firstCheckpointBy', () => {
    const { permit } = registered();
    expect(permit).toMatchObject({ granted: true, epoch: 0, clearedHalts: [] });
    expect(permit.granted && compareCompute(permit.ceiling, compute('1e22'))).toBe(0);
  });

  it('is the same run when registered again, and refuses other content', () => {
    const life = registered();
    expect(life.register()).toEqual([]);
    expect(life.refuses(registration({ contentDigest: 'other' }))).toMatchObject({ code: 'conflict' });
  });

  it.each(
    rows(`
      initialCompute | operator | first ceiling, or refusal
      none           | no       | 1e22
      5e21           | no       | 1e22
      9.5e21         | no       | 1.045e22
      1e22           | no       | 1.1e22
      1.000001e22    | no       | forbidden
      4e22           | no       | forbidden
      4e22           | yes      | 4.4e22
    `).slice(1),
  )('that starts from %s (operator: %s) gets %s', (initial = '', operator = '', expected = '') => {
    const life = new RunLife();
    const decision = life.command(
      registration({
        initialCompute: initial === 'none' ? null : compute(initial),
        operator: operator === 'yes',
      }),
    );
    if (expected === 'forbidden') {
      expect(decision).toMatchObject({ rejected: { code: 'forbidden', path: 'initialCompute' } });
    } else expect(compareCompute(life.state.ceiling, compute(expected))).toBe(0);
  });
});

describe('a checkpoint', () => {
  it('that clears raises the ceiling to ratio x (1 + grace) x its compute', () => {
    const life = registered();
    expect(life.report('c1', '1e22')).toEqual(['CheckpointReported']);
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toHaveLength(2);
    expect(life.result('c1/ctf', 0.1)).not.toContain('CheckpointAssessed');
    expect(life.permit).toMatchObject({ ceiling: life.state.firstCeiling });
    expect(life.result('c1/labs', 0.1)).toContain('CheckpointAssessed');
    expect(life.last('CheckpointAssessed').verdict).toBe('proceed');
    expect(life.last('CheckpointAssessed').findings.map(({ kind }) => kind)).not.toContain('inconclusive');
    expect(compareCompute(life.state.ceiling, compute('2.2e22'))).toBe(0);
  });

  it('hands over what others carry out in slots of its own: programs that hang do not hold it up', () => {
    const kindOf = (executor: JsonObject) => {
      const life = registered(
        policyOf({
          evaluations: [evaluation('ctf', 'cyber', { executor }), evaluation('labs', 'bio')],
        }),
      );
      life.report('c1', '1e22');
      return life.work.find(({ ids }) => ids['evaluationId'] !== undefined)?.kind;
    };
    const url = 'https://evals.example/run';
    expect({
      program: kindOf({ kind: 'command', command: ['x'], timeout: '1h' }),
      sync: kindOf({ kind: 'http', mode: 'sync', url, secret: 'env:S', timeout: '1h' }),
      callback: kindOf({ kind: 'http', mode: 'callback', url, secret: 'env:S', timeout: '1h' }),
      posted: kindOf({ kind: 'http', mode: 'callback', timeout: '1h' }),
    }).toEqual({ program: 'evaluate', sync: 'evaluate', callback: 'dispatch', posted: 'dispatch' });
  });

  it('halts with the first halting result, whatever the others may say', () => {
    const life = registered();
    life.report('c1', '1e22');
    expect(life.result('c1/ctf', 0.6)).toContain('HaltOrdered');
    expect(life.last('HaltOrdered').cause).toMatchObject({
      kind: 'rule',
      checkpointId: 'c1',
      findings: [{ rule: 'high', category: 'cyber', threshold: 3, basis: 'estimate', evaluation: 'ctf' }],
    });
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
    life.result('c1/labs', 0.0);
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
  });

  it('quarantines at Critical, also where the run is already halted', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.6);
    expect(life.state.halt).toMatchObject({ action: 'halt', round: 1 });
    expect(life.result('c1/labs', 0.9)).toContain('HaltCauseAdded');
    expect(life.state.halt).toMatchObject({ action: 'quarantine', round: 2 });
    expect(life.count('HaltOrdered')).toBe(1);
  });

  it('holds while High is not ruled out, and the hold becomes a halt at its deadline', () => {
    const life = registered();
    life.report('c1', '1e22');
    expect(life.result('c1/ctf', success(0.46, 200))).toContain('HoldPlaced');
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
    life.result('c1/labs', 0.1);
    expect(life.last('CheckpointAssessed').verdict).toBe('hold');
    life.wait('20h');
    expect(life.tick()).toContain('HaltOrdered');
    expect(life.last('HaltOrdered').cause).toMatchObject({ findings: [{ kind: 'hold-deadline' }] });
  });

  it('has a late worse result halt the run it had cleared', () => {
    const life = registered();
    life.pass('c1', '1e22');
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c1', 'ctf'), by: 'operator' });
    expect(life.permit.granted).toBe(true);
    expect(life.result('c1/ctf', 0.7)).toContain('HaltOrdered');
  });

  it('stays halted when a better result comes late', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.6);
    life.result('c1/labs', 0.1);
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c1', 'ctf'), by: 'operator' });
    life.result('c1/ctf', 0.05);
    expect(life.last('CheckpointAssessed').verdict).toBe('halt');
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
  });

  it('takes a result once per attempt, and refuses other content for it', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.1);
    expect(life.result('c1/ctf', 0.1)).toEqual([]);
    expect(life.refuses(life.resultCommand('c1/ctf', success(0.2), 1))).toMatchObject({ code: 'conflict' });
    expect(life.refuses(life.resultCommand('c1/ctf', success(0.2), 7))).toMatchObject({ code: 'not-found' });
  });

  it('is known by its id: the same again changes nothing, other content is refused', () => {
    const life = registered();
    life.report('c1', '1e22');
    const { contentDigest } = life.last('CheckpointReported');
    expect(life.report('c1', '1e22', { priorDigest: contentDigest })).toEqual([]);
    // Also where the views were read before the first report was committed.
    expect(life.report('c1', '1e22')).toEqual([]);
    expect(life.refuses(checkpoint('c1', '2e22'))).toMatchObject({ code: 'conflict', path: 'checkpointId' });
  });

  it('is refused from an identity that is not a source of the run', () => {
    const life = registered(policyOf(), { sources: ['trainer-7'] });
    expect(life.refuses(checkpoint('c1', '1e22'))).toMatchObject({ code: 'forbidden' });
    expect(life.report('c1', '1e22', { by: 'trainer-7' })).toContain('CheckpointReported');
  });

  it('counts for both when two arrive out of order', () => {
    const life = registered();
    life.pass('c1', '1e22');
    life.report('c4', '2.1e22');
    life.report('c2', '2e22');
    for (const id of ['c4', 'c2']) for (const name of ['ctf', 'labs']) life.result(`${id}/${name}`, 0.1);
    expect(life.state.lastCleared).toMatchObject({ checkpointId: 'c4' });
    expect(compareCompute(life.state.ceiling, compute('4.62e22'))).toBe(0);
  });
});

describe('missing is not safe', () => {
  const failedTwice = (life: RunLife, name: string): void => {
    for (const _attempt of [1, 2]) life.result(name, { status: 'error' });
  };

  it.each(
    rows(`
      what the evaluator sends                              | conclusive
      {"status":"success","score":0.1,"n":1000}             | yes
      {"status":"success","score":0.1,"stderr":0.01}        | yes
      {"status":"success","score":"NaN","n":1000}           | no
      {"status":"success","score":"0.1","n":1000}           | no
      {"status":"success","score":null,"n":1000}            | no
      {"status":"success","n":1000}                         | no
      {"status":"success","score":1.1,"n":1000}             | no
      {"status":"success","score":-0.1,"n":1000}            | no
      {"status":"success","score":0.1}                      | no
      {"status":"success","score":0.1,"n":0}                | no
      {"status":"success","score":0.1,"n":99}               | no
      {"status":"success","score":0.1,"n":1000,"error":"x"} | no
      {"status":"error","score":0.1,"n":1000}               | no
      {"status":"success","score":0.1,"n":1000,"stderr":-1} | no
    `).slice(1),
  )('reads %s as conclusive: %s', (sent = '', conclusive = '') => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/ctf', JSON.parse(sent));
    expect(life.last('EvaluationReported').reading.conclusive).toBe(conclusive === 'yes');
    expect(life.attempts('c1', 'ctf')).toHaveLength(conclusive === 'yes' ? 1 : 2);
  });

  it('holds when the last automatic attempt is inconclusive, and halts at the deadline', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/labs', 0.1);
    failedTwice(life, 'c1/ctf');
    expect(life.last('HoldPlaced')).toMatchObject({
      key: 'checkpoint:c1',
      findings: [{ kind: 'inconclusive' }],
    });
    expect(life.last('CheckpointAssessed').verdict).toBe('hold');
    expect(life.last('AlertRaised').kind).toBe('inconclusive');
    life.wait('20h').tick();
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
  });

  it('holds when nothing was reported by the scorecard deadline', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/labs', 0.1);
    expect(life.wait('9h').tick()).toEqual([]);
    expect(life.wait('1h').tick()).toContain('HoldPlaced');
    expect(life.last('CheckpointAssessed')).toMatchObject({
      verdict: 'hold',
      findings: [{ kind: 'inconclusive', evaluation: 'ctf/default' }],
    });
    // Evidence removes the cause.
    expect(life.result('c1/ctf', 0.1)).toEqual(
      expect.arrayContaining(['EvaluationReported', 'CheckpointAssessed', 'HoldLifted']),
    );
    expect(life.last('CheckpointAssessed').verdict).toBe('proceed');
    expect(life.permit.granted).toBe(true);
  });

  it('neither lifts the hold nor clears the checkpoint by merely asking again', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/labs', 0.1);
    failedTwice(life, 'c1/ctf');
    const events = life.does({
      type: 'RetryEvaluation',
      evaluationId: life.idOf('c1', 'ctf'),
      by: 'operator',
    });
    expect(events).not.toContain('HoldLifted');
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
    expect(life.state.lastCleared).toBeNull();
    expect(life.result('c1/ctf', 0.1)).toContain('HoldLifted');
    expect(life.state.lastCleared).toMatchObject({ checkpointId: 'c1' });
  });

  it('trips on the score of a failed attempt, which completes nothing', () => {
    const life = registered();
    life.report('c1', '1e22');
    const started = { type: 'StartEvaluation' as const, evaluationId: life.idOf('c1', 'ctf'), attempt: 1 };
    life.does({ ...started, instance: 'w1' });
    const events = life.does({
      type: 'FailAttempt',
      evaluationId: started.evaluationId,
      attempt: 1,
      reason: 'exit-nonzero',
      detail: 'exit code 3',
      result: success(0.7),
    });
    expect(events).toContain('HaltOrdered');
    expect(life.attempts('c1', 'ctf').map(({ state }) => state)).toEqual(['failed', 'queued']);
  });

  it.each(['instance-lost', 'timed-out'])(
    'trips on the score of an attempt that failed after it was given up (%s)',
    (why) => {
      const life = registered();
      life.report('c1', '1e22');
      const evaluationId = life.idOf('c1', 'ctf');
      life.does({ type: 'StartEvaluation', evaluationId, attempt: 1, instance: 'w1' });
      if (why === 'timed-out') life.wait('2h').tick();
      else
        life.does({
          type: 'ReturnAttempt',
          evaluationId,
          attempt: 1,
          instance: 'w1',
          reason: 'instance-lost',
        });
      const before = life.attempts('c1', 'ctf').length;
      const late = (score: number) => ({
        type: 'FailAttempt' as const,
        evaluationId,
        attempt: 1,
        reason: 'exit-nonzero',
        detail: null,
        result: success(score),
      });
      expect(life.does({ ...late(0.1), result: null })).toEqual([]);
      expect(life.does(late(0.7))).toContain('HaltOrdered');
      expect(life.attempts('c1', 'ctf')).toHaveLength(before);
      expect(life.attempts('c1', 'ctf')[0]).toMatchObject({ state: 'failed', reason: why });
      expect(life.does(late(0.9))).toEqual([]);
    },
  );

  it('does not let an unreported optional evaluation clear or hold', () => {
    const policy = policyOf({
      evaluations: [
        evaluation('ctf', 'cyber'),
        evaluation('labs', 'bio'),
        evaluation('extra', 'bio', { required: false, stage: 'post-mitigation' }),
      ],
    });
    const life = registered(policy);
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.1);
    // The required ones are in: nothing waits for the optional one.
    expect(life.result('c1/labs', 0.1)).toContain('CheckpointAssessed');
    expect(life.last('CheckpointAssessed').verdict).toBe('proceed');
    expect(life.last('CheckpointAssessed').findings.map(({ kind }) => kind)).not.toContain('inconclusive');
    life.wait('10h').tick();
    expect(life.last('CheckpointAssessed')).toMatchObject({
      verdict: 'proceed',
      findings: [{ kind: 'inconclusive', then: ['alert'] }],
    });
    expect(life.wait('10h').tick()).toEqual([]);
  });
});

describe('attempts', () => {
  it('are fenced by number: one worker starts each, and only the current one', () => {
    const life = registered();
    life.report('c1', '1e22');
    const start = { type: 'StartEvaluation' as const, evaluationId: life.idOf('c1', 'ctf'), attempt: 1 };
    life.does({ ...start, instance: 'w1' });
    expect(life.refuses({ ...start, instance: 'w2' })).toMatchObject({ code: 'stale' });
    life.does({ type: 'NoteDispatched', evaluationId: start.evaluationId, attempt: 1 });
    expect(life.wait('1h').tick()).toEqual([]);
    expect(life.wait('10s').tick()).toContain('EvaluationAttemptFailed');
    expect(life.last('EvaluationAttemptFailed').reason).toBe('timed-out');
    // The late answer of the first attempt still counts.
    expect(life.result('c1/ctf', 0.9, 1)).toContain('HaltOrdered');
  });

  it('handed back cost none, up to a point', () => {
    const life = registered();
    life.report('c1', '1e22');
    const evaluationId = life.idOf('c1', 'ctf');
    for (let attempt = 1; attempt <= 6; attempt += 1) {
      life.does({ type: 'StartEvaluation', evaluationId, attempt, instance: 'w1' });
      life.does({ type: 'ReturnAttempt', evaluationId, attempt, instance: 'w1', reason: 'instance-lost' });
    }
    const states = life.attempts('c1', 'ctf').map(({ state }) => state);
    expect(states).toEqual([...Array.from({ length: 6 }, () => 'failed'), 'queued']);
    life.does({ type: 'StartEvaluation', evaluationId, attempt: 7, instance: 'w1' });
    life.does({
      type: 'FailAttempt',
      evaluationId,
      attempt: 7,
      reason: 'no-result',
      detail: null,
      result: null,
    });
    expect(life.attempts('c1', 'ctf')).toHaveLength(7);
    expect(life.last('HoldPlaced').findings[0]).toMatchObject({ kind: 'inconclusive' });
  });

  it('that draw fresh samples are asked for while High is not ruled out, narrow the interval, and can lift the hold', () => {
    const policy = policyOf({
      evaluations: [evaluation('ctf', 'cyber', { topUps: 2 }), evaluation('labs', 'bio')],
    });
    const life = registered(policy);
    life.report('c1', '1e22');
    life.result('c1/labs', 0.1);
    expect(life.result('c1/ctf', success(0.44, 200))).toEqual(
      expect.arrayContaining(['EvaluationRequeued', 'HoldPlaced']),
    );
    expect(life.last('EvaluationRequeued').purpose).toBe('top-up');
    expect(life.permit.granted).toBe(false);
    expect(life.result('c1/ctf', success(0.42, 1000))).toContain('HoldLifted');
    expect(life.last('CheckpointAssessed').scorecard.categories[0]?.stages['pre-mitigation']).toMatchObject({
      evidence: [{ score: 0.44, attempts: 2 }],
    });
    expect(life.permit.granted).toBe(true);
  });

  it('narrow nothing where they were measured by another protocol', () => {
    const policy = policyOf({
      evaluations: [evaluation('ctf', 'cyber', { topUps: 1 }), evaluation('labs', 'bio')],
    });
    const life = registered(policy);
    life.report('c1', '1e22');
    life.result('c1/labs', 0.1);
    life.result('c1/ctf', { ...success(0.44, 200), protocol: 'a' });
    expect(life.result('c1/ctf', { ...success(0.42, 1000), protocol: 'b' })).not.toContain('HoldLifted');
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
  });

  it('stop asking for samples when the top-ups are used up; the hold stands', () => {
    const policy = policyOf({
      evaluations: [evaluation('ctf', 'cyber', { topUps: 1 }), evaluation('labs', 'bio')],
    });
    const life = registered(policy);
    life.pass('c1', '1e22', 0.1);
    life.report('c2', '2e22');
    life.result('c2/labs', 0.1);
    life.result('c2/ctf', success(0.48, 200));
    expect(life.result('c2/ctf', success(0.48, 200))).not.toContain('EvaluationRequeued');
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
  });
});
