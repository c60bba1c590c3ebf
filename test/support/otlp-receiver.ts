/**
 * A real OTLP/HTTP receiver: takes what an exporter posts to /v1/traces, reads it strictly, and keeps every span.
 * What was sent is kept as text too, to look for what should not be in it.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';

const Value = z.union([
  z.object({ stringValue: z.string() }),
  z.object({ intValue: z.union([z.int(), z.string()]) }),
  z.object({ doubleValue: z.number() }),
  z.object({ boolValue: z.boolean() }),
  z.object({ arrayValue: z.object({ values: z.array(z.unknown()) }) }),
]);
const Attributes = z
  .array(z.object({ key: z.string(), value: Value }))
  .default([])
  .transform((all) => Object.fromEntries(all.map(({ key, value }) => [key, Object.values(value)[0]])));
const TraceId = z.string().regex(/^[0-9a-f]{32}$/);
const SpanId = z.string().regex(/^[0-9a-f]{16}$/);
const SpanSchema = z.object({
  traceId: TraceId,
  spanId: SpanId,
  parentSpanId: SpanId.or(z.literal('')).optional(),
  name: z.string(),
  kind: z.int(),
  startTimeUnixNano: z.string().regex(/^\d+$/),
  endTimeUnixNano: z.string().regex(/^\d+$/),
  attributes: Attributes,
  events: z.array(z.unknown()).default([]),
  links: z.array(z.object({ traceId: TraceId, spanId: SpanId, attributes: Attributes })).default([]),
  status: z.object({ code: z.int().optional(), message: z.string().optional() }).default({}),
});
const Request = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: Attributes }),
      scopeSpans: z.array(z.object({ scope: z.object({ name: z.string() }), spans: z.array(SpanSchema) })),
    }),
  ),
});

export type ReceivedSpan = z.infer<typeof SpanSchema> & {
  readonly scope: string;
  readonly resource: Readonly<Record<string, unknown>>;
};

export interface OtlpReceiver {
  readonly url: string;
  readonly spans: readonly ReceivedSpan[];
  readonly texts: readonly string[];
  /** What did not fit the protocol; a test expects none. */
  readonly faults: readonly string[];
  close(): Promise<void>;
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const texts: string[] = [];
  const faults: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      try {
        if (request.method !== 'POST' || request.url !== '/v1/traces') throw new Error(`${request.url}`);
        if (request.headers['content-type'] !== 'application/json') throw new Error('content type');
        const sent = Buffer.concat(chunks);
        const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent).toString(
          'utf8',
        );
        texts.push(text);
        for (const { resource, scopeSpans } of Request.parse(JSON.parse(text)).resourceSpans) {
          for (const { scope, spans: sentSpans } of scopeSpans) {
            for (const span of sentSpans) {
              spans.push({ ...span, scope: scope.name, resource: resource.attributes });
            }
          }
        }
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
      } catch (error) {
        faults.push(String(error));
        response.writeHead(400).end();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    texts,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
