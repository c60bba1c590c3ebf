/** In which order evaluations come, which workers they need, and what is said where nobody has those. */
import { describe, expect, it } from 'vitest';
import { PRIORITY_MAX } from '../../../src/domain/run/priority.ts';
import { scorecardOf } from '../../../src/domain/run/scorecard.ts';
import { evaluation, policyOf, RunLife } from './run-life.ts';

function life(evaluations: ReturnType<typeof evaluation>[]): RunLife {
  const run = new RunLife(policyOf({ evaluations }));
  run.register();
  return run;
}

/** Names of what waits, the first to be carried out first. */
function order(run: RunLife): string[] {
  const names = new Map(
    run.state.checkpoints.flatMap(({ checkpointId, evaluations }) =>
      evaluations.map((each) => [each.evaluationId, `${checkpointId}/${each.evaluation}`] as const),
    ),
  );
  const waiting = run.work.filter(({ kind }) => kind === 'dispatch' || kind === 'evaluate');
  for (const { priority } of waiting) {
    expect(priority).toBeGreaterThanOrEqual(1);
    expect(priority).toBeLessThanOrEqual(PRIORITY_MAX);
  }
  return waiting
    .sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0))
    .map(({ ids }) => names.get(String(ids['evaluationId'])) ?? '');
}

const all = [
  evaluation('ctf-more', 'cyber', { required: false }),
  evaluation('ctf', 'cyber'),
  evaluation('labs', 'bio'),
  evaluation('labs-quick', 'bio', { tier: 'tripwire' }),
];

describe('the order of evaluations', () => {
  it('is tripwires, then what is required, then as in the policy, while nothing is known of the categories', () => {
    const run = life(all);
    run.report('c1', '1e21');
    expect(order(run)).toEqual(['c1/labs-quick', 'c1/ctf', 'c1/labs', 'c1/ctf-more']);
  });

  it('puts the category first that was nearest to the level that halts', () => {
    const run = life(all);
    run.report('c1', '1e21');
    for (const [name, score] of [
      ['ctf', 0.05],
      ['ctf-more', 0.05],
      ['labs', 0.3],
      ['labs-quick', 0.3],
    ] as const) {
      run.result(`c1/${name}`, score);
    }
    run.report('c2', '2e21');
    expect(order(run)).toEqual(['c2/labs-quick', 'c2/labs', 'c2/ctf', 'c2/ctf-more']);
  });

  it('lets what is due go before what was only wished for', () => {
    const run = life(all);
    run.pass('c1', '1e21', 0.05);
    run.report('wish', '1.5e21', { evaluate: true });
    run.report('due', '2e21');
    expect(order(run).map((name) => name.split('/')[0])).toEqual([
      ...Array(4).fill('due'),
      ...Array(4).fill('wish'),
    ]);
  });

  it('draws further samples before all else', () => {
    const run = life([
      evaluation('ctf', 'cyber', { closingIn: {} }),
      evaluation('labs', 'bio', { tier: 'tripwire' }),
    ]);
    run.report('c1', '1e21');
    run.result('c1/labs', 0.1);
    run.result('c1/ctf', { status: 'success', score: 0.47, n: 200 });
    run.report('c2', '1.2e21', { evaluate: true });
    expect(order(run)[0]).toBe('c1/ctf');
  });
});

describe('labels', () => {
  const onGpu = {
    resources: ['sandbox', 'gpu'],
    executor: { kind: 'command', command: ['true'], timeout: '1h', attempts: 1 },
  };

  function waiting(): RunLife {
    const run = life([evaluation('ctf', 'cyber', onGpu), evaluation('labs', 'bio', { resources: ['gpu'] })]);
    run.report('c1', '1e21');
    return run;
  }
  const note = (run: RunLife, ...workers: string[][]) => run.does({ type: 'NoteUnstaffed', workers });
  const reasons = (run: RunLife) =>
    run.state.checkpoints.flatMap((checkpoint) =>
      scorecardOf(checkpoint, run.policy).categories.flatMap(({ stages }) =>
        Object.values(stages).flatMap(({ evidence }) => evidence.flatMap((row) => row.reasons)),
      ),
    );

  it('go with the work of this machine, and not with what somebody else is asked to do', () => {
    const items = waiting().work.filter(({ priority }) => priority !== undefined);
    expect(items.map(({ kind, labels }) => [kind, labels])).toEqual([
      ['evaluate', ['gpu', 'sandbox']],
      ['dispatch', undefined],
    ]);
  });

  it('that no worker has are told of once, in the ledger, to people and beside the evaluation', () => {
    const run = waiting();
    expect(note(run.wait('1m'))).toEqual([]);
    expect(note(run.wait('1m'), ['gpu'])).toEqual(['EvaluationsUnstaffed', 'AlertRaised']);
    expect(run.last('AlertRaised').summary).toContain('no worker with label sandbox has been seen');
    expect(reasons(run)).toEqual(['no worker with label sandbox has been seen']);
    expect(note(run, ['gpu'])).toEqual([]);
    run.does({ type: 'StartEvaluation', evaluationId: run.idOf('c1', 'ctf'), attempt: 1, instance: 'i1' });
    expect(reasons(run)).toEqual([]);
  });

  it('are not asked for where somebody else carries it out', () => {
    const run = waiting().wait('2m');
    note(run);
    expect(run.last('EvaluationsUnstaffed').evaluationIds).toEqual([run.idOf('c1', 'ctf')]);
    expect(run.last('AlertRaised').summary).not.toContain('labs');
    expect(reasons(run)).toHaveLength(1);
  });

  it('that are had, and by no worker together, are missing all the same', () => {
    const run = waiting().wait('2m');
    note(run, ['gpu'], ['sandbox']);
    expect(run.last('EvaluationsUnstaffed').labels).toEqual(['gpu', 'sandbox']);
    const staffed = waiting().wait('2m');
    expect(note(staffed, ['gpu', 'sandbox', 'more'])).toEqual([]);
  });

  it('nobody has make the evaluation inconclusive at the deadline, and say why', () => {
    const run = waiting().wait('2m');
    run.result('c1/labs', 0.1);
    note(run);
    run.wait('10h').tick();
    expect(run.state.holds[0]?.findings[0]).toMatchObject({
      kind: 'inconclusive',
      observed: 'no worker with label gpu, sandbox has been seen',
    });
  });
});
