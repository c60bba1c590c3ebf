/**
 * A write that fails, and a write that fails but lands: the ledger finds out which before it answers.
 *
 * The wire is cut by a proxy at the COMMIT; the server is held inside its COMMIT by a deferred trigger that waits
 * for a lock of ours, and killed there.
 */
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLedger, type Ledger, type LedgerLimits } from '../../src/ledger/ledger.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { appendTo, type CommitProxy, recordingLogger, startCommitProxy } from './ledger-support.ts';

const LIMITS: Partial<LedgerLimits> = {
  statementTimeoutMs: 1_500,
  settleTimeoutMs: 6_000,
  queueTimeoutMs: 1_500,
  retryTimeoutMs: 1_000,
};
/** Any number: the lock that holds a COMMIT back. */
const HOLD = 7_001;

describe('a ledger whose database fails in the middle of a commit', () => {
  let database: TestDatabase;
  let proxy: CommitProxy;
  let ledger: Ledger;
  let count = 0;
  let stream: string;

  beforeAll(async () => {
    database = await startTestDatabase();
    proxy = await startCommitProxy(database.url);
    ledger = createLedger({ pool: proxy.pool, limits: LIMITS });
    await database.pool.query(`
      CREATE FUNCTION hold_commit() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_advisory_xact_lock_shared(${HOLD}); RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON ledger_event
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_commit()`);
  });
  beforeEach(() => {
    count += 1;
    stream = `run:${count}`;
  });
  afterAll(async () => {
    await ledger.close();
    await proxy.close();
    await database.close();
  });

  const recorded = async (name: string): Promise<number> => {
    const { rows } = await database.pool.query('SELECT 1 FROM ledger_event WHERE stream = $1', [name]);
    return rows.length;
  };

  /** Holds every COMMIT that has events back until `release`. */
  async function holdCommits(): Promise<{ held(): Promise<number>; release(): Promise<void> }> {
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('SELECT pg_advisory_lock($1)', [HOLD]);
    return {
      held: () =>
        vi.waitFor(
          async () => {
            const { rows } = await holder.query<{ pid: number }>(
              `SELECT pid FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event_type = 'Lock' AND datname = current_database()`,
            );
            const pid = rows[0]?.pid;
            if (pid === undefined) throw new Error('no COMMIT is held yet');
            return pid;
          },
          { timeout: 5_000, interval: 10 },
        ),
      release: () => holder.end(),
    };
  }

  it('answers appended when the commit landed and its answer was lost', async () => {
    proxy.nextCommit('lose-answer');
    const commits = proxy.commits();
    const results = await Promise.all([
      ledger.append(appendTo(stream)),
      ledger.append(appendTo(stream, 1)),
      ledger.append(appendTo(stream, 9)),
    ]);
    expect(results).toMatchObject([
      { outcome: 'appended', version: 1 },
      { outcome: 'appended', version: 2 },
      { outcome: 'version-conflict', actualVersion: 2 },
    ]);
    expect(await recorded(stream)).toBe(2);
    expect(proxy.commits()).toBe(commits + 1);
  });

  it('records once when the commit never arrived', async () => {
    proxy.nextCommit('lose-request');
    expect(await ledger.append(appendTo(stream))).toMatchObject({ outcome: 'appended', version: 1 });
    expect(await recorded(stream)).toBe(1);
  });

  it('answers appended when the connection went silent at the commit', async () => {
    proxy.nextCommit('silence');
    expect(await ledger.append(appendTo(stream))).toMatchObject({ outcome: 'appended', version: 1 });
    expect(await recorded(stream)).toBe(1);
  });

  it('settles a lost commit of a receipt alone', async () => {
    for (const [index, fault] of (['lose-answer', 'lose-request'] as const).entries()) {
      const receipt = { source: stream, webhookId: `wh_${index}`, bodyDigest: 'd', response: { index } };
      proxy.nextCommit(fault);
      const result = await ledger.append(appendTo(stream, 0, { events: [], snapshot: null, receipt }));
      expect(result).toEqual({ outcome: 'appended', version: 0, events: [] });
      expect(await ledger.receipt(stream, `wh_${index}`)).toEqual({ bodyDigest: 'd', response: { index } });
    }
  });

  it('does not take another process landing in between for itself', async () => {
    proxy.nextCommit('lose-request');
    const rival = createLedger({ pool: database.pool });
    // The rival waits for the lock that the cut transaction still holds, and gets it before the retry may.
    const mine = ledger.append(appendTo(stream, 0, { actor: 'mine' }));
    const theirs = rival.append(appendTo(stream, 0, { actor: 'theirs' }));
    const outcomes = (await Promise.all([mine, theirs])).map(({ outcome }) => outcome).sort();
    await rival.close();
    expect(outcomes).toEqual(['appended', 'version-conflict']);
    expect(await recorded(stream)).toBe(1);
  });

  it('records once when the server process is terminated in the middle of the commit', async () => {
    const hold = await holdCommits();
    const append = ledger.append(appendTo(stream));
    const pid = await hold.held();
    await database.pool.query('SELECT pg_terminate_backend($1)', [pid]);
    await hold.release();
    expect(await append).toMatchObject({ outcome: 'appended', version: 1 });
    expect(await recorded(stream)).toBe(1);
  });

  it('waits for a commit that is still under way after the connection was cut', async () => {
    const hold = await holdCommits();
    proxy.nextCommit('cut-while-committing');
    const logger = recordingLogger();
    const watched = createLedger({ pool: proxy.pool, logger, limits: LIMITS });
    const append = watched.append(appendTo(stream));
    await hold.held();
    await vi.waitFor(() => expect(logger.messages.join()).toContain('looking for it'), { timeout: 5_000 });
    // The settling transaction queues behind the one that is committing.
    await vi.waitFor(
      async () => {
        const { rows } = await database.pool.query(
          `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%FROM ledger_head WHERE id = 1 FOR UPDATE%'
             AND wait_event_type = 'Lock' AND datname = current_database()`,
        );
        expect(rows).toHaveLength(1);
      },
      { timeout: 5_000, interval: 10 },
    );
    expect(await recorded(stream)).toBe(0);
    await hold.release();
    expect(await append).toMatchObject({ outcome: 'appended', version: 1 });
    await watched.close();
    expect(await recorded(stream)).toBe(1);
  });

  it('says that it cannot know, retryably, and a repeated append then finds its own version', async () => {
    const hold = await holdCommits();
    proxy.nextCommit('cut-while-committing');
    const impatient = createLedger({ pool: proxy.pool, limits: { ...LIMITS, settleTimeoutMs: 300 } });
    await expect(impatient.append(appendTo(stream))).rejects.toMatchObject({
      code: 'ledger.unavailable',
      retryable: true,
      message: expect.stringContaining('whether it landed is not known'),
    });
    await hold.release();
    await vi.waitFor(async () => expect(await recorded(stream)).toBe(1), { timeout: 5_000 });
    expect(await impatient.append(appendTo(stream))).toEqual({
      outcome: 'version-conflict',
      actualVersion: 1,
    });
    await impatient.close();
  });

  it('is unavailable within its deadlines while the database is away, and works again after', async () => {
    proxy.refuse(true);
    const started = performance.now();
    const results = await Promise.allSettled([
      ...Array.from({ length: 300 }, (_, index) => ledger.append(appendTo(`${stream}:${index}`))),
      ledger.load(stream),
      ledger.head(),
    ]);
    expect(performance.now() - started).toBeLessThan(6_000);
    for (const result of results) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { code: 'ledger.unavailable', retryable: true },
      });
    }
    proxy.refuse(false);
    expect(await ledger.append(appendTo(stream))).toMatchObject({ outcome: 'appended' });
    expect(await recorded(`${stream}:0`)).toBe(0);
  });

  it('is unavailable, not stuck, while somebody else holds the head', async () => {
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('BEGIN; SELECT 1 FROM ledger_head WHERE id = 1 FOR UPDATE');
    const append = ledger.append(appendTo(stream));
    await expect(append).rejects.toMatchObject({ code: 'ledger.unavailable' });
    await holder.end();
    expect(await ledger.append(appendTo(stream))).toMatchObject({ outcome: 'appended' });
  });

  it('loses and repeats nothing when every other commit is disturbed', async () => {
    const faults = ['lose-answer', 'pass', 'lose-request', 'pass'] as const;
    for (let version = 0; version < 16; version += 1) {
      proxy.nextCommit(faults[version % faults.length] ?? 'pass');
      expect(await ledger.append(appendTo(stream, version))).toMatchObject({
        outcome: 'appended',
        version: version + 1,
      });
    }
    expect(await recorded(stream)).toBe(16);
    const { size } = await ledger.head();
    const { rows } = await database.pool.query<{ n: string }>('SELECT count(*) AS n FROM ledger_event');
    expect(Number(rows[0]?.n)).toBe(size);
  });
});
