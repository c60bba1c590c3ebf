/** Lineage, instances, and resumes that outlive what they were signed for: the pure side. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compute } from '../../../src/domain/compute.ts';
import { inheritedHalt, parentRuns } from '../../../src/domain/run/lineage.ts';
import { permitTerms } from '../../../src/domain/run/permit.ts';
import { CLEARED_HALTS_KEPT, PROPOSALS_KEPT } from '../../../src/domain/run/state.ts';
import { policyOf, RunLife, registered } from './run-life.ts';
import { rows } from './table.ts';

const latch = (life: RunLife, haltId = 'halt_of_parent') =>
  life.does({ type: 'LatchLineage', ancestor: 'parent', haltId, action: 'quarantine', reason: 'High' });

const note = (
  life: RunLife,
  instance: string,
  seen: Parameters<typeof life.does>[0] extends infer C
    ? C extends { type: 'NoteInstance'; seen: infer S }
      ? S
      : never
    : never,
) => life.does({ type: 'NoteInstance', instance, by: 'trainer', seen });

describe('lineage', () => {
  it.each(
    rows(`
      parents                      | runs
      a                            | a
      a/step-1 a/step-2 b          | a b
      s3://bucket/base             |
      ../../etc/passwd             |
      r1 r1/c1                     |
      A.b-c_d                      | A.b-c_d
    `).slice(1),
  )('%s names the runs: %s', (parents = '', runs = '') => {
    const named = parentRuns({ runId: 'r1', parents: parents.split(' ') });
    // A scheme looks like a run's id up to its colon; the colon tells.
    expect(named.join(' ')).toBe(runs);
  });

  it('latches a descendant once per halt, raises an open halt, and voids what people were signing', () => {
    const life = registered(policyOf(), { parents: ['parent'] });
    expect(latch(life)).toEqual(expect.arrayContaining(['HaltOrdered', 'AlertRaised']));
    expect(life.state.halt).toMatchObject({ action: 'quarantine', causes: [{ kind: 'lineage' }] });
    expect(latch(life)).toEqual([]);
    life.resume();
    expect(latch(life)).toEqual([]);
    expect(life.permit.granted).toBe(true);

    life.press();
    life.propose();
    expect(latch(life, 'halt_another')).toEqual([
      'HaltCauseAdded',
      'ProposalVoided',
      'QuarantineBegun',
      'AlertRaised',
    ]);
    expect(life.state.halt?.action).toBe('quarantine');
  });

  it('gives no permit while a parent is halted and the run is not latched yet', () => {
    const known = [
      { stated: 'parent/c1', runId: 'parent', checkpointId: 'c1', effectiveCompute: compute(1e21) },
    ];
    const ancestry = { known, unknown: [], work: [] };
    const life = registered(policyOf(), { parents: ['parent/c1'], ancestry });
    const parent = registered();
    parent.press();
    const halted = { ...parent.state, runId: 'parent' };
    expect(permitTerms(life.state, [halted])).toEqual({ granted: false, reason: 'lineage' });
    expect(inheritedHalt(life.state, { ...halted, runId: 'another' })).toBeNull();
    expect(permitTerms(life.state, [{ ...halted, halt: null }]).granted).toBe(true);
  });
});

describe('a second process', () => {
  const refused = { kind: 'refused', holder: 'a', heldUntil: '2026-11-01T00:30:00.000Z' } as const;

  it('is told of once per life of a permit, with an alert', () => {
    const life = registered();
    expect(note(life, 'b', refused)).toEqual(['InstanceRefused', 'AlertRaised']);
    expect(note(life, 'b', refused)).toEqual([]);
    expect(life.permit.granted).toBe(true);
    life.wait('30m');
    expect(note(life, 'b', refused)).toEqual(['InstanceRefused', 'AlertRaised']);
  });

  it('that trains on is left the step it was in, then holds the run until a resume', () => {
    const life = registered();
    const trained = { kind: 'trained', effectiveCompute: life.state.ceiling } as const;
    expect(note(life, 'b', trained), 'never refused').toEqual([]);
    note(life, 'b', refused);
    expect(note(life, 'b', trained), 'a step that was under way').toEqual([]);
    life.wait('30s');
    expect(note(life, 'b', trained)).toEqual(['InstanceTrained', 'HoldPlaced', 'AlertRaised']);
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
    life.wait('1h');
    expect(life.tick()).toEqual([]);
    life.resume();
    expect(life.permit.granted).toBe(true);
    expect(life.tick()).toEqual([]);
  });

  it('that nobody stops makes a halt of the hold at its deadline', () => {
    const life = registered();
    note(life, 'b', refused);
    life.wait('30s');
    note(life, 'b', { kind: 'trained', effectiveCompute: life.state.ceiling });
    expect(life.wait('20h').tick()).toContain('HaltOrdered');
  });

  it('that appears on a halted run reopens a halt whose stop was said or confirmed, and no other', () => {
    const life = registered();
    const appeared = { kind: 'appeared', effectiveCompute: life.state.ceiling } as const;
    expect(note(life, 'b', appeared)).toEqual([]);
    life.press();
    expect(note(life, 'b', appeared)).toEqual([]);
    life.acknowledge('stopped');
    expect(note(life, 'c', appeared)).toEqual(['HaltReopened', 'AlertRaised']);
    expect(life.state.halt).toMatchObject({ round: 2, stoppedAckAt: null });
  });
});

describe('the resume that a run trains under', () => {
  it('stays in reach of a late veto, however many proposals come after it', () => {
    const life = registered();
    life.press();
    life.resume();
    const executed = life.state.proposals.at(-1);
    life.beat('9e21');
    life.report('c1', '9e21');
    life.result('c1/ctf', { status: 'error', error: 'broken' });
    life.wait('2h');
    life.result('c1/ctf', { status: 'error', error: 'broken' });
    life.wait('10h').tick();
    expect(life.state.holds).not.toEqual([]);
    for (let i = 0; i < 3 * PROPOSALS_KEPT; i += 1) life.propose({}, { rationale: `again ${i}` });
    expect(life.state.proposals).toHaveLength(PROPOSALS_KEPT);
    const veto = life.does({
      ...life.signature('bea', 'board', { decision: 'veto' }),
      proposalId: executed?.proposalId ?? '',
      digest: executed?.digest ?? '',
    });
    expect(veto).toContain('HaltOrdered');
  });

  it('is not signed for once the run has outgrown its terms, though nothing tripped', () => {
    const life = registered();
    life.beat('1e21');
    life.press();
    life.propose({ ceiling: compute('2e21') });
    life.sign('lea', 'leadership');
    // Below the ceiling it had: no event, and no reason to halt it again.
    expect(life.beat('3e21')).toEqual([]);
    expect(life.refuses(life.signature('sam', 'safety'))).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('the terms no longer hold'),
    });
    expect(life.tick()).toEqual(['ProposalVoided']);
    expect(life.last('ProposalVoided').reason).toBe('terms-outdated');
    expect(life.permit.granted).toBe(false);
  });
});

describe('cleared halts', () => {
  it('are kept bounded, the newest last, so that a permit always has room for them', () => {
    const life = new RunLife(policyOf(), { checked: false });
    life.register();
    for (let i = 0; i < CLEARED_HALTS_KEPT + 20; i += 1) {
      life.press();
      life.resume();
    }
    expect(life.state.clearedHalts).toHaveLength(CLEARED_HALTS_KEPT);
  }, 60_000);
});

describe('C3', () => {
  it('no order of presses, resumes, vetoes, latches and second processes gives a permit while latched or held', () => {
    const step = fc.constantFrom(
      'press',
      'quarantine',
      'resume',
      'veto',
      'latch',
      'refuse',
      'train',
      'appear',
      'ack',
      'wait',
      'beat',
      'tick',
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const life = registered(policyOf(), { parents: ['parent'] });
        let latches = 0;
        let spent = 1;
        for (const each of steps) {
          if (each === 'press') life.press();
          else if (each === 'quarantine') life.press('bob', 'board', 'quarantine');
          else if (each === 'latch') {
            latches += 1;
            latch(life, `halt_${latches}`);
          } else if (each === 'resume' && (life.state.halt !== null || life.state.holds.length > 0)) {
            life.command(life.proposal());
            life.command(life.signature('lea', 'leadership'));
            life.command(life.signature('sam', 'safety'));
          } else if (each === 'veto') life.command(life.signature('bea', 'board', { decision: 'veto' }));
          else if (each === 'refuse') {
            note(life, 'b', { kind: 'refused', holder: 'a', heldUntil: '2026-12-01T00:00:00.000Z' });
          } else if (each === 'train')
            note(life, 'b', { kind: 'trained', effectiveCompute: life.state.ceiling });
          else if (each === 'appear')
            note(life, 'c', { kind: 'appeared', effectiveCompute: life.state.ceiling });
          else if (each === 'ack' && life.state.halt !== null) life.acknowledge('stopped');
          else if (each === 'wait') life.wait('40s');
          else if (each === 'beat') {
            spent += 1;
            life.beat(`${spent}e19`);
          } else if (each === 'tick') life.tick();

          const { state, permit } = life;
          const latched = state.halt !== null || state.holds.length > 0;
          expect(permit.granted && latched, `${each} of ${steps.join(' ')}`).toBe(false);
          // The epoch of a halt is no permit's: what the trainer compares.
          if (state.halt !== null) expect(state.halt.epoch).toBe(state.epoch);
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
