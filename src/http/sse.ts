/**
 * Server-sent events: a resumable stream over one response.
 *
 * The source is an async iterable, so backpressure is simply not asking for the next event: nothing
 * is buffered for a slow reader beyond the socket. A reader that takes nothing for `stalledAfterMs`
 * is cut off; it comes back with Last-Event-ID and loses nothing.
 * Each identity has a cap on open streams. All streams end when the server closes, and one whose credential is
 * no longer good (expired, revoked, its identity removed) ends within half a second of it.
 * Errors inside the source end the stream; there is no status left to send them with.
 */
import { once } from 'node:events';
import type { FastifyReply } from 'fastify';
import { malformed, Refusal } from './refusal.ts';

export interface StreamEvent {
  /** What a reader sends back as Last-Event-ID. No line breaks. Left out: a passing word, which nobody resumes from. */
  id?: string;
  event?: string;
  data: unknown;
}

export interface StreamSource {
  /** Yields what comes after `after` (null: from the source's own beginning), then live events; ends on abort. */
  subscribe(from: { after: string | null; signal: AbortSignal }): AsyncIterable<StreamEvent>;
}

export interface StreamLimits {
  heartbeatMs: number;
  stalledAfterMs: number;
  perIdentityMax: number;
  totalMax: number;
}

export const STREAM_LIMITS: StreamLimits = {
  heartbeatMs: 10_000,
  stalledAfterMs: 30_000,
  perIdentityMax: 8,
  totalMax: 256,
};

const CREDENTIAL_LOOK_MS = 500;
const EVENT_ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** null where the reader has seen nothing yet; throws a Refusal on nonsense. */
export function readLastEventId(header: string | string[] | undefined): string | null {
  if (header === undefined || header === '') return null;
  if (typeof header === 'string' && EVENT_ID.test(header)) return header;
  throw malformed('malformed-header', 'Last-Event-ID is not one that this service gave out', [
    { path: 'header.last-event-id', message: 'not an event id' },
  ]);
}

/** Counts open streams per identity and ends them all at shutdown. */
export class StreamRegistry {
  readonly limits: StreamLimits;
  readonly #open = new Map<string, Set<AbortController>>();
  #total = 0;
  #isClosed = false;

  constructor(limits: StreamLimits) {
    this.limits = limits;
  }

  get size(): number {
    return this.#total;
  }

  /** Throws a Refusal where there are too many. */
  open(owner: string): { controller: AbortController; release: () => void } {
    const mine = this.#open.get(owner) ?? new Set();
    if (this.#isClosed || this.#total >= this.limits.totalMax) {
      throw new Refusal({ status: 503, code: 'overloaded', title: 'Too many streams', retryAfterS: 5 });
    }
    if (mine.size >= this.limits.perIdentityMax) {
      throw new Refusal({
        status: 429,
        code: 'too-many-streams',
        title: 'Too many open streams',
        detail: `this identity has ${this.limits.perIdentityMax} streams open; close one`,
        retryAfterS: 5,
      });
    }
    const controller = new AbortController();
    mine.add(controller);
    this.#open.set(owner, mine);
    this.#total += 1;
    const release = (): void => {
      if (!mine.delete(controller)) return;
      this.#total -= 1;
      if (mine.size === 0) this.#open.delete(owner);
    };
    return { controller, release };
  }

  close(): void {
    this.#isClosed = true;
    for (const controllers of this.#open.values()) {
      for (const controller of controllers) controller.abort();
    }
  }
}

export interface SseOptions {
  source: StreamSource;
  lastEventId: string | null;
  /** Identity id, or an address where the route is open to all. */
  owner: string;
  registry: StreamRegistry;
  /** Whether whoever opened it would be let in now. */
  isCurrent?: () => boolean;
  headers?: Readonly<Record<string, string>>;
  onError?: (error: unknown) => void;
}

/** Takes the reply over; settles when the stream has ended. Throws a Refusal before anything is sent. */
export async function sse(reply: FastifyReply, o: SseOptions): Promise<void> {
  const { controller, release } = o.registry.open(o.owner);
  const { heartbeatMs, stalledAfterMs } = o.registry.limits;
  const response = reply.raw;
  const abort = (): void => controller.abort();
  let isStalled = false;

  reply.hijack();
  response.once('close', abort);
  // The reader may have left before this point; then no close event is to come.
  if (response.destroyed) abort();
  response.on('error', abort);
  // The idle time-out of ordinary requests must not end a quiet stream; heartbeats find a dead peer.
  response.socket?.setTimeout(0);
  for (const [name, value] of Object.entries({ ...reply.getHeaders(), ...o.headers })) {
    if (value !== undefined) response.setHeader(name, value);
  }
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    // A stream that ends at shutdown must not leave an idle connection to wait for.
    connection: 'close',
  });
  response.write('retry: 2000\n\n');

  const { isCurrent = () => true } = o;
  const guard = setInterval(() => {
    if (!isCurrent()) abort();
  }, CREDENTIAL_LOOK_MS);
  const heartbeat = setInterval(() => {
    if (!response.writableNeedDrain) response.write(': still here\n\n');
  }, heartbeatMs);

  try {
    for await (const event of o.source.subscribe({ after: o.lastEventId, signal: controller.signal })) {
      if (controller.signal.aborted) break;
      if (!response.write(encode(event))) {
        const deadline = setTimeout(() => {
          isStalled = true;
          controller.abort();
        }, stalledAfterMs);
        try {
          await once(response, 'drain', { signal: controller.signal });
        } finally {
          clearTimeout(deadline);
        }
      }
    }
  } catch (error) {
    // An abort is how a stream ends: the reader left, stalled, or the service is closing.
    if (!controller.signal.aborted) o.onError?.(error);
  } finally {
    clearInterval(guard);
    clearInterval(heartbeat);
    controller.abort();
    release();
    response.off('close', abort);
    if (isStalled) response.destroy();
    else response.end();
  }
}

function encode({ id, event, data }: StreamEvent): string {
  // JSON has no raw line breaks, so one data line is enough; the names are ours and checked.
  if (id !== undefined && !EVENT_ID.test(id))
    throw new TypeError('an event id has characters that a stream cannot carry');
  if (event !== undefined && !/^[a-z][a-z0-9.-]*$/.test(event)) {
    throw new TypeError('an event name has characters that a stream cannot carry');
  }
  const position = id === undefined ? '' : `id: ${id}\n`;
  return `${position}${event === undefined ? '' : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
}
