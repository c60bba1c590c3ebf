/**
 * Is group commit worth it? Three ways to put durable events into the same PostgreSQL, one after the other in one
 * run, because only the ratios mean anything: other machines and other neighbours change all three alike.
 *
 * - group commit: the ledger as it runs, many appends in flight
 * - one by one: the same ledger with a batch of one, as many in flight
 * - bare insert: the same bytes into a plain table, a transaction per row, as many connections as the ledger's pool
 *
 *   npx tsx bench/ledger-append.ts [appends] [in flight]
 *
 * Uses DATABASE_URL (a database it may create a schema in), else an embedded PostgreSQL in a temporary directory.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../src/database/migrate.ts';
import { openDatabase } from '../src/database/open-database.ts';
import { createLedger, DEFAULT_LIMITS } from '../src/ledger/ledger.ts';

const appends = Number(process.argv[2] ?? 4_000);
const inFlight = Number(process.argv[3] ?? 200);
const POOL = 10;
const DATA = {
  checkpointId: 'step-001000',
  effectiveCompute: '2.5e25',
  modelUri: 'file:///models/step-001000',
};
const STATE = { open: [DATA, DATA], verdict: 'proceed' };

const dataDir = await mkdtemp(join(tmpdir(), 'interlock-bench-'));
const silent = { info: () => {}, warn: () => {}, error: () => {} };
const database = await openDatabase({ dataDir, databaseUrl: process.env['DATABASE_URL'], logger: silent });
const schema = `bench_${process.pid}`;
await database.pool.query(`CREATE SCHEMA ${schema}`);
const pool = new pg.Pool({
  connectionString: database.url,
  max: POOL,
  options: `-c search_path=${schema}`,
});

/** Runs `work` for each of the appends, `inFlight` at a time; appends per second. */
async function rate(work: (index: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < appends; index = next++) await work(index);
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: inFlight }, lane));
  return appends / ((performance.now() - started) / 1_000);
}

async function appendRate(name: string, batchMax: number): Promise<number> {
  const ledger = createLedger({ pool, limits: { ...DEFAULT_LIMITS, batchMax, queueTimeoutMs: 60_000 } });
  const perSecond = await rate(async (index) => {
    const result = await ledger.append({
      stream: `${name}:${index}`,
      expectedVersion: 0,
      events: [{ kind: 'CheckpointReported', data: DATA }],
      actor: 'trainer',
      snapshot: { state: STATE, dueAt: new Date(0) },
      views: [],
    });
    if (result.outcome !== 'appended') throw new Error(result.outcome);
  });
  await ledger.close();
  return perSecond;
}

try {
  await migrate(pool);
  await pool.query('CREATE TABLE bare (id text PRIMARY KEY, envelope text NOT NULL)');
  const envelope = JSON.stringify({
    ...DATA,
    hash: 'a'.repeat(64),
    prevHash: 'b'.repeat(64),
    stream: 'bare:1',
  });
  await appendRate('warm-up', DEFAULT_LIMITS.batchMax);
  const bare = await rate((index) => pool.query('INSERT INTO bare VALUES ($1, $2)', [index, envelope]));
  const rows = [
    ['bare insert per transaction', bare],
    ['ledger, one append per transaction', await appendRate('single', 1)],
    ['ledger, group commit', await appendRate('group', DEFAULT_LIMITS.batchMax)],
  ] as const;
  console.log(`${appends} durable appends, ${inFlight} in flight, ${POOL} connections`);
  for (const [what, perSecond] of rows) {
    const ratio = (perSecond / bare).toFixed(2);
    console.log(`${what.padEnd(36)} ${perSecond.toFixed(0).padStart(8)}/s ${ratio.padStart(7)}x`);
  }
} finally {
  await database.pool.query(`DROP SCHEMA ${schema} CASCADE`);
  await pool.end();
  await database.close();
  await rm(dataDir, { recursive: true, force: true });
}
