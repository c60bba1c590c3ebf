/**
 * Makes a PostgreSQL data directory, so that it is either complete or not there.
 *
 * initdb works in a draft directory which is renamed when everything in it is synced: a process killed in the
 * middle leaves a draft, which the next start removes. Called with `start.lock` and `cluster.lock` held; initdb
 * holds the latter too, so that one left behind by a killed Interlock is waited for and not deleted under.
 * An existing directory is never touched: what was made by another major version is named, not converted.
 */
import { once } from 'node:events';
import { type FileHandle, mkdtemp, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fault, hasCode } from './faults.ts';
import type { FileLock } from './file-lock.ts';
import type { Launcher } from './launcher.ts';
import { give, type Layout } from './layout.ts';

const logMaxBytes = 16 * 1024 * 1024;

export async function initialise(
  layout: Layout,
  launcher: Launcher,
  lock: FileLock,
): Promise<'initialised' | 'started'> {
  const made = await clusterVersion(layout);
  const { major } = launcher.binaries;
  if (made === String(major)) return 'started';
  if (made !== null) {
    throw fault(
      'version-mismatch',
      `the data directory ${layout.cluster} was made by PostgreSQL ${made} and this Interlock brings ${major}: ` +
        'export the ledger with the Interlock that made it',
    );
  }
  for (const name of await readdir(layout.directory)) {
    if (name.startsWith('initdb-')) await rm(join(layout.directory, name), { recursive: true, force: true });
  }
  const draft = await mkdtemp(join(layout.directory, 'initdb-'));
  await give(draft, launcher.account);
  const log = await openLog(layout);
  try {
    const child = launcher.spawn(
      'initdb',
      [
        `--pgdata=${draft}`,
        '--username=interlock',
        '--encoding=UTF8',
        '--locale=C',
        '--data-checksums',
        // The socket's directory admits one account only.
        '--auth-local=trust',
        '--auth-host=reject',
        '--no-instructions',
      ],
      { stdio: ['ignore', log.fd, log.fd, lock.fd] },
    );
    const [status] = await once(child, 'exit');
    if (status !== 0) {
      throw fault('initdb-failed', `initdb could not make the data directory, ${layout.log} says why`);
    }
  } finally {
    await log.close();
  }
  // initdb has synced everything inside; from here on the directory is complete or not there.
  await rename(draft, layout.cluster);
  await syncDirectory(layout.directory);
  return 'initialised';
}

/** For initdb and the server; what it says stays in this file and never reaches an error or our own log. */
export async function openLog(layout: Layout): Promise<FileHandle> {
  const { size } = await stat(layout.log).catch(() => ({ size: 0 }));
  if (size > logMaxBytes) await rename(layout.log, `${layout.log}.1`);
  const log = await open(layout.log, 'a', 0o600);
  await give(layout.log, layout.owner);
  return log;
}

/** The major version that made the directory; null where there is none yet. */
async function clusterVersion(layout: Layout): Promise<string | null> {
  try {
    return (await readFile(join(layout.cluster, 'PG_VERSION'), 'utf8')).trim();
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
  const inside = await readdir(layout.cluster).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  });
  if (inside.length === 0) return null;
  throw fault(
    'data-directory-foreign',
    `the directory ${layout.cluster} is not empty and holds no PostgreSQL data; move it away`,
  );
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
