import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { lockFile } from '../../src/database/embedded/file-lock.ts';
import { startEmbedded } from '../../src/database/embedded/supervisor.ts';
import { type DatabaseHandle, openDatabase } from '../../src/database/open-database.ts';
import {
  type DataDirectories,
  dataDirectories,
  postmasterPid,
  running,
} from '../support/data-directories.ts';
import { silentLogger } from '../support/embedded-database.ts';
import { type DatabaseProcess, spawnDatabaseProcess } from '../support/spawn-database-process.ts';

const patience = { timeout: 20_000, interval: 20 };
const settled = (condition: () => boolean | Promise<boolean>) => vi.waitUntil(condition, patience);

let directories: DataDirectories;
let dataDir: string;
let handles: DatabaseHandle[];
let processes: DatabaseProcess[];

beforeEach(async () => {
  directories = dataDirectories();
  dataDir = await directories.make();
  handles = [];
  processes = [];
});
afterEach(async () => {
  for (const one of processes) await one.kill();
  for (const handle of handles) await handle.close();
  await directories.clean();
});

async function open(at = dataDir): Promise<DatabaseHandle> {
  const handle = await openDatabase({ dataDir: at, logger: silentLogger });
  handles.push(handle);
  return handle;
}

function spawned(...args: Parameters<typeof spawnDatabaseProcess>): DatabaseProcess {
  const one = spawnDatabaseProcess(...args);
  processes.push(one);
  return one;
}

const answer = async (handle: DatabaseHandle) => (await handle.pool.query('SELECT 42 AS answer')).rows[0];

describe('the embedded PostgreSQL', () => {
  it('is made at the first start, keeps its data, and is gone when closed', async () => {
    const first = await open();
    await first.pool.query('CREATE TABLE kept AS SELECT 7 AS n');
    await first.close();
    expect(await running(dataDir)).toEqual([]);

    const second = await open();
    expect((await second.pool.query('SELECT n FROM kept')).rows).toEqual([{ n: 7 }]);
    expect(second).toMatchObject({ grade: 'embedded', durability: 'machine-crash', url: first.url });
  });

  it('keeps its promises of durability, whatever its configuration files say', async () => {
    const first = await open();
    for (const setting of ['fsync', 'synchronous_commit', 'full_page_writes']) {
      await first.pool.query(`ALTER SYSTEM SET ${setting} = off`);
    }
    await first.close();
    const { pool } = await open();
    const shown = await pool.query(
      `SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes',
         'data_checksums', 'listen_addresses', 'server_encoding', 'lock_timeout', 'statement_timeout',
         'idle_in_transaction_session_timeout', 'max_connections') ORDER BY name COLLATE "C"`,
    );
    expect(Object.fromEntries(shown.rows.map((row) => [row.name, row.setting]))).toEqual({
      data_checksums: 'on',
      fsync: 'on',
      full_page_writes: 'on',
      idle_in_transaction_session_timeout: '10000',
      listen_addresses: '',
      lock_timeout: '2000',
      max_connections: '100',
      server_encoding: 'UTF8',
      statement_timeout: '15000',
      synchronous_commit: 'on',
    });
  });

  it('lets nobody else in: its directories are private', async () => {
    await open();
    for (const part of ['cluster', 'run']) {
      const { mode } = await stat(join(dataDir, 'postgres', part));
      expect((mode & 0o777).toString(8), part).toBe('700');
    }
  });

  it('is adopted by the next start when its owner was killed', async () => {
    const owner = spawned(dataDir);
    await owner.hears('ready');
    const pid = await postmasterPid(dataDir);
    await owner.kill();

    const handle = await open();
    expect(await postmasterPid(dataDir)).toBe(pid);
    expect(await answer(handle)).toEqual({ answer: 42 });
    await handle.close();
    expect(await running(dataDir)).toEqual([]);
  });

  it('stops with the last of several processes, whichever that is', async () => {
    const [one, two] = [spawned(dataDir), spawned(dataDir)];
    await Promise.all([one.hears('ready'), two.hears('ready')]);
    const pid = await postmasterPid(dataDir);
    const handle = await open();

    await one.close();
    await handle.close();
    expect(await postmasterPid(dataDir)).toBe(pid);
    await two.close();
    expect(await running(dataDir)).toEqual([]);
  });

  it('does not count a killed process as a user', async () => {
    const killed = spawned(dataDir);
    await killed.hears('ready');
    const handle = await open();
    await killed.kill();
    await handle.close();
    expect(await running(dataDir)).toEqual([]);
  });

  it('is made once when several processes start at once on an empty directory', async () => {
    const all = [spawned(dataDir), spawned(dataDir), spawned(dataDir)];
    const told = await Promise.all(all.map((one) => one.hears('ready')));
    expect(new Set(told.map((line) => line.url)).size).toBe(1);
    expect((await running(dataDir)).filter((one) => one.isPostmaster)).toHaveLength(1);
    expect((await readdir(join(dataDir, 'postgres'))).filter((name) => name.startsWith('initdb-'))).toEqual(
      [],
    );
    await Promise.all(all.map((one) => one.close()));
    expect(await running(dataDir)).toEqual([]);
  });

  it('is made anew when the process that made it was killed in the middle', async () => {
    const killed = spawned(dataDir);
    const directory = join(dataDir, 'postgres');
    await settled(async () => {
      const names = await readdir(directory).catch(() => []);
      const draft = names.find((name) => name.startsWith('initdb-'));
      return draft !== undefined && (await readdir(join(directory, draft))).length > 3;
    });
    await killed.kill();
    expect(await readdir(directory)).not.toContain('cluster');

    expect(await answer(await open())).toEqual({ answer: 42 });
    expect((await readdir(directory)).filter((name) => name.startsWith('initdb-'))).toEqual([]);
  });
});

describe('the embedded PostgreSQL, killed', () => {
  /** Inserts one number after the other until told to stop, and says which were acknowledged. */
  function load(handle: DatabaseHandle) {
    const acknowledged: number[] = [];
    let stopping = false;
    let next = 0;
    const done = (async () => {
      while (!stopping) {
        next += 1;
        const n = next;
        await handle.pool.query('INSERT INTO load VALUES ($1)', [n]).then(
          () => acknowledged.push(n),
          // Refused or unknown; either is allowed while the server is away.
          () => new Promise((resolve) => setImmediate(resolve)),
        );
      }
    })();
    return {
      acknowledged,
      stop: async () => {
        stopping = true;
        await done;
      },
    };
  }

  async function killPostmaster(): Promise<number> {
    const pid = await postmasterPid(dataDir);
    process.kill(pid, 'SIGKILL');
    return pid;
  }

  it('comes back under load within seconds and has lost nothing that was acknowledged', async () => {
    const handle = await open();
    await handle.pool.query('CREATE TABLE load (n int PRIMARY KEY)');
    const events: string[] = [];
    let upAtMs = 0;
    handle.onDown(() => events.push('down'));
    handle.onUp(() => {
      events.push('up');
      upAtMs = performance.now();
    });
    const writing = load(handle);
    for (const round of [1, 2]) {
      const sofar = writing.acknowledged.length;
      await settled(() => writing.acknowledged.length > sofar + 200);
      const killedAtMs = performance.now();
      await killPostmaster();
      await settled(() => events.length === round * 2);
      expect(upAtMs - killedAtMs).toBeLessThan(10_000);
    }
    const sofar = writing.acknowledged.length;
    await settled(() => writing.acknowledged.length > sofar + 50);
    await writing.stop();
    expect(events).toEqual(['down', 'up', 'down', 'up']);

    const found = await handle.pool.query('SELECT n FROM load');
    const stored = new Set(found.rows.map((row) => row.n));
    expect(writing.acknowledged.filter((n) => !stored.has(n))).toEqual([]);
  });

  it('is watched by a process that only adopted it', async () => {
    const owner = spawned(dataDir);
    await owner.hears('ready');
    await owner.kill();
    const handle = await open();
    const up = new Promise<void>((resolve) => handle.onUp(resolve));
    const killed = await killPostmaster();
    await up;
    expect(await postmasterPid(dataDir)).not.toBe(killed);
    expect(await answer(handle)).toEqual({ answer: 42 });
  });

  it('is started again once, and found again by every process that uses it', async () => {
    const [one, two] = [spawned(dataDir), spawned(dataDir)];
    await Promise.all([one.hears('ready'), two.hears('ready')]);
    await killPostmaster();
    await Promise.all([one.hears('up'), two.hears('up')]);
    expect((await running(dataDir)).filter((process) => process.isPostmaster)).toHaveLength(1);
    await Promise.all([one.close(), two.close()]);
    expect(await running(dataDir)).toEqual([]);
  });

  it('does not start beside a backend of the killed server that hangs: that is ended first', async () => {
    const handle = await open();
    const { rows } = await handle.pool.query('SELECT pg_backend_pid() AS pid');
    const backend: number = rows[0].pid;
    const up = new Promise<void>((resolve) => handle.onUp(resolve));
    process.kill(backend, 'SIGSTOP');
    await killPostmaster();
    await up;
    expect((await running(dataDir)).map((one) => one.pid)).not.toContain(backend);
    expect(await answer(handle)).toEqual({ answer: 42 });
  });

  it('is started again when its socket was cleaned away', async () => {
    const handle = await open();
    const up = new Promise<void>((resolve) => handle.onUp(resolve));
    await rm(join(dataDir, 'postgres', 'run'), { recursive: true });
    await up;
    expect(await answer(handle)).toEqual({ answer: 42 });
  });

  it('closes in good time while it cannot come back', async () => {
    const handle = await open();
    const down = new Promise<void>((resolve) => handle.onDown(resolve));
    const version = join(dataDir, 'postgres', 'cluster', 'PG_VERSION');
    await writeFile(version, '9.6\n');
    await killPostmaster();
    await down;
    await handle.close();
    expect(await running(dataDir)).toEqual([]);
    await writeFile(version, '18\n');
    expect(await answer(await open())).toEqual({ answer: 42 });
  });
});

describe('the data directory of an embedded PostgreSQL', () => {
  it('is refused by name when another major version made it', async () => {
    await (await open()).close();
    await writeFile(join(dataDir, 'postgres', 'cluster', 'PG_VERSION'), '17\n');
    await expect(open()).rejects.toMatchObject({
      code: 'database.version-mismatch',
      message: expect.stringMatching(/PostgreSQL 17 .*DATABASE_URL/),
    });
  });

  it('is refused, and left as it was, when something else is in it', async () => {
    const foreign = join(dataDir, 'postgres', 'cluster');
    await mkdir(foreign, { recursive: true, mode: 0o700 });
    await writeFile(join(foreign, 'letter.txt'), 'dear all');
    await expect(open()).rejects.toMatchObject({ code: 'database.data-directory-foreign' });
    expect(await readFile(join(foreign, 'letter.txt'), 'utf8')).toBe('dear all');
  });

  it('is not given up because a stale postmaster.pid names a process that is somebody else now', async () => {
    const handle = await open();
    const stale = (await readFile(join(dataDir, 'postgres', 'cluster', 'postmaster.pid'), 'utf8')).split(
      '\n',
    );
    await handle.close();
    // Not our own pid: PostgreSQL itself takes its parent's for a leftover.
    const somebody = spawn('sleep', ['600'], { stdio: 'ignore' });
    onTestFinished(() => {
      somebody.kill('SIGKILL');
    });
    const text = [String(somebody.pid), ...stale.slice(1)].join('\n');
    await writeFile(join(dataDir, 'postgres', 'cluster', 'postmaster.pid'), text, { mode: 0o600 });
    const socketLock = join(dataDir, 'postgres', 'run', '.s.PGSQL.5432.lock');
    await writeFile(socketLock, text, { mode: 0o600 });

    expect(await answer(await open())).toEqual({ answer: 42 });
    expect(await postmasterPid(dataDir)).not.toBe(somebody.pid);
    expect(somebody.exitCode).toBeNull();
    expect(somebody.signalCode).toBeNull();
  });

  it('is not started on while a server that cannot be seen may be writing to it', async () => {
    await (await open()).close();
    // What a server in another container looks like: nothing but its lock.
    const unseen = await lockFile(join(dataDir, 'postgres', 'cluster.lock'), 'exclusive', 0);
    const start = startEmbedded({ dataDir, logger: silentLogger, startTimeoutMs: 300 });
    await expect(start).rejects.toMatchObject({ code: 'database.in-use-elsewhere', retryable: true });
    await unseen?.release();
    expect(await answer(await open())).toEqual({ answer: 42 });
  });

  it('may have a path too long, or too strange, for a Unix socket', async () => {
    for (const name of ['d'.repeat(200), "o'brien & söhne, 100%"]) {
      const far = join(dataDir, name, 'data');
      const first = await open(far);
      const other = spawned(far);
      expect((await other.hears('ready')).url).toBe(first.url);
      expect(await answer(first)).toEqual({ answer: 42 });
      await other.close();
      await first.close();
      const second = await open(far);
      expect(second.url).toBe(first.url);
      await second.close();
      expect(await running(far)).toEqual([]);
    }
  });

  it('may lie below a directory of mode 0700', async () => {
    const locked = join(dataDir, 'locked');
    await mkdir(locked, { mode: 0o700 });
    expect(await answer(await open(join(locked, 'data')))).toEqual({ answer: 42 });
  });

  it('is one and the same under two spellings of its path', async () => {
    const first = await open(dataDir);
    const second = await open(join(dataDir, 'postgres', '..'));
    expect(second.url).toBe(first.url);
    expect((await running(dataDir)).filter((process) => process.isPostmaster)).toHaveLength(1);
  });

  it('that cannot be used is told in one sentence with the way out', async () => {
    await writeFile(join(dataDir, 'file'), '');
    await expect(open(join(dataDir, 'file', 'data'))).rejects.toMatchObject({
      code: 'database.data-directory-unusable',
      message: expect.stringContaining('set DATABASE_URL='),
    });
  });
});
