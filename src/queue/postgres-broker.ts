/**
 * BullMQ on its PostgreSQL backend, in a schema and a pool of its own.
 *
 * The pool must be a session's: BullMQ wakes workers by LISTEN/NOTIFY, which does not survive a
 * transaction-mode pooler. Each worker keeps one client of the pool for good, so the pool is sized from
 * their number. Isolation is read committed whatever the database's default (serializable breaks BullMQ).
 * BullMQ takes lock and delay times from this host's clock, hence the clock probe.
 *
 * Fails toward "not queued". A dropped schema is created again on the next call that misses it; what it
 * held is lost here and offered again by the reconciler.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Socket } from 'node:net';
import {
  assertSchemaCompatibility,
  type BackendFactory,
  createPostgresBackend,
  isPgPool,
  type Job,
  LATEST_SCHEMA_VERSION,
  type PgPool,
  type PostgresConnectionOptions,
  type PostgresQueueBackend,
  Queue,
  runMigrations,
  SchemaMigrationRequiredError,
  Worker,
} from 'bullmq';
import pg from 'pg';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import { brake } from './brake.ts';
import {
  BLIND_WAIT_MAX_S,
  type Broker,
  COUNTED_STATES,
  countsOf,
  type Probe,
  type Processor,
  type QueuePort,
  STALLED_COUNT_MAX,
  type WorkerPort,
  type WorkerSettings,
} from './broker.ts';
import { attempt, CALL_DEADLINE_MS, withDeadline } from './deadline.ts';
import { createFaultLog, type QueueLogger } from './log.ts';

export const QUEUE_SCHEMA = 'bullmq';

const QUERY_TIMEOUT_MS = 10_000;
const MIGRATION_TIMEOUT_MS = 60_000;
const NOTIFY_TIMEOUT_MS = 2_000;
const HEAL_PAUSE_MS = 1_000;
/** Clients beside those the workers keep: adds, fetches, the self-test's two. */
const POOL_SPARE = 8;

export interface PostgresBrokerOptions {
  url: string;
  /** Workers that will be open at once; each holds a client. */
  workers: number;
  poolMax?: number | undefined;
  logger: QueueLogger;
}

const errorCodeSchema = z.object({ code: z.string() });
const nowRowSchema = z.object({ now_ms: z.coerce.number() });

export function createPostgresBroker({ url, workers, poolMax, logger }: PostgresBrokerOptions): Broker {
  const faults = createFaultLog(logger);
  const closing = new AbortController();
  const sockets = new Set<Socket>();
  const connection = {
    ...connectionConfig(url),
    connectionTimeoutMillis: CALL_DEADLINE_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    // Tracked, so that close can end a connection whose server no longer answers.
    stream: () => {
      const socket = new Socket();
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return socket;
    },
  };
  const pool = new pg.Pool({
    ...connection,
    Client: SurvivingClient,
    max: Math.max(poolMax ?? 0, workers + POOL_SPARE),
    query_timeout: QUERY_TIMEOUT_MS,
    idle_in_transaction_session_timeout: QUERY_TIMEOUT_MS,
  });
  pool.setMaxListeners(0); // every Queue and Worker listens to the shared pool
  pool.on('error', (error) => faults.warn('postgres', error, 'queue connection lost'));

  let prepared: Promise<void> | undefined;
  let preparedAtMs = 0;

  function prepare(): Promise<void> {
    if (prepared === undefined) {
      const running = migrate(connection, faults).catch((error: unknown) => {
        prepared = undefined;
        throw poolerHint(error);
      });
      prepared = running;
      preparedAtMs = performance.now();
    }
    return prepared;
  }

  /** Someone dropped the schema under us: build it again. Resolves either way. */
  async function heal(error: unknown): Promise<boolean> {
    if (!isMissingSchema(error) || closing.signal.aborted) return false;
    if (performance.now() - preparedAtMs > HEAL_PAUSE_MS) {
      faults.warn('postgres', error, 'the queue schema is missing: creating it again');
      prepared = undefined;
    }
    return (await attempt('migration of the queue schema', prepare, MIGRATION_TIMEOUT_MS)) === undefined;
  }

  async function healing<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (await heal(error)) return call();
      throw error;
    }
  }

  const brakedBackend: BackendFactory<PostgresQueueBackend, PostgresConnectionOptions> = (...args) =>
    brake(createPostgresBackend(...args), {
      onFailure: async (error) => {
        await heal(error);
      },
      closing: closing.signal,
    });

  function openQueue(name: string): QueuePort {
    const queue = new Queue(
      name,
      { connection: asBullPool(pool), skipMetasUpdate: true },
      createPostgresBackend,
    );
    queue.on('error', (error) => faults.warn(name, error, 'queue error'));
    return {
      ready: () => queue.waitUntilReady(),
      add: (jobName, data, options) =>
        healing(async () => {
          await queue.add(jobName, data, options);
        }),
      addAll: (jobs) =>
        healing(async () => {
          await queue.addBulk(jobs.map((job) => ({ ...job })));
        }),
      has: (jobId) => healing(async () => (await queue.getJob(jobId)) !== undefined),
      // A job's row is its place as well: one cannot be lost without the other.
      freeStranded: async () => 0,
      counts: () => healing(async () => countsOf(await queue.getJobCounts(...COUNTED_STATES))),
      close: () => queue.close(),
    };
  }

  function openWorker(name: string, processor: Processor, settings: WorkerSettings): WorkerPort {
    const worker = new Worker(
      name,
      // Three parameters, or BullMQ leaves out the signal.
      (job: Job, token?: string, signal?: AbortSignal) => processor(job, token, signal),
      {
        connection: asBullPool(pool),
        concurrency: settings.concurrency,
        lockDuration: settings.lockDurationMs,
        stalledInterval: settings.stalledIntervalMs,
        maxStalledCount: STALLED_COUNT_MAX,
        drainDelay: BLIND_WAIT_MAX_S,
        runRetryDelay: 1_000,
      },
      brakedBackend,
    );
    worker.on('error', (error) => faults.warn(name, error, 'worker error'));
    worker.on('lockRenewalFailed', settings.onLockLost);
    return {
      ready: () => worker.waitUntilReady(),
      pause: () => worker.pause(true),
      resume: () => worker.resume(),
      close: () => worker.close(),
    };
  }

  async function serverTimeMs(): Promise<number> {
    const { rows } = await pool.query('select extract(epoch from clock_timestamp()) * 1000 as now_ms');
    return nowRowSchema.parse(rows[0]).now_ms;
  }

  const listenProbe: Probe = {
    name: 'postgres-listen',
    run: async () => {
      const heard = await hearsOwnNotify(pool);
      return heard
        ? { ok: true, detail: 'a NOTIFY came back on the pool in use' }
        : { ok: false, detail: NO_NOTIFY };
    },
  };

  return {
    prepare,
    openQueue,
    openWorker,
    probes: [listenProbe],
    serverTimeMs,
    async close() {
      closing.abort();
      await attempt('closing the queue pool', () => pool.end());
      const ends = [...sockets].map((socket) => once(socket, 'close'));
      for (const socket of sockets) socket.destroy();
      await attempt('the end of the connections to PostgreSQL', () => Promise.all(ends));
    },
  };
}

/**
 * A client whose late error cannot end the process. BullMQ strips every listener from the client it waits
 * on before it lets go of it, and node throws an `error` event that nobody listens to: a server that died
 * during a close would take us along.
 */
class SurvivingClient extends pg.Client {
  constructor(config?: string | pg.ClientConfig) {
    super(config);
    this.on('error', ignoreLateError);
  }

  override removeAllListeners(event?: string | symbol): this {
    super.removeAllListeners(event);
    if (!this.listeners('error').includes(ignoreLateError)) this.on('error', ignoreLateError);
    return this;
  }
}

// Whoever uses the client has its own listener, and the pool reports what it loses.
function ignoreLateError(): void {}

const NO_NOTIFY =
  'a NOTIFY sent through the pool did not come back: the connection goes through a transaction-mode pooler; ' +
  'set DATABASE_DIRECT_URL to an address that reaches PostgreSQL itself';

/** Start-up parameters that hold for every connection; an `options` in the URL is kept, ours after it. */
function connectionConfig(url: string): { connectionString: string; options: string } {
  const ours = `-c search_path=${QUEUE_SCHEMA} -c default_transaction_isolation=read\\ committed`;
  let theirs = '';
  // The driver lets the URL's parameters win over the config's, so theirs has to move over.
  const connectionString = url.replace(/([?&])options=([^&#]*)(&?)/, (_match, mark, value, more) => {
    theirs = `${decodeURIComponent(value.replaceAll('+', ' '))} `;
    return more === '' ? '' : mark;
  });
  return { connectionString, options: theirs + ours };
}

/**
 * A process whose clock was ahead wrote "last looked for stalled jobs" in the future, and until then nobody
 * looks again: jobs of dead workers would stay locked. Such a mark is only ever wrong.
 */
const FORGET_FUTURE_STALL_CHECKS = `
  DELETE FROM ${QUEUE_SCHEMA}.meta
   WHERE field = 'stalled-check'
     AND value::numeric > extract(epoch from clock_timestamp()) * 1000 + 60000`;

async function migrate(
  connection: pg.ClientConfig,
  faults: ReturnType<typeof createFaultLog>,
): Promise<void> {
  // Its own connection: the pool's query timeout is too short for a migration that waits for another one.
  const client = new pg.Client({ ...connection, query_timeout: MIGRATION_TIMEOUT_MS });
  client.on('error', (error) => faults.warn('postgres', error, 'migration connection lost'));
  try {
    await client.connect();
    // Looking first lets a role without CREATE work on a schema that someone else has migrated.
    if ((await schemaVersion(client)) < LATEST_SCHEMA_VERSION) await runMigrations(client, QUEUE_SCHEMA);
    await client.query(FORGET_FUTURE_STALL_CHECKS);
  } finally {
    await attempt('closing the migration connection', () => client.end());
  }
}

async function schemaVersion(client: pg.Client): Promise<number> {
  try {
    return await assertSchemaCompatibility(client, QUEUE_SCHEMA);
  } catch (error) {
    if (error instanceof SchemaMigrationRequiredError || isMissingSchema(error)) return 0;
    throw error;
  }
}

/** LISTEN on one client, NOTIFY through another: exactly what a worker depends on. */
async function hearsOwnNotify(pool: pg.Pool): Promise<boolean> {
  const nonce = randomUUID();
  const channel = `interlock_selftest_${nonce.replaceAll('-', '')}`;
  const client = await pool.connect();
  let broken = false;
  try {
    await client.query(`LISTEN ${channel}`);
    const heard = new Promise<boolean>((resolve) => {
      client.on('notification', (message) => {
        if (message.channel === channel && message.payload === nonce) resolve(true);
      });
    });
    await pool.query('select pg_notify($1, $2)', [channel, nonce]);
    return await withDeadline('the NOTIFY self-test', () => heard, NOTIFY_TIMEOUT_MS).catch(() => false);
  } catch (error) {
    broken = true;
    throw error;
  } finally {
    client.removeAllListeners('notification');
    if (!broken)
      broken = (await attempt('UNLISTEN', () => client.query(`UNLISTEN ${channel}`))) !== undefined;
    client.release(broken);
  }
}

const MISSING_SCHEMA_CODES: readonly string[] = ['42883', '42P01', '3F000'];

function isMissingSchema(error: unknown): boolean {
  const parsed = errorCodeSchema.safeParse(error);
  return parsed.success && MISSING_SCHEMA_CODES.includes(parsed.data.code);
}

/** pgbouncer refuses the start-up parameters a session needs; its message alone would not help an operator. */
function poolerHint(error: unknown): unknown {
  if (!(error instanceof Error) || !error.message.includes('unsupported startup parameter')) return error;
  return new InterlockError(
    'the queue reached a connection pooler that refuses start-up parameters: ' +
      'set DATABASE_DIRECT_URL to an address that reaches PostgreSQL itself',
    { code: 'queue.pooler', cause: error },
  );
}

/** BullMQ's own structural view of a pool; its guard spares a cast. */
function asBullPool(pool: unknown): PgPool {
  if (!isPgPool(pool)) throw new TypeError('not a pool');
  return pool;
}
