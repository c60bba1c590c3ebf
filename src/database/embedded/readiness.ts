/** When a server may be talked to, and how. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { hasCode } from './faults.ts';
import { type Layout, socketPort } from './layout.ts';
import { readPidFile } from './pid-file.ts';
import { startOf } from './processes.ts';

export interface Listening {
  readonly pid: number;
  readonly startedAt: string;
  readonly socketDirectory: string;
}

export interface Deadlines {
  /** Includes crash recovery, which replays up to max_wal_size. */
  readonly startTimeoutMs: number;
  readonly signal: AbortSignal;
}

const pollMs = 25;

export function connectionUrl(socketDirectory: string): string {
  // sslmode in words: a PGSSLMODE in somebody's environment must not reach the socket.
  const query = `host=${encodeURIComponent(socketDirectory)}&port=${socketPort}&sslmode=disable`;
  return `postgresql://interlock@localhost:${socketPort}/postgres?${query}`;
}

/** `unreachable`: it runs, but its socket was cleaned away, and PostgreSQL never makes a new one. */
export type Readiness = 'ready' | 'gone' | 'unreachable' | 'timeout';

export async function ready(
  layout: Layout,
  server: Listening,
  { startTimeoutMs, signal }: Deadlines,
): Promise<Readiness> {
  const deadlineMs = performance.now() + startTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    if ((await startOf(server.pid)) !== server.startedAt) return 'gone';
    const says = await readPidFile(layout);
    // Not asked before it says so: every refused connection is a line in its log.
    if (says?.pid === server.pid && says.status === 'ready') {
      const answer = await knock(server.socketDirectory);
      if (answer !== 'not-yet') return answer;
    }
    if (performance.now() > deadlineMs) return 'timeout';
    await delay(pollMs);
  }
}

async function knock(socketDirectory: string): Promise<'ready' | 'not-yet' | 'unreachable'> {
  const client = new pg.Client({
    connectionString: connectionUrl(socketDirectory),
    connectionTimeoutMillis: 5_000,
    query_timeout: 5_000,
  });
  // An error after the connection is up comes as an event, and one that nobody hears ends the process.
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('SELECT 1');
    return 'ready';
  } catch (error) {
    // "Too many clients" is the answer of a server that is up.
    if (hasCode(error, '53300')) return 'ready';
    return hasCode(error, 'ENOENT') ? 'unreachable' : 'not-yet';
  } finally {
    await client.end().catch(() => {});
  }
}
