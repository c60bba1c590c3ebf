/** Quarantine: isolated in order and confirmed, what to go back to, and a release that is signed by itself. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { archivedResult } from '../../../src/domain/run/archived.ts';
import type { QuarantineState } from '../../../src/domain/run/quarantine-documents.ts';
import { BASE_POLICY, PROCESS_TARGET, policyOf, type RunLife, registered, success } from './run-life.ts';

const ISOLATE = [
  { step: 'cut-network', kind: 'command', command: 'lab', within: '5m' },
  {
    step: 'lock-weights',
    kind: 'webhook',
    url: 'https://store.example/lock',
    secret: 'env:LOCK_SECRET',
    within: '10m',
  },
];
const QUARANTINE = { isolate: ISOLATE, isolateAfter: '3m' };

const policy = (more: JsonObject = {}) =>
  policyOf({ halt: { confirmWithin: '2m', quarantine: QUARANTINE }, ...more });

function quarantined(given = policy()): RunLife {
  const life = registered(given, { targets: [PROCESS_TARGET] });
  life.press('ann', 'safety', 'quarantine');
  return life;
}

const haltOf = ({ state }: RunLife) => {
  if (state.halt === null) throw new Error('not halted');
  return state.halt;
};
const standing = (life: RunLife): QuarantineState => {
  const { quarantine } = haltOf(life);
  if (quarantine === undefined) throw new Error('no quarantine');
  return quarantine;
};
const stepOf = (life: RunLife, name: string) => standing(life).steps.find(({ step }) => step === name);
const callOuts = (life: RunLife) =>
  life.work.filter(({ kind }) => kind === 'isolate').map(({ ids }) => `${ids['step']} ${ids['attempt']}`);

const stops = (life: RunLife) =>
  life.does({
    type: 'RecordStopObserved',
    haltId: haltOf(life).haltId,
    targetId: 't2',
    round: haltOf(life).round,
    detail: 'gone',
  });

function answers(life: RunLife, step: string, outcome: 'isolated' | 'accepted' | 'retry' | 'rejected') {
  const { haltId, round } = haltOf(life);
  const attempt = (stepOf(life, step)?.attempts ?? 0) + 1;
  return life.does({ type: 'RecordIsolation', haltId, round, step, attempt, outcome, detail: 'said so' });
}

describe('a quarantine', () => {
  it('waits for the stop, then makes its call-outs one after the other', () => {
    const life = quarantined();
    expect(callOuts(life)).toEqual([]);
    expect(stops(life)).toEqual(['TargetStopObserved', 'HaltConfirmed', 'AlertRaised', 'IsolationStepBegun']);
    expect(life.last('IsolationStepBegun')).toMatchObject({ step: 'cut-network', because: 'stopped' });
    expect(callOuts(life)).toEqual(['cut-network 1']);
    expect(answers(life, 'cut-network', 'isolated')).toEqual([
      'IsolationStepConfirmed',
      'IsolationStepBegun',
    ]);
    expect(life.last('IsolationStepBegun')).toMatchObject({ step: 'lock-weights', because: 'confirmed' });
    expect(callOuts(life)).toEqual(['lock-weights 1']);
    expect(answers(life, 'lock-weights', 'isolated')).toEqual(['IsolationStepConfirmed', 'AlertRaised']);
    expect(life.last('AlertRaised').summary).toContain('is isolated');
    expect(callOuts(life)).toEqual([]);
  });

  it('isolates a run that does not stop all the same, once its time has passed', () => {
    const life = quarantined();
    life.wait('2m').tick();
    expect(life.count('IsolationStepBegun')).toBe(0);
    expect(
      life.work.some(({ kind, notBeforeMs }) => kind === 'tick' && notBeforeMs === +life.now + 60_000),
    ).toBe(true);
    expect(life.wait('1m').tick()).toContain('IsolationStepBegun');
    expect(life.last('IsolationStepBegun')).toMatchObject({ step: 'cut-network', because: 'deadline' });
  });

  it('asks again for as long as it is only accepted, and pages and goes on when that is too long', () => {
    const life = quarantined();
    stops(life);
    answers(life, 'cut-network', 'accepted');
    expect(callOuts(life)).toEqual(['cut-network 2']);
    expect(life.wait('4m').tick()).toEqual([]);
    expect(life.wait('1m').tick()).toEqual(['IsolationStepOverdue', 'AlertRaised', 'IsolationStepBegun']);
    expect(life.last('AlertRaised')).toMatchObject({
      severity: 'critical',
      summary: expect.stringContaining('cut-network is not known to be done'),
    });
    expect(life.last('IsolationStepBegun')).toMatchObject({ step: 'lock-weights', because: 'overdue' });
    // Not given up either.
    expect(callOuts(life)).toEqual(['cut-network 2', 'lock-weights 1']);
  });

  it.each([
    ['retry', 500],
    ['accepted', 1_000],
    ['rejected', 60_000],
  ] as const)('tries again after %s in %d ms', (outcome, waitMs) => {
    const life = quarantined();
    stops(life);
    answers(life, 'cut-network', outcome);
    expect(Date.parse(stepOf(life, 'cut-network')?.nextAt ?? '')).toBe(+life.now + waitMs);
  });

  it('takes a person at their word, by name, also before its turn, and no second time', () => {
    const life = quarantined();
    const { haltId } = haltOf(life);
    const says = (step: string) =>
      ({ type: 'ConfirmIsolation', haltId, step, detail: 'pulled the cable', by: 'ann' }) as const;
    expect(life.does(says('cut-network'))).toEqual(['IsolationStepConfirmed']);
    expect(stepOf(life, 'cut-network')).toMatchObject({ confirmedBy: 'ann', lastDetail: 'pulled the cable' });
    expect(life.does(says('cut-network'))).toEqual([]);
    expect(stops(life)).toContain('IsolationStepBegun');
    expect(life.last('IsolationStepBegun')).toMatchObject({ step: 'lock-weights', because: 'confirmed' });
    expect(life.refuses(says('burn-tapes'))).toMatchObject({
      code: 'not-found',
      path: 'step',
      message: expect.stringContaining('cut-network, lock-weights'),
    });
  });

  it('does not count an answer of an earlier round or attempt', () => {
    const life = quarantined();
    stops(life);
    const { haltId, round } = haltOf(life);
    const late = {
      type: 'RecordIsolation',
      haltId,
      step: 'cut-network',
      outcome: 'isolated',
      detail: '',
    } as const;
    expect(life.does({ ...late, round, attempt: 2 })).toEqual([]);
    expect(life.does({ ...late, round: round + 1, attempt: 1 })).toEqual([]);
    expect(life.does({ ...late, round, attempt: 1 })).toContain('IsolationStepConfirmed');
  });

  it('isolates a run that shows life anew, all of it and at once', () => {
    const life = quarantined();
    stops(life);
    answers(life, 'cut-network', 'isolated');
    const { haltId } = haltOf(life);
    expect(life.does({ type: 'RecordLife', haltId, targetId: 't2', detail: 'runs' })).toEqual([
      'HaltReopened',
      'AlertRaised',
      'IsolationStepBegun',
    ]);
    expect(life.last('IsolationStepBegun')).toMatchObject({ step: 'cut-network', because: 'deadline' });
    expect(stepOf(life, 'cut-network')).toMatchObject({ confirmedAt: null, attempts: 0 });
  });

  it('is said to isolate nothing where the policy names nothing', () => {
    const life = quarantined(policyOf());
    expect(life.last('QuarantineBegun').steps).toEqual([]);
    expect(life.state.alerts.at(-1)?.summary).toContain('do it by hand');
  });

  it('ends the evaluations, and starts none of a later checkpoint', () => {
    const life = registered(policy(), { targets: [PROCESS_TARGET] });
    life.report('c1', '1e22');
    expect(life.result('c1/ctf', 0.95)).toEqual(
      expect.arrayContaining(['EvaluationsCancelled', 'QuarantineBegun']),
    );
    life.report('c2', '2e22');
    expect(life.attempts('c2', 'ctf').map(({ state }) => state)).toEqual(['cancelled']);
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toEqual([]);
  });
});

describe('what a quarantine recommends to go back to', () => {
  const late = (checkpointId: string) =>
    archivedResult({
      checkpointId,
      evaluationId: 'ev_x',
      evaluation: 'ctf',
      variant: 'default',
      attempt: 1,
      result: success(0.95),
      resultDigest: 'd',
      priorDigest: null,
      by: 'evaluator',
    });
  const digest = `sha256:${'a'.repeat(64)}`;
  function trained(): RunLife {
    const life = registered(policy(), { targets: [PROCESS_TARGET] });
    for (const [id, at] of [
      ['c1', '1e22'],
      ['c2', '2e22'],
    ] as const) {
      life.report(id, at, { modelUri: `s3://w/${id}`, weightsDigest: digest });
      for (const each of ['ctf', 'labs']) life.result(`${id}/${each}`, 0.1);
    }
    life.report('c3', '4e22');
    return life;
  }

  it('is the newest cleared checkpoint, with its digest', () => {
    const life = trained();
    life.result('c3/ctf', 0.95);
    expect(life.last('QuarantineBegun').revert).toEqual({
      checkpointId: 'c2',
      effectiveCompute: '2e22',
      modelUri: 's3://w/c2',
      weightsDigest: digest,
    });
    expect(life.state.alerts.at(-1)?.details).toMatchObject({ revertTo: 'c2', weightsDigest: digest });
  });

  it('is not one that the evidence speaks against', () => {
    const life = trained();
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c2', 'ctf'), by: 'operator' });
    life.result('c2/ctf', 0.95);
    expect(life.last('QuarantineBegun').revert?.checkpointId ?? null).toBe('c1');
  });

  it.each([
    ['c3', 'c2'],
    ['c1', null],
  ])('lies below a checkpoint that is gone from the state, where it is %s: %s', (checkpointId, revert) => {
    const life = registered(policy(), { targets: [PROCESS_TARGET] });
    for (let i = 1; i <= 8; i += 1) life.pass(`c${i}`, `${2 ** (i - 1)}e22`);
    expect(life.state.checkpoints.map((each) => each.checkpointId)).not.toContain(checkpointId);
    life.does(late(checkpointId));
    expect(life.last('QuarantineBegun').revert?.checkpointId ?? null).toBe(revert);
  });

  it('is not known where the accused one is older than all that is', () => {
    const life = registered(policy(), { targets: [PROCESS_TARGET] });
    for (let i = 1; i <= 10; i += 1) life.pass(`c${i}`, `${2 ** (i - 1)}e22`);
    life.does(late('c1'));
    expect(life.last('QuarantineBegun').revert).toBeNull();
  });

  it('is nothing where nothing was cleared, and where it was only waived', () => {
    const life = quarantined();
    expect(life.last('QuarantineBegun').revert).toBeNull();
    const waived = registered(policy(), { targets: [PROCESS_TARGET] });
    waived.pass('c1', '1e22', 0.6);
    waived.resume();
    expect(waived.state.lastCleared?.checkpointId).toBe('c1');
    waived.press('ann', 'safety', 'quarantine');
    expect(waived.last('QuarantineBegun').revert).toBeNull();
  });
});

describe('a quarantined run', () => {
  it('is not resumed before its release is signed by itself', () => {
    const life = quarantined();
    expect(life.refuses(life.proposal())).toMatchObject({ code: 'conflict', path: 'kind' });
    expect(life.release()).toEqual(['ProposalOpened']);
    life.sign('lea', 'leadership');
    expect(life.refuses(life.proposal())).toMatchObject({ code: 'conflict' });
    expect(life.sign('sam', 'safety')).toEqual(['SignOffRecorded', 'QuarantineReleased']);
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
    life.propose();
    expect(life.signed()).toContain('RunResumed');
    expect(life.permit.granted).toBe(true);
  });

  it('takes the signatures of those that the policy names for it', () => {
    const life = quarantined(
      policy({
        governance: {
          groups: ['safety', 'leadership', 'board'],
          resume: { approvals: ['leadership'], vetoes: [] },
          release: { approvals: ['board'], vetoes: ['safety'] },
        },
      }),
    );
    life.release();
    expect(life.sign('lea', 'leadership')).toEqual(['SignOffRecorded']);
    expect(life.sign('bob', 'board')).toEqual(['SignOffRecorded', 'QuarantineReleased']);
  });

  it('makes no further call-outs once it is released', () => {
    const life = quarantined();
    stops(life);
    expect(callOuts(life)).toEqual(['cut-network 1']);
    life.release();
    life.signed();
    expect(callOuts(life)).toEqual([]);
    expect(life.wait('6m').tick()).toEqual([]);
  });

  it('that was released is isolated anew where it is quarantined again', () => {
    const life = quarantined();
    stops(life);
    answers(life, 'cut-network', 'isolated');
    life.release();
    life.signed();
    expect(life.press('bob', 'board', 'halt')).not.toContain('QuarantineBegun');
    expect(life.press('bob', 'board', 'quarantine')).toEqual(expect.arrayContaining(['QuarantineBegun']));
    expect(life.refuses(life.proposal())).toMatchObject({ code: 'conflict' });
    expect(callOuts(life)).toEqual(['cut-network 1']);
  });

  it('is quarantined again by a late veto of its release', () => {
    const life = quarantined();
    life.release();
    life.signed();
    const events = life.does(life.signature('bob', 'board', { decision: 'veto' }));
    expect(events).toEqual(expect.arrayContaining(['SignOffRecorded', 'HaltCauseAdded', 'QuarantineBegun']));
    expect(life.refuses(life.proposal())).toMatchObject({ code: 'conflict' });
  });

  it('that is only halted has nothing to release', () => {
    const life = registered();
    life.press();
    expect(
      life.refuses({ type: 'ProposeRelease', haltId: null, rationale: 'r', by: 'operator' }),
    ).toMatchObject({
      code: 'conflict',
      path: 'kind',
    });
  });
});

describe('leave for evaluation and alignment work', () => {
  const BASE_GOVERNANCE = BASE_POLICY['governance'];
  function halted(more: JsonObject = {}): RunLife {
    const life = registered(policyOf(more));
    life.report('c1', '1e22');
    life.press();
    return life;
  }
  const states = (life: RunLife) => life.attempts('c1', 'ctf').map(({ state }) => state);

  it('starts the evaluations again, and lets nobody train', () => {
    const life = halted();
    expect(states(life)).toEqual(['cancelled']);
    expect(life.proposeWork()).toEqual(['ProposalOpened']);
    expect(life.openProposal).toMatchObject({ kind: 'scoped-resume', terms: { scope: 'evaluation' } });
    expect(life.signed()).toEqual(expect.arrayContaining(['ScopedWorkGranted', 'EvaluationRequeued']));
    expect(states(life)).toEqual(['cancelled', 'queued']);
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
    expect(life.state.epoch).toBe(1);
  });

  it('ends with its time, and the evaluations with it', () => {
    const life = halted();
    life.proposeWork({ expires: '2026-11-01T02:00:00.000Z' });
    life.signed();
    expect(life.wait('1h').tick()).not.toContain('ScopedWorkEnded');
    expect(life.wait('1h').tick()).toEqual(
      expect.arrayContaining(['ScopedWorkEnded', 'EvaluationsCancelled']),
    );
    expect(life.last('ScopedWorkEnded').reason).toBe('expired');
    expect(states(life)).toEqual(['cancelled', 'cancelled']);
  });

  it('ends by a veto, without another halt', () => {
    const life = halted();
    life.proposeWork();
    life.signed();
    expect(life.does(life.signature('bob', 'board', { decision: 'veto' }))).toEqual(
      expect.arrayContaining(['SignOffRecorded', 'ScopedWorkEnded', 'EvaluationsCancelled']),
    );
    expect(life.state.halt?.causes).toHaveLength(1);
  });

  it.each(['halt', 'quarantine'] as const)('ends when somebody presses for a %s again', (action) => {
    const life = halted();
    life.proposeWork();
    life.signed();
    expect(life.press('bob', 'board', action)).toContain('EvaluationsCancelled');
    expect(life.state.halt?.scoped).toBeUndefined();
    expect(states(life)).toEqual(['cancelled', 'cancelled']);
  });

  it('outlives a halting result of the very work that it lets go on, but for a quarantine', () => {
    const life = halted();
    life.proposeWork();
    life.signed();
    expect(life.result('c1/ctf', 0.6)).toContain('HaltCauseAdded');
    expect(life.state.halt?.scoped).toBeDefined();
    expect(life.result('c1/labs', 0.95)).toContain('QuarantineBegun');
    expect(life.state.halt?.scoped).toBeUndefined();
  });

  it.each([
    ['2026-10-31T00:00:00.000Z', 'terms.expires'],
    ['2026-11-01T00:00:00.000Z', 'terms.expires'],
    ['2027-01-01T00:00:00.000Z', 'terms.expires'],
    ['soon', 'terms.expires'],
  ])('until %s is refused at %s', (expires, path) => {
    const life = halted();
    const command = { type: 'ProposeScopedResume', haltId: null, rationale: 'r', by: 'op', expires } as const;
    expect(life.refuses(command)).toMatchObject({ code: 'invalid', path });
  });

  it('is refused to a run that is not halted, and to one in quarantine', () => {
    const free = registered();
    const command = { type: 'ProposeScopedResume', haltId: null, rationale: 'r', by: 'op' } as const;
    expect(free.refuses(command)).toMatchObject({ code: 'conflict', path: 'kind' });
    expect(quarantined().refuses(command)).toMatchObject({ code: 'conflict', path: 'kind' });
  });

  it('is for those to sign that the policy names', () => {
    const life = halted({
      governance: { ...Object(BASE_GOVERNANCE), scopedResume: { approvals: ['preparedness'] } },
    });
    life.proposeWork();
    expect(life.sign('pat', 'preparedness')).toContain('ScopedWorkGranted');
  });
});

describe('evaluations of a run that a rule halts', () => {
  it.each([
    [{ confirmWithin: '2m' }, 'queued'],
    [{ confirmWithin: '2m', evaluations: 'continue' }, 'queued'],
    [{ confirmWithin: '2m', evaluations: 'stop' }, 'cancelled'],
  ])('under %j are %s', (halt, state) => {
    const life = registered(policyOf({ halt }));
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.6);
    expect(life.attempts('c1', 'labs').map((each) => each.state)).toEqual([state]);
  });
});
