/** What the ledger's suites share: plain appends, and a wire to PostgreSQL that breaks where it is told to. */
import { once } from 'node:events';
import { connect, createServer, type NetConnectOpts, type Socket } from 'node:net';
import pg from 'pg';
import type { Append, LedgerLogger } from '../../src/ledger/ledger.ts';

export const appendTo = (stream: string, expectedVersion = 0, change: Partial<Append> = {}): Append => ({
  stream,
  expectedVersion,
  events: [{ kind: 'CheckpointReported', data: { n: expectedVersion + 1 } }],
  actor: 'trainer',
  snapshot: { state: { sum: expectedVersion + 1 }, dueAt: null },
  views: [],
  ...change,
});

export function recordingLogger(): LedgerLogger & { messages: string[] } {
  const messages: string[] = [];
  const note = (_fields: object, message: string): void => void messages.push(message);
  return { messages, warn: note, error: note };
}

export type AtCommit =
  | 'pass'
  /** The commit never arrives. */
  | 'lose-request'
  /** The commit is done and its answer is lost. */
  | 'lose-answer'
  /** The commit arrives and the client is cut off at once, while the server is still at work. */
  | 'cut-while-committing'
  /** The commit is done, and the connection goes silent without a word. */
  | 'silence';

export interface CommitProxy {
  pool: pg.Pool;
  /** What happens to the next COMMIT; the ones after it pass. */
  nextCommit(fault: AtCommit): void;
  /** As a server that is gone: open connections are cut, new ones too. */
  refuse(refused: boolean): void;
  commits(): number;
  close(): Promise<void>;
}

const COMMIT = Buffer.from('COMMIT\0');

export async function startCommitProxy(url: string): Promise<CommitProxy> {
  const target = new pg.Client({ connectionString: url });
  const upstream: NetConnectOpts = target.host.startsWith('/')
    ? { path: `${target.host}/.s.PGSQL.${target.port}` }
    : { host: target.host, port: target.port };
  const sockets = new Set<Socket>();
  let fault: AtCommit = 'pass';
  let refused = false;
  let commits = 0;

  const listener = createServer((client) => {
    if (refused) {
      client.destroy();
      return;
    }
    const server = connect(upstream);
    let deaf = false;
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => sockets.delete(socket));
    }
    client.on('close', () => server.destroy());
    server.on('close', () => {
      if (fault !== 'silence') client.destroy();
    });
    client.on('data', (chunk) => {
      if (!chunk.includes(COMMIT)) {
        server.write(chunk);
        return;
      }
      commits += 1;
      const now = fault;
      fault = 'pass';
      if (now === 'lose-request') {
        client.destroy();
        return;
      }
      server.write(chunk);
      if (now === 'cut-while-committing') client.destroySoon();
      if (now === 'lose-answer') server.once('data', () => client.destroy());
      deaf = now === 'lose-answer' || now === 'silence';
    });
    server.on('data', (chunk) => {
      if (!deaf && !client.destroyed) client.write(chunk);
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('no port');

  const pool = new pg.Pool({
    host: '127.0.0.1',
    port: address.port,
    user: target.user ?? '',
    password: target.password ?? '',
    database: target.database ?? '',
    max: 4,
  });
  pool.on('error', () => undefined);
  return {
    pool,
    nextCommit: (next) => {
      fault = next;
    },
    refuse: (now) => {
      refused = now;
      if (now) for (const socket of sockets) socket.destroy();
    },
    commits: () => commits,
    async close() {
      await pool.end();
      for (const socket of sockets) socket.destroy();
      listener.close();
      await once(listener, 'close');
    },
  };
}
