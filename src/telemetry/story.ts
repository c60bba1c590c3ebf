/**
 * Stories: which trace a thing belongs to, derived from the ids in the ledger.
 *
 * All that happens to one checkpoint, from its webhook to the stop of a halt, is one trace, across processes,
 * replicas, a wiped queue and any restart; nothing has to be carried for that, because the trace's id is a
 * digest of the checkpoint's. A halt without a checkpoint is a story of its own. A fact of the ledger is a span whose
 * id is derived too, so that later work can link to it (a parent that never ends would make endless trees).
 */
import { createHash, randomBytes } from 'node:crypto';
import type { SpanContext } from '@opentelemetry/api';

export interface Story {
  readonly traceId: string;
}

const digest = (...parts: readonly string[]): string =>
  createHash('sha256')
    .update(JSON.stringify(['interlock', ...parts]))
    .digest('hex');

export const checkpointStory = (runId: string, checkpointId: string): Story => ({
  traceId: digest('checkpoint', runId, checkpointId).slice(0, 32),
});

export const haltStory = (runId: string, haltId: string): Story => ({
  traceId: digest('halt', runId, haltId).slice(0, 32),
});

/** A trace of its own. */
export const freshStory = (): Story => ({ traceId: randomBytes(16).toString('hex') });

/** The span of a fact, wherever and whenever it was recorded: `fact` names it within its story. */
export function factSpan({ traceId }: Story, ...fact: readonly [string, ...string[]]): SpanContext {
  return { traceId, spanId: digest('fact', traceId, ...fact).slice(0, 16), traceFlags: 1, isRemote: true };
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** W3C Trace Context, as a sender states it; null for what is none. Of a version we do not know too: it begins alike. */
export function parseTraceparent(header: unknown): SpanContext | null {
  if (typeof header !== 'string' || header.startsWith('ff')) return null;
  const [, traceId, spanId, flags] = TRACEPARENT.exec(header) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
}
