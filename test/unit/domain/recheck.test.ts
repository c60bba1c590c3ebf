/** Replay's check of each judgement: agrees with what was decided, and names whatever was changed since. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { compute } from '../../../src/domain/compute.ts';
import { archivedResult } from '../../../src/domain/run/archived.ts';
import { parseRunEvent, type RunEventKind } from '../../../src/domain/run/events.ts';
import { evolve } from '../../../src/domain/run/evolve.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import type { RunState } from '../../../src/domain/run/state.ts';
import { asJson, digest, evaluation, policyOf, type RunLife, registered, success } from './run-life.ts';
import { rows } from './table.ts';

/** Cleared at 1e22, held at 2e22 (High not ruled out), overdue later, halted by evidence. */
function life(): RunLife {
  const run = registered();
  run.pass('c1', '1e22');
  run.report('c2', '2e22');
  run.result('c2/labs', 0.1);
  run.result('c2/ctf', success(0.47, 200));
  run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c2', 'ctf'), by: 'operator' });
  run.result('c2/ctf', 0.6);
  return run;
}

/** The answer of recheck for the last event of a kind, with one value of its data changed. */
function answer(run: RunLife, kind: RunEventKind, path: string, value: unknown): string | null {
  const index = run.events.findLastIndex((event) => event.kind === kind);
  const before = run.events.slice(0, index).reduce<RunState | null>(evolve, null);
  const event = run.events[index];
  if (event === undefined) throw new Error(`no ${kind}`);
  const data = asJson(event.data);
  const keys = path === '' ? [] : path.split('.');
  const last = keys.pop();
  let at: unknown = data;
  for (const key of keys) at = typeof at === 'object' && at !== null ? Reflect.get(at, key) : at;
  if (last !== undefined && typeof at === 'object' && at !== null) Reflect.set(at, last, value);
  return recheck(before, parseRunEvent(kind, data), run.policy, digest);
}

describe('recheck', () => {
  const lived = life();

  it.each(
    rows(`
      event               | changed                             | to           | says
      CheckpointAssessed  |                                     |              | agrees
      CheckpointAssessed  | verdict                             | "proceed"    | the recorded verdict is proceed, the rules give halt
      CheckpointAssessed  | findings.0.observed                 | 3.01         | other findings
      CheckpointAssessed  | findings                            | []           | other findings
      CheckpointAssessed  | findings.0.waived                   | true         | other findings
      CheckpointAssessed  | scorecard.overall.estimate          | 1.5          | another scorecard
      CheckpointAssessed  | scorecardDigest                     | "0"          | not that of the scorecard
      CheckpointAssessed  | ceiling                             | "1e30"       | recorded ceiling is 1e30
      CheckpointAssessed  | checkpointId                        | "c9"         | no such checkpoint
      HoldPlaced          |                                     |              | agrees
      HoldPlaced          | key                                 | "overdue"    | does not follow
      HoldPlaced          | findings.0.threshold                | 2            | other findings
      HaltOrdered         |                                     |              | agrees
      HaltOrdered         | cause.findings.0.observed           | 3.9          | does not follow
      HaltOrdered         | cause.findings.0.rule               | "critical"   | does not follow
      HaltOrdered         | cause.checkpointId                  | "c1"         | does not follow
    `).slice(1),
  )('of %s with %s changed to %s: %s', (kind = '', path = '', value = '', says = '') => {
    const kinds: RunEventKind[] = ['CheckpointAssessed', 'HoldPlaced', 'HaltOrdered'];
    const which = kinds.find((each) => each === kind);
    if (which === undefined) throw new Error(`no ${kind}`);
    const said = answer(lived, which, path, value === '' ? undefined : JSON.parse(value));
    if (says === 'agrees') expect(said).toBeNull();
    else expect(said).toContain(says);
  });

  it('names a ceiling that was raised', () => {
    const run = registered();
    run.pass('c1', '1e22');
    expect(answer(run, 'CheckpointAssessed', 'ceiling', '2.2e22')).toBeNull();
    expect(answer(run, 'CheckpointAssessed', 'ceiling', '2.3e22')).toContain('the rules give 2.2e22');
  });

  it('judges by the policy it is given: under another one the verdict does not follow', () => {
    const run = lived;
    const other = policyOf({
      evaluations: [evaluation('ctf', 'cyber', { elicitationMargin: 1 }), evaluation('labs', 'bio')],
    });
    const index = run.events.findIndex(({ kind }) => kind === 'CheckpointAssessed');
    const before = run.events.slice(0, index).reduce<RunState | null>(evolve, null);
    const event = run.events[index];
    if (event === undefined) throw new Error('no assessment');
    expect(recheck(before, event, run.policy, digest)).toBeNull();
    expect(recheck(before, event, other, digest)).not.toBeNull();
  });

  it('claims nothing about what people did', () => {
    const run = registered();
    run.press();
    expect(answer(run, 'HaltOrdered', 'cause.reason', 'another')).toBeNull();
  });
});

describe('a late result of a checkpoint that is no longer in the state', () => {
  const late = (score: number, more: JsonObject = {}) =>
    archivedResult({
      checkpointId: 'c1',
      evaluationId: 'ev_x',
      evaluation: 'ctf',
      variant: 'default',
      attempt: 1,
      result: { ...success(score), ...more },
      resultDigest: digest(String(score)),
      priorDigest: null,
      by: 'evaluator',
    });
  /** Six cleared checkpoints: the first is gone from the state. */
  const longRun = (): RunLife => {
    const run = registered();
    for (let i = 0; i < 6; i += 1) run.pass(`c${i + 1}`, compute(2 ** i * 1e22));
    expect(run.state.checkpoints.some(({ checkpointId }) => checkpointId === 'c1')).toBe(false);
    return run;
  };

  it.each(
    rows(`
      score | status  | what follows
      0.3   | success | ArchivedResultReported
      0.5   | success | ArchivedResultReported HaltOrdered AlertRaised
      0.5   | error   | ArchivedResultReported HaltOrdered AlertRaised
      0.9   | success | ArchivedResultReported HaltOrdered AlertRaised QuarantineBegun AlertRaised
    `).slice(1),
  )('of %s (%s) leads to %s', (score = '', status = '', expected = '') => {
    const run = longRun();
    expect(run.does(late(Number(score), { status })).join(' ')).toBe(expected);
    expect(run.permit.granted).toBe(expected === 'ArchivedResultReported');
  });

  it('is rechecked from its own figures and the policy', () => {
    const run = longRun();
    run.does(late(0.6));
    expect(answer(run, 'ArchivedResultReported', 'estimate', 1)).toContain('other levels');
    expect(answer(run, 'HaltOrdered', 'cause.findings.0.observed', 2.9)).toContain('does not follow');
    expect(answer(run, 'HaltOrdered', 'cause.findings.0.threshold', 2)).toContain('does not follow');
  });

  it('counts once, and refuses other content for the same attempt', () => {
    const run = longRun();
    const command = late(0.3);
    run.does(command);
    expect(run.does({ ...command, priorDigest: command.resultDigest })).toEqual([]);
    expect(run.refuses({ ...command, priorDigest: 'other' })).toMatchObject({ code: 'conflict' });
  });
});
