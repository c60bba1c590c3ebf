/**
 * A proxy between the queue and its real store, to make the faults a network makes: refused, silent, cut,
 * and, for PostgreSQL, a pooler's loss of notifications. Bytes pass unchanged otherwise.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface FaultProxy {
  readonly port: number;
  /** Connections are reset and new ones refused, as by a dead server. */
  cut(): Promise<void>;
  /** Connections stay open and nothing passes any more, as with dropped packets. */
  silence(): void;
  mend(): Promise<void>;
  /** Every piece of data comes so much later, either way; 0 ends it. */
  slow(delayMs: number): void;
  /** For PostgreSQL: LISTEN seems to work and nothing is ever heard, as behind a transaction-mode pooler. */
  loseNotifications(lose: boolean): void;
  /** Ends every open connection; new ones pass. */
  dropConnections(): void;
  close(): Promise<void>;
}

export type Upstream = ({ path: string } | { port: number; host: string }) & { speaks?: 'postgres' };

export async function startFaultProxy(upstream: Upstream): Promise<FaultProxy> {
  const open = new Set<Socket>();
  let silent = false;
  let delayMs = 0;
  let deaf = false;
  const handler = (client: Socket) => {
    const server = connect(upstream);
    for (const socket of [client, server]) {
      open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        open.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    const toClient =
      upstream.speaks === 'postgres' ? withoutNotifications(() => deaf) : (chunk: Buffer) => chunk;
    const onwards = later(() => delayMs);
    const back = later(() => delayMs);
    client.on('data', (chunk) => {
      if (!silent) onwards(() => server.write(chunk));
    });
    server.on('data', (chunk) => {
      if (silent) return;
      const passed = toClient(chunk);
      if (passed.length > 0) back(() => client.write(passed));
    });
  };
  const listen = async (port: number) => {
    const listener = createServer(handler);
    listener.listen(port, '127.0.0.1');
    await once(listener, 'listening');
    return listener;
  };
  let listener = await listen(0);
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const { port } = address;
  const dropConnections = () => {
    for (const socket of open) socket.destroy();
  };
  const shut = async () => {
    if (!listener.listening) return;
    const closed = once(listener, 'close');
    listener.close();
    dropConnections();
    await closed;
  };
  return {
    port,
    cut: shut,
    silence() {
      silent = true;
    },
    slow(ms) {
      delayMs = ms;
    },
    loseNotifications(lose) {
      deaf = lose;
    },
    async mend() {
      silent = false;
      delayMs = 0;
      deaf = false;
      if (!listener.listening) listener = await listen(port);
      else dropConnections();
    },
    dropConnections,
    close: shut,
  };
}

/** In order: whichever timer rings first, what came first goes first. */
function later(delayMs: () => number): (write: () => void) => void {
  const waiting: (() => void)[] = [];
  return (write) => {
    if (delayMs() === 0 && waiting.length === 0) return write();
    waiting.push(write);
    setTimeout(() => waiting.shift()?.(), delayMs());
  };
}

const NOTIFICATION_RESPONSE = 'A'.charCodeAt(0);

/** The server's half of the PostgreSQL protocol: one type byte, four bytes of length, the rest. */
function withoutNotifications(deaf: () => boolean): (chunk: Buffer) => Buffer {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const kept: Buffer[] = [];
    while (rest.length >= 5) {
      const end = 1 + rest.readUInt32BE(1);
      if (rest.length < end) break;
      if (!(deaf() && rest[0] === NOTIFICATION_RESPONSE)) kept.push(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
    return Buffer.concat(kept);
  };
}
