/** From readings to a category's level: the worst known case, and nothing that is missing counts as low. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { levelsOf } from '../../../src/domain/levels.ts';
import type { StoredReading } from '../../../src/domain/run/reading-documents.ts';
import {
  confidenceZ,
  evidenceCount,
  pooled,
  scorecardOf,
  scoreSpecOf,
} from '../../../src/domain/run/scorecard.ts';
import { type CheckpointState, CheckpointStateSchema } from '../../../src/domain/run/state.ts';
import { asJson, evaluation, policyOf } from './run-life.ts';
import { rows } from './table.ts';

/** `first=0.3/1000 retry=0.6/1000? top-up=-`: purpose=score/n, `?` a doubtful score, `-` nothing. */
function attempts(text: string): JsonObject[] {
  return text.split(' ').map((word, i) => {
    const [purpose = '', said = ''] = word.split('=');
    const [score = '', n = ''] = said.replace('?', '').split('/');
    const reading: StoredReading | null =
      said === '-'
        ? null
        : {
            conclusive: !said.endsWith('?'),
            score: Number(score),
            stderr: null,
            n: Number(n),
            reasons: said.endsWith('?') ? ['status-error'] : [],
          };
    return {
      attempt: i + 1,
      purpose,
      state: said === '-' ? 'failed' : 'reported',
      notBefore: '2026-11-01T00:00:00.000Z',
      instance: null,
      startedAt: null,
      deadlineAt: null,
      reading: reading === null ? null : asJson(reading),
      resultDigest: null,
      reason: said === '-' ? 'no-result' : null,
    };
  });
}

function checkpointWith(evaluations: Record<string, string>): CheckpointState {
  return CheckpointStateSchema.parse({
    checkpointId: 'c1',
    effectiveCompute: 1e22,
    modelUri: 's3://weights',
    endpoint: null,
    due: true,
    reportedAt: '2026-11-01T00:00:00.000Z',
    deadlineAt: '2026-11-02T00:00:00.000Z',
    contentDigest: 'd',
    correlationId: 'corr',
    evaluations: Object.entries(evaluations).map(([name, text]) => {
      const [id, variant = 'default'] = name.split('/');
      return { evaluationId: `ev_${name}`, evaluation: id, variant, attempts: attempts(text) };
    }),
    forecasts: [],
    closed: null,
  });
}

const policy = policyOf();
const variants = policyOf({
  evaluations: [
    evaluation('ctf', 'cyber', { variants: [{ id: 'bare' }, { id: 'tools' }] }),
    evaluation('labs', 'bio', {
      variants: [
        { id: 's1', pool: 'seeds' },
        { id: 's2', pool: 'seeds' },
      ],
    }),
  ],
});

const stageOf = (checkpoint: CheckpointState, category: string, from = policy) =>
  scorecardOf(checkpoint, from).categories.find(({ id }) => id === category)?.stages['pre-mitigation'];

describe('what stands for one evaluation', () => {
  it.each(
    rows(`
      attempts                                          | estimate | n     | complete
      first=0.2/1000                                    | 2        | 1000  | yes
      first=0.2/1000 retry=0.5/1000                     | 3        | 1000  | yes
      first=0.5/1000 retry=0.2/1000                     | 3        | 1000  | yes
      first=0.2/1000 top-up=0.5/2000                    | 3        | 2000  | yes
      first=0.44/200 top-up=0.42/1000                   | 2.8      | 200   | yes
      first=0.8/1000 top-up=0.2/1000 retry=0.2/1000     | 4        | 1000  | yes
      first=0.2/1000 top-up=0.1/9000 retry=0.5/300      | 3        | 300   | yes
      first=- top-up=0.5/1000                           | 3        | 1000  | yes
      first=0.5/10?                                     | 3        | 10    | no
      first=0.2/1000 retry=0.5/10?                      | 3        | 10    | yes
      first=0.5/1000 retry=0.2/10?                      | 3        | 1000  | yes
      first=0/1000                                      | 1        | 1000  | yes
      first=- automatic=-                               | none     | none  | no
    `).slice(1),
  )('after %s: estimate %s, n %s, complete %s', (text = '', estimate = '', n = '', complete = '') => {
    const stage = stageOf(checkpointWith({ ctf: text, labs: 'first=0.1/1000' }), 'cyber');
    if (estimate === 'none') expect(stage).toMatchObject({ estimate: null, upper: null });
    else expect(stage?.estimate).toBeCloseTo(Number(estimate), 4);
    expect(stage?.evidence[0]?.n ?? 'none').toEqual(n === 'none' ? 'none' : Number(n));
    expect(stage?.complete).toBe(complete === 'yes');
  });

  it('has top-ups narrow the interval and lower no estimate', () => {
    const upper = (ctf: string): number =>
      stageOf(checkpointWith({ ctf, labs: 'first=0.1/1000' }), 'cyber')?.upper ?? 0;
    expect(upper('first=0.44/200')).toBeGreaterThan(3);
    expect(upper('first=0.44/200 top-up=0.42/1000')).toBeLessThan(3);
    expect(upper('first=0.44/200 top-up=0.42/1000 retry=0.44/200')).toBeGreaterThan(3);
    const stage = stageOf(
      checkpointWith({ ctf: 'first=0.44/200 top-up=0.42/1000', labs: 'first=0.1/1000' }),
      'cyber',
    );
    expect(stage?.estimate).toBeCloseTo(2.8, 6);
  });

  it('has a doubtful score worsen the estimate and nothing else: it has no upper of its own', () => {
    const stage = stageOf(checkpointWith({ ctf: 'first=0.5/10?', labs: 'first=0.1/1000' }), 'cyber');
    expect(stage).toMatchObject({ estimate: 3, upper: 3, complete: false });
  });
});

describe('a category', () => {
  it.each(
    rows(`
      ctf/bare       | ctf/tools       | estimate
      first=0.2/1000 | first=0.5/1000  | 3
      first=0.5/1000 | first=0.2/1000  | 3
      first=0.5/1000 | first=-         | 3
      first=0.2/1000 | first=0.5/1000? | 3
    `).slice(1),
  )('has the highest level of its variants (%s and %s: %s)', (bare = '', tools = '', estimate = '') => {
    const checkpoint = checkpointWith({ 'ctf/bare': bare, 'ctf/tools': tools });
    expect(stageOf(checkpoint, 'cyber', variants)?.estimate).toBe(Number(estimate));
  });

  it.each(
    rows(`
      seed s1        | seed s2         | estimate of the pool
      first=0.2/1000 | first=0.5/1000  | 2.5
      first=0.2/3000 | first=0.6/1000  | 2.3333
      first=0.5/1000 | first=-         | 3
      first=0.5/1000 | first=0/1000?   | 3
      first=0.2/1000 | first=0.5/1000? | 3
      first=0.5/10?  | first=0/10?     | 3
    `).slice(1),
  )('pools the seeds of a variant before the maximum (%s and %s: %s)', (s1 = '', s2 = '', expected = '') => {
    const checkpoint = checkpointWith({ 'labs/s1': s1, 'labs/s2': s2 });
    expect(stageOf(checkpoint, 'bio', variants)?.estimate).toBeCloseTo(Number(expected), 4);
  });

  it('has no level where nothing is known, and none below High while something required is missing', () => {
    const scorecard = scorecardOf(checkpointWith({ ctf: 'first=-', labs: 'first=0.3/1000' }), policy);
    const [cyber, bio] = scorecard.categories;
    expect(cyber?.stages['pre-mitigation']).toMatchObject({ estimate: null, name: 'not enough information' });
    expect(bio?.stages['pre-mitigation']).toMatchObject({ name: 'Medium' });
    expect(scorecard.overall).toMatchObject({ name: 'not enough information' });
  });

  it('is named early where it is High already', () => {
    const scorecard = scorecardOf(checkpointWith({ ctf: 'first=-', labs: 'first=0.6/1000' }), policy);
    expect(scorecard.overall).toMatchObject({ name: 'High' });
  });

  it('shares its confidence over variants, with pooled seeds counting once', () => {
    expect(evidenceCount(variants, 'cyber', 'pre-mitigation')).toBe(2);
    expect(evidenceCount(variants, 'bio', 'pre-mitigation')).toBe(1);
    const [ctf] = variants.evaluations;
    expect(ctf && confidenceZ(variants, ctf)).toBeCloseTo(2.2414, 4);
  });
});

describe('pooling', () => {
  const sample = fc.record({
    score: fc.integer({ min: 0, max: 1000 }).map((thousandths) => thousandths / 1000),
    stderr: fc.constant(null),
    n: fc.integer({ min: 1, max: 5000 }),
  });

  it('counts every sample once: successes and n add up', () => {
    fc.assert(
      fc.property(fc.array(sample, { minLength: 1, maxLength: 6 }), (samples) => {
        const total = samples.reduce((sum, { n }) => sum + n, 0);
        const successes = samples.reduce((sum, { n, score }) => sum + n * score, 0);
        const pool = pooled(samples);
        expect(pool?.n).toBe(total);
        expect(pool?.score).toBeCloseTo(successes / total, 9);
      }),
    );
  });

  it('narrows the limit: an equal second sample cannot raise the upper level', () => {
    const [spec] = policy.evaluations;
    if (spec === undefined) throw new Error('no evaluation');
    fc.assert(
      fc.property(sample, (measured) => {
        const one = levelsOf(measured, scoreSpecOf(spec), 1.96);
        const both = pooled([measured, measured]);
        if (both === null) throw new Error('nothing pooled');
        expect(levelsOf(both, scoreSpecOf(spec), 1.96).upper).toBeLessThanOrEqual(one.upper + 1e-9);
      }),
    );
  });

  it('of means without n weighs them alike and combines their errors', () => {
    const samples = [
      { score: 1, stderr: 0.3, n: null },
      { score: 3, stderr: 0.4, n: null },
    ];
    expect(pooled(samples)).toEqual({ score: 2, stderr: 0.25, n: null });
    expect(pooled([])).toBeNull();
  });
});
