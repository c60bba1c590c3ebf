import { chmod, chown, cp, lstat, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { locateBinaries, privateCopy, program, withLinks } from '../../src/database/embedded/binaries.ts';
import { chooseLauncher } from '../../src/database/embedded/launcher.ts';
import { prepareLayout } from '../../src/database/embedded/layout.ts';
import { openDatabase } from '../../src/database/open-database.ts';
import { type DataDirectories, dataDirectories, running } from '../support/data-directories.ts';
import { silentLogger } from '../support/embedded-database.ts';
import { type DatabaseProcess, spawnDatabaseProcess } from '../support/spawn-database-process.ts';

const isRoot = process.geteuid?.() === 0;
const nobody = { uid: 65_534, gid: 65_534 };
/** An account that /etc/passwd does not know, as some container platforms give. */
const nameless = { uid: 1_234_567, gid: 1_234_567 };

let directories: DataDirectories;
let dataDir: string;
let processes: DatabaseProcess[];

beforeEach(async () => {
  directories = dataDirectories();
  dataDir = await directories.make();
  processes = [];
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const one of processes) await one.kill();
  await directories.clean();
});

/** As in most containers: the program is there and the kernel refuses. */
async function forbidNamespaces(): Promise<void> {
  const directory = join(dataDir, 'programs');
  await mkdir(directory);
  await chmod(dataDir, 0o711);
  await writeFile(join(directory, 'unshare'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  vi.stubEnv('PATH', `${directory}${delimiter}${process.env['PATH'] ?? ''}`);
}

async function opensAndCloses(at: string): Promise<number> {
  const handle = await openDatabase({ dataDir: at, logger: silentLogger });
  const { rows } = await handle.pool.query('SELECT 42 AS answer');
  expect(rows).toEqual([{ answer: 42 }]);
  const { uid } = await stat(join(at, 'postgres', 'cluster'));
  await handle.close();
  expect(await running(at)).toEqual([]);
  return uid;
}

async function readableByAll(path: string): Promise<boolean> {
  for (let at = path; ; at = join(at, '..')) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
    if (at === '/') return true;
  }
}

describe('the programs of the embedded PostgreSQL', () => {
  it('work from a package whose install script never ran', async () => {
    const binaries = await withLinks(await locateBinaries());
    if (binaries === null) throw new Error('this checkout has no links and cannot be written to');
    const directory = join(dataDir, 'package');
    const library = join(binaries.directory, 'native', 'lib');
    await cp(binaries.directory, directory, {
      recursive: true,
      filter: async (path) => !path.startsWith(library) || !(await isLink(path)),
    });
    const bare = { ...binaries, directory };
    expect(await withLinks(bare)).toEqual(bare);
    const linked = await readdir(join(directory, 'native', 'lib'));
    expect(linked).toEqual(await readdir(library));
    const launcher = await chooseLauncher(await prepareLayout(join(dataDir, 'data')), bare);
    expect(launcher.binaries.directory).toBe(directory);
  });

  it('are copied once where the package cannot be used in place', async () => {
    const binaries = await locateBinaries();
    const copy = await privateCopy(binaries, dataDir);
    expect(((await stat(program(copy, 'postgres'))).mode & 0o777).toString(8)).toBe('755');
    const made = (await stat(copy.directory)).ctimeMs;
    expect(await privateCopy(binaries, dataDir)).toEqual(copy);
    expect((await stat(copy.directory)).ctimeMs).toBe(made);
  });
});

async function isLink(path: string): Promise<boolean> {
  return (await lstat(path)).isSymbolicLink();
}

describe.skipIf(!isRoot)('the embedded PostgreSQL under root (skipped for other accounts)', () => {
  it('runs for root without belonging to anybody else', async () => {
    expect(await opensAndCloses(join(dataDir, 'data'))).toBe(0);
  });

  it('runs for root where user namespaces are forbidden, as an unprivileged account', async () => {
    await forbidNamespaces();
    expect(await opensAndCloses(join(dataDir, 'data'))).toBe(nobody.uid);
    expect(await opensAndCloses(join(dataDir, 'data'))).toBe(nobody.uid);
  });

  it('does so below a directory of mode 0700, too', async () => {
    await forbidNamespaces();
    const locked = join(dataDir, 'locked');
    await mkdir(locked, { mode: 0o700 });
    expect(await opensAndCloses(join(locked, 'data'))).toBe(nobody.uid);
  });

  it('does so with a copy of programs that the account cannot read', async () => {
    const binaries = await locateBinaries();
    await forbidNamespaces();
    const locked = join(dataDir, 'locked');
    await mkdir(locked, { mode: 0o700 });
    await cp(binaries.directory, join(locked, 'package'), { recursive: true, verbatimSymlinks: true });
    const layout = await prepareLayout(dataDir);
    const launcher = await chooseLauncher(layout, { ...binaries, directory: join(locked, 'package') });
    expect(launcher).toMatchObject({ kind: 'unprivileged-user', account: nobody });
    expect(launcher.binaries.directory).toBe(join(layout.directory, `binaries-${binaries.version}`));
  });

  it('is told in one sentence with the way out where nothing works', async () => {
    await forbidNamespaces();
    await writeFile(join(dataDir, 'programs', 'setpriv'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    await mkdir(join(dataDir, 'locked'), { mode: 0o700 });
    await expect(opensAndCloses(join(dataDir, 'locked', 'data'))).rejects.toMatchObject({
      code: 'database.embedded-unsupported',
      message: expect.stringMatching(/^PostgreSQL does not run as root .* set DATABASE_URL=\S+$/),
    });
  });

  it('leaves to an ordinary account what is in that account’s directory', async () => {
    await chown(dataDir, nobody.uid, nobody.gid);
    await chmod(dataDir, 0o755);
    expect(await opensAndCloses(dataDir)).toBe(nobody.uid);
    expect((await stat(join(dataDir, 'postgres', 'users.lock'))).uid).toBe(nobody.uid);
  });
});

const sources = new URL('../../', import.meta.url).pathname;
const reachable = (await readableByAll(sources)) && (await readableByAll(tmpdir()));

describe.skipIf(!isRoot || !reachable)(
  'the embedded PostgreSQL under ordinary accounts (skipped unless root can lend its checkout to one)',
  () => {
    const spawned = (account: typeof nobody) => {
      const one = spawnDatabaseProcess(dataDir, account);
      processes.push(one);
      return one;
    };

    it('runs as an ordinary user, and root may use it beside and after that user', async () => {
      await chown(dataDir, nobody.uid, nobody.gid);
      const owner = spawned(nobody);
      await owner.hears('ready');
      const beside = await openDatabase({ dataDir, logger: silentLogger });
      await beside.pool.query('CREATE TABLE shared AS SELECT 7 AS n');
      await owner.close();
      expect((await beside.pool.query('SELECT n FROM shared')).rows).toEqual([{ n: 7 }]);
      await beside.close();
      expect(await running(dataDir)).toEqual([]);

      expect(await opensAndCloses(dataDir)).toBe(nobody.uid);
      const again = spawned(nobody);
      await again.hears('ready');
      await again.close();
      expect(await running(dataDir)).toEqual([]);
    });

    it('comes back for the ordinary user when it was killed', async () => {
      await chown(dataDir, nobody.uid, nobody.gid);
      const owner = spawned(nobody);
      await owner.hears('ready');
      const postmaster = (await running(dataDir)).find((one) => one.isPostmaster);
      if (postmaster === undefined) throw new Error('there is no postmaster');
      process.kill(postmaster.pid, 'SIGKILL');
      await owner.hears('up');
      await owner.close();
      expect(await running(dataDir)).toEqual([]);
    });

    it('runs, or says why not, as an account without a name', async () => {
      await chown(dataDir, nameless.uid, nameless.gid);
      const owner = spawned(nameless);
      const told = await Promise.race([owner.hears('ready'), owner.hears('failed')]);
      expect(told.code ?? 'ready').toMatch(/^(ready|database\.embedded-unsupported)$/);
      await owner.close();
      expect(await running(dataDir)).toEqual([]);
    });

    it('turns away an account whose data directory is somebody else’s', async () => {
      const stranger = spawned(nobody);
      expect((await stranger.hears('failed')).code).toBe('database.data-directory-unusable');
    });
  },
);
