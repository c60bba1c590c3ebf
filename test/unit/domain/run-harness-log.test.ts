/** A harness's log as the result of an attempt: from the command to the scorecard, on the real decide and evolve. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { scorecardOf } from '../../../src/domain/run/scorecard.ts';
import { draft } from '../../../src/evaluators/formats/harness-values.ts';
import { asJson, BASE_POLICY, digest, evaluation, policyOf, registered } from './run-life.ts';
import { rows } from './table.ts';

const score = { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 };
const policy = policyOf({
  evaluations: [
    evaluation('ctf', 'cyber', { score: { ...score, maxErrored: 0.2 } }),
    evaluation('labs', 'bio', { expects: { model: 'local/{checkpointId}' } }),
  ],
});

function logOf(name: string, changes: JsonObject = {}): JsonObject {
  const said = draft('lm-eval-results', 'lm-eval', {
    harnessVersion: '0.4.9',
    status: 'success',
    task: 'ctf',
    taskVersion: '1',
    model: 'local/c1',
    metrics: [{ scorer: 'none', name: 'accuracy', value: 0.1, stderr: null, n: 900 }],
    samples: { total: 1000, completed: 900, scored: 900, errored: 100, refused: 40, logged: null },
    protocol: { fewshot: 5 },
  });
  return asJson({ ...said, fileDigest: digest(name), ...changes });
}

const clean = {
  samples: { total: 900, completed: 900, scored: 900, errored: 0, refused: 0, logged: null },
};

function reported() {
  const life = registered(policy);
  life.report('c1', 1e21);
  return life;
}

function report(life: ReturnType<typeof registered>, evaluationId: string, log: JsonObject, attempt = 1) {
  return life.does({
    type: 'RecordResult',
    evaluationId,
    attempt,
    result: { harnessLog: log },
    resultDigest: digest(JSON.stringify(log)),
    by: 'interlock',
  });
}

const idOf = (life: ReturnType<typeof registered>, name: string, at = -1): string =>
  life.state.checkpoints.at(at)?.evaluations.find(({ evaluation: id }) => id === name)?.evaluationId ?? '';

const evidence = (life: ReturnType<typeof registered>, name: string) => {
  const open = life.state.checkpoints.at(-1);
  if (open === undefined) throw new Error('no checkpoint');
  return scorecardOf(open, policy)
    .categories.flatMap(({ stages }) => stages['pre-mitigation']?.evidence ?? [])
    .find((row) => row.evaluation === name);
};

describe('a log of an attempt', () => {
  it('is evidence, with what was lost on the way counted as successes in the upper level alone', () => {
    const life = reported();
    report(life, idOf(life, 'ctf'), logOf('one'));
    const found = evidence(life, 'ctf');
    expect(found).toMatchObject({
      status: 'completed',
      score: 0.1,
      n: 900,
      total: 1000,
      scored: 900,
      errored: 100,
      refused: 40,
      lost: 100,
      estimate: 1.5,
      protocol: expect.stringMatching(/^lm-eval\/ctf@/),
      source: { harness: 'lm-eval', task: 'ctf', model: 'local/c1', fileDigest: digest('one') },
    });
    // 190 of 1000, and a little: near Medium, where 90 of 900 alone is far below.
    expect(found?.upper).toBeGreaterThan(1.95);
  });

  it("of another checkpoint's model settles nothing", () => {
    const life = reported();
    report(life, idOf(life, 'labs'), logOf('one', { ...clean, model: 'local/c0' }));
    expect(evidence(life, 'labs')).toMatchObject({ reasons: ['model-mismatch'], score: 0.1 });
  });

  it('may be of two evaluations, and never of two checkpoints', () => {
    const life = reported();
    report(life, idOf(life, 'ctf'), logOf('one', clean));
    report(life, idOf(life, 'labs'), logOf('one', clean));
    expect(evidence(life, 'labs')?.status).toBe('completed');
    life.report('c2', 2e21);
    report(life, idOf(life, 'ctf'), logOf('one', clean));
    expect(evidence(life, 'ctf')?.reasons).toContain('replayed-log');
    expect(evidence(life, 'ctf')?.status).not.toBe('completed');
  });

  it('that no reader of ours made is refused by name', () => {
    const life = reported();
    const evaluationId = idOf(life, 'ctf');
    const result = { harnessLog: { ...logOf('one'), status: 'fine' } };
    const command = {
      type: 'RecordResult',
      evaluationId,
      attempt: 1,
      result,
      resultDigest: 'd',
      by: 'x',
    } as const;
    expect(life.refuses(command)).toMatchObject({ code: 'invalid', path: 'harnessLog.status' });
  });
});

describe('policy check of what names a score', () => {
  it.each(
    rows(`
      score and leads                                                        | refused
      {"scorer":"a","task":"b","reducer":"mean","prompt":1}                  | -
      {"interval":"clopper-pearson","maxErrored":0.05}                       | -
      {"interval":"normal"}                                                  | score.interval
      {"interval":"bootstrap"}                                               | score.interval
      {"kind":"mean","interval":"wilson"}                                    | score.interval
      {"kind":"mean","interval":"bootstrap"}                                 | -
      {"interval":"bayes"}                                                   | score.interval
      {"maxErrored":1.1}                                                     | score.maxErrored
      {"pass":{"k":5,"of":"any"}}                                            | -
      {"pass":{"k":0,"of":"any"}}                                            | score.pass.k
      {"minSamples":100,"totalSamples":99}                                   | score.totalSamples
      {"totalSamples":500,"control":{"metric":"other"}}                      | score.totalSamples
      {"pass":{"k":5,"of":"any"},"kind":"mean"}                              | score.pass
      {"pass":{"k":5,"of":"any"},"reducer":"mean"}                           | score.reducer
      {"control":{"task":"without"}}                                         | -
      {"control":{}}                                                         | score.control
      {"control":{"metric":"accuracy"}}                                      | score.control
      {"control":{"task":"without"},"kind":"mean"}                           | score.range
      {"control":{"task":"without"},"kind":"mean","range":[0,1]}             | -
      {"control":{"task":"without"},"pass":{"k":1,"of":"any"}}               | score.pass
      {"allow":["constant-scores"]}                                          | -
      {"allow":["status-error"]}                                             | score.allow.0
    `).slice(1),
  )('%s: %s', (changes = '', path = '') => {
    const changed = evaluation('ctf', 'cyber', { score: { ...score, ...JSON.parse(changes) } });
    const check = checkPolicy({ ...BASE_POLICY, evaluations: [changed, evaluation('labs', 'bio')] });
    const problems = check.ok ? [] : check.problems.map((problem) => problem.path);
    expect(problems).toEqual(path === '-' ? [] : [`evaluations.0.${path}`]);
  });

  it('gives an exact interval its own operating characteristics', () => {
    const of = (interval: string) => {
      const changed = evaluation('ctf', 'cyber', { score: { ...score, interval } });
      const check = checkPolicy({ ...BASE_POLICY, evaluations: [changed, evaluation('labs', 'bio')] });
      if (!check.ok) throw new Error(JSON.stringify(check.problems));
      return check.characteristics[0]?.falseTrips?.map(({ hold }) => hold) ?? [];
    };
    const [wilson, exact] = [of('wilson'), of('clopper-pearson')];
    expect(exact.length).toBe(wilson.length);
    for (const [i, hold] of exact.entries()) expect(hold).toBeGreaterThanOrEqual(wilson[i] ?? 0);
  });

  it('keeps the digest of a policy that says nothing of all this', () => {
    const text = JSON.stringify(asJson(policyOf()));
    for (const name of ['expects', 'maxErrored', 'interval', 'allow', 'scorer', 'control']) {
      expect(text).not.toContain(`"${name}"`);
    }
  });
});
