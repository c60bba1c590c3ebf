/**
 * An evaluation service as somebody else would run it: takes signed requests, refuses unsigned ones, answers as
 * its test says, and calls back. And a receiver of halts that checks what it is sent as a trainer must.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { verifyWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { type Listening, listening } from './listening.ts';

export interface Delivery {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly verified: boolean;
  readonly atMs: number;
}

export interface Reply {
  status: number;
  body?: unknown;
}

export interface Receiver extends Listening {
  readonly received: Delivery[];
  /** Those at a path, oldest first. */
  at(path: string): Delivery[];
}

/** `answer` may take its time: an evaluation that is still running is a promise that is still open. */
export async function startReceiver(
  secret: () => string,
  answer: (delivery: Delivery) => Reply | Promise<Reply> = () => ({ status: 200, body: {} }),
): Promise<Receiver> {
  const received: Delivery[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('error', () => undefined);
    request.on('end', () => void take(request, response, Buffer.concat(chunks)));
  });

  async function take(request: IncomingMessage, response: ServerResponse, body: Buffer): Promise<void> {
    const { verified } = {
      verified: verifyWebhook({
        rawHeaders: request.rawHeaders,
        body,
        secrets: [WebhookSecret.parse(secret())],
        now: new Date(),
      }).ok,
    };
    const { url: path = '', headers } = request;
    const delivery = { path, headers, body: body.toString('utf8'), verified, atMs: performance.now() };
    received.push(delivery);
    const reply = verified ? await answer(delivery) : { status: 401 };
    if (response.destroyed) return;
    response.writeHead(reply.status, { 'content-type': 'application/json' });
    response.end(reply.body === undefined ? '' : JSON.stringify(reply.body));
  }

  return {
    ...(await listening(server)),
    received,
    at: (path) => received.filter((each) => each.path === path),
  };
}
