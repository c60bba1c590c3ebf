/**
 * Ids of spans: random, but for the one that is about to be started with ids of its own (story.ts).
 *
 * A tracer asks its generator while it starts a span, in the same turn of the event loop; so what is set just before
 * is taken by that span and by no other. Shared by tracing.ts, which sets, and exporter.ts, which registers it.
 */
import { randomBytes } from 'node:crypto';

let next: { traceId?: string; spanId?: string } = {};

export const spanIds = {
  generateTraceId(): string {
    const { traceId } = next;
    return traceId ?? randomBytes(16).toString('hex');
  },
  generateSpanId(): string {
    const { spanId } = next;
    return spanId ?? randomBytes(8).toString('hex');
  },
};

/** `start` must start one span, synchronously. */
export function withSpanIds<T>(ids: { traceId?: string; spanId?: string }, start: () => T): T {
  next = ids;
  try {
    return start();
  } finally {
    next = {};
  }
}
