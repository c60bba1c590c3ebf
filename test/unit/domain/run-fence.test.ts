/** Fences: what a halted run must not do, and what follows when it does. */
import { describe, expect, it } from 'vitest';
import { fencedTargets } from '../../../src/domain/run/fence.ts';
import type { RunTarget } from '../../../src/domain/run/halt-documents.ts';
import {
  PROCESS_TARGET,
  policyOf,
  type RunLife,
  registered,
  registration,
  WEBHOOK_TARGET,
} from './run-life.ts';

function halted(targets: RunTarget[] = [PROCESS_TARGET]): RunLife {
  const life = registered(policyOf(), { targets });
  life.beat('1e20');
  life.press();
  return life;
}

const haltId = ({ state }: RunLife): string => state.halt?.haltId ?? '';

const stops = (life: RunLife, targetId = 't2') =>
  life.does({
    type: 'RecordStopObserved',
    haltId: haltId(life),
    targetId,
    round: life.state.halt?.round ?? 0,
    detail: 'gone',
  });

const lives = (life: RunLife, { targetId = 't2', halt = haltId(life) } = {}) =>
  life.does({ type: 'RecordLife', haltId: halt, targetId, detail: 'job 12 is RUNNING, restarted once' });

describe('a target of a halted run', () => {
  it('that runs again after its stop was confirmed is halted again from the first step, and people are paged', () => {
    const life = halted();
    expect(stops(life)).toContain('HaltConfirmed');
    expect(lives(life)).toEqual(['HaltReopened', 'AlertRaised']);
    expect(life.last('HaltReopened')).toMatchObject({
      reason: 'relaunched',
      targetId: 't2',
      detail: 'job 12 is RUNNING, restarted once',
      round: 2,
    });
    expect(life.last('AlertRaised')).toMatchObject({
      severity: 'critical',
      summary: expect.stringContaining('t2: job 12 is RUNNING, restarted once'),
    });
    expect(life.state.halt).toMatchObject({ round: 2, confirmedAt: null });
    expect(life.state.halt?.life).toEqual({
      shown: 't2: job 12 is RUNNING, restarted once',
      at: life.now.toISOString(),
    });
    expect(life.work.filter(({ kind }) => kind === 'halt-step')[0]).toMatchObject({
      notBeforeMs: +life.now,
      ids: { targetId: 't2', round: 2, attempt: 1 },
    });
  });

  it('that was seen stopped and runs while others are still being stopped was never gone', () => {
    const life = halted([PROCESS_TARGET, { ...PROCESS_TARGET, targetId: 't3' }]);
    stops(life);
    expect(life.state.halt?.confirmedAt).toBeNull();
    lives(life);
    expect(life.last('HaltReopened')).toMatchObject({ reason: 'still-running', targetId: 't2' });
  });

  it('that was not seen stopped yet is what the ladder is at work on', () => {
    expect(lives(halted())).toEqual([]);
  });

  it('is not asked about twice: after one finding the round begins anew', () => {
    const life = halted();
    stops(life);
    lives(life);
    expect(lives(life)).toEqual([]);
    expect(life.count('HaltReopened')).toBe(1);
  });

  it('of a halt that is over shows nothing', () => {
    const life = halted();
    stops(life);
    const over = haltId(life);
    life.resume();
    expect(lives(life, { halt: over })).toEqual([]);
    expect(life.state.halt).toBeNull();
  });

  it('is looked at for as long as the halt stands, where somebody can see it', () => {
    const life = halted([WEBHOOK_TARGET, PROCESS_TARGET]);
    expect(fencedTargets(life.state)).toEqual([]);
    stops(life);
    expect(fencedTargets(life.state)).toEqual(['t2']);
    life.wait('40d');
    expect(fencedTargets(life.state)).toEqual(['t2']);
    life.resume();
    expect(fencedTargets(life.state)).toEqual([]);
  });
});

describe('a checkpoint of a halted run', () => {
  it('is what the trainer saved while it stopped, once; a further one was trained after it', () => {
    const life = halted();
    stops(life);
    expect(life.report('last', '1.1e20')).not.toContain('HaltReopened');
    expect(life.report('again', '1.2e20')).toContain('HaltReopened');
    expect(life.last('HaltReopened')).toMatchObject({
      reason: 'checkpoint',
      effectiveCompute: '120000000000000000000',
    });
    expect(life.last('AlertRaised')).toMatchObject({
      summary: expect.stringContaining('a checkpoint at 1.2e20 FLOP'),
    });
  });

  it('at no more compute than the last one is an old one that comes late', () => {
    const life = halted();
    stops(life);
    life.report('last', '1.1e20');
    expect(life.report('older', '1.05e20')).not.toContain('HaltReopened');
  });

  it('before anybody said that it stopped is one of a run that is still stopping', () => {
    const life = halted();
    life.report('a', '1.1e20');
    expect(life.report('b', '1.2e20')).not.toContain('HaltReopened');
    life.acknowledge('stopped');
    expect(life.report('c', '1.3e20')).toContain('StopWithdrawn');
  });
});

describe('a registration', () => {
  it('under the id of a halted run is refused, the same again too, until it is resumed', () => {
    const life = registered();
    expect(life.does(registration())).toEqual([]);
    life.press();
    expect(life.refuses(registration())).toMatchObject({ code: 'conflict', path: 'runId' });
    expect(life.refuses(registration()).message).toMatch(
      /is halted \(halt_\w+\); nothing starts under its name/,
    );
    life.press('bob', 'board', 'quarantine');
    expect(life.refuses(registration()).message).toContain('is quarantined');
    life.resume();
    expect(life.does(registration())).toEqual([]);
  });
});
