/** Shadow: everything is decided and recorded, nothing is done, and it ends by itself armed. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { archivedResult } from '../../../src/domain/run/archived.ts';
import { nextCheckpointAt } from '../../../src/domain/run/cadence.ts';
import type { RunEventKind } from '../../../src/domain/run/events.ts';
import { evolveAll } from '../../../src/domain/run/evolve.ts';
import { permitTerms } from '../../../src/domain/run/permit.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import { toldOfShadow } from '../../../src/domain/run/shadow.ts';
import { project } from '../../../src/domain/run/views.ts';
import { whatIf } from '../../../src/domain/run/what-if.ts';
import { digest, policyOf, RunLife, success } from './run-life.ts';

const UNTIL = '2026-11-11T00:00:00.000Z';

function shadowed(changes: JsonObject = {}): RunLife {
  const life = new RunLife(policyOf(changes));
  life.register({ shadowUntil: UNTIL });
  return life;
}

/** What acts on a run, or tells people of it. */
const ACTS: readonly RunEventKind[] = ['HaltOrdered', 'HoldPlaced', 'AlertRaised', 'HaltCauseAdded'];
const acts = (life: RunLife): RunEventKind[] =>
  life.events.map(({ kind }) => kind).filter((kind) => ACTS.includes(kind));

describe('a run in shadow', () => {
  it('says in its first event until when', () => {
    const life = shadowed();
    expect(life.last('RunRegistered').shadow).toEqual({ until: UNTIL });
    expect(toldOfShadow(life.state)).toEqual({
      until: UNTIL,
      endedAt: null,
      endedBecause: null,
      wouldHaveHalted: 0,
      wouldHaveHeld: 0,
      first: null,
    });
  });

  it('is one only while the time lasts, and at most 90 days of it', () => {
    const late = new RunLife();
    late.register({ shadowUntil: '2026-10-31T23:59:59.000Z' });
    expect(late.last('RunRegistered').shadow).toBeUndefined();
    const command = { shadowUntil: '2027-01-30T00:00:01.000Z' };
    expect(() => new RunLife().register(command)).toThrow(/within 90 days/);
  });

  it('records what would have halted it, once, and goes on', () => {
    const life = shadowed();
    life.report('c1', '1e22');
    expect(life.result('c1/ctf', 0.6)).toEqual(['EvaluationReported', 'WouldHaveHalted', 'ForecastSealed']);
    expect(life.last('WouldHaveHalted')).toMatchObject({
      action: 'halt',
      cause: { kind: 'rule', checkpointId: 'c1', findings: [{ rule: 'high' }] },
    });
    life.result('c1/labs', 0.1);
    expect(life.last('CheckpointAssessed').verdict).toBe('halt');
    life.wait('1h').tick();
    expect(life.count('WouldHaveHalted')).toBe(1);
    expect(acts(life)).toEqual([]);
    expect(life.permit).toMatchObject({ granted: true, ceiling: '1e22', shadowUntil: UNTIL });
    expect(life.work.filter(({ kind }) => kind !== 'tick')).toEqual([]);
    expect(toldOfShadow(life.state)).toMatchObject({
      wouldHaveHalted: 1,
      wouldHaveHeld: 0,
      first: { action: 'halt', checkpointId: 'c1' },
    });
  });

  it('records what would have held it, when that would have been lifted, and when it would have become a halt', () => {
    const life = shadowed();
    life.report('c1', '1e22');
    expect(life.result('c1/ctf', success(0.46, 200))).toContain('WouldHaveHeld');
    const { holdId } = life.last('WouldHaveHeld');
    life.result('c1/labs', 0.1);
    life.wait('20h');
    expect(life.tick()).toEqual(['WouldHaveHalted']);
    expect(life.last('WouldHaveHalted').cause).toMatchObject({
      findings: [{ kind: 'hold-deadline', evaluation: holdId }],
    });
    expect(life.wait('1h').tick()).toEqual([]);

    life.report('c2', '2e22');
    expect(life.wait('10h').tick()).toContain('WouldHaveHeld');
    expect(life.last('WouldHaveHeld').key).toBe('checkpoint:c2');
    life.result('c2/ctf', 0.1);
    expect(life.result('c2/labs', 0.1)).toContain('WouldHaveLifted');
    expect(life.last('WouldHaveLifted').holdId).toBe(life.last('WouldHaveHeld').holdId);
    expect(acts(life)).toEqual([]);
    expect(toldOfShadow(life.state)).toMatchObject({ wouldHaveHeld: 2, first: { action: 'hold' } });
  });

  it('is paged for nothing that would have stopped it, and for everything else as ever', () => {
    const stage = 'pre-mitigation';
    const life = shadowed({
      rules: [
        { id: 'high', kind: 'level', stage, atLeast: 'high', then: ['halt', 'alert'] },
        { id: 'medium', kind: 'level', stage, atLeast: 'medium', then: ['alert'] },
      ],
    });
    life.pass('c1', '1e22', 0.6);
    expect(life.last('AlertRaised').details).toMatchObject({ rules: 'medium, medium' });
    expect(life.count('AlertRaised')).toBe(1);
  });

  it('is evaluated at each doubling of the furthest due checkpoint, though nothing is cleared', () => {
    const life = shadowed();
    life.pass('c1', '1e22', 0.6);
    const due = (id: string, at: string): boolean => {
      life.report(id, at);
      return life.last('CheckpointReported').due;
    };
    expect(life.state.lastCleared).toBeNull();
    expect(nextCheckpointAt(life.state, life, life.state.computeHigh)).toBe('2e22');
    expect(due('c2', '1.9e22')).toBe(false);
    expect(due('c3', '2e22')).toBe(true);
    // Before it is assessed too: a run that nothing stops reports while its last one is evaluated.
    expect(due('c4', '2.1e22')).toBe(false);
    expect(due('c5', '4.5e22')).toBe(true);
    expect(nextCheckpointAt(life.state, life, life.state.computeHigh)).toBe('9e22');
    expect(life.state.ceiling).toBe('1e22');
  });

  it('clears what proceeds as ever: the ceiling is what was earned', () => {
    const life = shadowed();
    life.pass('c1', '1e22', 0.6);
    life.pass('c2', '2e22');
    expect(life.state.lastCleared?.checkpointId).toBe('c2');
    expect(life.state.ceiling).toBe('4.4e22');
    expect(nextCheckpointAt(life.state, life, life.state.computeHigh)).toBe('4e22');
  });

  it('would have been halted for an overrun, once, and held while a checkpoint is overdue', () => {
    const life = shadowed();
    life.pass('c1', '1e22');
    expect(life.beat('2e22')).toEqual(['ProgressNoted', 'WouldHaveHeld']);
    expect(life.beat('2.3e22')).toEqual(['ProgressNoted', 'WouldHaveHalted']);
    expect(life.beat('2.4e22')).toEqual([]);
    expect(life.report('c2', '2.4e22')).toContain('WouldHaveLifted');
    expect(acts(life)).toEqual([]);
  });

  it('would have been halted with its relatives, and asks for permits beside a halted parent', () => {
    const life = shadowed();
    const latch = {
      type: 'LatchLineage',
      ancestor: 'p',
      haltId: 'halt_p',
      action: 'halt',
      reason: 'why',
    } as const;
    expect(life.does(latch)).toEqual(['WouldHaveHalted']);
    expect(life.does(latch)).toEqual([]);
    const parent = new RunLife();
    parent.register({ runId: 'p' });
    parent.press();
    const child = new RunLife();
    child.register({ parents: ['p'], initialCompute: null, shadowUntil: UNTIL });
    expect(permitTerms(child.state, [parent.state]).granted).toBe(true);
  });

  it('has nothing that a resume could end', () => {
    const life = shadowed();
    life.pass('c1', '1e22', 0.6);
    expect(life.refuses(life.proposal()).message).toContain('in shadow');
  });

  it('keeps a bounded state however far it trains on, and what stands against it', () => {
    const life = shadowed();
    for (let i = 1; i <= 22; i += 1) {
      life.report(`c${i}`, `${2 ** i}e21`);
      life.result(`c${i}/ctf`, i <= 3 ? 0.6 : success(0.46, 200));
      life.result(`c${i}/labs`, 0.1);
    }
    expect(life.state.checkpoints.length).toBeLessThanOrEqual(16);
    expect(life.state.shadow?.known.some((name) => name.endsWith('/c1'))).toBe(false);
    expect(life.state.shadow?.kept.map(({ cause }) => cause)).toMatchObject([
      { checkpointId: 'c1' },
      { checkpointId: 'c2' },
      { checkpointId: 'c3' },
    ]);
    life.now = new Date(UNTIL);
    expect(life.tick()).toContain('HaltOrdered');
  });
});

describe('the end of a shadow', () => {
  it('comes by itself: what stands is halted in the same decision, and people are told', () => {
    const life = shadowed();
    life.pass('c1', '1e22', 0.6);
    expect(life.work.filter(({ kind }) => kind === 'tick').map(({ notBeforeMs }) => notBeforeMs)).toContain(
      Date.parse(UNTIL),
    );
    life.now = new Date(Date.parse(UNTIL) - 1);
    expect(life.tick()).toEqual([]);
    life.now = new Date(UNTIL);
    expect(life.tick().slice(0, 3)).toEqual(['ShadowEnded', 'AlertRaised', 'HaltOrdered']);
    expect(life.last('ShadowEnded')).toMatchObject({ reason: 'time', by: null });
    expect(life.last('HaltOrdered').cause).toMatchObject({ kind: 'rule', checkpointId: 'c1' });
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
    expect(life.work.some(({ kind }) => kind === 'halt-step')).toBe(true);
    expect(toldOfShadow(life.state)).toMatchObject({ endedBecause: 'time', wouldHaveHalted: 2 });
  });

  it('places the holds that stand, with time to lift them', () => {
    const life = shadowed();
    life.report('c1', '1e22');
    life.result('c1/labs', 0.1);
    life.result('c1/ctf', success(0.46, 200));
    life.wait('30h').tick();
    life.now = new Date(UNTIL);
    expect(life.tick()).toEqual(['ShadowEnded', 'AlertRaised', 'HoldPlaced', 'AlertRaised']);
    expect(life.last('HoldPlaced').deadlineAt).toBe('2026-11-11T20:00:00.000Z');
  });

  it('comes with whatever is decided after its time, not only with a tick', () => {
    const life = shadowed();
    life.pass('c1', '1e22');
    life.report('c2', '2e22');
    life.now = new Date(UNTIL);
    expect(life.result('c2/ctf', 0.6).slice(0, 4)).toEqual([
      'EvaluationReported',
      'ShadowEnded',
      'AlertRaised',
      'HaltOrdered',
    ]);
    const other = shadowed();
    other.now = new Date(UNTIL);
    const latch = {
      type: 'LatchLineage',
      ancestor: 'p',
      haltId: 'halt_p',
      action: 'halt',
      reason: 'why',
    } as const;
    expect(other.does(latch)).toContain('HaltOrdered');
    expect(other.count('WouldHaveHalted')).toBe(0);
  });

  it("comes early by an operator's word, once", () => {
    const life = shadowed();
    life.pass('c1', '1e22');
    expect(life.does({ type: 'ArmRun', by: 'olga' })).toEqual(['ShadowEnded', 'AlertRaised']);
    expect(life.last('ShadowEnded')).toMatchObject({ reason: 'armed', by: 'olga' });
    expect(life.does({ type: 'ArmRun', by: 'olga' })).toEqual([]);
    expect(life.permit).toEqual(expect.not.objectContaining({ shadowUntil: UNTIL }));
    expect(life.beat('2.3e22')).toContain('HaltOrdered');
  });

  it('comes with a press: that is real, and what would have halted joins it', () => {
    const life = shadowed();
    life.pass('c1', '1e22', 0.6);
    const kinds = life.press('ann', 'safety');
    expect(kinds.slice(0, 2)).toEqual(['ShadowEnded', 'HaltOrdered']);
    expect(kinds).toContain('HaltCauseAdded');
    expect(life.last('ShadowEnded')).toMatchObject({ reason: 'press', by: 'ann' });
    expect(life.last('HaltOrdered').cause).toMatchObject({ kind: 'person', by: 'ann' });
  });

  it('comes with a press that the button carried out before the ledger knew', () => {
    const life = shadowed();
    const press = {
      type: 'RecordPress',
      pressId: 'press_1',
      orderId: 'halt_1',
      orderedAt: life.now.toISOString(),
      pressedAt: life.now.toISOString(),
      action: 'halt',
      reason: 'doubt',
      group: 'safety',
      by: 'ann',
      via: 'bearer',
    } as const;
    expect(life.does(press).slice(0, 2)).toEqual(['ShadowEnded', 'HaltOrdered']);
    expect(life.does(press)).not.toContain('ShadowEnded');
  });

  it('remembers the halt of a relative, and evidence of a checkpoint that has left the state', () => {
    const life = shadowed();
    const latch = {
      type: 'LatchLineage',
      ancestor: 'p',
      haltId: 'halt_p',
      action: 'quarantine',
      reason: 'why',
    } as const;
    life.does(latch);
    for (let i = 1; i <= 8; i += 1) life.pass(`c${i}`, `${2 ** i}e21`);
    const late = archivedResult({
      checkpointId: 'c1',
      evaluationId: life.idOf('c1', 'ctf'),
      evaluation: 'ctf',
      variant: 'default',
      attempt: 2,
      result: success(0.7),
      resultDigest: digest('late'),
      priorDigest: null,
      by: 'evaluator',
    });
    expect(life.does(late)).toEqual(['ArchivedResultReported', 'WouldHaveHalted']);
    life.now = new Date(UNTIL);
    const kinds = life.tick();
    expect(kinds.filter((kind) => kind === 'HaltOrdered' || kind === 'HaltCauseAdded')).toHaveLength(2);
    expect(life.state.halt?.action).toBe('quarantine');
    expect(life.state.inherited).toEqual(['halt_p']);
    expect(life.state.shadow?.kept).toEqual([]);
    expect(life.tick()).toEqual([]);
  });

  it('wakes nobody for a run that is finished', () => {
    const life = shadowed();
    life.pass('c1', '1e22');
    life.does({ type: 'FinishRun', by: 'trainer' });
    life.now = new Date(UNTIL);
    expect(life.tick()).toEqual(['ShadowEnded']);
  });

  it('is not lengthened by registering again', () => {
    const life = shadowed();
    expect(life.register({ shadowUntil: '2026-12-31T00:00:00.000Z' })).toEqual([]);
    expect(life.state.shadow?.until).toBe(UNTIL);
  });
});

describe('those who read a run in shadow', () => {
  it('find in replay what acted although it was in shadow, and what did not although it was armed', () => {
    const life = shadowed();
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.6);
    const before = evolveAll(null, life.events.slice(0, -1));
    const { action, cause, at } = life.last('WouldHaveHalted');
    const ordered = {
      kind: 'HaltOrdered',
      data: { haltId: 'halt_x', action, cause, epoch: 1, escalateAt: at, at },
    } as const;
    expect(recheck(before, ordered, life.policy, digest)).toContain('in shadow');
    const armed = new RunLife();
    armed.register();
    const excuse = { kind: 'WouldHaveHalted', data: { action, cause, at } } as const;
    expect(recheck(armed.state, excuse, life.policy, digest)).toContain('not in shadow');
    const early = { kind: 'ShadowEnded', data: { reason: 'time', by: null, at } } as const;
    expect(recheck(before, early, life.policy, digest)).toContain('before');
    expect(recheck(armed.state, early, life.policy, digest)).toContain('not in');
  });

  it('see it in the row of the run', () => {
    const life = shadowed();
    life.pass('c1', '1e22', 0.6);
    const event = life.events.at(-1);
    if (event === undefined) throw new Error('no event');
    const [row] = project(life.state, event, life.state);
    expect(row?.doc).toMatchObject({
      status: 'training',
      shadow: { until: UNTIL, wouldHaveHalted: 2, first: { action: 'halt' } },
    });
  });

  it('ask what another policy would have done as of a run that was armed', () => {
    const life = shadowed();
    life.pass('c1', '1e22', 0.6);
    life.pass('c2', '2e22', 0.1);
    const question = { pinned: life.policy, policy: life.policy, policyDigest: 'p', digest };
    const answer = whatIf(life.events, question);
    expect(answer.stop.recorded).toMatchObject({ verdict: 'halt', checkpointId: 'c1' });
    expect(answer.stop.whatIf).toMatchObject({ verdict: 'halt', checkpointId: 'c1' });
    expect(answer.partsAt).toBeNull();
    expect(answer.limits.join(' ')).toContain('in shadow');

    const held = shadowed();
    held.report('c1', '1e22');
    held.result('c1/ctf', success(0.46, 200));
    held.result('c1/labs', 0.1);
    held.pass('c2', '2e22', 0.1);
    const stop = { verdict: 'hold', checkpointId: 'c1' };
    expect(whatIf(held.events, question).stop).toMatchObject({ recorded: stop, whatIf: stop });
  });
});
