/**
 * Listens for the halt webhook, so that a halt need not wait for the next heartbeat.
 *
 * A request counts only if its Standard Webhooks signature fits the raw body, and then only the signed
 * order inside is obeyed: the envelope's own words ("runId", "action") are not. It answers 200 after the
 * halt is on disk, so that a sender that was answered need not send again. A `halt.drill`, signed the same, is
 * answered 200 and changes nothing: it proves the way of a halt up to here.
 *
 * Listens on loopback unless told otherwise. Losing this listener loses speed, not safety: heartbeats
 * bring the same order.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { PermitGuard } from './guard.ts';
import { isRecord } from './tokens.ts';
import { verifyWebhook, WebhookSecret } from './webhook.ts';

export interface HaltReceiverOptions {
  guard: Pick<PermitGuard, 'receiveOrder'>;
  /** `whsec_...`; several while a secret is being rotated. */
  secrets: readonly string[];
  port: number;
  host?: string;
  now?: () => Date;
}

export interface HaltReceiver {
  readonly port: number;
  readonly url: string;
  close(): Promise<void>;
}

const bodyLengthMax = 65_536;

export async function listenForHalts(options: HaltReceiverOptions): Promise<HaltReceiver> {
  const { guard, port, host = '127.0.0.1', now = () => new Date() } = options;
  const secrets = options.secrets.map((text) => new WebhookSecret(text));
  if (secrets.length === 0) throw new TypeError('a halt receiver needs at least one webhook secret');

  const answer = async (request: IncomingMessage): Promise<number> => {
    if (request.method !== 'POST') return 405;
    const body = await readBody(request);
    if (body === null) return 413;
    if (!verifyWebhook(secrets, request.rawHeaders, body, now())) return 401;
    const message = messageIn(body);
    if (message?.['type'] === 'halt.drill') return 200;
    const order = message === null ? null : orderIn(message);
    if (order === null) return 400;
    const outcome = await guard.receiveOrder(order, 'webhook');
    // In force, but a restart would forget it: not answered, so that it is sent again.
    if (outcome === 'not-saved') return 503;
    return outcome === 'refused' ? 422 : 200;
  };

  const server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
    answer(request).then(
      (status) => reply(response, status),
      () => reply(response, 500), // the request broke off; the sender tries again
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const bound = boundPort(server.address());
  return {
    port: bound,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}/halt`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function boundPort(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new TypeError('not listening on a port');
  return address.port;
}

function reply(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(status === 200 ? '{"received":true}' : '{"received":false}');
}

async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > bodyLengthMax) return null;
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

function messageIn(body: Buffer): Record<string, unknown> | null {
  try {
    const message: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
    return isRecord(message) ? message : null;
  } catch {
    return null;
  }
}

function orderIn(message: Record<string, unknown>): string | null {
  if (message['type'] !== 'halt.ordered' || !isRecord(message['data'])) return null;
  const { order } = message['data'];
  return typeof order === 'string' ? order : null;
}
