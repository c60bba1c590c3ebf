/** Presses that were carried out before the ledger knew of them: entered once, attributed, and cleared with the halt. */
import { describe, expect, it } from 'vitest';
import type { RecordPress } from '../../../src/domain/run/press.ts';
import { CLEARED_HALTS_KEPT } from '../../../src/domain/run/state.ts';
import { policyOf, type RunLife, registered } from './run-life.ts';

const ORDERED_AT = '2026-10-31T23:59:58.123Z';

const press = (more: Partial<RecordPress> = {}): RecordPress => ({
  type: 'RecordPress',
  pressId: 'press_a',
  orderId: 'halt_of_the_button',
  orderedAt: ORDERED_AT,
  pressedAt: ORDERED_AT,
  action: 'halt',
  reason: 'doubt',
  group: 'safety',
  by: 'ann',
  via: 'bearer',
  ...more,
});

const causes = (life: RunLife) =>
  (life.state.halt?.causes ?? []).map((cause) => (cause.kind === 'person' ? cause.by : cause.kind));

describe('a press entered afterwards', () => {
  it('gives the halt the id that the trainers already hold, and what was signed into the order', () => {
    const life = registered();
    expect(life.does(press())).toEqual(['HaltOrdered', 'AlertRaised', 'PressRecorded']);
    expect(life.state.halt).toMatchObject({
      haltId: 'halt_of_the_button',
      issuedAt: ORDERED_AT,
      epoch: 1,
      causes: [{ kind: 'person', by: 'ann', group: 'safety', reason: 'doubt', pressId: 'press_a' }],
    });
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
    expect(life.last('PressRecorded')).toMatchObject({ pressedAt: ORDERED_AT, via: 'bearer', by: 'ann' });
  });

  it('joins a halt that is open already as a cause, under both ids', () => {
    const life = registered();
    life.press('bea', 'board');
    const haltId = life.state.halt?.haltId ?? '';
    expect(life.does(press())).toEqual(['HaltCauseAdded', 'PressRecorded']);
    expect(life.state.halt).toMatchObject({ haltId, orders: ['halt_of_the_button'], epoch: 1 });
    expect(causes(life)).toEqual(['bea', 'ann']);
    expect(life.state.halt?.issuedAt).toBeUndefined();
  });

  it('is one halt with all its presses attributed, however often it was pressed', () => {
    const life = registered();
    for (let i = 0; i < 1_000; i += 1) life.does(press({ pressId: `press_${i}`, by: `person-${i}` }));
    expect(life.count('HaltOrdered')).toBe(1);
    expect(life.count('HaltCauseAdded')).toBe(999);
    const by = life.events.flatMap((event) => (event.kind === 'PressRecorded' ? [event.data.by] : []));
    expect(new Set(by).size).toBe(1_000);
    expect(life.state.halt?.orders).toBeUndefined();
    expect(life.state.halt?.causes.length).toBeLessThan(30);
  });

  it('is cleared under every id by the resume, and by nothing before it', () => {
    const life = registered();
    life.press('bea', 'board');
    const haltId = life.state.halt?.haltId ?? '';
    life.does(press());
    life.does(press({ pressId: 'press_b', orderId: 'halt_second' }));
    life.does(press({ pressId: 'press_c', orderId: 'halt_second' }));
    expect(life.state.clearedHalts).toEqual([]);
    life.resume();
    expect(life.permit).toMatchObject({
      granted: true,
      clearedHalts: [haltId, 'halt_of_the_button', 'halt_second'],
    });
  });

  it('orders anew, under another id, where its own was cleared meanwhile', () => {
    const life = registered();
    life.does(press());
    life.resume();
    expect(life.does(press({ pressId: 'press_late' }))).toEqual([
      'HaltOrdered',
      'AlertRaised',
      'PressRecorded',
    ]);
    expect(life.state.halt?.haltId).not.toBe('halt_of_the_button');
    expect(life.state.halt?.orders).toBeUndefined();
    expect(life.last('PressRecorded').haltId).toBe(life.state.halt?.haltId);
  });

  it('halts again after a resume that did not know of it', () => {
    const life = registered();
    life.press('bea', 'board');
    life.resume();
    expect(life.does(press())).toEqual(['HaltOrdered', 'AlertRaised', 'PressRecorded']);
    expect(life.state.halt).toMatchObject({ haltId: 'halt_of_the_button', epoch: 3 });
  });

  it('counts once where it reached the ledger on both ways, and its order is cleared all the same', () => {
    const life = registered();
    life.does({
      type: 'OrderHalt',
      action: 'halt',
      reason: 'doubt',
      group: 'safety',
      by: 'ann',
      pressId: 'press_a',
    });
    expect(life.does(press())).toEqual(['PressRecorded']);
    expect(causes(life)).toEqual(['ann']);
    expect(life.state.halt?.orders).toEqual(['halt_of_the_button']);
  });

  it('counts once also after more presses than a state keeps, whichever way was first', () => {
    for (const first of ['command', 'spool'] as const) {
      const life = registered();
      const order = {
        type: 'OrderHalt',
        action: 'halt',
        reason: 'doubt',
        group: 'safety',
        by: 'ann',
      } as const;
      for (let i = 0; i < 40; i += 1) life.does({ ...order, pressId: `press_${i}` });
      const late = { ...order, pressId: 'press_late' };
      const entered = press({ pressId: 'press_late' });
      const causeOf = life.state.halt?.haltId ?? null;
      if (first === 'command') {
        expect(life.does(late)).toContain('HaltCauseAdded');
        expect(life.does({ ...entered, causeOf })).toEqual(['PressRecorded']);
      } else {
        expect(life.does(entered)).toContain('HaltCauseAdded');
        expect(life.does({ ...late, causeOf })).toEqual([]);
      }
    }
  });

  it('is a cause of the halt in force alone: one that was resumed says nothing of the next', () => {
    const life = registered();
    life.press('bea', 'board');
    const causeOf = life.state.halt?.haltId ?? null;
    life.resume();
    expect(life.does(press({ causeOf }))).toEqual(['HaltOrdered', 'AlertRaised', 'PressRecorded']);
  });

  it('is acknowledged by whichever id reached the trainer', () => {
    const life = registered();
    life.press('bea', 'board');
    life.does(press());
    const acknowledged = {
      type: 'AcknowledgeHalt',
      orchestrator: false,
      haltId: 'halt_of_the_button',
      claimedAt: null,
      by: 'trainer',
    } as const;
    expect(life.does({ ...acknowledged, state: 'received' })).toEqual(['HaltAcknowledged']);
    expect(life.last('HaltAcknowledged').haltId).toBe(life.state.halt?.haltId);
    expect(life.refuses({ ...acknowledged, haltId: 'halt_unknown', state: 'received' }).code).toBe(
      'not-found',
    );
    life.does({ ...acknowledged, state: 'stopped' });
    life.resume();
    expect(life.refuses({ ...acknowledged, state: 'stopped' }).code).toBe('conflict');
  });

  it('makes a quarantine of a halt', () => {
    const life = registered();
    life.does(press());
    life.does(press({ pressId: 'press_b', orderId: 'halt_quarantine', action: 'quarantine' }));
    expect(life.state.halt).toMatchObject({ action: 'quarantine', round: 2, orders: ['halt_quarantine'] });
  });

  it('stops the evaluation jobs', () => {
    const life = registered();
    life.report('c1', '1e22');
    expect(life.does(press())).toContain('EvaluationsCancelled');
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toEqual([]);
  });

  it('tells the people on call that a printed code was used', () => {
    const life = registered(policyOf({ alerts: ['oncall'] }));
    const kinds = life.does(press({ via: 'break-glass' }));
    expect(kinds.filter((kind) => kind === 'AlertRaised')).toHaveLength(2);
    expect(life.state.alerts.map(({ kind }) => kind)).toEqual(['halt-ordered', 'notice']);
    expect(new Set(life.state.alerts.map(({ alertId }) => alertId)).size).toBe(2);
  });
});

describe('a permit', () => {
  it('names the newest cleared halts that it has room for', () => {
    const life = registered();
    life.press('bea', 'board');
    for (let i = 0; i < 300; i += 1) life.does(press({ pressId: `press_${i}`, orderId: `halt_${i}` }));
    life.resume();
    const { permit } = life;
    if (!permit.granted) throw new Error('no permit');
    expect(permit.clearedHalts).toHaveLength(CLEARED_HALTS_KEPT);
    expect(permit.clearedHalts.at(-1)).toBe('halt_299');
  });
});
