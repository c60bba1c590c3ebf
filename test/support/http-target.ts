/**
 * A real HTTP server on a free loopback port that behaves as it is told, and keeps what it received.
 * Whatever a remote system can do to us is one of its behaviours.
 */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

export type Behaviour =
  | { kind: 'status'; status: number; body?: string; headers?: Record<string, string> }
  /** Takes the request and never answers. */
  | { kind: 'hang' }
  /** Answers with headers and then one byte at a time, for ever. */
  | { kind: 'drip' }
  /** Breaks the connection once the request is there. */
  | { kind: 'reset' }
  /** Declares or streams more than anyone asked for. */
  | { kind: 'oversized'; bytes: number };

export interface Received {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  rawHeaders: string[];
  body: Buffer;
}

export interface HttpTarget {
  url: string;
  port: number;
  received: Received[];
  behave(behaviour: Behaviour): void;
  /** Resolves when the nth request (from 1) has been read to its end. */
  nthRequest(n: number): Promise<Received>;
  openConnections(): number;
  close(): Promise<void>;
}

export async function startHttpTarget(tls?: { key: string; cert: string }): Promise<HttpTarget> {
  let behaviour: Behaviour = { kind: 'status', status: 200 };
  const received: Received[] = [];
  const waiting: { n: number; resolve: (request: Received) => void }[] = [];
  const sockets = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('error', () => undefined); // the client gave up, which is one of the things tested
    request.on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = request;
      const entry = { method, url, headers, rawHeaders, body: Buffer.concat(chunks) };
      received.push(entry);
      for (const waiter of waiting) if (waiter.n === received.length) waiter.resolve(entry);
      answer(response);
    });
  }

  function answer(response: ServerResponse): void {
    switch (behaviour.kind) {
      case 'status':
        response.writeHead(behaviour.status, behaviour.headers).end(behaviour.body ?? '');
        return;
      case 'hang':
        return;
      case 'drip': {
        response.writeHead(200);
        const timer = setInterval(() => response.write('.'), 20);
        timers.add(timer);
        response.on('close', () => clearInterval(timer));
        return;
      }
      case 'reset':
        response.socket?.resetAndDestroy();
        return;
      case 'oversized':
        response.writeHead(200).end('x'.repeat(behaviour.bytes));
    }
  }

  const server: Server = tls === undefined ? createServer(onRequest) : createTlsServer(tls, onRequest);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;

  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    received,
    behave(next) {
      behaviour = next;
    },
    nthRequest(n) {
      const already = received[n - 1];
      if (already !== undefined) return Promise.resolve(already);
      return new Promise((resolve) => waiting.push({ n, resolve }));
    },
    openConnections: () => sockets.size,
    close() {
      for (const timer of timers) clearInterval(timer);
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
  };
}
