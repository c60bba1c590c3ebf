import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { openDatabase } from '../../src/database/open-database.ts';
import { createWorkQueue } from '../../src/queue/create-work-queue.ts';
import { createPostgresBroker, QUEUE_SCHEMA } from '../../src/queue/postgres-broker.ts';
import { QUEUES } from '../../src/queue/queues.ts';
import type { HandlerRun } from '../../src/queue/run-handler.ts';
import { createJobRunner } from '../../src/queue/run-job.ts';
import type { WorkHandler, WorkQueue } from '../../src/queue/work-queue.ts';
import { createWorkerSlot } from '../../src/queue/worker-slot.ts';
import { item, recorder, silentLogger, untilAborted } from '../contract/work-queue-contract.ts';
import { type PostgresTarget, postgresTarget } from '../contract/work-queue-targets.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';

const WITHIN = { timeout: 20_000, interval: 20 };

let database: TestDatabase;
let target: PostgresTarget;
const opened: WorkQueue[] = [];

function track(queue: WorkQueue): WorkQueue {
  opened.push(queue);
  return queue;
}
const open = (tuning?: Parameters<PostgresTarget['create']>[0]) => track(target.create(tuning));
const at = (url: string) =>
  track(createWorkQueue({ backend: { kind: 'postgres', url }, logger: silentLogger }));

function withParameter(url: string, name: string, value: string): string {
  const changed = new URL(url);
  changed.searchParams.set(name, value);
  return changed.href;
}

beforeAll(async () => {
  database = await startTestDatabase();
});
afterAll(() => database.close());
beforeEach(async () => {
  target = await postgresTarget(database);
});
afterEach(async () => {
  await target.mend();
  await Promise.all(opened.splice(0).map((queue) => queue.close()));
  await target.close();
});

describe('the queue on PostgreSQL at start', () => {
  it('refuses a connection on which notifications are lost, and names the setting', async () => {
    const queue = open();
    target.proxy.loseNotifications(true);
    await expect(queue.start(recorder().handlers)).rejects.toMatchObject({
      code: 'queue.refused',
      message: expect.stringContaining('DATABASE_DIRECT_URL'),
    });
  });

  it.each([-10_000, 10_000])('refuses to work with a clock %i ms off', async (offsetMs) => {
    const queue = open({ clock: { now: () => Date.now() + offsetMs } });
    await expect(queue.start(recorder().handlers)).rejects.toMatchObject({
      code: 'queue.refused',
      retryable: false,
      message: expect.stringContaining('clock'),
    });
  });

  it('accepts a clock one second off', async () => {
    const queue = open({ clock: { now: () => Date.now() + 1_000 } });
    await queue.start(recorder().handlers);
  });

  it('refuses while the server is away, as something to try again, and starts when it is back', async () => {
    const queue = open();
    await target.cut();
    await expect(queue.start(recorder().handlers)).rejects.toMatchObject({
      code: 'queue.refused',
      retryable: true,
    });
    await target.mend();
    const { handlers, times } = recorder();
    await queue.start(handlers);
    const work = item('tick');
    await queue.enqueue([work]);
    await vi.waitFor(() => expect(times(work.key)).toBe(1), WITHIN);
  });

  it('says nothing of the password when it cannot connect', async () => {
    const url = new URL(database.url);
    url.password = 'hunter2';
    url.pathname = '/no_such_database';
    const answer = await at(url.href).checks();
    expect(answer.every(({ ok }) => ok)).toBe(false);
    expect(JSON.stringify(answer)).not.toContain('hunter2');
  });

  it('works over the Unix socket, and keeps the options of the URL', async () => {
    const queue = at(withParameter(database.url, 'options', '-c work_mem=7MB'));
    const { handlers, times } = recorder();
    await queue.start(handlers);
    const work = item('tick');
    await queue.enqueue([work]);
    await vi.waitFor(() => expect(times(work.key)).toBe(1), WITHIN);
  });

  it('works where the database defaults to serializable', async () => {
    const name = new URL(database.url).pathname.slice(1);
    await database.pool.query(`ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`);
    try {
      const queue = open();
      const { ran, handlers } = recorder();
      await queue.start(handlers);
      const batch = Array.from({ length: 200 }, () => item('tick'));
      expect((await queue.enqueue(batch)).failed).toEqual([]);
      await vi.waitFor(() => expect(new Set(ran.map(({ key }) => key)).size).toBe(200), WITHIN);
      expect(ran.length).toBe(200);
    } finally {
      await database.pool.query(`ALTER DATABASE ${name} RESET default_transaction_isolation`);
    }
  });

  it('works for a role that may not create anything, once someone has migrated', async () => {
    await open().checks();
    const role = `restricted_${process.pid}`;
    await database.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    try {
      await database.pool.query(`GRANT USAGE ON SCHEMA ${QUEUE_SCHEMA} TO ${role}`);
      await database.pool.query(
        `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${QUEUE_SCHEMA} TO ${role}`,
      );
      await database.pool.query(`GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${QUEUE_SCHEMA} TO ${role}`);
      const queue = at(withParameter(database.url, 'options', `-c role=${role}`));
      const { handlers, times } = recorder();
      await queue.start(handlers);
      const work = item('tick');
      expect((await queue.enqueue([work])).failed).toEqual([]);
      await vi.waitFor(() => expect(times(work.key)).toBe(1), WITHIN);
      await queue.close();
    } finally {
      await database.pool.query(`DROP OWNED BY ${role}`);
      await database.pool.query(`DROP ROLE ${role}`);
    }
  });
});

describe('the queue on PostgreSQL under faults', () => {
  const listeners = `select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and query like 'LISTEN%' and pid <> pg_backend_pid()`;
  const everyone = `select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`;

  it('picks work up at once after its LISTEN connections were terminated', async () => {
    const queue = open();
    const { handlers, times } = recorder();
    await queue.start(handlers);
    const first = item('tick');
    await queue.enqueue([first]);
    await vi.waitFor(() => expect(times(first.key)).toBe(1), WITHIN);
    await database.pool.query(listeners);
    for (let round = 0; round < 5; round += 1) {
      const work = item('tick');
      const askedAt = Date.now();
      await vi.waitUntil(async () => (await queue.enqueue([work])).queued === 1, WITHIN);
      await vi.waitFor(() => expect(times(work.key)).toBeGreaterThan(0), WITHIN);
      expect(Date.now() - askedAt).toBeLessThan(4_000);
    }
  });

  it('is late by seconds, not by an hour, when wake-ups are lost next to a far delayed job', async () => {
    const queue = open();
    const { handlers, times } = recorder();
    await queue.start(handlers);
    await queue.enqueue([item('tick', { notBeforeMs: Date.now() + 3_600_000 })]);
    const first = item('tick');
    await queue.enqueue([first]);
    await vi.waitFor(() => expect(times(first.key)).toBe(1), WITHIN);
    target.proxy.loseNotifications(true);
    const urgent = item('tick');
    await queue.enqueue([urgent]);
    await vi.waitFor(() => expect(times(urgent.key)).toBe(1), { timeout: 9_000, interval: 50 });
  });

  it('loses nothing it accepted while every connection is terminated again and again', async () => {
    const queue = open();
    const { ran, handlers } = recorder();
    await queue.start(handlers);
    const accepted = new Set<string>();
    const isDone = () => {
      const done = new Set(ran.map(({ key }) => key));
      return [...accepted].every((key) => done.has(key));
    };
    for (let round = 0; round < 8; round += 1) {
      const batch = Array.from({ length: 30 }, () => item('tick'));
      const adding = queue.enqueue(batch);
      await database.pool.query(everyone);
      const { failed } = await adding;
      const refused = new Set(failed.map(({ key }) => key));
      for (const { key } of batch) if (!refused.has(key)) accepted.add(key);
    }
    expect(accepted.size).toBeGreaterThan(0);
    // A job whose worker lost its connection between claim and run comes back when its lock has run out.
    await vi.waitUntil(isDone, { timeout: 60_000, interval: 50 });
  }, 90_000);

  it('answers in time when the server goes silent, and closes in time as well', async () => {
    const queue = open();
    await queue.start(recorder(untilAborted).handlers);
    await queue.enqueue([item('evaluate')]);
    target.proxy.silence();
    const work = Array.from({ length: 100 }, () => item('tick'));
    const askedAt = performance.now();
    expect((await queue.enqueue(work)).failed.length).toBe(100);
    expect(performance.now() - askedAt).toBeLessThan(3_000);
    const closedAt = performance.now();
    await queue.close();
    expect(performance.now() - closedAt).toBeLessThan(15_000);
  }, 40_000);

  it('takes over the work of a process that fell silent', async () => {
    const silentOne = await postgresTarget(database);
    const first = track(silentOne.create({ timeouts: { observe: 10_000 } }));
    const started = recorder(untilAborted);
    await first.start(started.handlers);
    const work = item('observe');
    await first.enqueue([work]);
    await vi.waitFor(() => expect(started.times(work.key)).toBe(1), WITHIN);
    silentOne.proxy.silence();

    const second = open({ timeouts: { observe: 10_000 } });
    const taken = recorder();
    await second.start(taken.handlers);
    await vi.waitFor(() => expect(taken.times(work.key)).toBe(1), { timeout: 25_000, interval: 50 });
    await silentOne.mend();
    await first.close();
    await silentOne.close();
  }, 60_000);

  it('replaces a worker: its work goes back and the new one takes it', async () => {
    await open().checks(); // the schema
    const broker = createPostgresBroker({ url: database.url, workers: 2, logger: silentLogger });
    const running = new Map<string, HandlerRun>();
    const spec = QUEUES.evaluate;
    const ran: AbortSignal[] = [];
    const handler: WorkHandler = (work, signal) => {
      ran.push(signal);
      return ran.length === 1 ? untilAborted(work, signal) : Promise.resolve();
    };
    const now = () => Date.now();
    const processor = createJobRunner({
      kind: 'evaluate',
      spec,
      handler,
      logger: silentLogger,
      now,
      running,
    });
    const slot = createWorkerSlot({ broker, spec, processor, running, logger: silentLogger });
    try {
      await slot.open();
      await open().enqueue([item('evaluate')]);
      await vi.waitFor(() => expect(ran.length).toBe(1), WITHIN);
      await slot.recreate();
      await vi.waitFor(() => expect(ran.length).toBe(2), WITHIN);
      expect(ran[0]?.reason).toMatchObject({ code: 'queue.closing' });
      await vi.waitFor(() => expect(running.size).toBe(0), WITHIN);
    } finally {
      await slot.close();
      await broker.close();
    }
  });

  it('forgets a stall check that a fast clock wrote into the future', async () => {
    await open().checks();
    const mark = `INSERT INTO ${QUEUE_SCHEMA}.meta (queue, field, value) VALUES ($1, 'stalled-check', $2)
      ON CONFLICT (queue, field) DO UPDATE SET value = EXCLUDED.value`;
    await database.pool.query(mark, [QUEUES.observe.name, String(Date.now() + 3_600_000)]);
    await open().start(recorder().handlers);
    const { rows } = await database.pool.query(
      `SELECT value::float8 AS ms FROM ${QUEUE_SCHEMA}.meta WHERE queue = $1 AND field = 'stalled-check'`,
      [QUEUES.observe.name],
    );
    expect(rows[0].ms).toBeLessThan(Date.now() + 1_000);
  });

  it('aborts a handler whose lock is lost', async () => {
    const reasons: unknown[] = [];
    const queue = open({ timeouts: { observe: 10_000 } });
    const { handlers, times } = recorder((work, signal) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return untilAborted(work, signal);
    });
    await queue.start(handlers);
    const work = item('observe');
    await queue.enqueue([work]);
    await vi.waitFor(() => expect(times(work.key)).toBe(1), WITHIN);
    await database.pool.query(`DELETE FROM ${QUEUE_SCHEMA}.job`);
    await vi.waitFor(() => expect(reasons.length).toBe(1), WITHIN);
    expect(reasons[0]).toMatchObject({ code: 'queue.lock-lost' });
  }, 40_000);

  it('rests its workers while this clock is wrong, and goes on when it is right', async () => {
    let offsetMs = 0;
    const errors: object[] = [];
    const queue = track(
      createWorkQueue({
        backend: target.backend,
        logger: { ...silentLogger, error: (facts) => errors.push(facts) },
        concurrency: { alert: 1 },
        clock: { now: () => Date.now() + offsetMs },
        canary: { intervalMs: 50 },
      }),
    );
    const { ran, handlers } = recorder();
    await queue.start(handlers);
    offsetMs = 3_600_000;
    const told = expect.objectContaining({ check: 'clock' });
    await vi.waitFor(() => expect(errors).toContainEqual(told), WITHIN);
    const work = Array.from({ length: 5 }, () => item('alert'));
    await vi.waitUntil(async () => (await queue.enqueue(work)).failed.length === 0, WITHIN);
    const anyRun = vi.waitUntil(() => ran.length > 0, { timeout: 1_500, interval: 50 });
    await expect(anyRun).rejects.toThrow();
    offsetMs = 0;
    await vi.waitFor(() => expect(ran.length).toBe(5), WITHIN);
    await vi.waitUntil(async () => (await queue.checks()).every(({ ok }) => ok), WITHIN);
  }, 40_000);
});

describe('the queue on a PostgreSQL that is killed', () => {
  it('goes on with what it had accepted after kill -9 of the server', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'interlock-queue-'));
    const handle = await openDatabase({ dataDir, databaseUrl: undefined, logger: silentLogger, poolMax: 2 });
    const queue = at(handle.directUrl);
    try {
      const { ran, handlers } = recorder();
      const before = Array.from({ length: 50 }, () => item('tick', { notBeforeMs: Date.now() + 1_500 }));
      expect((await queue.enqueue(before)).failed).toEqual([]);
      await queue.start(handlers);

      const down = new Promise<void>((resolve) => {
        handle.onDown(() => resolve());
      });
      const { rows } = await handle.pool.query("select current_setting('data_directory') as dir");
      const [pid] = (await readFile(join(rows[0].dir, 'postmaster.pid'), 'utf8')).split('\n');
      process.kill(Number(pid), 'SIGKILL');
      await down;

      await vi.waitFor(() => expect(new Set(ran.map(({ key }) => key)).size).toBe(50), {
        timeout: 60_000,
        interval: 50,
      });
      const after = item('halt-step');
      await vi.waitUntil(async () => (await queue.enqueue([after])).queued === 1, WITHIN);
      await vi.waitFor(() => expect(ran.map(({ key }) => key)).toContain(after.key), WITHIN);
    } finally {
      await queue.close();
      await handle.close();
      await rm(dataDir, { recursive: true, force: true });
    }
  }, 100_000);
});
