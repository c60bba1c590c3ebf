/** When a server may be talked to, and how. */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { hasCode } from './faults.ts';
import { type Layout, socketFile, socketPort } from './layout.ts';
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

export type Readiness = 'ready' | 'gone' | 'unreachable' | 'timeout';

export async function ready(
  layout: Layout,
  server: Listening,
  { startTimeoutMs, signal }: Deadlines,
): Promise<Readiness> {
  const deadlineMs = performance.now() + startTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const answer = await knock(server.socketDirectory);
    if ((await startOf(server.pid)) !== server.startedAt) return 'gone';
    if (answer === 'ready') return 'ready';
    if (answer === 'no-socket' && (await hasLostItsSocket(layout, server))) return 'unreachable';
    if (performance.now() > deadlineMs) return 'timeout';
    await delay(pollMs);
  }
}

async function knock(socketDirectory: string): Promise<'ready' | 'not-yet' | 'no-socket'> {
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
    return hasCode(error, 'ENOENT') ? 'no-socket' : 'not-yet';
  } finally {
    await client.end().catch(() => {});
  }
}

/** The socket's directory was cleaned away under a server that had announced itself: it never makes a new one. */
async function hasLostItsSocket(layout: Layout, server: Listening): Promise<boolean> {
  const pidFile = await readFile(join(layout.cluster, 'postmaster.pid'), 'utf8').catch(() => '');
  if (pidFile.split('\n')[7]?.trim() !== 'ready') return false;
  return access(join(server.socketDirectory, socketFile)).then(
    () => false,
    () => true,
  );
}
