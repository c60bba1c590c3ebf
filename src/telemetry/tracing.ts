/**
 * Tracing through the OpenTelemetry API alone: without the SDK (exporter.ts) every call here costs next to nothing.
 *
 * Attributes are an allow-list of ids and fixed words. No body, result, error text or model output can
 * be put on a span by type, because exporters ship spans to systems that are not ours.
 * A span of a story begins a tree of its own within the story's trace and links to the fact that it follows from; what
 * is done inside it is its child. What a sender states of a trace of its own is a link too, never a parent: it could
 * otherwise put our spans where it likes, or have them sampled away.
 */
import {
  type Attributes,
  context,
  createContextKey,
  type Link,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type TimeInput,
  trace,
} from '@opentelemetry/api';
import { InterlockError } from '../errors.ts';
import { withSpanIds } from './span-ids.ts';
import { parseTraceparent, type Story } from './story.ts';

export interface SpanAttributes {
  'interlock.run.id'?: string;
  'interlock.checkpoint.id'?: string;
  'interlock.evaluation.id'?: string;
  'interlock.halt.id'?: string;
  'interlock.alert.id'?: string;
  'interlock.proposal.id'?: string;
  'interlock.target.id'?: string;
  'interlock.attempt'?: number;
  'interlock.kind'?: string;
  'interlock.outcome'?: string;
  'interlock.correlation.id'?: string;
  'http.request.method'?: string;
  'http.route'?: string;
  'http.response.status_code'?: number;
}

export const SPAN_ATTRIBUTES: ReadonlySet<string> = new Set<keyof SpanAttributes>([
  'interlock.run.id',
  'interlock.checkpoint.id',
  'interlock.evaluation.id',
  'interlock.halt.id',
  'interlock.alert.id',
  'interlock.proposal.id',
  'interlock.target.id',
  'interlock.attempt',
  'interlock.kind',
  'interlock.outcome',
  'interlock.correlation.id',
  'http.request.method',
  'http.route',
  'http.response.status_code',
]);

/** The name under which every span of ours is made; the exporter sends no others. */
export const TRACER = 'interlock';
const tracer = trace.getTracer(TRACER);
const INCOMING = createContextKey('interlock incoming trace');

export interface SpanOptions {
  /** Begins a tree in this story's trace; left out: a child of the span that is active, or a trace of its own. */
  readonly story?: Story | undefined;
  /** What it follows from. */
  readonly links?: readonly SpanContext[] | undefined;
  readonly kind?: 'server' | 'producer' | 'consumer' | 'client' | undefined;
  readonly startTime?: TimeInput | undefined;
}

const KINDS = {
  server: SpanKind.SERVER,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
  client: SpanKind.CLIENT,
} as const;

/** Whether spans go anywhere: what it would cost to describe them can be left out otherwise. */
let isTracing = false;
export const setTracing = (on: boolean): void => {
  isTracing = on;
};
export const tracingOn = (): boolean => isTracing;

/** `set` adds attributes that are known only later. The span ends with the work, whatever happens. */
export async function withSpan<T>(
  name: string,
  attributes: SpanAttributes,
  work: (set: (more: SpanAttributes) => void) => Promise<T>,
  /** Asked for only where spans go somewhere: the ids of a story are digests. */
  options: () => SpanOptions = () => ({}),
): Promise<T> {
  if (!isTracing) return work(() => undefined);
  const span = start(name, attributes, options());
  return context.with(trace.setSpan(context.active(), span), async () => {
    try {
      return await work((more) => span.setAttributes(allowed(more)));
    } catch (error) {
      const code =
        error instanceof InterlockError ? error.code : error instanceof Error ? error.name : 'unknown';
      span.setStatus({ code: SpanStatusCode.ERROR, message: code });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** As `withSpan` where a span is active already, and nothing but the work where none is: no trace of its own. */
export async function withinSpan<T>(
  name: string,
  attributes: SpanAttributes,
  work: () => Promise<T>,
): Promise<T> {
  if (!isTracing || trace.getActiveSpan() === undefined) return work();
  return withSpan(name, attributes, work);
}

/** A span of what is over already. */
export function recordSpan(
  name: string,
  attributes: SpanAttributes,
  { endTime, ...options }: SpanOptions & { readonly endTime?: TimeInput },
): void {
  if (isTracing) start(name, attributes, options).end(endTime);
}

/** A fact of the ledger: a span with an id that everybody can derive, once per fact. */
export function recordFact(
  name: string,
  attributes: SpanAttributes,
  { fact, startTime, endTime }: { fact: SpanContext; startTime: TimeInput; endTime: TimeInput },
): void {
  if (!isTracing) return;
  const active = trace.getActiveSpan()?.spanContext();
  const isWithin = active?.traceId === fact.traceId;
  withSpanIds({ traceId: fact.traceId, spanId: fact.spanId }, () =>
    tracer.startSpan(name, {
      attributes: allowed(attributes),
      root: !isWithin,
      links: isWithin || active === undefined ? [] : [{ context: active }],
      startTime,
    }),
  ).end(endTime);
}

function start(name: string, attributes: SpanAttributes, options: SpanOptions): Span {
  const { story, links = [], kind, startTime } = options;
  const incoming = context.active().getValue(INCOMING);
  const linked: Link[] = links.map((each) => ({ context: each }));
  if (isSpanContext(incoming) && trace.getActiveSpan() === undefined) linked.push({ context: incoming });
  const begin = () =>
    tracer.startSpan(name, {
      attributes: allowed(attributes),
      links: linked,
      root: story !== undefined,
      ...(kind === undefined ? {} : { kind: KINDS[kind] }),
      ...(startTime === undefined ? {} : { startTime }),
    });
  return story === undefined ? begin() : withSpanIds({ traceId: story.traceId }, begin);
}

/** The work of a request that may name a trace of its sender's. */
export function withIncomingTrace<T>(traceparent: unknown, work: () => T): T {
  const incoming = isTracing ? parseTraceparent(traceparent) : null;
  return incoming === null ? work() : context.with(context.active().setValue(INCOMING, incoming), work);
}

function isSpanContext(value: unknown): value is SpanContext {
  return typeof value === 'object' && value !== null && 'traceId' in value && 'spanId' in value;
}

/** Types do not reach plain JavaScript or a widened object; the list does. */
function allowed(attributes: SpanAttributes): Attributes {
  const kept: Attributes = {};
  for (const [key, value] of Object.entries(attributes)) {
    if (!SPAN_ATTRIBUTES.has(key)) continue;
    if (typeof value === 'number') kept[key] = value;
    else if (typeof value === 'string') kept[key] = value.slice(0, 128);
  }
  return kept;
}
