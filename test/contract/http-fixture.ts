/** A real evaluation service on a free port of the loopback. */
import http from 'node:http';
import net from 'node:net';
import { HttpExecutorSchema } from '../../src/domain/executor.ts';
import { createHttpEvaluator, type HttpDeps } from '../../src/evaluators/http.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { generateWebhookSecret, WebhookSecret } from '../../src/signing/standard-webhooks.ts';

export interface Received {
  rawHeaders: string[];
  body: Buffer;
  url: string;
}

export interface HttpFixture {
  url: string;
  received: Received[];
  secret: WebhookSecret;
  deps: HttpDeps;
  evaluator(more?: object): ReturnType<typeof createHttpEvaluator>;
  close(): Promise<void>;
}

export const AT = new Date('2026-11-01T12:00:00.000Z');

export async function httpFixture(
  answer: (response: http.ServerResponse, received: Received) => void,
): Promise<HttpFixture> {
  const received: Received[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const one = { rawHeaders: request.rawHeaders, body: Buffer.concat(chunks), url: request.url ?? '' };
      received.push(one);
      answer(response, one);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${portOf(server)}/run`;
  const secret = WebhookSecret.parse(generateWebhookSecret());
  const outbound = createOutbound({ allow: ['loopback'] });
  const deps: HttpDeps = {
    outbound,
    secrets: (reference) => (reference === 'env:EVAL_SECRET' ? [secret] : []),
    now: () => AT,
  };
  return {
    url,
    received,
    secret,
    deps,
    evaluator: (more = {}) =>
      createHttpEvaluator(
        HttpExecutorSchema.parse({
          kind: 'http',
          url,
          mode: 'sync',
          secret: 'env:EVAL_SECRET',
          timeout: '30s',
          ...more,
        }),
        deps,
      ),
    async close() {
      await outbound.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A port that was free a moment ago, so that nobody listens there. */
export async function vacantUrl(): Promise<string> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}/`;
}

function portOf(server: net.Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening on a port');
  return address.port;
}
