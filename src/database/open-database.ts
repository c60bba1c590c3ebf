/**
 * The one way to a database, for every storage grade: a server named by DATABASE_URL, or the embedded PostgreSQL.
 * What differs between the two ends here; the rest of Interlock sees a pool and connection strings.
 *
 * Opening checks that a commit will be durable and refuses otherwise. It does not migrate: `migrate(pool)` does.
 * `onDown` and `onUp` alternate and begin with down. They are hints for readiness and logs; whether one statement
 * succeeded is known from that statement alone.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { InterlockError } from '../errors.ts';
import { hasCode } from './embedded/faults.ts';
import { type EmbeddedPostgres, startEmbedded } from './embedded/supervisor.ts';
import type { DatabaseLogger } from './logger.ts';
import { createPool } from './pool.ts';
import { assessServer, type Durability, readServerSettings, type ServerSettings } from './server-checks.ts';
import { watchServer } from './server-watch.ts';

export interface DatabaseHandle {
  readonly pool: pg.Pool;
  readonly url: string;
  /** For LISTEN and other session state; past a connection pooler where there is one. */
  readonly directUrl: string;
  readonly grade: 'embedded' | 'server';
  /** What an acknowledged commit survives: the crash of this machine, or the loss of its site. */
  readonly durability: Durability;
  onDown(listener: () => void): () => void;
  onUp(listener: () => void): () => void;
  /** Ends the pool and, as the last user of an embedded database, stops its server. */
  close(): Promise<void>;
}

export interface OpenDatabaseOptions {
  readonly dataDir: string;
  readonly databaseUrl?: string | undefined;
  readonly directUrl?: string | undefined;
  readonly logger: DatabaseLogger;
  readonly poolMax?: number | undefined;
  /** How long a server may take to answer at first. */
  readonly firstContactTimeoutMs?: number | undefined;
}

const defaultPoolMax = 10;
/** Containers are started together, and the database is rarely the first to be ready. */
const defaultFirstContactTimeoutMs = 10_000;
const firstContactPauseMs = 500;
/** A client that somebody forgot to release must not keep the process from stopping. */
const poolEndTimeoutMs = 5_000;

export async function openDatabase(options: OpenDatabaseOptions): Promise<DatabaseHandle> {
  return options.databaseUrl === undefined || options.databaseUrl === ''
    ? openEmbedded(options)
    : openServer(options, options.databaseUrl);
}

async function openEmbedded(options: OpenDatabaseOptions): Promise<DatabaseHandle> {
  const server = await startEmbedded({ dataDir: options.dataDir, logger: options.logger });
  const { url } = server;
  const pool = createPool({
    url,
    max: options.poolMax ?? defaultPoolMax,
    logger: options.logger,
    withServerTimeouts: true,
    onConnectionLost: () => server.check(),
  });
  return {
    pool,
    url,
    directUrl: url,
    grade: 'embedded',
    durability: 'machine-crash',
    onDown: (listener) => server.onDown(listener),
    onUp: (listener) => server.onUp(listener),
    close: once(async () => {
      await endPool(pool, options.logger);
      await closeEmbedded(server, options.logger);
    }),
  };
}

async function openServer(options: OpenDatabaseOptions, url: string): Promise<DatabaseHandle> {
  const patienceMs = options.firstContactTimeoutMs ?? defaultFirstContactTimeoutMs;
  let watch: ReturnType<typeof watchServer> | undefined;
  const make = (withServerTimeouts: boolean) =>
    createPool({
      url,
      max: options.poolMax ?? defaultPoolMax,
      logger: options.logger,
      withServerTimeouts,
      onConnectionLost: () => watch?.check(),
    });
  let pool = make(true);
  try {
    let settings: ServerSettings;
    try {
      settings = await firstContact(pool, patienceMs);
    } catch (error) {
      if (!refusesStartupSettings(error)) throw error;
      await pool.end();
      pool = make(false);
      settings = await firstContact(pool, patienceMs);
      if (settings.lockTimeout === '0') {
        options.logger.warn(
          {},
          'a connection pooler refuses timeouts at connect time: set lock_timeout, statement_timeout and ' +
            'idle_in_transaction_session_timeout on the role with ALTER ROLE',
        );
      }
    }
    const durability = assessServer(settings);
    const watching = watchServer(pool, options.logger);
    watch = watching;
    return {
      pool,
      url,
      directUrl: options.directUrl ?? url,
      grade: 'server',
      durability,
      onDown: watching.onDown,
      onUp: watching.onUp,
      close: once(async () => {
        watching.close();
        await endPool(pool, options.logger);
      }),
    };
  } catch (error) {
    await pool.end();
    throw error;
  }
}

async function firstContact(pool: pg.Pool, patienceMs: number): Promise<ServerSettings> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return await readServerSettings(pool);
    } catch (error) {
      if (refusesStartupSettings(error)) throw error;
      if (isWrongAddressee(error)) {
        throw new InterlockError(
          'the database server refuses the account, password or database name in DATABASE_URL',
          { code: 'database.refused', cause: error },
        );
      }
      if (performance.now() > deadlineMs) {
        throw new InterlockError('the database server in DATABASE_URL cannot be reached', {
          code: 'database.unreachable',
          retryable: true,
          cause: error,
        });
      }
    }
    await delay(firstContactPauseMs);
  }
}

/** PgBouncer's words for a setting that is not in its ignore_startup_parameters. */
function refusesStartupSettings(error: unknown): boolean {
  return error instanceof Error && /unsupported startup parameter/i.test(error.message);
}

/** Bad password, no such role, no such database: trying again does not help. */
function isWrongAddressee(error: unknown): boolean {
  return hasCode(error, '28P01', '28000', '3D000');
}

async function endPool(pool: pg.Pool, logger: DatabaseLogger): Promise<void> {
  const timeout = new AbortController();
  const ended = pool.end().then(
    () => true,
    () => true,
  );
  const late = delay(poolEndTimeoutMs, false, { signal: timeout.signal }).catch(() => false);
  if (!(await Promise.race([ended, late]))) {
    logger.warn({ open: pool.totalCount }, 'database connections were still in use at the end');
  }
  timeout.abort();
}

async function closeEmbedded(server: EmbeddedPostgres, logger: DatabaseLogger): Promise<void> {
  try {
    await server.close();
  } catch (error) {
    // Left running, it is adopted by the next start; the remaining steps of a shutdown matter more.
    logger.warn({ err: error }, 'the embedded PostgreSQL could not be stopped; the next start adopts it');
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= work();
    return done;
  };
}
