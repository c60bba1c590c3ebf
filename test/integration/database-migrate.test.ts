import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { migrate } from '../../src/database/migrate.ts';
import { migrations } from '../../src/database/migrations/index.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';

describe('a migrated database', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await startTestDatabase();
  });
  afterAll(async () => {
    await database.close();
  });

  const insertEvent = () =>
    database.pool.query(
      `INSERT INTO ledger_event VALUES (1, 'run/a', 1, 'e1', 'RunRegistered', 'operator', now(), '{}', '', 'h')`,
    );

  it('starts with an empty ledger', async () => {
    const head = await database.pool.query(
      'SELECT id, seq, hash, frontier, extract(epoch FROM recorded_at)::int AS recorded FROM ledger_head',
    );
    expect(head.rows).toEqual([{ id: 1, seq: '0', hash: '0'.repeat(64), frontier: [], recorded: 0 }]);
  });

  it('is left alone when migrated again, by several at once', async () => {
    const applied = () => database.pool.query('SELECT * FROM interlock_migration');
    const before = await applied();
    await Promise.all([migrate(database.pool), migrate(database.pool), migrate(database.pool)]);
    expect((await applied()).rows).toEqual(before.rows);
  });

  it('is refused by a build that does not know its newest migration', async () => {
    await expect(migrate(database.pool, [])).rejects.toMatchObject({ code: 'database.schema-newer' });
  });

  it('is refused by a build whose migrations read differently', async () => {
    const changed = migrations.map((migration) => ({ ...migration, sql: `${migration.sql} ` }));
    await expect(migrate(database.pool, changed)).rejects.toMatchObject({
      code: 'database.migration-changed',
    });
  });

  it('is refused by a build that puts a migration before one that was applied', async () => {
    const early = [{ id: '0000-early', sql: 'CREATE TABLE early ()' }, ...migrations];
    await expect(migrate(database.pool, early)).rejects.toMatchObject({
      code: 'database.migration-out-of-order',
    });
  });

  it('takes all of an upgrade or nothing of it', async () => {
    const next = {
      id: '9998-next',
      sql: 'CREATE TABLE next_table (); INSERT INTO next_table DEFAULT VALUES',
    };
    const broken = { id: '9999-broken', sql: 'CREATE TABLE ledger_event ()' };
    await expect(migrate(database.pool, [...migrations, next, broken])).rejects.toThrow('already exists');
    const table = await database.pool.query(`SELECT to_regclass('next_table') AS name`);
    expect(table.rows).toEqual([{ name: null }]);
    await migrate(database.pool);
  });

  it('refuses to change or lose an event, even as a replication session', async () => {
    await insertEvent();
    for (const sql of [
      `UPDATE ledger_event SET actor = 'mallory'`,
      'UPDATE ledger_event SET actor = actor WHERE false',
      'DELETE FROM ledger_event',
      'TRUNCATE ledger_event',
      `INSERT INTO ledger_event SELECT * FROM ledger_event ON CONFLICT (seq) DO UPDATE SET actor = 'mallory'`,
      `SET LOCAL session_replication_role = replica; DELETE FROM ledger_event`,
    ]) {
      await expect(database.pool.query(sql), sql).rejects.toThrow('append-only');
    }
    const events = await database.pool.query('SELECT actor FROM ledger_event');
    expect(events.rows).toEqual([{ actor: 'operator' }]);
  });
});
