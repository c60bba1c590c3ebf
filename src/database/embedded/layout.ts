/**
 * Where the embedded PostgreSQL keeps its things, below `<dataDir>/postgres`:
 *
 *   cluster/            PostgreSQL's own data directory
 *   initdb-XXXXXX/      one being made; renamed to cluster/ when complete, removed when found later
 *   run/                its Unix socket, unless the path is too long for one
 *   socket-directory    where the socket is instead
 *   start.lock          held while the server is looked for, started or stopped
 *   users.lock          held, shared, by every process that uses the server
 *   cluster.lock        held by the server itself and all its backends
 *   postgres.log        what initdb and the server say
 */
import { createHash } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fault, hasCode } from './faults.ts';

export interface Layout {
  readonly directory: string;
  readonly cluster: string;
  readonly startLock: string;
  readonly usersLock: string;
  readonly clusterLock: string;
  readonly log: string;
  /** Marks every backend in the process list. */
  readonly clusterName: string;
  /** Who owns the data directory: Interlock run as root leaves files that this account can use later. */
  readonly owner: Account;
}

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

export const socketPort = 5432;
export const socketFile = `.s.PGSQL.${socketPort}`;
/** sun_path is 108 bytes on Linux and 104 on macOS, with its final NUL. */
const socketPathMaxBytes = process.platform === 'darwin' ? 103 : 107;

export async function prepareLayout(dataDir: string): Promise<Layout> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    // Two spellings of one directory must meet at the same locks.
    const base = await realpath(dataDir);
    const { uid, gid } = await stat(base);
    const directory = join(base, 'postgres');
    // Made by root, another account may have to pass through to what is its own in here.
    const mode = process.geteuid?.() === 0 ? 0o711 : 0o700;
    if ((await mkdir(directory, { recursive: true, mode })) !== undefined) {
      await give(directory, { uid, gid });
    }
    const layout: Layout = {
      directory,
      cluster: join(directory, 'cluster'),
      startLock: join(directory, 'start.lock'),
      usersLock: join(directory, 'users.lock'),
      clusterLock: join(directory, 'cluster.lock'),
      log: join(directory, 'postgres.log'),
      clusterName: `interlock-${createHash('sha256').update(directory).digest('hex').slice(0, 10)}`,
      owner: { uid, gid },
    };
    for (const file of [layout.startLock, layout.usersLock, layout.clusterLock, layout.log]) {
      await writeFile(file, '', { flag: 'a', mode: 0o600 });
      await give(file, layout.owner);
    }
    return layout;
  } catch (error) {
    throw fault(
      'data-directory-unusable',
      `the data directory ${dataDir} cannot be used by this account`,
      error,
    );
  }
}

/** Root hands a file to the account it is meant for; everybody else owns what they make. */
export async function give(path: string, account: Account): Promise<void> {
  if (process.geteuid?.() === 0) await chown(path, account.uid, account.gid);
}

/**
 * A private directory for the socket, the same one at every start, so that the connection string does not change
 * under the other processes that use this database.
 */
export async function prepareSocketDirectory(layout: Layout, account: Account): Promise<string> {
  const local = join(layout.directory, 'run');
  if (fitsSocket(local)) return makePrivate(local, account);
  const record = join(layout.directory, 'socket-directory');
  const recorded = await readFile(record, 'utf8').then(
    (text) => text.trim(),
    () => '',
  );
  // The directory for temporary files may have been cleaned; anybody could have taken the name since then.
  if (recorded !== '' && fitsSocket(recorded)) {
    try {
      return await makePrivate(recorded, account);
    } catch (error) {
      if (!hasCode(error, 'EPERM', 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
  const directory = await makeTemporary(account);
  await writeFile(record, `${directory}\n`, { mode: 0o600 });
  await give(record, layout.owner);
  return directory;
}

/** Leaves nothing in /tmp when the server has stopped; the next start takes the same name if it is still free. */
export async function removeSocketDirectory(layout: Layout, socketDirectory: string): Promise<void> {
  if (socketDirectory === join(layout.directory, 'run')) return;
  // Not empty, or gone already: neither is worth a word.
  await rmdir(socketDirectory).catch(() => {});
}

function fitsSocket(directory: string): boolean {
  // Characters with a meaning in PostgreSQL's list of directories or in a URL are not worth their escaping.
  return (
    Buffer.byteLength(join(directory, socketFile)) <= socketPathMaxBytes &&
    /^[A-Za-z0-9/._+-]+$/.test(directory)
  );
}

async function makeTemporary(account: Account): Promise<string> {
  const parents = [process.env['XDG_RUNTIME_DIR'], tmpdir(), '/tmp', '/var/tmp'];
  for (const parent of parents) {
    if (parent === undefined || !fitsSocket(join(parent, 'interlock-XXXXXX'))) continue;
    try {
      return await makePrivate(await mkdtemp(join(parent, 'interlock-')), account);
    } catch {
      // The next place, then.
    }
  }
  throw fault(
    'data-directory-unusable',
    'no directory for temporary files can hold the Unix socket of PostgreSQL',
  );
}

async function makePrivate(path: string, account: Account): Promise<string> {
  try {
    await mkdir(path, { mode: 0o700 });
    await give(path, account);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  const found = await lstat(path);
  const mine = process.geteuid?.();
  if (!found.isDirectory() || (found.uid !== account.uid && found.uid !== mine)) {
    throw Object.assign(new Error('the socket directory belongs to somebody else'), { code: 'EPERM' });
  }
  await give(path, account);
  await chmod(path, 0o700);
  return path;
}
