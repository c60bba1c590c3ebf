/**
 * Faults of the place that a service is started in: a wrong clock, a second service, a pooler, a queue that is away or
 * would lose work, a database of another version or with a damaged log. What must be refused is refused by name, before
 * a permit is issued; everything else serves.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startService } from '../support/campaign/service-process.ts';
import { makeWorkplace } from '../support/campaign/workplace.ts';
import { type Fault, over, type Struck } from './fault.ts';
import type { Stage } from './stage.ts';
import { walk } from './walk.ts';

const SHIM = fileURLToPath(new URL('clock-shift.mjs', import.meta.url));
const HOUR_MS = 3_600_000;
const REFUSED_WITHIN_MS = 40_000;
const STEP_MS = 1_500;

/** The clock of the service, to be set while it runs. */
async function clockOf(
  stage: Stage,
): Promise<{ env: Record<string, string>; set(offMs: number): Promise<void> }> {
  const file = join(stage.spare, 'clock');
  const set = (offMs: number) => writeFile(file, String(offMs));
  await set(0);
  return { env: { NODE_OPTIONS: `--import=${SHIM}`, TORTURE_CLOCK: file }, set };
}

/** Starts a service that must not come up, and holds what it says against the name of its refusal. */
async function refuses(
  stage: Stage,
  what: string,
  says: RegExp,
  start: { env?: Record<string, string>; configFile?: string },
): Promise<void> {
  const { place, journal } = stage.scene;
  const logFile = join(await mkdtemp(join(stage.spare, 'refused-')), 'log');
  const service = startService({
    bin: stage.bin,
    configFile: start.configFile ?? place.configFile,
    logFile,
    env: { ...place.env, ...start.env },
  });
  const limit = new AbortController();
  const outcome = await Promise.race([
    service.ready.then(
      () => 'served',
      () => 'ended',
    ),
    delay(REFUSED_WITHIN_MS, 'hung', { signal: limit.signal }).catch(() => 'ended'),
  ]);
  limit.abort();
  await service.kill9();
  if (outcome !== 'ended')
    journal.violations.push(`${what}: the service ${outcome}, and should have refused`);
  else if (!says.test(await readFile(logFile, 'utf8'))) {
    const said = (await readFile(logFile, 'utf8')).trim().split('\n').at(-1) ?? '';
    journal.violations.push(`${what}: refused, but not by its name: ${said.slice(0, 300)}`);
  }
}

const ALL = ['embedded', 'server', 'distributed'] as const;

export const PLACES: readonly Fault[] = [
  {
    name: 'clock set an hour forward and back while it runs',
    of: 'other',
    grades: ALL,
    kills: true,
    async strike(stage) {
      const clock = await clockOf(stage);
      await stage.service().kill9();
      await stage.startService(clock.env);
      for (const offMs of [HOUR_MS, -HOUR_MS]) {
        await clock.set(offMs);
        await delay(STEP_MS);
        if (stage.service().isGone()) stage.scene.journal.violations.push('a clock step ended the service');
        await walk(stage.scene, AbortSignal.timeout(20_000));
      }
      await clock.set(0);
      return over();
    },
  },
  {
    name: 'H07 clock an hour off at start: workers refused',
    of: 'other',
    grades: ALL,
    async strike(stage) {
      const clock = await clockOf(stage);
      for (const offMs of [HOUR_MS, -HOUR_MS]) {
        await clock.set(offMs);
        await refuses(stage, `a clock ${offMs} ms off`, /clock/, {
          env: { ...stage.scene.stores.env, ...clock.env },
        });
      }
      return over();
    },
  },
  {
    name: 'H05 two Interlocks on one database, one killed',
    of: 'other',
    grades: ALL,
    kills: true,
    async strike(stage) {
      const first = stage.service();
      const second = await stage.startService();
      await walk(stage.scene, AbortSignal.timeout(20_000));
      await first.kill9();
      await walk(stage.scene, AbortSignal.timeout(20_000));
      if (second.isGone()) stage.scene.journal.violations.push('the second Interlock ended with the first');
      return over();
    },
  },
  {
    name: 'started while Redis is away',
    of: 'queue',
    grades: ['distributed'],
    kills: true,
    async strike(stage) {
      const proxy = stage.redis?.proxy;
      await stage.service().kill9();
      await proxy?.cut();
      await stage.startService();
      const walked = await walk(stage.scene, AbortSignal.timeout(30_000));
      if (walked === null) stage.scene.journal.violations.push('without Redis nothing was halted');
      await proxy?.mend();
      return over();
    },
  },
  {
    name: 'started on a Redis that evicts: refused',
    of: 'other',
    grades: ['distributed'],
    async strike(stage) {
      const client = stage.redis?.client;
      await client?.config('SET', 'maxmemory-policy', 'allkeys-lru');
      await refuses(stage, 'a Redis that evicts', /noeviction/, { env: { ...stage.scene.stores.env } });
      await client?.config('SET', 'maxmemory-policy', 'noeviction');
      return over();
    },
  },
  {
    name: 'pooler in front of the database',
    of: 'other',
    grades: ['server'],
    kills: true,
    strike: pooled,
  },
  {
    name: 'H06 another major version, a truncated log, a read-only disk: refused',
    of: 'other',
    grades: ['embedded'],
    kills: true,
    strike: damaged,
  },
];

/**
 * With PgBouncer in transaction mode where it is installed; otherwise the proxy loses notifications, as a pooler does.
 * Without DATABASE_DIRECT_URL it is refused; with it, it serves through the pooler.
 */
async function pooled(stage: Stage): Promise<Struck> {
  const { database, scene, cluster } = stage;
  if (database === null) throw new Error('there is no proxy before the database');
  const bouncer = await startPgBouncer(stage);
  await stage.service().kill9();
  const url = bouncer?.url ?? scene.stores.env['DATABASE_URL'] ?? '';
  if (bouncer === null) database.loseNotifications(true);
  try {
    await refuses(stage, 'a pooler without DATABASE_DIRECT_URL', /DATABASE_DIRECT_URL/, {
      env: { DATABASE_URL: url },
    });
    await stage.startService({ DATABASE_URL: url, DATABASE_DIRECT_URL: cluster.url });
    await walk(scene, AbortSignal.timeout(30_000));
    await stage.service().kill9();
  } finally {
    database.loseNotifications(false);
    await bouncer?.stop();
  }
  return over();
}

async function startPgBouncer(stage: Stage): Promise<{ url: string; stop(): Promise<void> } | null> {
  if (spawnSync('pgbouncer', ['--version']).status !== 0) return null;
  const directory = await mkdtemp(join(stage.spare, 'pgbouncer-'));
  const port = 20_000 + stage.random.below(20_000);
  // By the proxy's port: another account may not enter the directory of the server's socket.
  const server = new URL(stage.scene.stores.env['DATABASE_URL'] ?? '');
  const config = join(directory, 'pgbouncer.ini');
  await writeFile(join(directory, 'users'), '"interlock" ""\n', { mode: 0o644 });
  await writeFile(
    config,
    `[databases]\npostgres = host=${server.hostname} port=${server.port} dbname=postgres user=interlock\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\nauth_type = any\nauth_file = ${join(directory, 'users')}\npool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = 20\nignore_startup_parameters = extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout,options\n`,
    { mode: 0o644 },
  );
  const asRoot = process.geteuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn('pgbouncer', [...asRoot, config], { stdio: 'ignore' });
  await once(child, 'spawn');
  if (!(await answers(port))) throw new Error('pgbouncer is installed and does not listen');
  return {
    url: `postgresql://interlock@127.0.0.1:${port}/postgres?sslmode=disable`,
    stop: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function answers(port: number): Promise<boolean> {
  for (let tries = 0; tries < 100; tries += 1) {
    const socket = connect(port, '127.0.0.1');
    const isOpen = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isOpen) return true;
    await delay(100);
  }
  return false;
}

/** On copies of the data directory, which is at rest meanwhile. */
async function damaged(stage: Stage): Promise<Struck> {
  const { place, outside } = stage.scene;
  await stage.service().stop();
  const attempt = async (what: string, says: RegExp, damage: (cluster: string) => Promise<void>) => {
    const home = await mkdtemp(join(stage.spare, 'damaged-'));
    const dataDir = join(home, 'data');
    await cp(place.dataDir, dataDir, { recursive: true, filter: (path) => !path.endsWith('.lock') });
    const cluster = join(dataDir, 'postgres', 'cluster');
    await damage(cluster);
    const other = await makeWorkplace(outside.url, stage.bin, { dataDir });
    await refuses(stage, what, says, { configFile: other.configFile });
    await other.remove();
    await rm(home, { recursive: true, force: true });
  };
  await attempt('another major version', /was made by PostgreSQL 12/, (cluster) =>
    writeFile(join(cluster, 'PG_VERSION'), '12\n'),
  );
  await attempt('a truncated log', /PostgreSQL (stops while starting|is not ready)/, async (cluster) => {
    const wal = join(cluster, 'pg_wal');
    for (const name of await readdir(wal)) {
      if (!/^[0-9A-F]{24}$/.test(name)) continue;
      const file = await open(join(wal, name), 'r+');
      await file.truncate(8192);
      await file.close();
    }
  });
  const { disk } = stage;
  if (disk !== null) {
    disk.setReadOnly(true);
    await refuses(stage, 'a read-only disk', /data directory .* cannot be used|Read-only|read-only/i, {
      env: { ...stage.scene.stores.env },
    });
    disk.setReadOnly(false);
  }
  return over();
}
