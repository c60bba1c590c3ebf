/**
 * Tracing through the OpenTelemetry API alone: without an SDK every call here costs nothing.
 *
 * Attributes are an allow-list of ids and fixed words. No body, result, error text or model output can
 * be put on a span by type, because exporters ship spans to systems that are not ours.
 */
import { type Attributes, type Span, SpanStatusCode, trace } from '@opentelemetry/api';
import { InterlockError } from '../errors.ts';

export interface SpanAttributes {
  'interlock.run.id'?: string;
  'interlock.checkpoint.id'?: string;
  'interlock.evaluation.id'?: string;
  'interlock.halt.id'?: string;
  'interlock.alert.id'?: string;
  'interlock.proposal.id'?: string;
  'interlock.attempt'?: number;
  'interlock.kind'?: string;
  'interlock.outcome'?: string;
  'interlock.correlation.id'?: string;
  'http.request.method'?: string;
  'http.route'?: string;
  'http.response.status_code'?: number;
}

const ALLOWED: ReadonlySet<string> = new Set<keyof SpanAttributes>([
  'interlock.run.id',
  'interlock.checkpoint.id',
  'interlock.evaluation.id',
  'interlock.halt.id',
  'interlock.alert.id',
  'interlock.proposal.id',
  'interlock.attempt',
  'interlock.kind',
  'interlock.outcome',
  'interlock.correlation.id',
  'http.request.method',
  'http.route',
  'http.response.status_code',
]);

const tracer = trace.getTracer('interlock');

/** `set` adds attributes that are known only later. The span ends with the work, whatever happens. */
export async function withSpan<T>(
  name: string,
  attributes: SpanAttributes,
  work: (set: (more: SpanAttributes) => void) => Promise<T>,
): Promise<T> {
  return tracer.startActiveSpan(name, { attributes: allowed(attributes) }, async (span: Span) => {
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

/** Types do not reach plain JavaScript or a widened object; the list does. */
function allowed(attributes: SpanAttributes): Attributes {
  const kept: Attributes = {};
  for (const [key, value] of Object.entries(attributes)) {
    if (!ALLOWED.has(key)) continue;
    if (typeof value === 'number') kept[key] = value;
    else if (typeof value === 'string') kept[key] = value.slice(0, 128);
  }
  return kept;
}
