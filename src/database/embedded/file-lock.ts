/**
 * Locks that the operating system holds for a process and lets go when the process dies, however it dies.
 *
 * Node has no flock(2). On Linux the `flock` program (util-linux, part of every base system) locks a descriptor
 * that it inherits from us: the lock belongs to the open file description, so it stays ours when the program has
 * exited, ends when our last copy of the descriptor is closed, and can be handed on to a child, which is how a
 * running PostgreSQL with all its backends marks its own directory. On macOS open(2) takes the lock itself.
 * No file content, no pid, no age is ever trusted. Locks reach over containers that share a volume of one kernel.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fault, hasCode } from './faults.ts';

export interface FileLock {
  /** For handing the lock on to a child process. */
  readonly fd: number;
  /** Closes our copy; the lock ends when no process holds one. */
  release(): Promise<void>;
}

/** BSD flags of open(2), which Node passes through but does not name. */
const darwinLockFlags = { shared: 0x10, exclusive: 0x20 };
const darwinPollMs = 50;

/** Null when somebody else still holds the lock after `waitMs`. */
export async function lockFile(
  path: string,
  mode: 'shared' | 'exclusive',
  waitMs: number,
  signal?: AbortSignal,
): Promise<FileLock | null> {
  return process.platform === 'darwin'
    ? lockOnDarwin(path, mode, waitMs, signal)
    : lockOnLinux(path, mode, waitMs, signal);
}

async function lockOnLinux(
  path: string,
  mode: 'shared' | 'exclusive',
  waitMs: number,
  signal?: AbortSignal,
): Promise<FileLock | null> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  let locked = false;
  try {
    const patience = waitMs > 0 ? ['-w', (waitMs / 1000).toFixed(3)] : ['-n'];
    const program = spawn('flock', [mode === 'shared' ? '-s' : '-x', ...patience, '3'], {
      stdio: ['ignore', 'ignore', 'ignore', handle.fd],
      ...(signal === undefined ? {} : { signal }),
    });
    const [status] = await once(program, 'exit');
    if (status !== 0 && status !== 1) {
      throw fault(
        'embedded-unsupported',
        'the file system of the data directory does not support file locks',
      );
    }
    locked = status === 0;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) {
      throw fault(
        'embedded-unsupported',
        'the embedded PostgreSQL needs the program flock (util-linux)',
        error,
      );
    }
    throw error;
  } finally {
    if (!locked) await handle.close();
  }
  return locked ? held(handle) : null;
}

/** Written after the manual, not tried on a Mac yet. */
async function lockOnDarwin(
  path: string,
  mode: 'shared' | 'exclusive',
  waitMs: number,
  signal?: AbortSignal,
): Promise<FileLock | null> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NONBLOCK | darwinLockFlags[mode];
  const deadline = performance.now() + waitMs;
  for (;;) {
    try {
      return held(await open(path, flags, 0o600));
    } catch (error) {
      if (!hasCode(error, 'EAGAIN', 'EWOULDBLOCK')) throw error;
    }
    if (performance.now() >= deadline) return null;
    await delay(darwinPollMs, undefined, signal === undefined ? {} : { signal });
  }
}

function held(handle: FileHandle): FileLock {
  return { fd: handle.fd, release: () => handle.close() };
}
