/** Tripwires where other features meet them: findings, jumps, halts, exchanged weights, changed protocols, what people stopped. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { BASE_POLICY, evaluation, grants, policyOf, type RunLife, registered, success } from './run-life.ts';

const quick = { tier: 'tripwire', executor: { kind: 'http', mode: 'callback', timeout: '10m', attempts: 2 } };
const SUITE: JsonObject[] = [
  evaluation('ctf', 'cyber'),
  evaluation('ctf-quick', 'cyber', quick),
  evaluation('labs', 'bio'),
  evaluation('labs-quick', 'bio', quick),
];
const { levels: _levels, ...bare } = evaluation('benign', 'cyber');
const CONTROL: JsonObject = { ...bare, ...quick, benignControl: { atLeast: 0.8 } };
const clearing = (
  evaluations: JsonObject[] = SUITE,
  { clears = { belowCompute: '1e23' }, rules = [] }: { clears?: JsonObject; rules?: JsonObject[] } = {},
) =>
  policyOf({
    evaluations,
    rules: [...(BASE_POLICY['rules'] as JsonObject[]), ...rules],
    tiers: {
      tripwireClears: {
        reference: { evidence: 'transfer study', approvedBy: ['leadership', 'safety'] },
        ...clears,
      },
    },
  });

const jobs = (run: RunLife): string[] => {
  const names = new Map(
    run.state.checkpoints.flatMap(({ checkpointId, evaluations }) =>
      evaluations.map((each) => [each.evaluationId, `${checkpointId}/${each.evaluation}`] as const),
    ),
  );
  return run.work.flatMap(({ kind, ids }) =>
    kind === 'dispatch' || kind === 'evaluate' ? [names.get(String(ids['evaluationId'])) ?? ''] : [],
  );
};
const quickly = (run: RunLife, checkpointId: string, score: number) => [
  ...run.result(`${checkpointId}/ctf-quick`, score),
  ...run.result(`${checkpointId}/labs-quick`, score),
];
const digested = (digit: string) => ({
  type: 'NoteWeights' as const,
  checkpointId: 'c1',
  digest: `sha256:${digit.repeat(64)}`,
  files: 1,
  bytes: 1,
  fingerprint: digit,
});
const past = (run: RunLife) =>
  run.work.filter(({ kind, notBeforeMs }) => kind === 'tick' && notBeforeMs <= run.now.getTime());

describe('tripwires clear nothing alone', () => {
  it('where a benign control beside them does not reach what a healthy model does', () => {
    const run = registered(clearing([...SUITE, CONTROL]));
    run.report('c1', '1e22');
    run.result('c1/benign', 0.2);
    const kinds = quickly(run, 'c1', 0.05);
    expect(kinds).not.toContain('TripwireCleared');
    expect(run.last('EvaluationsReleased')).toMatchObject({ reason: 'finding' });
    expect(jobs(run)).toEqual(['c1/ctf', 'c1/labs']);
    expect(run.permit.granted).toBe(false);
  });

  it('and a control that comes after they cleared brings the suite', () => {
    const run = registered(
      clearing([...SUITE, { ...CONTROL, required: false }], {
        clears: { belowCompute: '1e23', within: '1h' },
      }),
    );
    run.report('c1', '1e22');
    run.result('c1/benign', 0.9);
    expect(quickly(run, 'c1', 0.05)).toContain('TripwireCleared');
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'benign'), by: 'operator' });
    expect(run.result('c1/benign', 0.2)).toEqual(
      expect.arrayContaining(['EvaluationsReleased', 'HoldPlaced']),
    );
    expect(jobs(run)).toEqual(['c1/ctf', 'c1/labs']);
  });

  it('where an outside evaluator found what holds the run', () => {
    const rules: JsonObject[] = [
      { id: 'outside', kind: 'outside-finding', atLeast: 'medium', then: ['hold'] },
    ];
    const run = registered(clearing(SUITE, { rules }));
    run.report('c1', '1e22');
    quickly(run, 'c1', 0.05);
    expect(run.state.lastCleared).toMatchObject({ checkpointId: 'c1' });
    run.does(grants());
    run.does({
      type: 'SubmitOutsideFinding',
      party: 'institute',
      findingId: 'f1',
      checkpointId: 'c1',
      category: null,
      severity: 'medium',
      title: null,
      evidenceUri: null,
      signed: { messageId: 'm', timestamp: '1', signature: 's', publicKeys: [], bodyDigest: 'b' },
      priorDigest: null,
    });
    expect(run.state.holds).toHaveLength(1);
    expect(jobs(run)).toEqual(['c1/ctf', 'c1/labs']);
  });

  it('where one has jumped, however low it still is', () => {
    const run = registered(clearing());
    run.report('c1', '1e22');
    expect(quickly(run, 'c1', 0.02)).toContain('TripwireCleared');
    run.report('c2', '2e22');
    expect(quickly(run, 'c2', 0.15)).not.toContain('TripwireCleared');
    expect(run.last('EvaluationsReleased')).toMatchObject({ checkpointId: 'c2', reason: 'tripwire-jump' });
    expect(run.state.lastCleared).toMatchObject({ checkpointId: 'c1' });
    run.result('c2/ctf', 0.1);
    run.result('c2/labs', 0.1);
    expect(run.state.lastCleared).toMatchObject({ checkpointId: 'c2' });
  });
});

describe('a jump of a category', () => {
  const rules: JsonObject[] = [
    { id: 'leap', kind: 'jump', stage: 'post-mitigation', above: 1, then: ['hold'] },
    { id: 'leap-before', kind: 'jump', stage: 'pre-mitigation', above: 1, then: ['hold'] },
  ];
  const suite = [...SUITE, evaluation('ctf-after', 'cyber', { stage: 'post-mitigation' })];

  it('is held against what the suite found, and not hidden by tripwires in between', () => {
    const run = registered(
      policyOf({ evaluations: suite, rules: [...(BASE_POLICY['rules'] as JsonObject[]), ...rules] }),
    );
    run.pass('c1', '1e22', 0.02);
    run.report('c1b', '1.9e22', { evaluate: true, tripwiresOnly: true });
    quickly(run, 'c1b', 0.02);
    run.report('c2', '2e22');
    quickly(run, 'c2', 0.02);
    for (const name of ['ctf', 'labs']) run.result(`c2/${name}`, 0.02);
    run.result('c2/ctf-after', 0.45);
    expect(run.state.holds.flatMap(({ findings }) => findings)).toMatchObject([
      { rule: 'leap', stage: 'post-mitigation' },
    ]);
  });

  it('is none where the suite stands higher than the tripwires that cleared the one before', () => {
    const run = registered(clearing(suite, { rules, clears: { belowCompute: '4e22' } }));
    run.report('c1', '1e22');
    quickly(run, 'c1', 0.02);
    run.report('c2', '2e22');
    quickly(run, 'c2', 0.02);
    run.pass('c3', '4e22', 0.3);
    expect(run.state.holds).toEqual([]);
  });

  it('is held against the last suite, however many checkpoints tripwires cleared since', () => {
    const run = registered(clearing(suite, { rules, clears: { belowLevel: 'medium' } }));
    run.report('c0', '1e22');
    quickly(run, 'c0', 0.3);
    for (const name of ['ctf', 'labs', 'ctf-after']) run.result(`c0/${name}`, 0.02);
    run.wait('1h');
    let at = 1e22;
    for (let i = 1; i <= 6; i += 1) {
      at *= 2;
      run.report(`c${i}`, at);
      quickly(run, `c${i}`, 0.02);
      expect(run.state.lastCleared).toMatchObject({ checkpointId: `c${i}` });
    }
    expect(run.state.history.some(({ checkpointId }) => checkpointId === 'c0')).toBe(true);
  });
});

describe('what waits for tripwires', () => {
  it('is not begun while a person has halted the run, and is again with it', () => {
    const run = registered(clearing());
    run.report('c1', '1e22');
    run.press();
    run.wait('2h').tick();
    expect(jobs(run)).toEqual([]);
    expect(past(run)).toEqual([]);
    run.resume();
    expect(jobs(run)).toEqual(['c1/ctf', 'c1/ctf-quick', 'c1/labs', 'c1/labs-quick']);
  });

  it('is not begun of weights that were exchanged', () => {
    const run = registered(clearing());
    run.report('c1', '1e22');
    run.does(digested('a'));
    run.does(digested('b'));
    expect(run.state.holds).toHaveLength(1);
    expect(jobs(run)).toEqual([]);
    run.wait('2h').tick();
    expect(jobs(run)).toEqual([]);
    expect(past(run)).toEqual([]);
    run.wait('9h').tick();
    expect(run.last('CheckpointAssessed')).toMatchObject({ verdict: 'hold' });
    expect(past(run)).toEqual([]);
  });

  it('is run where a score of it came of weights that cannot be shown', () => {
    const run = registered(clearing());
    run.report('c1', '1e22');
    const evaluationId = run.idOf('c1', 'ctf');
    const word = {
      type: 'FailAttempt',
      evaluationId,
      attempt: 1,
      reason: 'weights-gone',
      detail: null,
    } as const;
    run.does({ ...word, result: success(0.3) });
    expect(jobs(run)).toContain('c1/ctf');
    expect(run.does({ ...word, attempt: 2, result: success(0.9) })).toContain('HaltOrdered');
  });

  it('has a tripwire that measures in every category: a benign control is none', () => {
    const check = checkPolicy({
      ...BASE_POLICY,
      evaluations: [
        evaluation('ctf', 'cyber'),
        CONTROL,
        evaluation('labs', 'bio'),
        evaluation('labs-quick', 'bio', quick),
      ],
      tiers: {
        tripwireClears: {
          belowLevel: 'medium',
          reference: { evidence: 'x', approvedBy: ['leadership', 'safety'] },
        },
      },
    });
    expect(check.ok ? [] : check.problems.map(({ path }) => path)).toEqual(['categories.0']);
  });

  it('brings the suite before the scorecard has to be in, or the policy is refused', () => {
    const check = checkPolicy({
      ...BASE_POLICY,
      evaluations: SUITE,
      tiers: {
        tripwireClears: {
          belowLevel: 'medium',
          within: '10h',
          reference: { evidence: 'x', approvedBy: ['leadership', 'safety'] },
        },
      },
    });
    expect(check.ok ? [] : check.problems).toEqual([
      {
        path: 'tiers.tripwireClears.within',
        message:
          'must be shorter than cadence.scorecardDeadline (10h), by which the suite that it brings has to be in',
      },
    ]);
  });
});

describe('a changed protocol', () => {
  const changed = [
    evaluation('ctf', 'cyber'),
    evaluation('ctf-v2', 'cyber', { succeeds: { evaluation: 'ctf', from: 1.5e22 } }),
    evaluation('labs', 'bio'),
  ];
  const pass = (run: RunLife, id: string, at: string, scores: Record<string, number> = {}) => {
    run.report(id, at);
    for (const name of ['ctf', 'ctf-v2', 'labs']) {
      const isRun = run.last('CheckpointReported').evaluations.some((each) => each.evaluation === name);
      if (isRun) run.result(`${id}/${name}`, scores[name] ?? 0.1);
    }
  };
  const beside = (run: RunLife) => run.last('SuccessionBegun').lastCleared;

  it('asks nothing of a checkpoint whose weights were exchanged', () => {
    const run = registered(policyOf({ evaluations: changed }));
    run.report('c1', '1e22');
    run.does(digested('a'));
    run.result('c1/ctf', 0.1);
    run.result('c1/labs', 0.1);
    run.does(digested('b'));
    run.report('c2', '2e22');
    expect(beside(run)).toBeNull();
    expect(jobs(run).filter((name) => name.startsWith('c1/'))).toEqual([]);
  });

  it('leaves no deadline in the past while it is measured on the checkpoint last cleared', () => {
    const run = registered(policyOf({ evaluations: changed }));
    pass(run, 'c1', '1e22');
    run.wait('5h');
    pass(run, 'c2', '2e22');
    expect(beside(run)).not.toBeNull();
    run.wait('5h').tick();
    expect(past(run)).toEqual([]);
  });

  it('of a tripwire brings no suite by failing on the checkpoint that was cleared without it, and does by what it finds', () => {
    const succeeds = { evaluation: 'ctf-quick', from: 1.5e22 };
    const begun = () => {
      const run = registered(
        clearing([...SUITE, evaluation('ctf-quick-v2', 'cyber', { ...quick, succeeds })]),
      );
      run.report('c1', '1e22');
      quickly(run, 'c1', 0.05);
      run.report('c2', '2e22');
      return { run, evaluationId: beside(run)?.evaluations[0]?.evaluationId ?? '' };
    };
    const says = (run: RunLife, attempt: number, result: JsonObject) => {
      const { evaluationId } = beside(run)?.evaluations[0] ?? { evaluationId: '' };
      const word = { type: 'RecordResult', evaluationId, attempt, result, by: 'evaluator' } as const;
      return run.does({ ...word, resultDigest: JSON.stringify(result) });
    };
    const failed = begun().run;
    says(failed, 1, { status: 'error', error: 'no' });
    failed.wait('1m');
    says(failed, 2, { status: 'error', error: 'again' });
    expect(failed.count('EvaluationsReleased')).toBe(0);
    expect(failed.state.holds).toEqual([]);
    const found = begun().run;
    expect(says(found, 1, success(0.3))).toEqual(
      expect.arrayContaining(['EvaluationsReleased', 'HoldPlaced']),
    );
  });

  const compound = (of: unknown, more: JsonObject = {}): JsonObject[] => [
    ...(BASE_POLICY['rules'] as JsonObject[]),
    { id: 'two', kind: 'compound', stage: 'pre-mitigation', of, then: ['hold'], ...more } as JsonObject,
  ];
  const rules = (found: { findings: readonly { rule: string }[] }) => found.findings.map(({ rule }) => rule);

  it('counts once, by the graver of the two, where evaluations are counted', () => {
    const evaluations = [...changed, evaluation('net', 'cyber')];
    const run = registered(policyOf({ evaluations, rules: compound('evaluations', { atLeast: 'medium' }) }));
    run.report('c1', '2e22');
    for (const [name, score] of [
      ['ctf', 0.3],
      ['ctf-v2', 0.32],
      ['labs', 0.1],
    ] as const)
      run.result(`c1/${name}`, score);
    run.result('c1/net', 0.1);
    expect(rules(run.last('CheckpointAssessed'))).not.toContain('two');
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'net'), by: 'operator' });
    run.result('c1/net', 0.3);
    expect(run.last('CheckpointAssessed').findings.find(({ rule }) => rule === 'two')).toMatchObject({
      observed: 2,
      evaluation: 'ctf-v2+net',
    });
  });

  it('is meant by a clause, and by a refusal rule, that names the one before it', () => {
    const run = registered(
      policyOf({
        evaluations: changed,
        rules: [
          ...compound([
            { evaluation: 'ctf', atLeast: 'medium' },
            { evaluation: 'labs', atLeast: 'medium' },
          ]),
          {
            id: 'refused',
            kind: 'refusal',
            stage: 'pre-mitigation',
            above: 0.1,
            evaluations: ['ctf'],
            then: ['alert'],
          },
        ],
      }),
    );
    pass(run, 'c1', '1e22');
    pass(run, 'c2', '2e22');
    pass(run, 'c3', '4e22');
    expect(run.count('SuccessionEnded')).toBe(1);
    run.report('c4', '8e22');
    run.result('c4/labs', 0.3);
    run.result('c4/ctf-v2', {
      ...success(0.3),
      samples: { total: 1000, scored: 1000, errored: 0, refused: 500 },
    });
    expect(rules(run.last('CheckpointAssessed'))).toEqual(expect.arrayContaining(['two', 'refused']));
  });

  it('counts twice where clauses name both, and then each for itself', () => {
    const both = [
      { evaluation: 'ctf', atLeast: 'medium' },
      { evaluation: 'ctf-v2', atLeast: 'medium' },
    ];
    const run = registered(policyOf({ evaluations: changed, rules: compound(both) }));
    pass(run, 'c1', '1e22', { ctf: 0.3 });
    expect(rules(run.last('CheckpointAssessed'))).not.toContain('two');
    pass(run, 'c2', '2e22', { ctf: 0.1, 'ctf-v2': 0.3 });
    expect(rules(run.last('CheckpointAssessed'))).not.toContain('two');
    pass(run, 'c3', '4e22', { ctf: 0.3, 'ctf-v2': 0.3 });
    expect(rules(run.last('CheckpointAssessed'))).toContain('two');
  });

  it('is one to count: a rule that would need both is refused', () => {
    const check = checkPolicy({
      ...BASE_POLICY,
      evaluations: changed,
      rules: compound('evaluations', { atLeast: 'medium' }),
    });
    expect(check.ok ? [] : check.problems.map(({ message }) => message)).toEqual([
      'must be at most 1: there are no more to count',
    ]);
  });
});

describe('closing in', () => {
  it('ends at the time that people were told, and leaves no deadline in the past', () => {
    const closingIn = { attempts: 5, within: '2h' };
    const run = registered(
      policyOf({
        evaluations: [
          evaluation('ctf', 'cyber', { closingIn }),
          evaluation('net', 'cyber', { closingIn: { attempts: 5, within: '6h' } }),
          evaluation('labs', 'bio'),
        ],
      }),
    );
    run.report('c1', '1e21');
    run.result('c1/labs', 0.1);
    run.result('c1/ctf', success(0.47, 150));
    run.wait('1h').result('c1/net', success(0.47, 150));
    const until = run.state.holds[0]?.closingIn?.until ?? '';
    run.result('c1/ctf', success(0.4, 4000));
    run.now = new Date(Date.parse(until));
    run.tick();
    expect(past(run)).toEqual([]);
  });
});

describe('another training stage', () => {
  const noted = (run: RunLife, name: string, at: string) =>
    run.does({
      type: 'NoteTrainingStage',
      stage: { name },
      effectiveCompute: run.state.computeHigh ?? run.state.ceiling,
      by: at,
    });

  it('is awaited from the first that nothing was seen of: names that change move no deadline', () => {
    const run = registered();
    run.pass('c1', '1e22', 0.05);
    noted(run, 'rl', 'trainer');
    const due = run.now.getTime() + 24 * 3_600_000;
    for (const name of ['fine-tuning', 'rl', 'other']) noted(run.wait('7h'), name, 'trainer');
    run.now = new Date(due);
    expect(run.tick()).toContain('HoldPlaced');
    expect(run.state.holds[0]?.key).toBe('overdue');
  });
});
