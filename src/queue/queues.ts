/**
 * The table of queues: one row per kind of work, and everything that follows from a row.
 *
 * Lock duration, stall interval and shutdown grace are computed from the timeout, never set beside it.
 * Every job has one attempt and is removed on completion and on failure: the domain schedules attempts,
 * and a kept job would silently swallow the next add of the same id.
 */
import type { JobsOptions } from 'bullmq';
import { z } from 'zod';
import type { WorkItem, WorkKind } from './work-queue.ts';

// A NUL or a lone surrogate breaks jsonb (PostgreSQL) and not Redis; refuse both on both.
const storable = (value: string) => value.isWellFormed() && !value.includes('\0');
const text = (max: number) =>
  z.string().min(1).max(max).refine(storable, { error: 'not storable: NUL or broken Unicode' });

const idsSchema = z
  .record(text(64), z.union([text(512), z.number()]))
  .refine((ids) => Object.keys(ids).length <= 16, { error: 'at most 16 ids' });

/** Ids only: no result, no text from a model, nothing secret ever enters the queue. */
export const payloadSchema = z.strictObject({
  key: text(512),
  runId: text(256),
  notBeforeMs: z.number(),
  ids: idsSchema,
});
export type Payload = z.infer<typeof payloadSchema>;

export interface QueueSpec {
  /** The queue's name in the backend. BullMQ forbids `:`. */
  name: string;
  payload: typeof payloadSchema;
  concurrency: number;
  timeoutMs: number;
}

const MINUTE_MS = 60_000;

export const QUEUES: Readonly<Record<WorkKind, QueueSpec>> = {
  // The outer bound only: an evaluator has its own timeout, and the domain its deadline.
  evaluate: {
    name: 'interlock-evaluate',
    payload: payloadSchema,
    concurrency: 2,
    timeoutMs: 360 * MINUTE_MS,
  },
  // Asking a service to begin, which has half a minute to say that it will.
  dispatch: { name: 'interlock-dispatch', payload: payloadSchema, concurrency: 8, timeoutMs: 60_000 },
  'halt-step': { name: 'interlock-halt-step', payload: payloadSchema, concurrency: 16, timeoutMs: 30_000 },
  observe: { name: 'interlock-observe', payload: payloadSchema, concurrency: 8, timeoutMs: 15_000 },
  isolate: { name: 'interlock-isolate', payload: payloadSchema, concurrency: 4, timeoutMs: 30_000 },
  alert: { name: 'interlock-alert', payload: payloadSchema, concurrency: 8, timeoutMs: 30_000 },
  tick: { name: 'interlock-tick', payload: payloadSchema, concurrency: 4, timeoutMs: 30_000 },
};

export const WORK_KINDS: readonly WorkKind[] = [
  'halt-step',
  'observe',
  'isolate',
  'tick',
  'alert',
  'dispatch',
  'evaluate',
];

/** Carries the round trip of the start-up check; no work ever. */
export const CANARY_QUEUE_NAME = 'interlock-canary';

export const JOB_RETENTION = {
  attempts: 1,
  removeOnComplete: true,
  removeOnFail: true,
  stackTraceLimit: 0,
} as const satisfies JobsOptions;

/** A delay is a convenience; beyond this the reconciler offers the item again anyway. */
export const DELAY_MAX_MS = 24 * 60 * MINUTE_MS;

const clamp = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high);

/**
 * How long a silent worker keeps a job. Renewed at half; a dead worker's job is back within about twice this, and
 * until then an evaluation that it had not begun waits. Short is safe: a job that is given out twice is refused the
 * second time by the ledger.
 */
export const lockDurationMs = (timeoutMs: number) => clamp(timeoutMs / 2, 5_000, 10_000);

export const stalledIntervalMs = (timeoutMs: number) => lockDurationMs(timeoutMs) / 2;

/** How long a handler may take to end once its signal is aborted, before its slot is taken from it. */
export const abortGraceMs = (timeoutMs: number) => clamp(timeoutMs, 50, 5_000);

export function resolveQueues(overrides: {
  concurrency?: Partial<Record<WorkKind, number>> | undefined;
  timeoutsMs?: Partial<Record<WorkKind, number>> | undefined;
}): Readonly<Record<WorkKind, QueueSpec>> {
  const row = (kind: WorkKind): QueueSpec => ({
    ...QUEUES[kind],
    concurrency: overrides.concurrency?.[kind] ?? QUEUES[kind].concurrency,
    timeoutMs: overrides.timeoutsMs?.[kind] ?? QUEUES[kind].timeoutMs,
  });
  return {
    evaluate: row('evaluate'),
    dispatch: row('dispatch'),
    'halt-step': row('halt-step'),
    observe: row('observe'),
    isolate: row('isolate'),
    alert: row('alert'),
    tick: row('tick'),
  };
}

export const toPayload = (item: WorkItem): Payload => ({
  key: item.key,
  runId: item.runId,
  notBeforeMs: item.notBeforeMs,
  ids: item.ids,
});
