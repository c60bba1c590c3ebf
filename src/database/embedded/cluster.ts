/**
 * One PostgreSQL data directory: make it, find its server, start it, stop it.
 *
 * Every function that changes something is called with `start.lock` held; this file does not take it. The server
 * is handed an exclusive lock on `cluster.lock` which lives as long as the postmaster or any of its backends: whoever
 * gets that lock knows that nothing of an earlier server can still write, whatever postmaster.pid says.
 *
 * Fails closed: a directory that cannot be proved free is not started on, and nothing in `cluster/` is ever deleted
 * except a stale postmaster.pid.
 */
import { once } from 'node:events';
import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { locateBinaries } from './binaries.ts';
import { fault } from './faults.ts';
import { type FileLock, lockFile } from './file-lock.ts';
import { initialise, openLog } from './initdb.ts';
import { chooseLauncher, type Launcher } from './launcher.ts';
import {
  type Layout,
  prepareSocketDirectory,
  removeSocketDirectory,
  socketFile,
  socketPort,
} from './layout.ts';
import { readPidFile } from './pid-file.ts';
import { findPostgres, listPostgres, type PostgresProcess, signalProcess, startOf } from './processes.ts';
import { type Deadlines, ready } from './readiness.ts';

export interface Server {
  readonly pid: number;
  readonly startedAt: string;
  readonly socketDirectory: string;
  /** How this call came by it. */
  readonly origin: 'initialised' | 'started' | 'adopted';
}

const pollMs = 25;
/** A server may be killed while it starts as well as later; one that stops by itself stops every time. */
const startAttempts = 3;
/** How long orphaned backends may take to notice that their postmaster died, before they are killed. */
const orphanGraceMs = 1_000;
const takeoverPollMs = 100;
const takeoverTimeoutMs = 15_000;
const fastStopMs = 20_000;
const immediateStopMs = 5_000;

/** Durability is not left to postgresql.conf: an argument of the command line outranks every file. */
const settings: readonly string[] = [
  'fsync=on',
  'synchronous_commit=on',
  'full_page_writes=on',
  'listen_addresses=',
  `port=${socketPort}`,
  'unix_socket_permissions=0700',
  'max_connections=100',
  'shared_buffers=64MB',
  'max_wal_size=512MB',
  'io_method=sync',
  // Parallel workers need /dev/shm, of which a container may have next to nothing; no query here gains by them.
  'max_parallel_workers_per_gather=0',
  'jit=off',
  'timezone=UTC',
  'log_timezone=UTC',
  'log_checkpoints=off',
  // Statements, and the DETAIL of errors, can hold what people sent us.
  'log_min_error_statement=panic',
  'log_error_verbosity=terse',
  'log_line_prefix=%m [%p] ',
];

/** The server of this directory, ready for connections: the one that runs, or a new one. */
export async function ensureServer(layout: Layout, deadlines: Deadlines): Promise<Server> {
  for (let attempt = 1; ; attempt += 1) {
    const server = (await adopt(layout, deadlines)) ?? (await startAnew(layout, deadlines));
    if (server !== null) return server;
    if (attempt === startAttempts) {
      throw fault('start-failed', `the embedded PostgreSQL stops while starting, ${layout.log} says why`);
    }
  }
}

async function startAnew(layout: Layout, deadlines: Deadlines): Promise<Server | null> {
  const lock = await takeOver(layout, deadlines);
  if (!('fd' in lock)) return lock;
  try {
    await rm(join(layout.cluster, 'postmaster.pid'), { force: true });
    const launcher = await chooseLauncher(layout, await locateBinaries());
    const origin = await initialise(layout, launcher, lock);
    return await start(layout, launcher, lock, origin, deadlines);
  } finally {
    // The server has its own copy by now.
    await lock.release();
  }
}

/** Whether the server still runs and can be reached. */
export async function isUp(server: Server): Promise<boolean> {
  if ((await startOf(server.pid)) !== server.startedAt) return false;
  // Cleaners of /tmp may take the socket away; PostgreSQL does not put it back.
  return exists(join(server.socketDirectory, socketFile));
}

/** Ends the server of this directory in an orderly way, or as orderly as it lets itself be ended. */
export async function stopServer(layout: Layout): Promise<void> {
  const postmaster = await runningPostmaster(layout);
  if (postmaster === null) return;
  const steps = [
    ['SIGINT', fastStopMs],
    ['SIGQUIT', immediateStopMs],
    ['SIGKILL', immediateStopMs],
  ] as const;
  for (const [signal, waitMs] of steps) {
    await signalProcess(postmaster.process, signal);
    if (await waitUntil(async () => (await startOf(postmaster.process.pid)) === null, waitMs)) break;
  }
  await removeSocketDirectory(layout, postmaster.socketDirectory);
}

async function adopt(layout: Layout, deadlines: Deadlines): Promise<Server | null> {
  const running = await runningPostmaster(layout);
  if (running === null) return null;
  const { pid, startedAt } = running.process;
  const server: Server = { pid, startedAt, socketDirectory: running.socketDirectory, origin: 'adopted' };
  const outcome = await ready(layout, server, deadlines);
  if (outcome === 'ready') return server;
  if (outcome === 'timeout') throw startTimeout(layout);
  // Without its socket nobody can talk to it any more: replace it.
  if (outcome === 'unreachable') await stopServer(layout);
  return null;
}

interface Postmaster {
  readonly process: PostgresProcess;
  readonly socketDirectory: string;
}

/** What postmaster.pid says, believed only if that process really is the server of this directory. */
async function runningPostmaster(layout: Layout): Promise<Postmaster | null> {
  const says = await readPidFile(layout);
  if (says === null) return null;
  const found = await findPostgres(says.pid, layout.cluster, layout.clusterName);
  return found === null ? null : { process: found, socketDirectory: says.socketDirectory };
}

/**
 * Waits until nothing of an earlier server is left, and takes the lock that proves it; answers with the server
 * instead if one comes up meanwhile (started by a process that was killed before it could tell).
 */
async function takeOver(layout: Layout, deadlines: Deadlines): Promise<FileLock | Server> {
  const startedMs = performance.now();
  for (;;) {
    deadlines.signal.throwIfAborted();
    const lock = await lockFile(layout.clusterLock, 'exclusive', takeoverPollMs);
    const left = await listPostgres(layout.cluster, layout.clusterName);
    if (lock !== null && left.length === 0) return lock;
    await lock?.release();
    const waitedMs = performance.now() - startedMs;
    if (left.some((one) => one.isPostmaster)) {
      const server = await adopt(layout, deadlines);
      if (server !== null) return server;
    } else if (waitedMs > orphanGraceMs) {
      // Their postmaster is dead, so their shared memory is of no use to anyone; what they committed is in the WAL.
      for (const orphan of left) await signalProcess(orphan, 'SIGKILL');
    }
    if (waitedMs > Math.min(takeoverTimeoutMs, deadlines.startTimeoutMs)) {
      throw fault(
        'in-use-elsewhere',
        `the data directory ${layout.cluster} is in use by a PostgreSQL that this process cannot see or reach, ` +
          'perhaps in another container',
      );
    }
    // A lock that is free while processes are left would make this a busy loop.
    if (lock !== null) await delay(pollMs);
  }
}

/** Null when the new server is gone before it was ready. */
async function start(
  layout: Layout,
  launcher: Launcher,
  lock: FileLock,
  origin: Server['origin'],
  deadlines: Deadlines,
): Promise<Server | null> {
  const socketDirectory = await prepareSocketDirectory(layout, launcher.account);
  // Nothing of an earlier server lives, so its socket and the pid beside it (reused, perhaps) mean nothing.
  await rm(join(socketDirectory, socketFile), { force: true });
  await rm(join(socketDirectory, `${socketFile}.lock`), { force: true });
  const log = await openLog(layout);
  try {
    const all = [
      ...settings,
      `unix_socket_directories=${socketDirectory}`,
      `cluster_name=${layout.clusterName}`,
    ];
    // A session of its own: Ctrl-C in a terminal is for Interlock, which stops the server when it is done with it.
    const child = launcher.spawn('postgres', ['-D', layout.cluster, ...all.flatMap((s) => ['-c', s])], {
      stdio: ['ignore', log.fd, log.fd, lock.fd],
      detached: true,
    });
    child.unref();
    await once(child, 'spawn');
    const pid = child.pid ?? 0;
    const startedAt = await startOf(pid);
    const server: Server = { pid, startedAt: startedAt ?? '', socketDirectory, origin };
    const outcome = startedAt === null ? 'gone' : await ready(layout, server, deadlines);
    if (outcome === 'ready') return server;
    if (outcome === 'timeout') throw startTimeout(layout);
    return null;
  } finally {
    await log.close();
  }
}

function startTimeout(layout: Layout) {
  // It is left to finish: ending a crash recovery would only begin it anew.
  return fault(
    'start-timeout',
    `the embedded PostgreSQL is not ready yet, ${layout.log} says what it is doing`,
  );
}

async function waitUntil(condition: () => Promise<boolean>, waitMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + waitMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) return false;
    await delay(pollMs);
  }
  return true;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
