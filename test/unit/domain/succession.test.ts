/** A changed protocol: old and new side by side on the checkpoint last cleared and the next two, the graver counting. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { carriedOver } from '../../../src/domain/run/what-if-evidence.ts';
import { BASE_POLICY, evaluation, policyOf, type RunLife, registered } from './run-life.ts';
import { rows } from './table.ts';

const changed = (
  succeeds: JsonObject = { evaluation: 'ctf', from: 3e22 },
  more: JsonObject = {},
): JsonObject[] => [
  evaluation('ctf', 'cyber'),
  evaluation('ctf-v2', 'cyber', { succeeds, ...more }),
  evaluation('labs', 'bio'),
];
const policy = () => policyOf({ evaluations: changed() });

const run = (life: RunLife, checkpointId: string): string[] =>
  (life.state.checkpoints.find((each) => each.checkpointId === checkpointId)?.evaluations ?? []).map(
    (each) => each.evaluation,
  );
/** Reports it, and every evaluation that is run on it says this. */
const pass = (life: RunLife, checkpointId: string, at: string, scores: Record<string, number> = {}): void => {
  life.report(checkpointId, at);
  for (const name of run(life, checkpointId)) life.result(`${checkpointId}/${name}`, scores[name] ?? 0.1);
};
const rerun = (life: RunLife): string =>
  life.last('SuccessionBegun').lastCleared?.evaluations[0]?.evaluationId ?? '';
const resultOf = (life: RunLife, evaluationId: string, result: JsonObject): string[] =>
  life.does({ type: 'RecordResult', evaluationId, attempt: 1, result, resultDigest: 'r', by: 'evaluator' });
const latest = (life: RunLife, checkpointId: string) => {
  const events = life.events.flatMap((event) => (event.kind === 'CheckpointAssessed' ? [event.data] : []));
  return events.findLast((data) => data.checkpointId === checkpointId);
};

describe('an evaluation that succeeds another', () => {
  it('begins at its compute, runs beside it on the next two, also on the one last cleared, and then alone', () => {
    const life = registered(policy());
    pass(life, 'c1', '1e22');
    pass(life, 'c2', '2e22');
    expect(run(life, 'c2')).toEqual(['ctf', 'labs']);
    pass(life, 'c3', '4e22');
    expect(run(life, 'c3')).toEqual(['ctf', 'ctf-v2', 'labs']);
    expect(life.last('SuccessionBegun')).toMatchObject({
      evaluation: 'ctf-v2',
      succeeds: 'ctf',
      checkpointId: 'c3',
      lastCleared: { checkpointId: 'c2', evaluations: [{ evaluation: 'ctf-v2', variant: 'default' }] },
    });
    expect(run(life, 'c2')).toEqual(['ctf', 'labs', 'ctf-v2']);
    resultOf(life, rerun(life), { status: 'success', score: 0.12, n: 1000 });
    expect(life.state.series.find((each) => each.evaluation === 'ctf-v2')?.points).toMatchObject([
      { checkpointId: 'c2', score: 0.12 },
      { checkpointId: 'c3', score: 0.1 },
    ]);
    pass(life, 'c4', '8e22');
    expect(life.last('SuccessionEnded')).toMatchObject({ succeeds: 'ctf', checkpoints: ['c3', 'c4'] });
    pass(life, 'c5', '16e22');
    expect(run(life, 'c5')).toEqual(['ctf-v2', 'labs']);
    expect(life.last('CheckpointAssessed').verdict).toBe('proceed');
    // Never again, and never neither.
    life.report('early', '2.5e22', { evaluate: true });
    expect(run(life, 'early')).toEqual(['ctf-v2', 'labs']);
    expect(life.count('SuccessionBegun')).toBe(1);
  });

  it.each(
    rows(`
      ctf  | ctf-v2 | level of cyber
      0.1  | 0.3    | 2.333
      0.3  | 0.1    | 2.333
    `).slice(1),
  )('with %s and %s: the graver counts, %s', (old = '', successor = '', expected = '') => {
    const life = registered(policyOf({ evaluations: changed({ evaluation: 'ctf' }) }));
    pass(life, 'c1', '1e22', { ctf: Number(old), 'ctf-v2': Number(successor) });
    const cyber = life.last('CheckpointAssessed').scorecard.categories[0]?.stages['pre-mitigation'];
    expect(cyber?.estimate).toBeCloseTo(Number(expected), 3);
    expect(life.last('SuccessionBegun').lastCleared).toBeNull();
  });

  it('is not asked of a checkpoint last cleared whose weights are others now', () => {
    const life = registered(policy());
    pass(life, 'c1', '1e22');
    pass(life, 'c2', '2e22');
    const seen = { type: 'NoteWeights' as const, checkpointId: 'c2', files: 1, bytes: 1 };
    life.does({ ...seen, digest: `sha256:${'1'.repeat(64)}`, fingerprint: 'f1' });
    life.does({ ...seen, digest: `sha256:${'2'.repeat(64)}`, fingerprint: 'f2' });
    life.report('c3', '4e22');
    expect(life.last('SuccessionBegun').lastCleared).toBeNull();
    expect(run(life, 'c2')).toEqual(['ctf', 'labs']);
  });

  it('of which one is inconclusive goes on side by side', () => {
    const optional = { required: false };
    const evaluations = [
      evaluation('ctf', 'cyber', optional),
      evaluation('ctf-v2', 'cyber', { ...optional, succeeds: { evaluation: 'ctf', from: 3e22 } }),
      evaluation('base', 'cyber'),
      evaluation('labs', 'bio'),
    ];
    const life = registered(policyOf({ evaluations }));
    pass(life, 'c1', '1e22');
    for (const [i, id] of ['c2', 'c3', 'c4'].entries()) {
      life.report(id, `${4 * 2 ** i}e22`);
      for (const name of ['ctf', 'labs', 'base']) life.result(`${id}/${name}`, 0.1);
      life.result(`${id}/ctf-v2`, { status: 'error' });
      life.wait('10s').tick();
      life.result(`${id}/ctf-v2`, { status: 'error', error: 'again' });
    }
    expect(life.count('SuccessionEnded')).toBe(0);
    pass(life, 'c5', '32e22');
    expect(run(life, 'c5')).toContain('ctf');
  });

  it('on the checkpoint last cleared takes nothing back by failing, and stops the run by what it finds', () => {
    const life = registered(policy());
    pass(life, 'c1', '1e22');
    pass(life, 'c2', '2e22', { ctf: 0.12 });
    // Long after what was due of it had to be in.
    life.wait('30h');
    life.report('c3', '4e22');
    const c2 = latest(life, 'c2');
    expect({ verdict: c2?.verdict, findings: c2?.findings }).toEqual({ verdict: 'proceed', findings: [] });
    expect(life.state.holds).toEqual([]);
    resultOf(life, rerun(life), { status: 'error' });
    life.wait('10s').tick();
    const again = { status: 'error', error: 'again' };
    const by = { resultDigest: 'again', by: 'evaluator' };
    life.does({ type: 'RecordResult', evaluationId: rerun(life), attempt: 2, result: again, ...by });
    const { verdict, findings = [] } = latest(life, 'c2') ?? {};
    // People are told, and nothing more follows.
    expect(verdict).toBe('proceed');
    expect(findings).toMatchObject([{ evaluation: 'ctf-v2/default', then: ['alert'] }]);
    expect(life.state.lastCleared?.checkpointId).toBe('c2');

    const other = registered(policy());
    pass(other, 'c1', '1e22');
    pass(other, 'c2', '2e22');
    other.report('c3', '4e22');
    resultOf(other, rerun(other), { status: 'success', score: 0.6, n: 1000 });
    expect(other.state.halt?.causes[0]).toMatchObject({ kind: 'rule', checkpointId: 'c2' });
  });

  it('is no missing evidence to what-if, before it begins and after the other has ended', () => {
    const pinned = policy();
    const reported = (evaluations: string[]) =>
      carriedOver(
        {
          checkpointId: 'c',
          evaluations: evaluations.map((name) => ({
            evaluationId: name,
            evaluation: name,
            variant: 'default',
          })),
        },
        pinned,
        pinned,
      ).missing.map((each) => each.evaluation);
    expect(reported(['ctf', 'labs'])).toEqual([]);
    expect(reported(['ctf-v2', 'labs'])).toEqual([]);
    expect(reported(['labs'])).toEqual(['ctf', 'ctf-v2']);
  });

  it.each(
    rows(`
      succeeds                     | more                        | refused
      {"evaluation":"chess"}       | {}                          | chess is no other evaluation
      {"evaluation":"ctf-v2"}      | {}                          | ctf-v2 is no other evaluation
      {"evaluation":"labs"}        | {}                          | labs is of another category or stage
      {"evaluation":"ctf"}         | {"required":false}          | ctf is required
      {"evaluation":"ctf","from":0} | {}                         | must be greater than 0
    `).slice(1),
  )('%s with %s is refused: %s', (succeeds = '', more = '', says = '') => {
    const check = checkPolicy({
      ...BASE_POLICY,
      evaluations: changed(JSON.parse(succeeds), JSON.parse(more)),
    });
    const problems = check.ok ? [] : check.problems;
    expect(problems.map(({ message }) => message).join('; ')).toContain(says);
    expect(problems[0]?.path).toMatch(/^evaluations\.1\.succeeds/);
  });
});
