/** Cancelled evaluations that somebody else carries out: told until they take it. */
import { describe, expect, it } from 'vitest';
import { evaluation, policyOf, type RunLife, registered } from './run-life.ts';

const elsewhere = { kind: 'http', mode: 'callback', timeout: '1h', attempts: 2, secret: 'env:S' };
const POLICY = policyOf({
  evaluations: [
    evaluation('ctf', 'cyber', { executor: { ...elsewhere, callOff: 'https://evals.example/off' } }),
    evaluation('labs', 'bio', { executor: { ...elsewhere } }),
  ],
});

function begun(names: readonly string[] = ['ctf', 'labs']): RunLife {
  const life = registered(POLICY);
  life.report('c1', '1e22');
  for (const name of names) {
    const evaluationId = life.idOf('c1', name);
    life.does({ type: 'StartEvaluation', evaluationId, attempt: 1, instance: 'w1' });
    life.does({ type: 'NoteDispatched', evaluationId, attempt: 1 });
  }
  return life;
}
const calls = (life: RunLife) =>
  life.work.flatMap(({ kind, ids, notBeforeMs }) =>
    kind === 'dispatch' && ids['call'] !== undefined
      ? [{ evaluationId: ids['evaluationId'], call: ids['call'], inMs: notBeforeMs - +life.now }]
      : [],
  );
const told = (life: RunLife, call: number, outcome: 'accepted' | 'retry' | 'rejected') =>
  life.does({
    type: 'RecordCallOff',
    evaluationId: life.idOf('c1', 'ctf'),
    attempt: 1,
    call,
    outcome,
    detail: 'HTTP',
  });

describe('a cancelled evaluation', () => {
  it('that is under way elsewhere is called off, where the policy says how', () => {
    const life = begun();
    life.press();
    expect(calls(life)).toEqual([{ evaluationId: life.idOf('c1', 'ctf'), call: 1, inMs: 0 }]);
  });

  it('that had not begun is not', () => {
    const life = begun(['labs']);
    life.press();
    expect(calls(life)).toEqual([]);
  });

  it.each([
    ['retry', 1_000],
    ['rejected', 300_000],
  ] as const)('is called off again after %s, in %d ms', (outcome, inMs) => {
    const life = begun();
    life.press();
    expect(told(life, 1, outcome)).toEqual(['EvaluationCalledOff']);
    expect(calls(life)).toMatchObject([{ call: 2, inMs }]);
  });

  it('is not called off any more once that was taken, and a late word of it changes nothing', () => {
    const life = begun();
    life.press();
    told(life, 1, 'retry');
    expect(told(life, 1, 'accepted')).toEqual([]);
    expect(told(life, 2, 'accepted')).toEqual(['EvaluationCalledOff']);
    expect(calls(life)).toEqual([]);
    expect(told(life, 3, 'retry')).toEqual([]);
  });

  it('is called off also after the run was resumed and evaluates it anew', () => {
    const life = begun();
    life.press();
    told(life, 1, 'retry');
    life.resume();
    expect(life.attempts('c1', 'ctf').map(({ state }) => state)).toEqual(['cancelled', 'queued']);
    expect(calls(life)).toMatchObject([{ call: 2 }]);
  });

  it('keeps its checkpoint in the state until somebody was told', () => {
    const life = begun();
    life.press();
    life.resume();
    for (const name of ['ctf', 'labs']) life.result(`c1/${name}`, 0.1);
    for (let i = 2; i < 9; i += 1) life.pass(`c${i}`, `${2 ** (i - 1)}e22`);
    expect(life.state.checkpoints.map(({ checkpointId }) => checkpointId)).toContain('c1');
    told(life, 1, 'accepted');
    life.pass('c9', `${2 ** 8}e22`);
    expect(life.state.checkpoints.map(({ checkpointId }) => checkpointId)).not.toContain('c1');
  });
});

describe('an evaluation that is ended and was cancelled by nobody', () => {
  it('is called off once its budget is used up, and not where it is only late', () => {
    const executor = { ...elsewhere, callOff: 'https://evals.example/off' };
    const spent = registered(
      policyOf({
        evaluations: [
          evaluation('ctf', 'cyber', { executor, budget: { wallTime: '30m' } }),
          evaluation('labs', 'bio', { executor }),
        ],
      }),
    );
    spent.report('c1', '1e22');
    for (const name of ['ctf', 'labs']) {
      const about = { evaluationId: spent.idOf('c1', name), attempt: 1 };
      spent.does({ type: 'StartEvaluation', ...about, instance: 'w1' });
      spent.does({ type: 'NoteDispatched', ...about });
    }
    spent.wait('30m').tick();
    expect(spent.last('EvaluationAttemptFailed')).toMatchObject({
      reason: 'budget-exhausted',
      callOff: true,
    });
    expect(calls(spent)).toEqual([{ evaluationId: spent.idOf('c1', 'ctf'), call: 1, inMs: 0 }]);
    spent.wait('31m').tick();
    expect(spent.last('EvaluationAttemptFailed')).toMatchObject({ reason: 'timed-out' });
    expect(calls(spent)).toHaveLength(1);
    told(spent, 1, 'accepted');
    expect(calls(spent)).toEqual([]);
  });

  it('is called off where its weights were exchanged', () => {
    const life = begun();
    const weights = { type: 'NoteWeights', checkpointId: 'c1', files: 1, bytes: 1 } as const;
    life.does({ ...weights, digest: `sha256:${'a'.repeat(64)}`, fingerprint: 'a' });
    life.does({ ...weights, digest: `sha256:${'b'.repeat(64)}`, fingerprint: 'b' });
    expect(calls(life)).toMatchObject([{ evaluationId: life.idOf('c1', 'ctf'), call: 1 }]);
  });
});
