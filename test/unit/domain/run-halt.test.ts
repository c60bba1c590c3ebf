/** The halt latch: ordered, carried out step by step, confirmed, reopened, and never lifted by itself. */
import { describe, expect, it } from 'vitest';
import { evaluation, PROCESS_TARGET, policyOf, type RunLife, registered, registration } from './run-life.ts';
import { rows } from './table.ts';

/** A run whose only target can tell by itself whether it stopped. */
function onProcess(): RunLife {
  const life = registered(policyOf(), { targets: [PROCESS_TARGET] });
  life.press();
  return life;
}

function onWebhook(): RunLife {
  const life = registered();
  life.press();
  return life;
}

const step = (life: RunLife, name: string, attempt: number, outcome: 'accepted' | 'retry' | 'rejected') =>
  life.does({
    type: 'RecordHaltStep',
    haltId: life.state.halt?.haltId ?? '',
    targetId: life.state.halt?.targets[0]?.targetId ?? '',
    round: life.state.halt?.round ?? 0,
    step: name,
    attempt,
    outcome,
    detail: 'as reported',
  });

const observed = (life: RunLife) =>
  life.does({
    type: 'RecordStopObserved',
    haltId: life.state.halt?.haltId ?? '',
    targetId: 't2',
    round: life.state.halt?.round ?? 0,
    detail: 'pid gone',
  });

describe('the red button', () => {
  it('orders one halt, with every press in the ledger under its name', () => {
    const life = registered();
    expect(life.press('ann', 'safety')).toContain('HaltOrdered');
    for (let i = 0; i < 50; i += 1) expect(life.press(`person-${i}`, 'board')).toEqual(['HaltCauseAdded']);
    expect(life.count('HaltOrdered')).toBe(1);
    expect(life.count('HaltCauseAdded')).toBe(50);
    expect(life.state.halt?.causes[0]).toMatchObject({ kind: 'person', by: 'ann', group: 'safety' });
    expect(life.state.halt?.causes.length).toBeLessThan(30);
    expect(life.state.epoch).toBe(1);
  });

  it('makes of a halt a quarantine, never of a quarantine a halt', () => {
    const life = onWebhook();
    expect(life.state.halt).toMatchObject({ action: 'halt', round: 1 });
    life.press('bob', 'board', 'quarantine');
    expect(life.state.halt).toMatchObject({ action: 'quarantine', round: 2 });
    life.press('cid', 'board', 'halt');
    expect(life.state.halt).toMatchObject({ action: 'quarantine', round: 2 });
  });

  it('stops the evaluation jobs, top-ups and retries too; they start again with the run', () => {
    const life = registered(
      policyOf({ evaluations: [evaluation('ctf', 'cyber', { topUps: 1 }), evaluation('labs', 'bio')] }),
    );
    life.report('c1', '1e22');
    life.result('c1/ctf', { status: 'success', score: 0.46, n: 200 });
    expect(life.attempts('c1', 'ctf').at(-1)).toMatchObject({ purpose: 'top-up', state: 'queued' });
    expect(life.press()).toContain('EvaluationsCancelled');
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toEqual([]);
    life.resume();
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toHaveLength(2);
  });

  it('works on a finished run and on one on hold', () => {
    const life = registered();
    life.beat('1e22');
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
    expect(life.press()).toContain('HaltOrdered');
  });
});

describe('delivery', () => {
  it.each(
    rows(`
      step    | outcomes so far                     | waits, or nothing more
      webhook | retry                               | 500
      webhook | retry retry                         | 1000
      webhook | retry retry retry                   | 1000
      webhook | accepted                            | 30000
      webhook | accepted accepted                   | 30000
      webhook | retry accepted                      | 30000
      webhook | rejected                            | 1000
    `).slice(1),
  )('of %s after %s waits %s ms', (name = '', outcomes = '', expected = '') => {
    const life = onWebhook();
    for (const [i, outcome] of outcomes.split(' ').entries()) {
      step(life, name, i + 1, outcome === 'accepted' || outcome === 'rejected' ? outcome : 'retry');
    }
    const next = life.work.find(({ kind }) => kind === 'halt-step');
    expect(next?.notBeforeMs).toBe(life.now.getTime() + Number(expected));
  });

  it('takes the first rung at once and the next at its time, until the stop is confirmed', () => {
    const life = onProcess();
    const due = life.work.filter(({ kind }) => kind === 'halt-step');
    expect(due.map(({ ids, notBeforeMs }) => [ids['step'], notBeforeMs - +life.now])).toEqual([
      ['sigterm', 0],
      ['sigkill', 10_000],
    ]);
    expect(life.work).toContainEqual(expect.objectContaining({ kind: 'observe', notBeforeMs: +life.now }));
    step(life, 'sigterm', 1, 'accepted');
    expect(observed(life)).toContain('HaltConfirmed');
    expect(life.work.filter(({ kind }) => kind === 'halt-step' || kind === 'observe')).toEqual([]);
  });

  it('ignores the outcome of an older attempt, round or halt', () => {
    const life = onWebhook();
    step(life, 'webhook', 1, 'retry');
    expect(step(life, 'webhook', 1, 'accepted')).toEqual([]);
    expect(step(life, 'no-such-step', 1, 'accepted')).toEqual([]);
    const { halt } = life.state;
    const stale = {
      type: 'RecordHaltStep' as const,
      targetId: 't1',
      step: 'webhook',
      attempt: 2,
      detail: '',
    };
    const accepted = { ...stale, outcome: 'accepted' as const };
    expect(life.does({ ...accepted, haltId: halt?.haltId ?? '', round: 2 })).toEqual([]);
    expect(life.does({ ...accepted, haltId: 'halt_other', round: 1 })).toEqual([]);
  });
});

describe('a stop', () => {
  it("is not confirmed by the trainer's word where the orchestrator can tell", () => {
    const life = onProcess();
    life.acknowledge('stopped');
    life.wait('10m').tick();
    expect(life.state.halt?.confirmedAt).toBeNull();
    expect(observed(life)).toContain('HaltConfirmed');
  });

  it("is confirmed by the trainer's word and silence where nobody else can tell", () => {
    const life = onWebhook();
    expect(life.acknowledge('received')).toEqual(['HaltAcknowledged']);
    expect(life.acknowledge('stopped')).toEqual(['HaltAcknowledged']);
    expect(life.wait('29s').tick()).toEqual([]);
    expect(life.wait('1s').tick()).toEqual(['HaltConfirmed', 'AlertRaised']);
  });

  it('never goes back to received, and is said once', () => {
    const life = onWebhook();
    life.acknowledge('stopped');
    expect(life.acknowledge('received')).toEqual([]);
    expect(life.acknowledge('stopped')).toEqual([]);
    expect(life.state.halt).toMatchObject({ stoppedAckAt: life.now.toISOString() });
  });

  it('is not believed while the run makes progress: halted again, paged again', () => {
    const life = onWebhook();
    life.beat('1e20');
    life.acknowledge('stopped');
    expect(life.wait('5s').beat('1.1e20')).toEqual(['ProgressNoted', 'HaltReopened', 'AlertRaised']);
    expect(life.last('AlertRaised')).toMatchObject({ kind: 'halt-unconfirmed', severity: 'critical' });
    expect(life.state.halt).toMatchObject({ round: 2, stoppedAckAt: null, confirmedAt: null });
    expect(life.work).toContainEqual(
      expect.objectContaining({
        kind: 'halt-step',
        notBeforeMs: +life.now,
        ids: expect.objectContaining({ round: 2 }),
      }),
    );
  });

  it('that was confirmed is reopened by progress, but not by a heartbeat without any', () => {
    const life = onProcess();
    life.beat('1e20');
    observed(life);
    life.wait('30s');
    expect(life.beat('1e20')).toEqual([]);
    expect(life.beat('1.2e20')).toContain('HaltReopened');
    expect(life.work.filter(({ kind }) => kind === 'observe')).toHaveLength(1);
  });

  it.each(
    rows(`
      whose ack            | code
      halt_unknown         | not-found
      the one resumed from | conflict
    `).slice(1),
  )('acknowledged for %s is refused: %s', (which = '', code = '') => {
    const life = onWebhook();
    const over = life.state.halt?.haltId ?? '';
    life.resume();
    const haltId = which === 'halt_unknown' ? which : over;
    const command = {
      type: 'AcknowledgeHalt' as const,
      orchestrator: false,
      haltId,
      claimedAt: null,
      by: 'trainer',
    };
    expect(life.refuses({ ...command, state: 'stopped' })).toMatchObject({ code });
  });
});

describe('a halt that is not confirmed', () => {
  it('pages at its deadline and again, at growing intervals of at most an hour', () => {
    const life = onWebhook();
    const waits: number[] = [];
    for (let i = 0; i < 40; i += 1) {
      const due = Date.parse(life.state.halt?.escalateAt ?? '');
      waits.push(due - life.now.getTime());
      life.now = new Date(due);
      expect(life.tick()).toEqual(['HaltEscalated', 'AlertRaised']);
    }
    expect(waits.slice(0, 3)).toEqual([120_000, 240_000, 360_000]);
    expect(Math.max(...waits)).toBe(3_600_000);
  });

  it('always has something outstanding', () => {
    const life = onWebhook();
    step(life, 'webhook', 1, 'accepted');
    expect(life.work.some(({ kind }) => kind === 'tick')).toBe(true);
  });

  it('does not keep a tick due over a word that settles nothing', () => {
    const life = onProcess();
    life.acknowledge('stopped');
    life.wait('1m').tick();
    expect(life.work.filter(({ kind, notBeforeMs }) => kind === 'tick' && notBeforeMs <= +life.now)).toEqual(
      [],
    );
  });
});

describe('alerts', () => {
  it('repeat until delivered, slower and slower, and are given up after a day', () => {
    const life = onWebhook();
    const { alertId } = life.last('AlertRaised');
    const attempted = (attempt: number, outcome: 'delivered' | 'retry' | 'rejected') =>
      life.does({ type: 'RecordAlertDelivery', alertId, channel: 'oncall', attempt, outcome, reason: 'r' });
    attempted(1, 'retry');
    expect(attempted(1, 'retry')).toEqual([]);
    attempted(2, 'retry');
    expect(life.last('AlertAttempted')).toMatchObject({ nextAt: new Date(+life.now + 2000).toISOString() });
    life.wait('25h');
    attempted(3, 'retry');
    expect(life.last('AlertAttempted')).toMatchObject({ outcome: 'abandoned', nextAt: null });
    expect(life.state.alerts.some((alert) => alert.alertId === alertId)).toBe(false);
  });

  it('are raised where a policy asks for one and nothing else', () => {
    const life = registered(
      policyOf({
        rules: [
          { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
          { id: 'look', kind: 'level', stage: 'pre-mitigation', atLeast: 'medium', then: ['alert'] },
        ],
      }),
    );
    life.pass('c1', '1e22', 0.3);
    expect(life.last('CheckpointAssessed').verdict).toBe('proceed');
    expect(life.last('AlertRaised')).toMatchObject({ kind: 'notice' });
    const raised = life.count('AlertRaised');
    life.wait('1h').tick();
    expect(life.count('AlertRaised')).toBe(raised);
  });

  it('are not raised where the policy names no channel', () => {
    const life = registered(policyOf({ alerts: [] }));
    expect(life.press()).toEqual(['HaltOrdered']);
  });
});

describe('registration', () => {
  it('arms every target of the run', () => {
    const life = registered(policyOf(), { targets: [...registration().targets, PROCESS_TARGET] });
    life.press();
    expect(life.state.halt?.targets.map(({ targetId, steps }) => [targetId, steps.length])).toEqual([
      ['t1', 1],
      ['t2', 2],
    ]);
  });
});
