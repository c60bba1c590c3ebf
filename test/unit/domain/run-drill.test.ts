/** A drill run: halted as it is registered, over when its shadow has stopped or did not, and never a run that trains. */
import { describe, expect, it } from 'vitest';
import { fencedTargets } from '../../../src/domain/run/fence.ts';
import { statusOfRun } from '../../../src/domain/run/views.ts';
import { PROCESS_TARGET, policyOf, RunLife, registration } from './run-life.ts';

function drilled(): RunLife {
  const life = new RunLife(policyOf());
  life.register({ drill: true, operator: true, targets: [PROCESS_TARGET], title: 'monday' });
  return life;
}
const stops = (life: RunLife) => {
  const { halt } = life.state;
  return life.does({
    type: 'RecordStopObserved',
    haltId: halt?.haltId ?? '',
    targetId: 't2',
    round: halt?.round ?? 0,
    detail: 'gone',
  });
};

describe('a drill run', () => {
  it('is halted by the very decision that registers it, and gets no permit', () => {
    const life = drilled();
    expect(life.events.map(({ kind }) => kind)).toEqual(['RunRegistered', 'HaltOrdered', 'AlertRaised']);
    expect(life.last('HaltOrdered').cause).toMatchObject({
      kind: 'person',
      group: 'drill',
      reason: 'a drill: monday',
    });
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
    expect(life.work.filter(({ kind }) => kind === 'halt-step')).not.toEqual([]);
  });

  it('tells people that it is one, and wakes nobody', () => {
    const life = drilled();
    expect(life.state.alerts[0]).toMatchObject({
      severity: 'info',
      summary: expect.stringMatching(/^DRILL, nothing trains there: /),
    });
  });

  it('is over once its targets have stopped: nothing more is sent, and nothing is watched', () => {
    const life = drilled();
    expect(stops(life)).toEqual(expect.arrayContaining(['HaltConfirmed', 'RunFinished']));
    expect(statusOfRun(life.state)).toBe('finished');
    expect(life.work.filter(({ kind }) => kind !== 'alert')).toEqual([]);
    expect(fencedTargets(life.state)).toEqual([]);
    expect(life.wait('90d').tick()).toEqual([]);
  });

  it('has failed when its shadow goes on, which people hear of, and ends all the same', () => {
    const life = drilled();
    expect(life.wait('2m').tick()).toContain('HaltEscalated');
    expect(life.last('AlertRaised')).toMatchObject({ severity: 'error', kind: 'halt-unconfirmed' });
    expect(life.state.finishedAt).toBeNull();
    expect(life.wait('10m').tick()).toEqual(expect.arrayContaining(['HaltEscalated', 'RunFinished']));
    expect(life.state.halt?.confirmedAt).toBeNull();
    expect(life.work.filter(({ kind }) => kind !== 'alert')).toEqual([]);
    expect(stops(life)).toEqual([]);
  });

  it("is an operator's to hold, and has no weights to begin with", () => {
    const life = new RunLife(policyOf());
    expect(life.refuses(registration({ drill: true, operator: false }))).toMatchObject({
      code: 'forbidden',
      path: 'drill',
    });
    expect(life.refuses(registration({ drill: true, operator: true, parents: ['other'] }))).toMatchObject({
      code: 'invalid',
    });
  });

  it('is held for real also where the deployment is in shadow', () => {
    const life = new RunLife(policyOf());
    life.register({
      drill: true,
      operator: true,
      targets: [PROCESS_TARGET],
      shadowUntil: '2026-12-01T00:00:00.000Z',
    });
    expect(life.count('HaltOrdered')).toBe(1);
    expect(life.count('WouldHaveHalted')).toBe(0);
  });
});
