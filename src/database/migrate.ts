/**
 * Brings a database to this build's schema.
 *
 * Everything missing is applied in ONE transaction behind an advisory lock of that transaction: several processes
 * may start at once, a crash in the middle leaves nothing half done, and it works through a transaction pooler.
 * The tables live in the connection's current schema (`public`, or a schema named after the role, or what
 * `ALTER ROLE ... SET search_path` says); names in this code base are never schema-qualified.
 *
 * Fails closed: a database that a newer Interlock has migrated, or whose applied migrations are not the ones this
 * build carries, is refused rather than written to.
 */
import { createHash } from 'node:crypto';
import type pg from 'pg';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import { migrations as builtIn, type Migration } from './migrations/index.ts';

/** Any constant will do, as long as no other software takes it in the same database: "interlck" in ASCII. */
const advisoryLockKey = '7597137600480830315';
const migrateTimeoutMs = 10 * 60_000;

const appliedRows = z.array(z.object({ id: z.string(), checksum: z.string() }));

export async function migrate(pool: pg.Pool, migrations: readonly Migration[] = builtIn): Promise<void> {
  const client = await pool.connect();
  let failed = true;
  try {
    await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
    // The pool's short timeouts protect requests; waiting for another process's migration may take longer.
    await client.query(`SET LOCAL lock_timeout = ${migrateTimeoutMs}`);
    await client.query(`SET LOCAL statement_timeout = ${migrateTimeoutMs}`);
    await query(client, 'SELECT pg_advisory_xact_lock($1::bigint)', [advisoryLockKey]);
    const applied = await readApplied(client);
    for (const migration of missing(applied, migrations)) {
      await query(client, migration.sql);
      await query(client, 'INSERT INTO interlock_migration (id, checksum) VALUES ($1, $2)', [
        migration.id,
        checksum(migration),
      ]);
    }
    await client.query('COMMIT');
    failed = false;
  } finally {
    // A client in an unknown state is thrown away; closing its session rolls the transaction back.
    client.release(failed);
  }
}

async function readApplied(client: pg.PoolClient): Promise<{ id: string; checksum: string }[]> {
  // Not CREATE IF NOT EXISTS alone: that wants the CREATE privilege even where there is nothing to create.
  const existing = await query(client, `SELECT to_regclass('interlock_migration') IS NOT NULL AS present`);
  if (!z.array(z.object({ present: z.boolean() })).parse(existing.rows)[0]?.present) {
    await query(
      client,
      `CREATE TABLE interlock_migration (
         id text COLLATE "C" PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
    );
    return [];
  }
  const result = await query(client, 'SELECT id, checksum FROM interlock_migration ORDER BY id');
  return appliedRows.parse(result.rows);
}

function missing(
  applied: readonly { id: string; checksum: string }[],
  migrations: readonly Migration[],
): readonly Migration[] {
  const known = new Map(migrations.map((migration) => [migration.id, checksum(migration)]));
  for (const row of applied) {
    const expected = known.get(row.id);
    if (expected === undefined) {
      throw new InterlockError(
        `the database has migration ${row.id}, which this version of Interlock does not know: run the newer version`,
        { code: 'database.schema-newer' },
      );
    }
    if (expected !== row.checksum) {
      throw new InterlockError(`migration ${row.id} in the database differs from the one in this build`, {
        code: 'database.migration-changed',
      });
    }
  }
  const done = new Set(applied.map((row) => row.id));
  const pending = migrations.filter((migration) => !done.has(migration.id));
  const last = applied.at(-1)?.id;
  const early = pending.find((migration) => last !== undefined && migration.id < last);
  if (early !== undefined) {
    throw new InterlockError(`migration ${early.id} is missing although ${last} was applied`, {
      code: 'database.migration-out-of-order',
    });
  }
  return pending;
}

function checksum(migration: Migration): string {
  return createHash('sha256').update(`${migration.id}\n${migration.sql}`).digest('hex');
}

/** The driver reads it from each query; its type declaration knows it for whole connections only. */
interface TimedQuery extends pg.QueryConfig {
  query_timeout: number;
}

async function query(client: pg.PoolClient, text: string, values: string[] = []): Promise<pg.QueryResult> {
  // The client's own deadline, set by the pool for requests, is too short for a migration. Without values the
  // simple protocol is used, which alone takes several statements at once.
  const config: TimedQuery = { text, query_timeout: migrateTimeoutMs };
  if (values.length > 0) config.values = values;
  return client.query(config);
}
