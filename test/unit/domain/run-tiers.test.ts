/** Two tiers: what tripwires clear under an approved reference, and what they bring on. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { compute } from '../../../src/domain/compute.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import { scorecardOf } from '../../../src/domain/run/scorecard.ts';
import { BASE_POLICY, digest, evaluation, policyOf, RunLife } from './run-life.ts';

const quick = { tier: 'tripwire', executor: { kind: 'http', mode: 'callback', timeout: '10m', attempts: 2 } };

const TIERED: JsonObject = {
  evaluations: [
    evaluation('ctf', 'cyber'),
    evaluation('ctf-quick', 'cyber', quick),
    evaluation('labs', 'bio'),
    evaluation('labs-quick', 'bio', quick),
  ],
};
const REFERENCE = { evidence: 'transfer study of 2026-09', approvedBy: ['leadership', 'safety'] };
const clearing = (clears: JsonObject = { belowCompute: '1e23' }): JsonObject => ({
  ...TIERED,
  tiers: { tripwireClears: { reference: REFERENCE, ...clears } },
});

function life(changes: JsonObject): RunLife {
  const begun = new RunLife(policyOf(changes));
  begun.register();
  return begun;
}

const statuses = (run: RunLife, checkpointId: string) => {
  const checkpoint = run.state.checkpoints.find((each) => each.checkpointId === checkpointId);
  if (checkpoint === undefined) throw new Error(`no ${checkpointId}`);
  return Object.fromEntries(
    scorecardOf(checkpoint, run.policy).categories.flatMap(({ stages }) =>
      Object.values(stages).flatMap(({ evidence }) => evidence.map((row) => [row.evaluation, row.status])),
    ),
  );
};
const queued = (run: RunLife) =>
  run.work.filter(({ kind }) => kind === 'dispatch').map(({ ids }) => ids['evaluationId']);

/** Both tripwires in, each with this share. */
function quickly(run: RunLife, checkpointId: string, score: number) {
  return [
    ...run.result(`${checkpointId}/ctf-quick`, score),
    ...run.result(`${checkpointId}/labs-quick`, score),
  ];
}

describe('weights that change while the suite waits for its tripwires', () => {
  const changed = (run: RunLife) => {
    const seen = { type: 'NoteWeights' as const, checkpointId: 'c1', files: 1, bytes: 1 };
    run.does({ ...seen, digest: `sha256:${'1'.repeat(64)}`, fingerprint: 'f1' });
    run.does({ ...seen, digest: `sha256:${'2'.repeat(64)}`, fingerprint: 'f2' });
  };

  it('leave nothing queued that could never begin', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    changed(run);
    expect(queued(run)).toEqual([]);
    expect(run.state.holds).toHaveLength(1);
    expect(statuses(run, 'c1')).toEqual({
      ctf: 'inconclusive',
      'ctf-quick': 'inconclusive',
      labs: 'inconclusive',
      'labs-quick': 'inconclusive',
    });
    expect(run.wait('2h').tick()).toEqual([]);
  });

  it('leave the suite as it is that was not needed, also where a late tripwire speaks against it', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    quickly(run, 'c1', 0.05);
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'ctf-quick'), by: 'operator' });
    changed(run);
    run.result('c1/ctf-quick', 0.35, 2);
    expect(statuses(run, 'c1')['ctf']).toBe('not-needed');
    expect(queued(run)).toEqual([]);
    expect(run.permit.granted).toBe(false);
  });
});

describe('tripwires by themselves', () => {
  it('clear nothing: the suite is queued with them, and the ceiling stays until it is in', () => {
    const run = life(TIERED);
    run.report('c1', '1e22');
    expect(queued(run)).toHaveLength(4);
    quickly(run, 'c1', 0.05);
    expect(run.state.lastCleared).toBeNull();
    expect(run.permit).toMatchObject({ ceiling: '1e22' });
    run.result('c1/ctf', 0.1);
    run.result('c1/labs', 0.1);
    expect(run.permit).toMatchObject({ ceiling: '2.2e22' });
  });

  it('leave the run at the ceiling that it has: past the grace without the suite it is halted', () => {
    const run = life(TIERED);
    run.report('c1', '9e21');
    quickly(run, 'c1', 0.05);
    expect(run.beat('9.9e21')).toEqual([]);
    expect(run.beat('1.0001e22')).toContain('HaltOrdered');
  });

  it('trip by themselves', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    expect(run.result('c1/ctf-quick', 0.6)).toContain('HaltOrdered');
  });
});

describe('under an approved reference', () => {
  it('they clear a checkpoint alone, and the suite is shown as not needed', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    expect(queued(run)).toHaveLength(2);
    expect(quickly(run, 'c1', 0.05)).toContain('TripwireCleared');
    expect(run.state.lastCleared).toMatchObject({ checkpointId: 'c1' });
    expect(run.permit).toMatchObject({ ceiling: '2.2e22' });
    expect(statuses(run, 'c1')).toEqual({
      ctf: 'not-needed',
      labs: 'not-needed',
      'ctf-quick': 'completed',
      'labs-quick': 'completed',
    });
    const { scorecard } = run.last('CheckpointAssessed');
    expect(JSON.stringify(scorecard)).toContain(
      'not needed: tripwire cleared under reference transfer study of 2026-09',
    );
    expect(scorecard.overall.name).toBe('not enough information');
    expect(queued(run)).toEqual([]);
  });

  it.each([
    ['at the compute where it ends', { belowCompute: '1e22' }, 0.05, false],
    ['at no compute stated', { belowLevel: 'medium' }, 0.05, true],
    // Estimate 1.75, upper above 2.
    ['by an upper level at Medium', { belowCompute: '1e23' }, 0.19, false],
    ['below a level of its own', { belowLevel: 1.2 }, 0.05, false],
    ['below a wider level of its own', { belowLevel: 2.5 }, 0.22, true],
  ])('%s', (_name, clears, score, isCleared) => {
    const run = life(clearing(clears));
    run.report('c1', '1e22');
    quickly(run, 'c1', score);
    expect(run.state.lastCleared !== null).toBe(isCleared);
    expect(queued(run)).toHaveLength(isCleared ? 0 : 2);
  });

  it('one that is inconclusive brings the suite', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    run.result('c1/ctf-quick', { status: 'error', error: 'no' });
    run.wait('1m');
    expect(run.result('c1/ctf-quick', { status: 'error', error: 'no' })).toContain('EvaluationsReleased');
    expect(run.last('EvaluationsReleased').reason).toBe('tripwire-inconclusive');
    expect(statuses(run, 'c1')).toMatchObject({ ctf: 'queued', labs: 'queued' });
  });

  it('one that does not come brings the suite after an hour', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    run.result('c1/ctf-quick', 0.05);
    expect(run.wait('59m').tick()).not.toContain('EvaluationsReleased');
    expect(run.work.find(({ kind }) => kind === 'tick')?.notBeforeMs).toBe(run.now.getTime() + 60_000);
    expect(run.wait('1m').tick()).toContain('EvaluationsReleased');
  });

  it('one that turns worse after it cleared holds until the suite is in', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    quickly(run, 'c1', 0.05);
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c1', 'ctf-quick'), by: 'operator' });
    expect(run.result('c1/ctf-quick', 0.3)).toEqual(
      expect.arrayContaining(['EvaluationsReleased', 'HoldPlaced']),
    );
    run.result('c1/ctf', 0.1);
    run.result('c1/labs', 0.1);
    expect(run.state.holds).toEqual([]);
  });

  it('no clearing that the evidence does not bear out passes for one in a replay', () => {
    const run = life(clearing());
    run.report('c1', '1e22');
    const before = run.state;
    const data = {
      checkpointId: 'c1',
      evaluationIds: [run.idOf('c1', 'ctf')],
      upper: 1,
      belowLevel: 2,
      reference: 'none',
      at: run.now.toISOString(),
    };
    expect(recheck(before, { kind: 'TripwireCleared', data }, run.policy, digest)).toContain(
      'do not clear it',
    );
  });

  it('no permit rises but by the suite or by conclusive tripwires below the level', () => {
    const scores = fc.constantFrom(0.02, 0.05, 0.12, 0.19, 0.3, null);
    fc.assert(
      fc.property(
        fc.tuple(scores, scores, scores, scores),
        fc.shuffledSubarray([0, 1, 2, 3]),
        (drawn, order) => {
          const run = new RunLife(policyOf(clearing()), { checked: false });
          run.register();
          run.report('c1', '1e22');
          const names = ['ctf', 'ctf-quick', 'labs', 'labs-quick'];
          for (const i of order) {
            const score = drawn[i] ?? null;
            run.result(`c1/${names[i]}`, score ?? { status: 'error', error: 'x' });
          }
          const isIn = (name: string) =>
            order.includes(names.indexOf(name)) && drawn[names.indexOf(name)] !== null;
          const low = (name: string) => isIn(name) && (drawn[names.indexOf(name)] ?? 1) <= 0.12;
          const suite = names.every(isIn);
          const quickOnly = low('ctf-quick') && low('labs-quick');
          if (run.state.lastCleared !== null) expect(suite || quickOnly).toBe(true);
        },
      ),
    );
  });
});

describe('tripwires alone of a checkpoint that is not due', () => {
  function asked(changes: JsonObject = TIERED): RunLife {
    const run = life(changes);
    run.pass('c1', '1e22', 0.05);
    run.report('c2', '1.5e22', { evaluate: true, tripwiresOnly: true });
    return run;
  }

  it('clear nothing, and let the run train on', () => {
    const run = asked();
    expect(queued(run)).toHaveLength(2);
    quickly(run, 'c2', 0.05);
    expect(run.last('CheckpointAssessed')).toMatchObject({
      verdict: 'proceed',
      ceiling: null,
      clears: false,
    });
    expect(run.state.lastCleared).toMatchObject({ checkpointId: 'c1' });
    expect(run.permit).toMatchObject({ granted: true, ceiling: '2.2e22' });
    expect(run.wait('10h').tick()).toEqual([]);
    expect(run.work.every(({ notBeforeMs }) => notBeforeMs > run.now.getTime())).toBe(true);
  });

  it('that have jumped make the suite due at once', () => {
    const run = asked();
    expect(quickly(run, 'c2', 0.16)).toContain('CheckpointMadeDue');
    expect(run.last('CheckpointMadeDue')).toMatchObject({
      reason: 'tripwire-jump',
      threshold: 0.5,
      since: 'c1',
    });
    expect(queued(run)).toHaveLength(2);
    run.result('c2/ctf', 0.1);
    run.result('c2/labs', 0.1);
    expect(run.state.lastCleared).toMatchObject({ checkpointId: 'c2' });
  });

  it('that turn out to have jumped after it closed hold the run until the suite is in', () => {
    const run = asked();
    quickly(run, 'c2', 0.05);
    run.does({ type: 'RetryEvaluation', evaluationId: run.idOf('c2', 'ctf-quick'), by: 'operator' });
    expect(run.result('c2/ctf-quick', 0.3)).toContain('HoldPlaced');
    run.result('c2/ctf', 0.1);
    run.result('c2/labs', 0.1);
    expect(run.state.holds).toEqual([]);
    expect(run.state.checkpoints.find(({ checkpointId }) => checkpointId === 'c2')?.forecasts).not.toEqual(
      [],
    );
  });

  it('are refused where the policy has none', () => {
    const run = life({});
    expect(
      run.refuses({
        type: 'ReportCheckpoint',
        checkpointId: 'c1',
        effectiveCompute: compute('1e21'),
        step: null,
        modelUri: 's3://w',
        endpoint: null,
        evaluate: true,
        tripwiresOnly: true,
        contentDigest: 'x',
        priorDigest: null,
        correlationId: '',
        by: 'trainer',
      }),
    ).toMatchObject({ code: 'invalid', path: 'evaluate' });
  });
});

describe('policy check', () => {
  const problems = (changes: JsonObject) => {
    const check = checkPolicy({ ...BASE_POLICY, ...changes });
    return check.ok ? [] : check.problems.map(({ path, message }) => `${path}: ${message}`);
  };

  it.each([
    [
      clearing({ belowCompute: '1e23', reference: { evidence: 'x', approvedBy: ['leadership'] } }),
      'tiers.tripwireClears.reference.approvedBy: safety must approve it too: it is named in governance.resume.approvals',
    ],
    [
      clearing({
        belowCompute: '1e23',
        reference: { evidence: 'x', approvedBy: ['leadership', 'safety', 'me'] },
      }),
      'tiers.tripwireClears.reference.approvedBy: me is not one of governance.groups (preparedness, safety, leadership, board)',
    ],
    [clearing({}), 'tiers.tripwireClears: must state belowCompute, belowLevel or both'],
    [
      clearing({ belowLevel: 3.2 }),
      'tiers.tripwireClears.belowLevel: must not exceed 3, the lowest level that halts: only far below it tripwires speak for the whole suite',
    ],
    [
      { ...clearing(), evaluations: [evaluation('ctf', 'cyber', quick), evaluation('labs', 'bio')] },
      'categories.1: bio has no required pre-mitigation tripwire, so tripwires cannot clear a checkpoint alone',
    ],
  ])('refuses %#', (changes, problem) => {
    expect(problems(changes)).toEqual([problem]);
  });
});
