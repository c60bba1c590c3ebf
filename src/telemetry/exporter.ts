/**
 * Where spans go: an OTLP receiver, set up by the usual OTEL_ variables and by nothing else.
 *
 * Loaded only where an endpoint is set, so that a plain start neither reads nor runs any of it. The SDK reads
 * OTEL_EXPORTER_OTLP_* (endpoint, headers, timeout, certificates), OTEL_TRACES_SAMPLER, OTEL_BSP_* and
 * OTEL_RESOURCE_ATTRIBUTES itself. Sent is http/json, which every OTLP/HTTP receiver takes.
 * Fails toward nothing: a receiver that is away costs spans, never work; the loss is logged at most once a minute.
 * Only spans of ours leave, and of those only the allowed attributes: a library that traces too is not let out.
 */
import { randomUUID } from 'node:crypto';
import { DiagLogLevel, diag } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  NodeTracerProvider,
  type ReadableSpan,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-node';
import { VERSION } from '../version.ts';
import { spanIds } from './span-ids.ts';
import { SPAN_ATTRIBUTES, setTracing, TRACER } from './tracing.ts';

export interface Tracing {
  /** Sends what is waiting, bounded, and ends. */
  stop(): Promise<void>;
}

const COMPLAIN_EVERY_MS = 60_000;
const STOP_MS = 3_000;

export function startExporting(logger: { warn(fields: object, message: string): void }): Tracing {
  let complainedAtMs = Number.NEGATIVE_INFINITY;
  const complain = (): void => {
    const nowMs = performance.now();
    if (nowMs - complainedAtMs < COMPLAIN_EVERY_MS) return;
    complainedAtMs = nowMs;
    // Not the SDK's text: it may quote what the receiver answered.
    logger.warn({}, 'spans could not be sent to the OTLP endpoint; they are lost');
  };
  const ignore = (): void => undefined;
  diag.setLogger(
    { error: complain, warn: complain, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  const ourselves = {
    'service.name': TRACER,
    'service.version': VERSION,
    'service.instance.id': randomUUID(),
  };
  const provider = new NodeTracerProvider({
    // What the environment states stands over what we call ourselves.
    resource: defaultResource()
      .merge(resourceFromAttributes(ourselves))
      .merge(detectResources({ detectors: [envDetector] })),
    idGenerator: spanIds,
    spanProcessors: [new BatchSpanProcessor(onlyOurs(new OTLPTraceExporter()))],
  });
  provider.register();
  setTracing(true);
  return {
    async stop() {
      setTracing(false);
      let timer: NodeJS.Timeout | undefined;
      const limit = new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          // The exporter is still trying again: what it holds is lost, and nobody else would say so.
          complain();
          resolve();
        }, STOP_MS);
      });
      await Promise.race([provider.shutdown().catch(complain), limit]);
      clearTimeout(timer);
    },
  };
}

/** By copy rather than by change: a span belongs to whoever made it. */
function onlyOurs(exporter: SpanExporter): SpanExporter {
  return {
    export: (spans, done) =>
      exporter.export(
        spans.filter(({ instrumentationScope }) => instrumentationScope.name === TRACER).map(withAllowed),
        done,
      ),
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  };
}

function withAllowed(span: ReadableSpan): ReadableSpan {
  const kept = Object.entries(span.attributes).filter(([name]) => SPAN_ATTRIBUTES.has(name));
  if (kept.length === Object.keys(span.attributes).length && span.events.length === 0) return span;
  return Object.create(span, {
    attributes: { value: Object.fromEntries(kept) },
    events: { value: [] },
  });
}
