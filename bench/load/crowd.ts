/**
 * Clients that nobody wants, in a process of their own: sockets that say nothing, and clients that are slow at every
 * place where one can be. Reads one order per line, answers with one line of what became of them.
 *
 * Each order opens its sockets, keeps them for `holdMs` whatever the server does, then counts those that the server
 * has closed, and closes the rest. Source addresses are spread over 127.0.0.0/8, so that ports do not run out.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

export const OrderSchema = z.strictObject({
  kind: z.enum(['idle', 'slow-headers', 'slow-body', 'slow-stream-reader', 'slow-list-reader']),
  port: z.int(),
  count: z.int(),
  holdMs: z.int(),
  token: z.string(),
});
export type Order = z.infer<typeof OrderSchema>;

export const FateSchema = z.object({ opened: z.number(), closedByServer: z.number() });
export type Fate = z.infer<typeof FateSchema>;

const AT_ONCE = 200;
const PER_ADDRESS = 5_000;
const DRIP_MS = 2_000;

async function carryOut({ kind, port, count, holdMs, token }: Order): Promise<Fate> {
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i += AT_ONCE) {
    const batch = Array.from({ length: Math.min(AT_ONCE, count - i) }, (_, k) => open(port, i + k));
    for (const socket of await Promise.all(batch)) if (socket !== null) sockets.push(socket);
  }
  const drips = sockets.map((socket) => behave(socket, kind, token));
  await delay(holdMs);
  const closedByServer = sockets.filter(({ closed, destroyed }) => closed || destroyed).length;
  for (const drip of drips) clearInterval(drip);
  for (const socket of sockets) socket.destroy();
  return { opened: sockets.length, closedByServer };
}

function open(port: number, index: number): Promise<Socket | null> {
  return new Promise((resolve) => {
    const localAddress = `127.0.1.${1 + Math.floor(index / PER_ADDRESS)}`;
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    socket.once('connect', () => resolve(socket));
    socket.on('error', () => {
      socket.destroy();
      resolve(null);
    });
  });
}

/** The timer of what is said bit by bit, if there is one. */
function behave(socket: Socket, kind: Order['kind'], token: string): NodeJS.Timeout | undefined {
  const head = `host: x\r\nauthorization: Bearer ${token}\r\n`;
  const drip = (text: string): NodeJS.Timeout =>
    setInterval(() => {
      if (!socket.destroyed) socket.write(text);
    }, DRIP_MS);
  switch (kind) {
    case 'idle':
      // Reads, or it would not notice that it was closed.
      socket.resume();
      return undefined;
    case 'slow-headers':
      socket.resume();
      socket.write('GET /v1/runs HTTP/1.1\r\n');
      return drip('x-slow: 1\r\n');
    case 'slow-body':
      socket.resume();
      socket.write(
        `POST /v1/checkpoints HTTP/1.1\r\n${head}content-type: application/json\r\ncontent-length: 400\r\n\r\n{`,
      );
      return drip(' ');
    case 'slow-stream-reader':
      socket.write(`GET /v1/stream HTTP/1.1\r\n${head}\r\n`);
      socket.pause();
      return undefined;
    case 'slow-list-reader':
      socket.write(`${`GET /v1/runs?limit=200 HTTP/1.1\r\n${head}\r\n`.repeat(8)}`);
      socket.pause();
      return undefined;
  }
}

if (process.argv[2] === '--take-orders') {
  for await (const line of createInterface({ input: process.stdin })) {
    const fate = await carryOut(OrderSchema.parse(JSON.parse(line)));
    process.stdout.write(`${JSON.stringify(fate)}\n`);
  }
}
