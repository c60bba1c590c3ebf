import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson } from '../../src/domain/canonical-json.ts';
import { type NativeResult, NativeResultSchema, parseNativeResult } from '../../src/domain/native-result.ts';
import { type ReadingContext, readResult, type ScoreDefinition } from '../../src/domain/read-result.ts';
import { REASON_CODES } from '../../src/domain/reasons.ts';

const accuracy: ScoreDefinition = { metric: 'accuracy', kind: 'proportion', range: [0, 1], minSamples: 100 };
const rating: ScoreDefinition = { metric: 'rating', kind: 'mean', range: [1, 5], minSamples: 20 };

function parsed(raw: unknown): NativeResult {
  const outcome = parseNativeResult(raw);
  if (!outcome.ok) throw new Error(`refused: ${JSON.stringify(outcome.problems)}`);
  return outcome.result;
}

const read = (raw: unknown, definition = accuracy, context: ReadingContext = {}) =>
  readResult(parsed(raw), definition, context);

const good = { status: 'success', score: 0.3, n: 200 };

describe('a conclusive result', () => {
  const rows: [
    string,
    unknown,
    ScoreDefinition,
    { score: number; stderr: number | null; n: number | null },
  ][] = [
    ['proportion with n', good, accuracy, { score: 0.3, stderr: null, n: 200 }],
    ['exactly the least n', { ...good, n: 100 }, accuracy, { score: 0.3, stderr: null, n: 100 }],
    [
      'proportion with a standard error worth enough samples',
      { status: 'success', score: 0.3, stderr: 0.03 },
      accuracy,
      { score: 0.3, stderr: 0.03, n: null },
    ],
    ['no success at all, n known', { ...good, score: 0 }, accuracy, { score: 0, stderr: null, n: 200 }],
    [
      'the metric rather than other metrics',
      { ...good, score: undefined, metrics: { f1: { value: 0.9 }, accuracy: { value: 0.2 } } },
      accuracy,
      { score: 0.2, stderr: null, n: 200 },
    ],
    [
      'score and metric the same',
      { ...good, metrics: { accuracy: { value: 0.3, stderr: 0.02 } } },
      accuracy,
      { score: 0.3, stderr: 0.02, n: 200 },
    ],
    [
      'the wider of two standard errors',
      { ...good, stderr: 0.05, metrics: { accuracy: { value: 0.3, stderr: 0.02 } } },
      accuracy,
      { score: 0.3, stderr: 0.05, n: 200 },
    ],
    [
      'a mean with stderr and n',
      { status: 'success', score: 2.5, stderr: 0.1, n: 20 },
      rating,
      { score: 2.5, stderr: 0.1, n: 20 },
    ],
    [
      'a mean whose values are all equal',
      { status: 'success', score: 2, stderr: 0, n: 20 },
      rating,
      { score: 2, stderr: 0, n: 20 },
    ],
    [
      'nulls as a Python harness writes them',
      {
        ...good,
        stderr: null,
        error: null,
        model: null,
        metrics: null,
        startedAt: null,
        completedAt: null,
        transcriptUri: null,
      },
      accuracy,
      { score: 0.3, stderr: null, n: 200 },
    ],
    [
      'times in order',
      { ...good, startedAt: '2026-01-01T00:00:00Z', completedAt: '2026-01-01T00:00:01+00:00' },
      accuracy,
      { score: 0.3, stderr: null, n: 200 },
    ],
    [
      'no count of samples, where the policy knows it',
      { status: 'success', score: 0.3 },
      { ...accuracy, totalSamples: 164 },
      { score: 0.3, stderr: null, n: 164 },
    ],
    [
      'a count of its own, which stands',
      good,
      { ...accuracy, totalSamples: 164 },
      { score: 0.3, stderr: null, n: 200 },
    ],
    [
      'a metric named like a member of Object',
      { ...good, metrics: { constructor: { value: 0.9 } } },
      accuracy,
      { score: 0.3, stderr: null, n: 200 },
    ],
  ];
  test.each(rows)('%s', (_, raw, definition, expected) => {
    expect(read(raw, definition)).toEqual({ conclusive: true, reasons: [], alsoFound: null, ...expected });
  });
});

describe('an inconclusive result says why and keeps the score that may trip', () => {
  const rows: [string, unknown, ScoreDefinition, string[], number | null][] = [
    ['score NaN', { ...good, score: Number.NaN }, accuracy, ['score-not-finite'], null],
    [
      'score Infinity, as 1e999',
      JSON.parse('{"status":"success","score":1e999,"n":200}'),
      accuracy,
      ['score-not-finite'],
      null,
    ],
    ['score as text', { ...good, score: '0.9' }, accuracy, ['score-not-finite'], null],
    ['score null', { ...good, score: null }, accuracy, ['score-missing'], null],
    ['no score', { status: 'success', n: 200 }, accuracy, ['score-missing'], null],
    [
      'another metric only',
      { status: 'success', n: 200, metrics: { acc: { value: 0.9 } } },
      accuracy,
      ['score-missing'],
      null,
    ],
    [
      'the metric NaN beside a score',
      { ...good, metrics: { accuracy: { value: Number.NaN } } },
      accuracy,
      ['score-not-finite'],
      0.3,
    ],
    ['percent instead of share', { ...good, score: 90 }, accuracy, ['score-out-of-range'], null],
    ['just below the range', { ...good, score: -0.0001 }, accuracy, ['score-out-of-range'], null],
    [
      'score and metric disagree',
      { ...good, metrics: { accuracy: { value: 0.6 } } },
      accuracy,
      ['metric-disagrees'],
      0.6,
    ],
    ['stderr negative', { ...good, stderr: -0.1 }, accuracy, ['stderr-invalid'], 0.3],
    ['stderr NaN', { ...good, stderr: Number.NaN }, accuracy, ['stderr-invalid'], 0.3],
    ['stderr huge', { ...good, stderr: 0.51 }, accuracy, ['stderr-invalid'], 0.3],
    [
      'stderr 0 of one sample',
      { status: 'success', score: 3, stderr: 0, n: 1 },
      { ...rating, minSamples: 1 },
      ['stderr-invalid'],
      3,
    ],
    ['stderr 0 of a proportion in between', { ...good, stderr: 0 }, accuracy, ['stderr-invalid'], 0.3],
    [
      'proportion with neither n nor stderr',
      { status: 'success', score: 0.3 },
      accuracy,
      ['uncertainty-missing'],
      0.3,
    ],
    ['mean without stderr', { status: 'success', score: 3, n: 50 }, rating, ['uncertainty-missing'], 3],
    ['mean without n', { status: 'success', score: 3, stderr: 0.1 }, rating, ['samples-missing'], 3],
    [
      'proportion whose stderr is worth too few',
      { status: 'success', score: 0.3, stderr: 0.2 },
      accuracy,
      ['too-few-samples'],
      0.3,
    ],
    [
      'proportion 0 whose stderr 0 says nothing',
      { status: 'success', score: 0, stderr: 0 },
      accuracy,
      ['samples-missing'],
      0,
    ],
    ['n 0', { ...good, n: 0 }, accuracy, ['zero-samples'], 0.3],
    ['n one short', { ...good, n: 99 }, accuracy, ['too-few-samples'], 0.3],
    ['n negative', { ...good, n: -1 }, accuracy, ['samples-invalid'], 0.3],
    ['n not whole', { ...good, n: 100.5 }, accuracy, ['samples-invalid'], 0.3],
    ['n beyond counting', { ...good, n: 1e300 }, accuracy, ['samples-invalid'], 0.3],
    [
      'fewer completed than the evaluation has',
      { ...good, n: 150 },
      { ...accuracy, totalSamples: 200 },
      ['samples-incomplete'],
      0.3,
    ],
    [
      'no count of samples, but a limit below what the policy knows',
      { status: 'success', score: 0.3, limits: { samples: 150 } },
      { ...accuracy, totalSamples: 200 },
      ['samples-incomplete'],
      0.3,
    ],
    [
      'a count of what became of them, but none of the metric',
      { status: 'success', score: 0.3, samples: { total: 200, completed: 150 } },
      { ...accuracy, totalSamples: 200 },
      ['uncertainty-missing', 'samples-incomplete'],
      0.3,
    ],
    [
      'success with error text',
      { ...good, error: 'ran out of memory' },
      accuracy,
      ['error-with-success'],
      0.3,
    ],
    [
      'error with a score at a threshold',
      { ...good, status: 'error', score: 0.9 },
      accuracy,
      ['status-error'],
      0.9,
    ],
    [
      'error with nothing',
      { status: 'error', error: 'x' },
      accuracy,
      ['status-error', 'score-missing'],
      null,
    ],
    [
      'completed before started',
      { ...good, startedAt: '2026-01-01T00:00:01Z', completedAt: '2026-01-01T00:00:00Z' },
      accuracy,
      ['completed-before-started'],
      0.3,
    ],
    [
      'ten thousand samples in no time',
      { ...good, n: 10_000, startedAt: '2026-01-01T00:00:01Z', completedAt: '2026-01-01T00:00:01.000Z' },
      accuracy,
      ['took-no-time'],
      0.3,
    ],
  ];
  test.each(rows)('%s', (_, raw, definition, reasons, score) => {
    expect(read(raw, definition)).toMatchObject({ conclusive: false, reasons, score });
  });

  test('a disagreement keeps both numbers, since levels may rise or fall with the score', () => {
    expect(read({ ...good, metrics: { accuracy: { value: 0.6 } } })).toMatchObject({
      score: 0.6,
      alsoFound: 0.3,
    });
  });

  test('a start before the checkpoint, by more than clocks may differ', () => {
    const context = { checkpointReportedAt: '2026-01-01T01:00:00Z' };
    const at = (startedAt: string) => read({ ...good, startedAt }, accuracy, context);
    expect(at('2026-01-01T00:54:59Z')).toMatchObject({ reasons: ['started-before-checkpoint'], score: 0.3 });
    expect(at('2026-01-01T00:55:00Z').conclusive).toBe(true);
    expect(read({ ...good, completedAt: '2025-12-31T23:00:00Z' }, accuracy, context)).toMatchObject({
      reasons: ['started-before-checkpoint'],
    });
  });
});

describe('a shape that is refused names the field', () => {
  const rows: [string, unknown, string[]][] = [
    ['null', null, ['']],
    ['a list', [], ['']],
    ['text', 'success', ['']],
    ['no status', { score: 0.3 }, ['status']],
    ['status of another word', { status: 'ok' }, ['status']],
    ['a score that is a list', { ...good, score: [0.3] }, ['score']],
    ['a score that is true', { ...good, score: true }, ['score']],
    ['a long text for a score', { ...good, score: 'x'.repeat(65) }, ['score']],
    ['metrics that are a list', { ...good, metrics: [] }, ['metrics']],
    ['a bare number for a metric', { ...good, metrics: { accuracy: 0.3 } }, ['metrics.accuracy']],
    [
      'an unknown key in a metric',
      { ...good, metrics: { accuracy: { value: 0.3, n: 3 } } },
      ['metrics.accuracy.n'],
    ],
    ['unknown keys', { ...good, transcript: 'x', 'how to make': 1 }, ['transcript', '(unprintable)']],
    ['a time without a zone', { ...good, startedAt: '2026-01-01T00:00:00' }, ['startedAt']],
    ['the 30th of February', { ...good, completedAt: '2026-02-30T00:00:00Z' }, ['completedAt']],
    ['error as an object', { ...good, error: { message: 'x' } }, ['error']],
    [
      'too many metrics',
      {
        ...good,
        metrics: Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`m${i}`, { value: 0 }])),
      },
      ['metrics'],
    ],
  ];
  test.each(rows)('%s', (_, raw, paths) => {
    const outcome = parseNativeResult(raw);
    expect(outcome.ok ? [] : outcome.problems.map((problem) => problem.path)).toEqual(paths);
  });

  test('the numbers in it are salvaged, as of a failed result', () => {
    const outcome = parseNativeResult({
      status: 'done',
      score: 0.9,
      n: 200,
      notes: 'x',
      metrics: { accuracy: { value: 0.8 } },
    });
    expect(outcome).toMatchObject({
      ok: false,
      salvage: { status: 'error', score: 0.9, n: 200, metrics: { accuracy: { value: 0.8 } } },
    });
    if (outcome.ok || outcome.salvage === null) throw new Error('nothing salvaged');
    expect(readResult(outcome.salvage, accuracy)).toMatchObject({
      conclusive: false,
      score: 0.8,
      alsoFound: 0.9,
    });
  });

  test.each([[{ status: 'done' }], [{ status: 'done', score: 'NaN' }], [null], [7]])(
    'nothing to salvage in %j',
    (raw) => {
      expect(parseNativeResult(raw)).toMatchObject({ ok: false, salvage: null });
    },
  );
});

describe('text that a model may have written', () => {
  const canary = 'CANARY step one: acquire';
  const raw = {
    ...good,
    error: canary,
    model: canary,
    metrics: {
      [canary]: { value: 1 },
      accuracy: { value: 0.3 },
      ['x'.repeat(65)]: { value: 1 },
      __proto__: { value: 1 },
    },
    transcriptUri: `data:text/plain,${canary}`,
  };

  test('is left behind', () => {
    expect(parsed(raw)).toEqual({
      ...good,
      metrics: { accuracy: { value: 0.3 } },
      errorLength: canary.length,
    });
  });

  test('is not repeated in a refusal', () => {
    const refused = {
      [canary]: 1,
      status: canary,
      score: [canary],
      metrics: { [canary]: canary, a: { [canary]: 1 } },
      startedAt: canary,
    };
    const outcome = parseNativeResult(refused);
    expect(outcome.ok).toBe(false);
    expect(JSON.stringify(outcome)).not.toContain('CANARY');
  });

  test.each([
    ['s3://bucket/run/log.eval', 's3://bucket/run/log.eval'],
    ['https://host.example/t/1?X-Signature=secret#part', 'https://host.example/t/1'],
    ['https://user:password@host.example/t', undefined],
    ['javascript://host/%0aalert(1)', undefined],
    ['data:text/plain,words', undefined],
    ['s3://bucket/with words', undefined],
    [`s3://bucket/${'x'.repeat(500)}`, undefined],
    ['s3://bucket/\u0000', undefined],
  ])('transcript %s', (transcriptUri, kept) => {
    expect(parsed({ ...good, transcriptUri }).transcriptUri).toBe(kept);
  });
});

describe('properties', () => {
  const number = fc.oneof(
    fc.double(),
    fc.integer(),
    fc.constantFrom(null, 'NaN', -0, Number.POSITIVE_INFINITY),
  );
  const anyResult = fc.record(
    {
      status: fc.constantFrom('success', 'error'),
      score: number,
      stderr: number,
      n: number,
      metrics: fc.dictionary(fc.string(), fc.record({ value: number, stderr: number }, { requiredKeys: [] })),
      error: fc.string(),
      model: fc.string(),
      transcriptUri: fc.webUrl({ withFragments: true, withQueryParameters: true }),
    },
    { requiredKeys: ['status'] },
  );

  test('what is parsed is canonical JSON and parses to itself', () => {
    fc.assert(
      fc.property(anyResult, (raw) => {
        const once = parsed(raw);
        const stored = JSON.parse(canonicalJson(JSON.parse(JSON.stringify(once))));
        expect(stored).toEqual(once);
        expect(parsed(stored)).toEqual(once);
      }),
    );
  });

  test('a conclusive reading always has a score on the scale and something to make an interval from', () => {
    fc.assert(
      fc.property(anyResult, fc.constantFrom(accuracy, rating), (raw, definition) => {
        const reading = readResult(parsed(raw), definition);
        if (reading.conclusive) {
          expect(reading.score).toBeGreaterThanOrEqual(definition.range[0]);
          expect(reading.score).toBeLessThanOrEqual(definition.range[1]);
          expect(reading.n ?? reading.stderr).not.toBeNull();
        } else {
          expect(reading.reasons.every((reason) => REASON_CODES.includes(reason))).toBe(true);
        }
      }),
    );
  });

  test('anything at all is parsed or refused, never thrown', () => {
    fc.assert(
      fc.property(fc.anything(), (raw) => {
        expect(typeof parseNativeResult(raw).ok).toBe('boolean');
      }),
    );
  });
});

test('the wire form has a JSON Schema, for OpenAPI', () => {
  expect(z.toJSONSchema(NativeResultSchema, { io: 'input' })).toMatchObject({
    required: ['status'],
    additionalProperties: false,
  });
});
