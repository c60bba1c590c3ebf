/**
 * Which processes belong to a data directory. Nothing is signalled that has not been identified here.
 *
 * A pid alone proves nothing: pids are reused, and after a restart of a container they are reused at once. On Linux
 * a PostgreSQL process is known by its working directory, which is always its data directory (the kernel keeps the
 * link right even when the directory is renamed), and by its program; on macOS by its command line, where
 * `cluster_name` marks every backend.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';

export interface PostgresProcess {
  readonly pid: number;
  /** With the pid it names one process for ever (until the machine restarts). */
  readonly startedAt: string;
  /** The postmaster keeps its arguments as its title; everything it forks shows `postgres: ...`. */
  readonly isPostmaster: boolean;
}

/** Identity of a live process; null when there is none, or only a zombie that nobody has reaped. */
export async function startOf(pid: number): Promise<string | null> {
  if (process.platform === 'darwin') return (await darwinProcesses(pid))[0]?.startedAt ?? null;
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The program's name, in brackets, may itself hold brackets and spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startedAt] = [fields[0], fields[19]];
    return state === 'Z' || state === 'X' || startedAt === undefined ? null : startedAt;
  } catch {
    return null;
  }
}

/** Sends a signal to exactly this process; false when it is gone. */
export async function signalProcess(
  target: { readonly pid: number; readonly startedAt: string },
  signal: NodeJS.Signals,
): Promise<boolean> {
  if ((await startOf(target.pid)) !== target.startedAt) return false;
  try {
    return process.kill(target.pid, signal);
  } catch {
    return false;
  }
}

export async function findPostgres(
  pid: number,
  clusterDirectory: string,
  clusterName: string,
): Promise<PostgresProcess | null> {
  if (process.platform === 'darwin') {
    const [row] = await darwinProcesses(pid);
    return row !== undefined && belongsOnDarwin(row, clusterDirectory, clusterName) ? row : null;
  }
  try {
    const [cwd, exe, startedAt] = await Promise.all([
      readlink(`/proc/${pid}/cwd`),
      readlink(`/proc/${pid}/exe`),
      startOf(pid),
    ]);
    // An upgrade replaces the program under a running server.
    const program = basename(exe.replace(/ \(deleted\)$/, ''));
    if (cwd !== clusterDirectory || program !== 'postgres' || startedAt === null) return null;
    const title = await readFile(`/proc/${pid}/cmdline`, 'utf8');
    return { pid, startedAt, isPostmaster: !title.startsWith('postgres:') };
  } catch {
    // Gone meanwhile, or another user's: not ours to touch either way.
    return null;
  }
}

export async function listPostgres(
  clusterDirectory: string,
  clusterName: string,
): Promise<PostgresProcess[]> {
  if (process.platform === 'darwin') {
    const rows = await darwinProcesses();
    return rows.filter((row) => belongsOnDarwin(row, clusterDirectory, clusterName));
  }
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map((pid) => findPostgres(pid, clusterDirectory, clusterName)));
  return found.filter((one) => one !== null);
}

interface DarwinProcess extends PostgresProcess {
  readonly command: string;
}

function belongsOnDarwin(row: DarwinProcess, clusterDirectory: string, clusterName: string): boolean {
  return row.isPostmaster
    ? row.command.includes(`/postgres -D ${clusterDirectory} `)
    : row.command.startsWith(`postgres: ${clusterName}: `);
}

/** Written after the manual, not tried on a Mac yet. */
async function darwinProcesses(pid?: number): Promise<DarwinProcess[]> {
  const which = pid === undefined ? ['-ax'] : ['-p', String(pid)];
  const columns = ['-ww', '-o', 'pid=', '-o', 'state=', '-o', 'lstart=', '-o', 'command='];
  const listing = await promisify(execFile)('ps', [...which, ...columns], {
    env: { LC_ALL: 'C', PATH: '/bin:/usr/bin' },
    maxBuffer: 16 * 1024 * 1024,
  }).then(
    ({ stdout }) => stdout,
    () => '',
  );
  return listing.split('\n').flatMap((line) => {
    // lstart is five words, e.g. "Mon Jan  5 10:20:30 2026".
    const [, id, state, startedAt, command] =
      /^\s*(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\d+\s+\S+\s+\d+)\s+(.*)$/.exec(line) ?? [];
    if (id === undefined || startedAt === undefined || command === undefined) return [];
    if (state?.startsWith('Z')) return [];
    return [{ pid: Number(id), startedAt, command, isPostmaster: !command.startsWith('postgres:') }];
  });
}
