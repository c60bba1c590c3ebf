import { describe, expect, it } from 'vitest';
import {
  abortGraceMs,
  JOB_RETENTION,
  lockDurationMs,
  payloadSchema,
  QUEUES,
  resolveQueues,
  stalledIntervalMs,
  WORK_KINDS,
} from '../../src/queue/queues.ts';

const payload = { key: 'ev_a/1', runId: 'run-1', notBeforeMs: 0, ids: { evaluationId: 'ev_a', attempt: 1 } };

describe('the table of queues', () => {
  it('has a queue of its own for every kind, with a name BullMQ accepts', () => {
    const names = WORK_KINDS.map((kind) => QUEUES[kind].name);
    expect(new Set(names).size).toBe(Object.keys(QUEUES).length);
    for (const name of names) expect(name).toMatch(/^[a-z-]+$/);
  });

  it('keeps no job and gives it one attempt, or a kept job would swallow the next add', () => {
    expect(JOB_RETENTION).toMatchObject({ attempts: 1, removeOnComplete: true, removeOnFail: true });
  });

  it.each([1, 100, 15_000, 30_000, 3_600_000])(
    'derives lock, stall check and grace from a timeout of %i ms',
    (timeoutMs) => {
      expect(lockDurationMs(timeoutMs)).toBeGreaterThanOrEqual(5_000);
      expect(lockDurationMs(timeoutMs)).toBeLessThanOrEqual(10_000);
      expect(stalledIntervalMs(timeoutMs)).toBeLessThan(lockDurationMs(timeoutMs));
      expect(abortGraceMs(timeoutMs)).toBeLessThanOrEqual(5_000);
    },
  );

  it('takes concurrency and timeouts per kind and leaves the rest', () => {
    const specs = resolveQueues({ concurrency: { evaluate: 9 }, timeoutsMs: { alert: 7 } });
    expect(specs.evaluate).toEqual({ ...QUEUES.evaluate, concurrency: 9 });
    expect(specs.alert).toEqual({ ...QUEUES.alert, timeoutMs: 7 });
    expect(specs.tick).toEqual(QUEUES.tick);
  });
});

describe('a payload', () => {
  it('is ids and nothing else', () => {
    expect(payloadSchema.parse(payload)).toEqual(payload);
  });

  it.each([
    ['another key', { ...payload, result: 'model text' }],
    ['nesting', { ...payload, ids: { deep: { deeper: 1 } } }],
    ['NUL in an id', { ...payload, ids: { a: 'x\u0000' } }],
    ['a lone surrogate in an id', { ...payload, ids: { a: '\udfff' } }],
    ['NUL in the name of an id', { ...payload, ids: { 'a\u0000': 'x' } }],
    ['NUL in the key', { ...payload, key: '\u0000' }],
    ['an empty key', { ...payload, key: '' }],
    ['NaN', { ...payload, ids: { a: Number.NaN } }],
    ['a time without end', { ...payload, notBeforeMs: Number.POSITIVE_INFINITY }],
    [
      'too many ids',
      { ...payload, ids: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`i${i}`, i])) },
    ],
    ['an id as long as a document', { ...payload, ids: { a: 'x'.repeat(513) } }],
  ])('refuses %s', (_name, bad) => {
    expect(payloadSchema.safeParse(bad).success).toBe(false);
  });
});
