/** What must hold for any evidence: worse never softens, order does not matter, repetition does nothing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isRejection } from '../../../src/domain/run/context.ts';
import type { Command } from '../../../src/domain/run/decide.ts';
import { isQuarantined } from '../../../src/domain/run/quarantine.ts';
import { BASE_POLICY, evaluation, policyOf, RunLife, registered, success } from './run-life.ts';

const NAMES = ['ctf/bare', 'ctf/tools', 'labs/default'] as const;

const policy = policyOf({
  evaluations: [
    evaluation('ctf', 'cyber', { variants: [{ id: 'bare' }, { id: 'tools' }], elicitationMargin: 0.2 }),
    evaluation('labs', 'bio'),
  ],
  rules: [
    ...(Array.isArray(BASE_POLICY['rules']) ? BASE_POLICY['rules'] : []),
    { id: 'leap', kind: 'jump', stage: 'pre-mitigation', above: 0.6, then: ['hold'] },
    {
      id: 'soon',
      kind: 'forecast',
      stage: 'pre-mitigation',
      atLeast: 'critical',
      probability: 0.08,
      whenMostlyPrior: 'hold',
      then: ['halt'],
    },
  ],
});

const GRAVITY = { proceed: 0, hold: 1, halt: 2 };

/** A clean first checkpoint, then the scores of a second one. */
function judged(scores: readonly number[], order: readonly number[] = [0, 1, 2]): RunLife {
  const life = new RunLife(policy, { checked: false });
  life.register();
  life.pass('c1', '1e22', 0.1);
  life.report('c2', '2e22');
  for (const i of order) life.result(`c2/${NAMES[i] ?? ''}`, success(scores[i] ?? 0, 1000));
  return life;
}

const gravityOf = (life: RunLife): number =>
  life.state.halt !== null ? 2 : GRAVITY[life.last('CheckpointAssessed').verdict];

const score = fc.integer({ min: 0, max: 1000 }).map((thousandths) => thousandths / 1000);
const scores = fc.tuple(score, score, score);

describe('any evidence', () => {
  it('that is worse never softens the verdict', () => {
    const worse = fc.tuple(score, score, score);
    fc.assert(
      fc.property(scores, worse, (before, raised) => {
        const after = before.map((value, i) => Math.max(value, raised[i] ?? 0));
        expect(gravityOf(judged(after))).toBeGreaterThanOrEqual(gravityOf(judged(before)));
      }),
      { numRuns: 25 },
    );
  });

  it('gives the same verdict, findings and scorecard in whatever order it comes in', () => {
    const order = fc.shuffledSubarray([0, 1, 2], { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(scores, order, (values, permuted) => {
        const [one, other] = [judged(values), judged(values, permuted)];
        const told = (life: RunLife) => ({ ...life.last('CheckpointAssessed'), revision: 0 });
        expect(told(other)).toEqual(told(one));
        expect(other.permit).toEqual(one.permit);
      }),
      { numRuns: 25 },
    );
  });

  it('that comes again, late or better, never lowers a level', () => {
    fc.assert(
      fc.property(scores, score, (values, again) => {
        const life = judged(values);
        const before = life.last('CheckpointAssessed').scorecard.overall;
        const gravity = gravityOf(life);
        if (isQuarantined(life.state)) {
          // Until then nothing is evaluated again.
          life.release();
          life.signed();
        }
        life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c2', 'ctf', 'bare'), by: 'operator' });
        life.result('c2/ctf/bare', success(again, 5000));
        const after = life.last('CheckpointAssessed').scorecard.overall;
        expect(after.estimate ?? 0).toBeGreaterThanOrEqual(before.estimate ?? 0);
        expect(after.upper ?? 0).toBeGreaterThanOrEqual(before.upper ?? 0);
        expect(gravityOf(life)).toBeGreaterThanOrEqual(gravity);
      }),
      { numRuns: 25 },
    );
  });

  it('never earns a ceiling past ratio x (1 + grace), nor without a verdict to proceed', () => {
    fc.assert(
      fc.property(scores, (values) => {
        const life = judged(values);
        const cleared = life.last('CheckpointAssessed').verdict === 'proceed';
        expect(Number(life.state.ceiling)).toBeCloseTo(cleared ? 4.4e22 : 2.2e22, -12);
      }),
      { numRuns: 25 },
    );
  });
});

describe('any command', () => {
  it('said twice has no further effect', () => {
    const life = registered(policy);
    const twice = (command: Command): void => {
      expect(isRejection(life.command(command))).toBe(false);
      const { length } = life.events;
      life.command(command);
      expect(life.events.slice(length).map(({ kind }) => kind)).toEqual([]);
    };
    life.report('c1', '1e22');
    const evaluationId = life.idOf('c1', 'ctf', 'bare');
    const attempt = { evaluationId, attempt: 1 };
    twice({ type: 'StartEvaluation', ...attempt, instance: 'w1' });
    twice({ type: 'NoteDispatched', ...attempt });
    twice(life.resultCommand('c1/ctf/bare', success(0.7)));
    const haltId = life.state.halt?.haltId ?? '';
    const step = { haltId, targetId: 't1', round: 1, step: 'webhook', attempt: 1, detail: 'ok' };
    twice({ type: 'RecordHaltStep', ...step, outcome: 'accepted' });
    twice({
      type: 'AcknowledgeHalt',
      orchestrator: false,
      haltId,
      state: 'received',
      claimedAt: null,
      by: 'trainer',
    });
    twice({
      type: 'AcknowledgeHalt',
      orchestrator: false,
      haltId,
      state: 'stopped',
      claimedAt: null,
      by: 'trainer',
    });
    life.wait('30s');
    twice({ type: 'Tick' });
    const [alert] = life.state.alerts;
    const delivery = { alertId: alert?.alertId ?? '', channel: 'oncall', attempt: 1, reason: 'ok' };
    twice({ type: 'RecordAlertDelivery', ...delivery, outcome: 'delivered' });
    twice({ type: 'RetryEvaluation', evaluationId, by: 'operator' });
    twice({ type: 'FailAttempt', evaluationId, attempt: 2, reason: 'no-result', detail: null, result: null });
    life.propose();
    twice(life.signature('lea', 'leadership'));
    twice(life.signature('pat', 'preparedness', { decision: 'dissent' }));
    twice(life.signature('sam', 'safety'));
    twice(life.signature('bea', 'board', { decision: 'veto' }));
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
  });
});
