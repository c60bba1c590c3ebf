/**
 * Keeps the embedded PostgreSQL of a data directory running for as long as some Interlock process uses it.
 *
 * Any number of processes (serve, CLI commands) may hold one data directory. Each holds `users.lock` shared for its
 * whole life; whoever closes tries for it exclusively, and only the last one gets it and stops the server. A process
 * killed with -9 lets go of its lock but leaves the server, which the next start adopts.
 *
 * Every process watches the server, its own child or not. When it is gone, they queue for `start.lock`; the first
 * starts it again, the others find it running. Trying never ends before `close`: without a database nothing is
 * acknowledged and no permit is issued, so going on trying is safe.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { InterlockError } from '../../errors.ts';
import type { DatabaseLogger } from '../logger.ts';
import { ensureServer, isUp, type Server, stopServer } from './cluster.ts';
import { fault } from './faults.ts';
import { type FileLock, lockFile } from './file-lock.ts';
import { type Layout, prepareLayout } from './layout.ts';
import { connectionUrl } from './readiness.ts';

export interface EmbeddedPostgres {
  /** The same for every process that uses the data directory, and after every restart. */
  readonly url: string;
  /** How this process came by the server at first. */
  readonly origin: Server['origin'];
  pid(): number;
  onDown(listener: () => void): () => void;
  onUp(listener: () => void): () => void;
  /** Looks at once instead of at the next round; call it when a connection breaks. */
  check(): void;
  close(): Promise<void>;
}

export interface EmbeddedOptions {
  readonly dataDir: string;
  readonly logger: DatabaseLogger;
  readonly startTimeoutMs?: number;
}

const watchIntervalMs = 250;
const defaultStartTimeoutMs = 120_000;
/** Somebody else may be in initdb or crash recovery and then need as long again to stop. */
const startLockSlackMs = 30_000;
const closeLockTimeoutMs = 30_000;
const retryDelaysMs = [250, 500, 1_000, 2_000, 5_000];

export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const layout = await prepareLayout(options.dataDir);
  const supervisor = new Supervisor(layout, options);
  await supervisor.open();
  return supervisor;
}

class Supervisor implements EmbeddedPostgres {
  readonly #layout: Layout;
  readonly #logger: DatabaseLogger;
  readonly #startTimeoutMs: number;
  readonly #closing = new AbortController();
  readonly #down = new Set<() => void>();
  readonly #up = new Set<() => void>();
  #users: FileLock | null = null;
  #server: Server | null = null;
  #origin: Server['origin'] = 'started';
  #timer: NodeJS.Timeout | undefined;
  /** The round under way: at most one at a time. */
  #round: Promise<void> | null = null;

  constructor(layout: Layout, { logger, startTimeoutMs }: EmbeddedOptions) {
    this.#layout = layout;
    this.#logger = logger;
    this.#startTimeoutMs = startTimeoutMs ?? defaultStartTimeoutMs;
  }

  get url(): string {
    return connectionUrl(this.#known().socketDirectory);
  }

  get origin(): Server['origin'] {
    return this.#origin;
  }

  pid(): number {
    return this.#known().pid;
  }

  onDown(listener: () => void): () => void {
    this.#down.add(listener);
    return () => this.#down.delete(listener);
  }

  onUp(listener: () => void): () => void {
    this.#up.add(listener);
    return () => this.#up.delete(listener);
  }

  async open(): Promise<void> {
    const server = await this.#withStartLock(async () => {
      // Taken inside start.lock, where the last user of before may just be stopping the server.
      this.#users = await lockFile(this.#layout.usersLock, 'shared', closeLockTimeoutMs);
      try {
        return await this.#ensure();
      } catch (error) {
        await this.#users?.release();
        throw error;
      }
    });
    this.#server = server;
    this.#origin = server.origin;
    this.#logger.info({ pid: server.pid, origin: server.origin }, 'embedded PostgreSQL is ready');
    this.#timer = setInterval(() => this.check(), watchIntervalMs);
    // The server is not a reason for a process to stay.
    this.#timer.unref();
  }

  check(): void {
    if (this.#round !== null || this.#closing.signal.aborted) return;
    this.#round = this.#look().finally(() => {
      this.#round = null;
    });
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(fault('closed', 'the embedded PostgreSQL is being closed'));
    clearInterval(this.#timer);
    await this.#round;
    const start = await lockFile(this.#layout.startLock, 'exclusive', closeLockTimeoutMs);
    try {
      await this.#users?.release();
      // Whoever holds start.lock is a user itself or about to be one: then there is nothing to stop.
      if (start === null) return;
      const alone = await lockFile(this.#layout.usersLock, 'exclusive', 0);
      if (alone === null) return;
      try {
        await stopServer(this.#layout);
        this.#logger.info({}, 'embedded PostgreSQL stopped with its last user');
      } finally {
        await alone.release();
      }
    } finally {
      await start?.release();
    }
  }

  async #look(): Promise<void> {
    if (await isUp(this.#known())) return;
    this.#logger.warn({ pid: this.#known().pid }, 'embedded PostgreSQL died; starting it again');
    this.#tell(this.#down);
    for (let attempt = 0; !this.#closing.signal.aborted; attempt += 1) {
      try {
        const server = await this.#withStartLock(() => this.#ensure());
        this.#adoptRestarted(server);
        return;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        this.#logger.error({ err: error, attempt }, 'embedded PostgreSQL could not be started again');
      }
      const waitMs = retryDelaysMs[Math.min(attempt, retryDelaysMs.length - 1)] ?? 0;
      // Ends early, and without an error, when closing.
      await delay(waitMs, undefined, { signal: this.#closing.signal }).catch(() => {});
    }
  }

  #adoptRestarted(server: Server): void {
    if (server.socketDirectory !== this.#known().socketDirectory) {
      // Only if somebody took the socket's directory in /tmp while the server was down.
      throw fault(
        'start-failed',
        'the embedded PostgreSQL came back at another socket; restart this process',
      );
    }
    this.#server = server;
    this.#logger.info({ pid: server.pid, origin: server.origin }, 'embedded PostgreSQL is back');
    this.#tell(this.#up);
  }

  #ensure(): Promise<Server> {
    return ensureServer(this.#layout, {
      startTimeoutMs: this.#startTimeoutMs,
      signal: this.#closing.signal,
    });
  }

  async #withStartLock<T>(work: () => Promise<T>): Promise<T> {
    const waitMs = this.#startTimeoutMs + startLockSlackMs;
    const lock = await lockFile(this.#layout.startLock, 'exclusive', waitMs, this.#closing.signal);
    if (lock === null) throw this.#busy();
    try {
      return await work();
    } finally {
      await lock.release();
    }
  }

  #busy(): InterlockError {
    return fault(
      'start-timeout',
      `another process has been starting or stopping the database in ${this.#layout.directory} for too long`,
    );
  }

  #tell(listeners: ReadonlySet<() => void>): void {
    for (const listener of listeners) {
      try {
        listener();
      } catch (error) {
        // One listener must not keep the database down for the others.
        this.#logger.error({ err: error }, 'a listener to the state of the database failed');
      }
    }
  }

  #known(): Server {
    if (this.#server === null) throw fault('start-failed', 'the embedded PostgreSQL has not been started');
    return this.#server;
  }
}
