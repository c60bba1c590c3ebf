/**
 * A migrated database for a test suite, on the embedded PostgreSQL or on the server of INTERLOCK_TEST_DATABASE_URL.
 *
 * One cluster serves the whole vitest worker and stops with its last database; every call gets its own database,
 * copied from a migrated template. As root and as an ordinary user, with nothing else installed. Suites that kill or
 * restart PostgreSQL must open their own data directory with `openDatabase`.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../../src/database/migrate.ts';
import { type DatabaseHandle, openDatabase } from '../../src/database/open-database.ts';
import { createPool } from '../../src/database/pool.ts';

export interface TestDatabase {
  readonly url: string;
  /** The cluster's data directory; a directory of its own where a server is used instead. */
  readonly dataDir: string;
  readonly pool: pg.Pool;
  close(): Promise<void>;
}

interface Cluster {
  readonly handle: DatabaseHandle;
  readonly dataDir: string;
  readonly template: string;
}

interface Shared {
  readonly opening: Promise<Cluster>;
  users: number;
}

export const silentLogger = { info: () => {}, warn: () => {}, error: () => {} };

let current: Shared | null = null;

export async function startTestDatabase(): Promise<TestDatabase> {
  current ??= { opening: startCluster(), users: 0 };
  const shared = current;
  shared.users += 1;
  const cluster = await shared.opening;
  const name = `test_${randomBytes(6).toString('hex')}`;
  await cluster.handle.pool.query(`CREATE DATABASE ${name} TEMPLATE ${cluster.template}`);
  const url = withDatabase(cluster.handle.url, name);
  const pool = createPool({
    url,
    max: 10,
    logger: silentLogger,
    withServerTimeouts: true,
    onConnectionLost: () => {},
  });
  let closing: Promise<void> | undefined;
  const close = async () => {
    await pool.end();
    await cluster.handle.pool.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    shared.users -= 1;
    if (shared.users > 0) return;
    if (current === shared) current = null;
    await stopCluster(cluster);
  };
  return {
    url,
    dataDir: cluster.dataDir,
    pool,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

async function stopCluster(cluster: Cluster): Promise<void> {
  await cluster.handle.pool.query(`DROP DATABASE IF EXISTS ${cluster.template} WITH (FORCE)`);
  await cluster.handle.close();
  await rm(cluster.dataDir, { recursive: true, force: true });
}

async function startCluster(): Promise<Cluster> {
  const dataDir = await mkdtemp(join(tmpdir(), 'interlock-test-'));
  const handle = await openDatabase({
    dataDir,
    databaseUrl: process.env['INTERLOCK_TEST_DATABASE_URL'],
    logger: silentLogger,
    poolMax: 4,
  });
  const template = `template_${randomBytes(6).toString('hex')}`;
  await handle.pool.query(`CREATE DATABASE ${template}`);
  const pool = new pg.Pool({ connectionString: withDatabase(handle.url, template), max: 1 });
  await migrate(pool);
  await pool.end();
  endWithProcess(dataDir);
  return { handle, dataDir, template };
}

/** A suite that failed to close must not leave a server on the machine. */
function endWithProcess(dataDir: string): void {
  process.once('exit', () => {
    try {
      const text = readFileSync(join(dataDir, 'postgres', 'cluster', 'postmaster.pid'), 'utf8');
      process.kill(Number.parseInt(text, 10), 'SIGQUIT');
    } catch {
      // Closed as it should be.
    }
  });
}

function withDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}
