/** Outside evaluators: who is heard, about what, and how their findings count. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import type { SubmitOutsideFinding } from '../../../src/domain/run/outside.ts';
import { evaluation, grants, policyOf, type RunLife, registered, success } from './run-life.ts';

const rules: JsonObject[] = [
  { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
  { id: 'outside-grave', kind: 'outside-finding', atLeast: 'critical', then: ['halt'] },
  { id: 'outside', kind: 'outside-finding', atLeast: 'medium', categories: ['cyber'], then: ['hold'] },
];
const policy = policyOf({
  evaluations: [
    evaluation('ctf', 'cyber'),
    evaluation('labs', 'bio', {
      executor: { kind: 'outside', party: 'institute', timeout: '5h', attempts: 1 },
    }),
  ],
  rules,
});

const word = (body = 'b') => ({
  messageId: `msg_${body}`,
  timestamp: '1800000000',
  signature: 'v1a,x',
  publicKeys: ['whpk_x'],
  bodyDigest: body.repeat(64).slice(0, 64),
});
const finds = (more: Partial<SubmitOutsideFinding> = {}): SubmitOutsideFinding => ({
  type: 'SubmitOutsideFinding',
  party: 'institute',
  findingId: 'f1',
  checkpointId: null,
  category: null,
  severity: 'medium',
  title: 'it lies about tools',
  evidenceUri: null,
  signed: word(),
  priorDigest: null,
  ...more,
});

function granted(more: object = {}): RunLife {
  const life = registered(policy);
  life.report('c1', '1e22');
  life.does(grants(more));
  return life;
}
const submits = (life: RunLife, score = 0.1, more: object = {}) =>
  ({
    type: 'SubmitOutsideResult',
    party: 'institute',
    evaluationId: life.idOf('c1', 'labs'),
    attempt: 1,
    result: success(score),
    resultDigest: 'd',
    signed: word(),
    ...more,
  }) as const;

describe('an outside evaluator', () => {
  it('is heard only while it has a grant', () => {
    const life = registered(policy);
    life.report('c1', '1e22');
    expect(life.refuses(submits(life)).code).toBe('forbidden');
    expect(life.refuses(finds()).code).toBe('forbidden');
    expect(life.does(grants({ expiresAt: life.now.toISOString() }))).toEqual(['OutsideEvaluatorGranted']);
    expect(life.refuses(finds()).code).toBe('forbidden');
    life.does(grants());
    expect(life.does(grants())).toEqual([]);
    expect(life.does(finds())).toContain('OutsideFindingReported');
  });

  it('reports evaluations that the policy gives it, and nobody else reports those', () => {
    const life = granted();
    const labs = life.idOf('c1', 'labs');
    expect(life.refuses(submits(life, 0.1, { evaluationId: life.idOf('c1', 'ctf') })).code).toBe('forbidden');
    expect(life.refuses(life.resultCommand('c1/labs', success(0.1))).message).toContain('institute alone');
    // Nor does anybody fail them for it, where the weights are in doubt.
    const { type: _, party: _party, signed: _signed, ...own } = submits(life);
    const doubted = { ...own, type: 'RecordResult' as const, by: 'evaluator', doubt: 'weights-gone' };
    expect(life.refuses(doubted).message).toContain('institute alone');
    expect(life.does(submits(life))).toEqual(
      expect.arrayContaining(['OutsideResultSigned', 'EvaluationReported']),
    );
    expect(life.last('OutsideResultSigned')).toMatchObject({
      evaluationId: labs,
      signed: { messageId: 'msg_b' },
    });
    expect(life.does(submits(life))).toEqual([]);
    life.result('c1/ctf', 0.1);
    expect(life.permit.granted).toBe(true);
  });

  it('is heard however much another says, and in what is urgent however much it said itself', () => {
    const life = granted();
    life.does(grants({ party: 'other' }));
    const say = (n: number, more: Partial<SubmitOutsideFinding>) =>
      finds({ findingId: `f${n}`, severity: 'low', ...more });
    for (let n = 0; n < 16; n += 1) life.does(say(n, { party: 'other' }));
    expect(life.refuses(say(16, { party: 'other' })).message).toContain('16 findings of other');
    expect(life.does(say(17, { party: 'other', severity: 'critical' }))).toContain('HaltOrdered');
    for (let n = 0; n < 16; n += 1) life.does(say(n, {}));
    expect(life.state.checkpoints[0]?.outside).toHaveLength(33);
  });

  it('trips as anybody does', () => {
    const life = granted();
    expect(life.does(submits(life, 0.9))).toContain('HaltOrdered');
  });

  it.each(['asked', 'not yet asked', 'stopped'])(
    '%s settles nothing where the weights cannot be shown to be the checkpoint’s, and may still trip',
    (state) => {
      const life = granted();
      const evaluationId = life.idOf('c1', 'labs');
      if (state === 'asked') {
        life.does({ type: 'StartEvaluation', evaluationId, attempt: 1, instance: 'w' });
        life.does({ type: 'NoteDispatched', evaluationId, attempt: 1 });
      }
      if (state === 'stopped') life.press();
      expect(life.does(submits(life, 0.9, { doubt: 'weights-gone' }))).toEqual(
        expect.arrayContaining([
          'OutsideResultSigned',
          'EvaluationReported',
          state === 'stopped' ? 'HaltCauseAdded' : 'HaltOrdered',
        ]),
      );
      expect(life.last('EvaluationReported').reading).toMatchObject({
        conclusive: false,
        reasons: ['weights-gone'],
      });
      expect(life.does(submits(life, 0.9, { doubt: 'weights-gone' }))).toEqual([]);
    },
  );

  it('is not spoken for by another where the weights cannot be shown', () => {
    const life = granted();
    const { party: _party, signed: _signed, ...result } = submits(life);
    const other = { ...result, type: 'RecordResult', doubt: 'weights-gone', by: 'somebody' } as const;
    expect(life.refuses(other).code).toBe('forbidden');
  });

  it('that sees due checkpoints alone has nothing to say of others', () => {
    const life = granted();
    life.does(submits(life));
    life.result('c1/ctf', 0.1);
    life.report('c1b', '1.2e22', { evaluate: true });
    expect(life.refuses(finds({ checkpointId: 'c1b' })).path).toBe('checkpointId');
    const unseen = { evaluationId: life.idOf('c1b', 'labs') };
    expect(life.refuses(submits(life, 0.1, unseen)).path).toBe('evaluationId');
    life.does(grants({ checkpoints: 'all' }));
    expect(life.does(finds({ checkpointId: 'c1b' }))).toContain('OutsideFindingReported');
  });

  it('is handed its evaluations as work that somebody else does', () => {
    const life = granted();
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toHaveLength(2);
    life.press();
    expect(life.work.filter(({ ids }) => ids['call'] !== undefined)).toEqual([]);
  });
});

describe('a finding from outside', () => {
  const verdict = (life: RunLife) => life.last('CheckpointAssessed').verdict;
  const closed = () => {
    const life = granted();
    life.does(submits(life));
    life.result('c1/ctf', 0.1);
    return life;
  };

  it.each([
    ['low', null, 'proceed'],
    ['medium', null, 'hold'],
    ['medium', 'cyber', 'hold'],
    ['high', 'bio', 'proceed'],
    ['critical', 'bio', 'halt'],
  ] as const)('of severity %s about %s makes the verdict %s', (severity, category, expected) => {
    const life = closed();
    life.does(finds({ severity, category }));
    expect(verdict(life)).toBe(expected);
    expect(life.state.halt !== null).toBe(expected === 'halt');
  });

  it.each([
    ['medium', 0],
    ['high', 1],
    ['critical', 1],
  ] as const)('of severity %s pages %d times by itself', (severity, pages) => {
    const life = closed();
    life.does(finds({ severity, category: 'bio' }));
    const raised = life.events.flatMap(({ kind, data }) =>
      kind === 'AlertRaised' ? [JSON.stringify(data)] : [],
    );
    expect(
      raised.filter((text) => text.includes('outside evaluator institute reports a finding')),
    ).toHaveLength(pages);
  });

  it('is taken once, and another under its name is refused', () => {
    const life = closed();
    life.does(finds());
    expect(life.does(finds())).toEqual([]);
    expect(life.refuses(finds({ signed: word('c') })).code).toBe('conflict');
    expect(life.does(finds({ priorDigest: word().bodyDigest }))).toEqual([]);
    expect(life.does(finds({ findingId: 'f2', signed: word('c') }))).toContain('OutsideFindingReported');
  });

  it('about no category or checkpoint that there is, is refused with its place', () => {
    const life = closed();
    expect(life.refuses(finds({ category: 'weather' })).path).toBe('category');
    expect(life.refuses(finds({ checkpointId: 'c9' })).path).toBe('checkpointId');
  });

  it('is lifted by people, and a second one holds again', () => {
    const life = closed();
    life.does(finds());
    expect(life.permit.granted).toBe(false);
    life.resume();
    expect(life.permit.granted).toBe(true);
    life.does(finds({ findingId: 'f2', signed: word('c') }));
    expect(life.permit.granted).toBe(false);
  });
});
