/** A halted run whose orchestrator, trainer and heartbeats contradict each other. */
import { describe, expect, it } from 'vitest';
import { compute } from '../../../src/domain/compute.ts';
import type { RunTarget } from '../../../src/domain/run/halt-documents.ts';
import { PROCESS_TARGET, policyOf, type RunLife, registered, WEBHOOK_TARGET } from './run-life.ts';

function halted(targets: RunTarget[] = [PROCESS_TARGET]): RunLife {
  const life = registered(policyOf(), { targets });
  life.beat('1e20');
  life.wait('10s').press();
  return life;
}

const seenStopped = (life: RunLife, { targetId = 't2', tookMs = 0 } = {}) =>
  life.does({
    type: 'RecordStopObserved',
    haltId: life.state.halt?.haltId ?? '',
    targetId,
    round: life.state.halt?.round ?? 0,
    detail: 'gone',
    tookMs,
  });

/** Confirmed, then belied by a heartbeat. */
function belied(): RunLife {
  const life = halted();
  seenStopped(life);
  life.wait('30s').beat('1.1e20');
  return life;
}

const stepsLeft = ({ work }: RunLife) =>
  work.filter(({ kind }) => kind === 'halt-step').map(({ ids }) => `${ids['targetId']} ${ids['step']}`);

describe('an orchestrator that says stopped', () => {
  it('confirms at once where nothing speaks against it, and the ledger has what spoke for it', () => {
    const life = halted();
    expect(seenStopped(life)).toContain('HaltConfirmed');
    expect(life.last('HaltConfirmed').evidence).toEqual([
      { kind: 'seen-stopped', targetId: 't2', at: life.now.toISOString() },
      { kind: 'compute-frozen', at: '2026-11-01T00:00:00.000Z' },
    ]);
  });

  it('and is belied by a heartbeat, is believed from then on only after an interval of silence', () => {
    const life = belied();
    expect(life.last('HaltReopened')).toMatchObject({ reason: 'progress', doubts: true });
    expect(seenStopped(life.wait('1s'))).toEqual(['TargetStopObserved']);
    expect(life.wait('29s').tick()).toEqual([]);
    expect(life.wait('1s').tick()).toContain('HaltConfirmed');
  });

  it('while heartbeats go on stating more compute is never believed, and its last step is not put off', () => {
    const life = belied();
    const round = life.state.halt?.round;
    const killAt = +life.now + 10_000;
    for (let i = 2; i < 20; i += 1) {
      seenStopped(life.wait('10s'));
      // The ladder does not ask what that orchestrator says any more.
      expect(stepsLeft(life)).toContain('t2 sigkill');
      expect(life.wait('15s').beat(`1.${i + 10}e20`)).toContain('StopWithdrawn');
      expect(life.state.halt).toMatchObject({ round, confirmedAt: null });
    }
    const kill = life.work.find(({ ids }) => ids['step'] === 'sigkill');
    expect(kill?.notBeforeMs).toBe(killAt);
    expect(life.count('HaltConfirmed')).toBe(1);
  });

  it('is belied by a checkpoint and by another process as by a heartbeat', () => {
    const life = belied();
    seenStopped(life.wait('1s'));
    expect(life.does(appeared())).toContain('StopWithdrawn');
    seenStopped(life.wait('1s'));
    life.report('last', '1.2e20');
    expect(life.report('again', '1.3e20')).toContain('StopWithdrawn');
    expect(life.last('StopWithdrawn')).toMatchObject({ reason: 'checkpoint', targetIds: ['t2'] });
  });

  it('pages once that it is belied, and then at the deadlines, which say what is against the stop', () => {
    const life = halted();
    seenStopped(life);
    life.wait('30s').beat('1.1e20');
    const raised = life.count('AlertRaised');
    seenStopped(life.wait('1s'));
    life.wait('5s').beat('1.2e20');
    seenStopped(life.wait('1s'));
    life.wait('5s').beat('1.3e20');
    expect(life.count('AlertRaised')).toBe(raised);
    expect(life.wait('2m').tick()).toContain('HaltEscalated');
    expect(life.last('AlertRaised').details['against']).toBe('t2 was not seen to stop');
  });

  it('of the state before the last progress is asked again', () => {
    const life = halted();
    life.beat('1.1e20');
    expect(seenStopped(life.wait('1s'), { tookMs: 1_001 })).toEqual([]);
    expect(seenStopped(life, { tookMs: 1_000 })).toContain('HaltConfirmed');
  });

  it('of one of two targets is not belied by what the other one does', () => {
    const life = halted([PROCESS_TARGET, { ...PROCESS_TARGET, targetId: 't3' }]);
    seenStopped(life);
    life.wait('10s');
    expect(life.beat('1.1e20')).toEqual([]);
    life.acknowledge('stopped');
    life.wait('10s').beat('1.2e20');
    expect(life.last('StopWithdrawn')).toMatchObject({ targetIds: [], acknowledged: true });
    expect(seenStopped(life, { targetId: 't3' })).toContain('HaltConfirmed');
  });
});

const appeared = () => ({
  type: 'NoteInstance' as const,
  instance: 'another',
  by: 'trainer',
  seen: { kind: 'appeared' as const, effectiveCompute: compute('1e20') },
});

describe('a heartbeat that comes late', () => {
  it('may have been sent before the run was seen to stop: noted, and nothing follows', () => {
    const life = halted();
    seenStopped(life);
    expect(life.wait('4s').beat('1.1e20')).toEqual(['ProgressNoted']);
    expect(life.state.halt).toMatchObject({ round: 1 });
    expect(life.state.halt?.confirmedAt).not.toBeNull();
  });

  it('is followed by no other that states more: a second one was sent after the stop', () => {
    const life = halted();
    seenStopped(life);
    life.wait('1s').beat('1.1e20');
    expect(life.wait('1s').beat('1.2e20')).toContain('HaltReopened');
  });

  it('comes within five seconds: after that it is life', () => {
    const life = halted();
    seenStopped(life);
    expect(life.wait('5s').beat('1.1e20')).toContain('HaltReopened');
  });

  it('is excused anew in each round', () => {
    const life = belied();
    seenStopped(life.wait('1s'));
    expect(life.wait('1s').beat('1.2e20')).toEqual(['ProgressNoted']);
    expect(life.wait('1s').beat('1.3e20')).toContain('StopWithdrawn');
  });

  it('is not excused after the word of the trainer, who knows what it sent', () => {
    const life = halted([WEBHOOK_TARGET]);
    life.acknowledge('stopped');
    expect(life.wait('1s').beat('1.1e20')).toContain('HaltReopened');
  });
});

describe('a trainer that says stopped', () => {
  it('while its orchestrator sees it run confirms nothing, and does not begin the ladder anew by moving', () => {
    const life = halted();
    for (let i = 1; i < 10; i += 1) {
      life.wait('5s').acknowledge('stopped');
      expect(life.wait('40s').tick()).not.toContain('HaltConfirmed');
      expect(life.beat(`1.${i}e20`)).toContain('StopWithdrawn');
    }
    expect(life.state.halt).toMatchObject({ round: 1, stoppedAckAt: null });
    expect(life.state.halt?.doubtedAt).toBeUndefined();
  });
});
