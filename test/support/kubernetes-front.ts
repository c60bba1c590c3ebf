/**
 * Stands between Interlock and an API server, this repository's or a real one: counts what is asked of it, passes it on
 * as it is, and answers itself where a test says so, as a broken, slow or lying server would. Whoever plays the cluster's
 * owner goes past it.
 */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, createServer, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Reply } from './kubernetes-server.ts';
import { selfSigned } from './self-signed.ts';

export interface Passing {
  readonly method: string;
  readonly path: string;
}

export interface KubernetesFront {
  readonly url: string;
  readonly ca: string;
  /** `METHOD path`, in order. */
  readonly asked: string[];
  /** In place of the server; undefined lets it answer. A promise that never settles hangs. */
  intercept: (passing: Passing) => Reply | undefined | Promise<Reply>;
  close(): Promise<void>;
}

export async function startKubernetesFront(server: { url: string; ca: string }): Promise<KubernetesFront> {
  const { key, cert } = selfSigned({ notAfter: new Date(Date.now() + 3_600_000) });
  const agent = new Agent({ keepAlive: true, ca: server.ca });
  const listener = createServer({ key, cert }, (incoming, response) => {
    answer(incoming)
      .then(({ status, body, text, headers }) => {
        response.writeHead(status, { 'content-type': 'application/json', ...headers });
        response.end(text ?? JSON.stringify(body ?? {}));
      })
      .catch(() => response.destroy());
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;

  const self: KubernetesFront = {
    url: `https://127.0.0.1:${port}`,
    ca: cert,
    asked: [],
    intercept: () => undefined,
    async close() {
      agent.destroy();
      listener.closeAllConnections();
      await new Promise((resolve) => listener.close(resolve));
    },
  };

  async function answer(incoming: IncomingMessage): Promise<Reply> {
    const { method = 'GET', url = '/' } = incoming;
    const path = new URL(url, 'https://front').pathname;
    self.asked.push(`${method} ${path}`);
    const body = await textOf(incoming);
    return (await self.intercept({ method, path })) ?? pass(incoming, body);
  }

  async function pass({ method, url, headers }: IncomingMessage, body: string): Promise<Reply> {
    const { authorization, accept, 'content-type': type } = headers;
    const passed = Object.entries({ authorization, accept, 'content-type': type }).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value]],
    );
    const sent = request(`${server.url}${url ?? '/'}`, {
      agent,
      ...(method === undefined ? {} : { method }),
      headers: Object.fromEntries(passed),
    });
    sent.end(body);
    const [answered]: IncomingMessage[] = await once(sent, 'response');
    if (answered === undefined) throw new Error('no answer');
    const text = await textOf(answered);
    const contentType = answered.headers['content-type'] ?? 'application/json';
    return { status: answered.statusCode ?? 502, text, headers: { 'content-type': contentType } };
  }

  return self;
}

async function textOf(stream: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
