import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { fieldPath, fieldProblems } from '../../src/domain/field-errors.ts';
import { InterlockError } from '../../src/errors.ts';
import { Problem, timedOut, toProblem, toRefusal } from '../../src/http/problem.ts';
import { invalid, Refusal } from '../../src/http/refusal.ts';

const fault = (code: string, retryable: boolean) =>
  new InterlockError('db-7.internal said no', { code, retryable });
const framework = (code: string, statusCode: number) =>
  Object.assign(new Error('inner words'), { code, statusCode });

describe('problem documents', () => {
  it.each<[string, unknown, number, string, boolean]>([
    // error                                                          status code        retry-after
    ['ledger.unavailable', fault('ledger.unavailable', true), 503, 'ledger-unavailable', true],
    ['another retryable ledger fault', fault('ledger.new-kind', true), 503, 'ledger-unavailable', true],
    ['a broken ledger', fault('ledger.corrupt', false), 500, 'internal', false],
    ['the database away', fault('database.down', true), 503, 'database-unavailable', true],
    ['an unknown retryable fault', fault('weather.bad', true), 503, 'unavailable', true],
    ['an unknown fault', fault('weather.bad', false), 500, 'internal', false],
    ['a code that names a prototype member', fault('constructor', true), 503, 'unavailable', true],
    ['a plain error', new Error('secret'), 500, 'internal', false],
    ['a thrown string', 'secret', 500, 'internal', false],
    ['a body over the limit', framework('FST_ERR_CTP_BODY_TOO_LARGE', 413), 413, 'body-too-large', false],
    ['a handler that takes too long', timedOut(), 503, 'timed-out', true],
    ['a broken stream', framework('ECONNRESET', 400), 400, 'malformed-request', false],
    [
      'a framework error not in the table',
      framework('FST_ERR_SEND_UNDEFINED_ERR', 500),
      500,
      'internal',
      false,
    ],
  ])('makes %s what it is', (_, error, status, code, hasRetry) => {
    const refusal = toRefusal(error);
    expect([refusal.status, refusal.code, refusal.retryAfterS !== undefined]).toEqual([
      status,
      code,
      hasRetry,
    ]);
    const problem = toProblem(refusal, 'id-1');
    expect(Problem.parse(problem).instance).toBe('urn:interlock:request:id-1');
    expect(JSON.stringify(problem)).not.toMatch(/db-7|inner words|secret/);
  });

  it('passes a refusal through as it is', () => {
    const refusal = new Refusal({
      status: 409,
      code: 'x',
      title: 'X',
      errors: [{ path: 'a', message: 'b' }],
    });
    expect(toRefusal(refusal)).toBe(refusal);
    expect(toProblem(refusal, 'i')).toEqual({
      type: 'urn:interlock:problem:x',
      title: 'X',
      status: 409,
      instance: 'urn:interlock:request:i',
      errors: [{ path: 'a', message: 'b' }],
    });
  });

  it('says the first fault in the detail, for who reads only that', () => {
    expect(invalid([{ path: 'runId', message: 'is required' }]).detail).toBe('runId: is required');
  });
});

describe('field errors', () => {
  const schema = z.strictObject({
    threshold: z.number(),
    target: z
      .discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('webhook'), url: z.string() }),
        z.strictObject({ kind: z.literal('process'), pid: z.int() }),
      ])
      .optional(),
    compute: z.union([z.number(), z.string()], 'must be a number or a decimal string').optional(),
    either: z
      .union([z.strictObject({ a: z.strictObject({ deep: z.number() }) }), z.strictObject({ b: z.number() })])
      .optional(),
  });
  const found = (value: unknown) => {
    const result = schema.safeParse(value);
    return result.success
      ? []
      : fieldProblems(schema, result.error).map(({ parts, message }) => `${fieldPath(parts)}: ${message}`);
  };

  it.each<[string, unknown, string[]]>([
    ['a typo', { treshold: 1, threshold: 1 }, ['treshold: unknown key; did you mean "threshold"?']],
    [
      'nothing near',
      { wildlyDifferent: 1, threshold: 1 },
      ['wildlyDifferent: unknown key; allowed here: threshold, target, compute, either'],
    ],
    ['a missing field', {}, ['threshold: is required and must be a number']],
    [
      'a union of plain values',
      { threshold: 1, compute: [] },
      ['compute: must be a number or a decimal string'],
    ],
    [
      'the branch that was meant',
      { threshold: 1, either: { a: { deep: 'x' } } },
      ['either.a.deep: must be a number'],
    ],
    [
      'a typo inside a chosen branch',
      { threshold: 1, target: { kind: 'webhook', ulr: 'x', url: 'y' } },
      ['target.ulr: unknown key; did you mean "url"?'],
    ],
  ])('names %s', (_, value, problems) => {
    expect(found(value)).toEqual(problems);
  });
});
