/** Weights that are exchanged under an evaluation, and which weights a trainer has to keep until when. */
import { describe, expect, it } from 'vitest';
import { RETAIN_MS, retained } from '../../../src/domain/run/retention.ts';
import { unscorableBecause } from '../../../src/domain/run/weights.ts';
import { policyOf, type RunLife, registered } from './run-life.ts';

const ONE = `sha256:${'1'.repeat(64)}`;
const TWO = `sha256:${'2'.repeat(64)}`;

const seen = (life: RunLife, digest: string, fingerprint = 'f1', checkpointId = 'c1') =>
  life.does({ type: 'NoteWeights', checkpointId, digest, files: 2, bytes: 1024, fingerprint });
const findings = (life: RunLife, checkpointId = 'c1') =>
  life.state.checkpoints.find((each) => each.checkpointId === checkpointId)?.closed?.findings ?? [];

function reported(weightsDigest?: string, policy = policyOf()): RunLife {
  const life = registered(policy);
  life.report('c1', '1e22', weightsDigest === undefined ? {} : { weightsDigest });
  return life;
}

describe('the weights of a checkpoint', () => {
  it('are recorded once, and again where their files were touched and hold the same', () => {
    const life = reported();
    expect(seen(life, ONE)).toEqual(['WeightsDigested']);
    expect(seen(life, ONE)).toEqual([]);
    expect(seen(life, ONE, 'f2')).toEqual(['WeightsDigested']);
    expect(life.state.checkpoints[0]?.weights).toMatchObject({ digest: ONE, fingerprint: 'f2', bytes: 1024 });
  });

  it('that the sender named otherwise are refused at the first look', () => {
    const life = reported(ONE);
    expect(seen(life, TWO)).toContain('WeightsChanged');
    expect(life.last('WeightsChanged')).toMatchObject({ expected: ONE, found: TWO });
  });

  it('that changed hold the run, and the finding names both digests', () => {
    const life = reported();
    seen(life, ONE);
    life.result('c1/ctf', 0.1);
    expect(seen(life, TWO, 'f2')).toEqual(
      expect.arrayContaining([
        'WeightsChanged',
        'EvaluationAttemptFailed',
        'CheckpointAssessed',
        'HoldPlaced',
      ]),
    );
    const finding = findings(life).find(({ kind }) => kind === 'weights');
    expect(finding).toMatchObject({ observed: TWO, threshold: ONE, then: ['hold'] });
    expect(finding?.explanation).toContain(ONE);
    expect(
      findings(life).some(({ kind, evaluation: name }) => kind === 'inconclusive' && name === 'labs/default'),
    ).toBe(true);
    expect(life.permit.granted).toBe(false);
    expect(seen(life, ONE, 'f3')).toEqual([]); // putting the old ones back makes nothing good
  });

  it('that changed after all was in hold all the same', () => {
    const life = reported();
    seen(life, ONE);
    life.result('c1/ctf', 0.1);
    life.result('c1/labs', 0.1);
    expect(life.permit.granted).toBe(true);
    seen(life, TWO, 'f2');
    expect(life.permit.granted).toBe(false);
  });

  it('that changed let no result settle anything, and one at a threshold still halts', () => {
    const life = reported();
    seen(life, ONE);
    seen(life, TWO, 'f2');
    life.result('c1/ctf', 0.1, 1);
    expect(life.attempts('c1', 'ctf')[0]?.reading).toMatchObject({
      conclusive: false,
      reasons: ['weights-changed'],
    });
    expect(life.result('c1/labs', 0.9, 1)).toContain('HaltOrdered');
  });

  it('that changed are neither started nor tried again', () => {
    const life = reported();
    seen(life, ONE);
    seen(life, TWO, 'f2');
    const evaluationId = life.idOf('c1', 'ctf');
    expect(life.refuses({ type: 'RetryEvaluation', evaluationId, by: 'op' }).message).toContain('changed');
    expect(life.work.filter(({ kind }) => kind === 'dispatch' || kind === 'evaluate')).toEqual([]);
  });

  it('are no reason to begin anew what a halt had cancelled', () => {
    const life = reported();
    seen(life, ONE);
    life.press();
    seen(life, TWO, 'f2');
    life.resume();
    expect(life.attempts('c1', 'ctf').map(({ state }) => state)).toEqual(['cancelled']);
  });

  it('may do more than hold, where the policy says so', () => {
    const rules = [
      { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
      { id: 'swapped', kind: 'weights', then: ['halt'] },
    ];
    const life = reported(undefined, policyOf({ rules }));
    seen(life, ONE);
    expect(seen(life, TWO, 'f2')).toContain('HaltOrdered');
  });

  it('of a checkpoint that nobody evaluates are nobody’s concern', () => {
    const life = reported();
    expect(seen(life, ONE, 'f1', 'c9')).toEqual([]);
    expect(unscorableBecause(life.state.checkpoints[0] ?? { checkpointId: 'c1' })).toBeNull();
  });
});

describe('what a trainer has to keep', () => {
  const kept = (life: RunLife) => Object.fromEntries(retained(life.state, life.policy, life.now));
  const renewed = (life: RunLife) => new Date(life.now.getTime() + RETAIN_MS).toISOString();

  it('is what is being evaluated, until the scorecard’s deadline or the last attempt’s, whichever is later', () => {
    const life = reported();
    expect(kept(life)).toEqual({ c1: life.state.checkpoints[0]?.deadlineAt });
    life.wait('9h').wait('30m');
    life.does({ type: 'StartEvaluation', evaluationId: life.idOf('c1', 'ctf'), attempt: 1, instance: 'w' });
    const { deadlineAt } = life.attempts('c1', 'ctf')[0] ?? {};
    expect(kept(life)).toEqual({ c1: deadlineAt });
  });

  it('is the checkpoint last cleared, and no longer the one before it', () => {
    const life = registered();
    life.pass('c1', '1e22');
    expect(kept(life)).toEqual({ c1: renewed(life) });
    life.wait('1h').pass('c2', '2e22');
    expect(kept(life)).toEqual({ c2: renewed(life) });
  });

  it('is whatever a hold or a halt is about, and what could be gone back to', () => {
    const life = registered();
    life.pass('c1', '1e22');
    life.report('c2', '2e22');
    life.result('c2/ctf', 0.6);
    expect(life.state.halt).not.toBeNull();
    life.wait('30d');
    expect(kept(life)).toMatchObject({ c1: renewed(life), c2: renewed(life) });
  });

  it('is nothing that was only recorded', () => {
    const life = registered();
    life.pass('c1', '1e22');
    life.report('c1b', '1.1e22', { evaluate: false });
    expect(kept(life)).not.toHaveProperty('c1b');
  });
});
