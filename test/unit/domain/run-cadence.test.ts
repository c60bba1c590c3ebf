/** When a checkpoint is due, and what follows when it is missing or the run goes past what it earned. */
import { describe, expect, it } from 'vitest';
import { compute } from '../../../src/domain/compute.ts';
import { nextCheckpointAt } from '../../../src/domain/run/cadence.ts';
import { REQUESTED_OPEN_MAX } from '../../../src/domain/run/state.ts';
import { BASE_POLICY, checkpoint, policyOf, type RunLife, registered } from './run-life.ts';
import { rows } from './table.ts';

/** A run that cleared a checkpoint at 1e22: due again at 2e22, permit up to 2.2e22. */
function cleared(): RunLife {
  const life = registered();
  life.pass('c1', '1e22');
  return life;
}

describe('a checkpoint', () => {
  it.each(
    rows(`
      cleared before | compute    | waited | reason
      no             | 1          | 1m     | first
      no             | 9e21       | 1m     | first
      yes            | 1e22       | 1m     | not-due
      yes            | 1.9999e22  | 1m     | not-due
      yes            | 2e22       | 1m     | ratio
      yes            | 2.1e22     | 1m     | ratio
      yes            | 1.1e22     | 88d    | not-due
      yes            | 1.1e22     | 89d    | interval
      yes            | 1.1e22     | 90d    | interval
      yes            | 1e22       | 90d    | not-due
      yes            | 5e21       | 90d    | not-due
    `).slice(1),
  )('(cleared before: %s) at %s after %s is %s', (before = '', value = '', waited = '', reason = '') => {
    const life = before === 'yes' ? cleared() : registered();
    life.wait(waited).report('c2', value);
    expect(life.last('CheckpointReported')).toMatchObject({ reason, due: reason !== 'not-due' });
    expect(life.work.some(({ kind }) => kind === 'dispatch')).toBe(reason !== 'not-due');
  });

  it('that is asked for is evaluated although it is not due', () => {
    const life = cleared();
    life.report('c2', '1.5e22', { evaluate: true });
    expect(life.last('CheckpointReported')).toMatchObject({ reason: 'requested', due: false });
    life.result('c2/ctf', 0.1);
    life.result('c2/labs', 0.1);
    expect(life.state.lastCleared).toMatchObject({ checkpointId: 'c2' });
  });

  it('is not evaluated on a mere wish when too many are open; one that is due always is', () => {
    const life = registered();
    life.report('c0', '1e20');
    for (let i = 1; i < REQUESTED_OPEN_MAX; i += 1)
      life.report(`c${i}`, `1.${100 + i}e20`, { evaluate: true });
    expect(life.state.checkpoints).toHaveLength(REQUESTED_OPEN_MAX);
    expect(life.refuses(checkpoint('wish', '1.9e20', { evaluate: true }))).toMatchObject({
      code: 'conflict',
      path: 'evaluate',
    });
    expect(life.report('plain', '1.9e20')).toContain('CheckpointReported');
    life.report('due', '4e20');
    expect(life.last('CheckpointReported')).toMatchObject({ reason: 'ratio', due: true });
  });

  it('just under the ratio, many times over, never moves the due point', () => {
    const life = cleared();
    for (const value of ['1.2e22', '1.5e22', '1.9e22', '1.99e22']) life.report(`c${value}`, value);
    expect(life.report('c5', '2e22')).toContain('CheckpointReported');
    expect(life.last('CheckpointReported').reason).toBe('ratio');
  });

  it('with less compute than the last is recorded and moves nothing back', () => {
    const life = cleared();
    life.pass('c2', '2e22');
    const { ceiling, lastCleared, computeHigh } = life.state;
    expect(life.report('c3', '1.5e22')).toEqual(['CheckpointReported', 'AlertRaised']);
    expect(life.last('AlertRaised')).toMatchObject({ kind: 'notice', severity: 'warning' });
    expect(life.state).toMatchObject({ ceiling, lastCleared, computeHigh });
  });

  it('a thousandfold further is recorded, and the run has overrun its permit', () => {
    const life = cleared();
    expect(life.report('c2', '1e25')).toEqual(expect.arrayContaining(['CheckpointReported', 'HaltOrdered']));
    expect(life.last('HaltOrdered').cause).toMatchObject({
      findings: [{ kind: 'overrun', observed: '1e25' }],
    });
  });
});

describe('a heartbeat', () => {
  it.each(
    rows(`
      compute  | what follows
      1.5e22   | nothing
      1.999e22 | nothing
      2e22     | ProgressNoted HoldPlaced
      2.2e22   | ProgressNoted HoldPlaced
      2.201e22 | ProgressNoted HaltOrdered
      1e30     | ProgressNoted HaltOrdered
    `).slice(1),
  )('at %s, with 1e22 cleared and no checkpoint since, leads to %s', (value = '', expected = '') => {
    const events = cleared()
      .beat(value)
      .filter((kind) => kind !== 'AlertRaised');
    expect(events.join(' ') || 'nothing').toBe(expected);
  });

  it('past the due point is no finding while the due checkpoint is being evaluated', () => {
    const life = cleared();
    life.report('c2', '2e22');
    expect(life.beat('2.19e22')).toEqual([]);
    expect(life.beat('2.21e22')).toContain('HaltOrdered');
  });

  it('says the same thing only once', () => {
    const life = cleared();
    expect(life.beat('2e22')).toContain('HoldPlaced');
    expect(life.beat('2.05e22')).toEqual([]);
    expect(life.beat('2.05e22')).toEqual([]);
    expect(life.beat('2.3e22')).toContain('HaltOrdered');
    expect(life.beat('2.4e22')).toEqual([]);
  });

  it('has the overdue hold lifted by the missing checkpoint', () => {
    const life = cleared();
    life.beat('2e22');
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
    expect(life.report('c2', '2e22')).toContain('HoldLifted');
  });

  it('counts from the side columns for whatever is decided next, and is then in the ledger', () => {
    const life = registered();
    life.report('c1', '1e21');
    // No crossing yet: the due checkpoint is in.
    expect(life.beat('9e21')).toEqual([]);
    life.result('c1/ctf', 0.1);
    expect(life.result('c1/labs', 0.1)).toEqual(
      expect.arrayContaining(['CheckpointAssessed', 'ProgressNoted', 'HoldPlaced']),
    );
    expect(life.last('HoldPlaced')).toMatchObject({ key: 'overdue' });
  });
});

describe('the calendar', () => {
  it('makes a checkpoint due after maxInterval; without one the run is overdue and held', () => {
    const life = cleared();
    expect(life.work).toContainEqual(expect.objectContaining({ kind: 'tick' }));
    expect(life.wait('90d').tick()).toContain('HoldPlaced');
    expect(life.report('c2', '1.2e22')).toContain('HoldLifted');
  });

  it('asks for a checkpoint before the run is late, and takes the one that comes then', () => {
    const life = cleared();
    const next = (high: string) => Number(nextCheckpointAt(life.state, life, compute(high)));
    life.wait('88d');
    expect(next('1.2e22')).toBe(2e22);
    life.report('c2', '1.2e22');
    expect(life.last('CheckpointReported')).toMatchObject({ due: false });
    // A day, `triggers.checkpointWithin`, before the 90 days have passed.
    life.wait('1d');
    // What was cleared is not looked at again.
    expect(next('1e22')).toBe(2e22);
    expect(next('1.3e22')).toBe(1.3e22);
    life.report('c3', '1.3e22');
    expect(life.last('CheckpointReported')).toMatchObject({ due: true, reason: 'interval' });
    expect(next('1.4e22')).toBe(2e22);
    life.result('c3/ctf', 0.1);
    life.result('c3/labs', 0.1);
    expect(life.wait('1d').tick()).not.toContain('HoldPlaced');
  });

  it('is not what outstanding work waits for when there is nothing more to decide', () => {
    const life = cleared();
    life.wait('90d').tick();
    const past = life.work.filter(({ kind, notBeforeMs }) => kind === 'tick' && notBeforeMs <= +life.now);
    expect(past).toEqual([]);
  });
});

describe('the built-in findings', () => {
  it.each(
    rows(`
      kind         | then                    | what overdue leads to
      overdue      | halt                    | HaltOrdered
      overdue      | alert                   | HoldPlaced
      overdue      | quarantine              | HaltOrdered
    `).slice(1),
  )('%s can only be hardened (%s gives %s)', (kind = '', consequence = '', expected = '') => {
    const policy = policyOf({
      rules: [
        ...(Array.isArray(BASE_POLICY['rules']) ? BASE_POLICY['rules'] : []),
        { id: 'harder', kind, then: [consequence] },
      ],
    });
    const life = registered(policy);
    life.pass('c1', '1e22');
    expect(life.beat(compute('2e22'))).toContain(expected);
  });
});

describe('a finished run', () => {
  it('gets no permit, and is halted when it shows more compute', () => {
    const life = cleared();
    life.beat('1.5e22');
    expect(life.does({ type: 'FinishRun', by: 'trainer' })).toEqual(['RunFinished']);
    expect(life.does({ type: 'FinishRun', by: 'trainer' })).toEqual([]);
    expect(life.permit).toEqual({ granted: false, reason: 'finished' });
    expect(life.beat('1.5e22')).toEqual([]);
    expect(life.beat('1.6e22')).toContain('HaltOrdered');
    expect(life.last('HaltOrdered').cause).toMatchObject({ findings: [{ kind: 'overrun' }] });
  });

  it('cannot be declared while it is halted', () => {
    const life = cleared();
    life.press();
    expect(life.refuses({ type: 'FinishRun', by: 'trainer' })).toMatchObject({ code: 'conflict' });
  });

  it('still has its last checkpoint evaluated, and halts on what that shows', () => {
    const life = cleared();
    life.report('c2', '2e22');
    life.does({ type: 'FinishRun', by: 'trainer' });
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toHaveLength(2);
    expect(life.result('c2/ctf', 0.6)).toContain('HaltOrdered');
  });

  it('takes no further checkpoint, but does not overlook one that shows it alive', () => {
    const life = cleared();
    life.does({ type: 'FinishRun', by: 'trainer' });
    expect(life.refuses(checkpoint('c2', '1e22'))).toMatchObject({ code: 'conflict' });
    expect(life.report('c3', '2e22')).toContain('HaltOrdered');
  });
});

describe('while nothing is cleared', () => {
  it('only the first checkpoint is due, and then one at a ratio beyond the last that was', () => {
    const life = registered();
    const dueOf = (id: string, compute: string): boolean => {
      life.report(id, compute);
      return life.last('CheckpointReported').due;
    };
    expect(dueOf('c1', '1e21')).toBe(true);
    expect(dueOf('c2', '1.5e21')).toBe(false);
    expect(dueOf('c3', '2e21')).toBe(true);
    expect(dueOf('c4', '3.9e21')).toBe(false);
    expect(dueOf('c5', '4e21')).toBe(true);
  });
});
