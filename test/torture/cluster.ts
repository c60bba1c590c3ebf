/**
 * The PostgreSQL under test, seen from outside: whoever started it, it can be killed, and one of ours started again.
 *
 * On the embedded grade Interlock starts and watches it; on the others this does, as a system's supervisor would.
 */

import { join } from 'node:path';
import pg from 'pg';
import { ensureServer } from '../../src/database/embedded/cluster.ts';
import { prepareLayout } from '../../src/database/embedded/layout.ts';
import { listPostgres, type PostgresProcess, signalProcess } from '../../src/database/embedded/processes.ts';
import { connectionUrl } from '../../src/database/embedded/readiness.ts';
import type { Random } from '../simulation/random.ts';

export interface Cluster {
  /** Past every proxy. */
  readonly url: string;
  readonly socketPath: string;
  start(): Promise<void>;
  kill(what: 'postmaster' | 'backend' | 'everything', signal: NodeJS.Signals): Promise<void>;
  /** One short connection, for a look or a piece of sabotage. */
  query(sql: string, values?: readonly unknown[], database?: string): Promise<Record<string, unknown>[]>;
}

const START_TIMEOUT_MS = 60_000;

export async function openCluster(dataDir: string, random: Random): Promise<Cluster> {
  const layout = await prepareLayout(dataDir);
  const socketDirectory = join(layout.directory, 'run');
  const url = connectionUrl(socketDirectory);
  const processes = () => listPostgres(layout.cluster, layout.clusterName);

  const chosen = async (what: 'postmaster' | 'backend' | 'everything'): Promise<PostgresProcess[]> => {
    const all = await processes();
    if (what === 'everything') return all;
    const some = all.filter(({ isPostmaster }) => isPostmaster === (what === 'postmaster'));
    return what === 'postmaster' || some.length === 0 ? some : [random.pick(some)];
  };
  return {
    url,
    socketPath: join(socketDirectory, '.s.PGSQL.5432'),
    async start() {
      await prepareLayout(dataDir);
      await ensureServer(layout, {
        startTimeoutMs: START_TIMEOUT_MS,
        signal: new AbortController().signal,
      });
    },
    async kill(what, signal) {
      for (const one of await chosen(what)) await signalProcess(one, signal);
    },
    async query(sql, values = [], database) {
      const target = new URL(url);
      if (database !== undefined) target.pathname = `/${database}`;
      const client = new pg.Client({ connectionString: target.href, connectionTimeoutMillis: 5_000 });
      client.on('error', () => {});
      await client.connect();
      try {
        return (await client.query<Record<string, unknown>>(sql, [...values])).rows;
      } finally {
        await client.end().catch(() => {});
      }
    },
  };
}
