/**
 * `tsx test/torture/power-control.ts`: the control of the power cuts. A rig that loses nothing proves nothing, so the
 * same cut is made under a PostgreSQL that acknowledges without fsync, and there it has to lose what was acknowledged.
 * Prints one line of JSON; exits 1 where fsync=off lost nothing, or fsync=on lost anything.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { locateBinaries } from '../../src/database/embedded/binaries.ts';
import { chooseLauncher } from '../../src/database/embedded/launcher.ts';
import { prepareLayout } from '../../src/database/embedded/layout.ts';
import { listPostgres } from '../../src/database/embedded/processes.ts';
import { createRandom } from '../simulation/random.ts';
import { openCluster } from './cluster.ts';
import { openDisk, whyNoDisk } from './disk.ts';

const COMMIT_FOR_MS = 1_500;
const START_TRIES = 100;

interface Outcome {
  readonly acknowledged: number;
  /** Null: the database does not start any more. */
  readonly left: number | null;
}

const reason = whyNoDisk();
if (reason !== false) {
  process.stderr.write(`${reason}\n`);
  process.exit(2);
}
const on = await cut('on');
const off = await cut('off');
const lostOff = off.left === null || off.left < off.acknowledged;
process.stdout.write(`${JSON.stringify({ fsyncOn: on, fsyncOff: off, controlCaught: lostOff })}\n`);
if (!lostOff || on.left !== on.acknowledged) process.exitCode = 1;

async function cut(fsync: 'on' | 'off'): Promise<Outcome> {
  const disk = await openDisk();
  try {
    const dataDir = join(disk.directory, 'data');
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const cluster = await openCluster(dataDir, createRandom(1));
    await cluster.start();
    await cluster.query('CREATE TABLE kept (n integer PRIMARY KEY)');
    if (fsync === 'off') await startCareless(dataDir, cluster);
    const acknowledged = await commitRows(cluster.url);
    disk.cutPower();
    await cluster.kill('everything', 'SIGKILL');
    await disk.mend();
    const left = await cluster
      .start()
      .then(() => cluster.query('SELECT count(*)::integer AS n FROM kept'))
      .then(([row]) => Number(row?.['n']))
      .catch(() => null);
    await cluster.kill('everything', 'SIGKILL');
    return { acknowledged, left };
  } finally {
    await disk.remove();
  }
}

/** The same server with the same arguments, but for one. */
async function startCareless(
  dataDir: string,
  cluster: Awaited<ReturnType<typeof openCluster>>,
): Promise<void> {
  const layout = await prepareLayout(dataDir);
  const postmaster = (await listPostgres(layout.cluster, layout.clusterName)).find(
    ({ isPostmaster }) => isPostmaster,
  );
  if (postmaster === undefined) throw new Error('there is no postmaster');
  const [, ...args] = (await readFile(`/proc/${postmaster.pid}/cmdline`, 'utf8')).split('\0').slice(0, -1);
  const launcher = await chooseLauncher(layout, await locateBinaries());
  await cluster.query('CHECKPOINT');
  await cluster.kill('postmaster', 'SIGINT');
  const careless = args.map((arg) => (arg === 'fsync=on' ? 'fsync=off' : arg));
  if (careless.join() === args.join()) throw new Error('the server is not told fsync=on on its command line');
  for (let i = 0; (await listPostgres(layout.cluster, layout.clusterName)).length > 0; i += 1) {
    if (i === START_TRIES) throw new Error('the server does not stop');
    await delay(100);
  }
  // What has been written so far is safe on either.
  const child = launcher.spawn('postgres', careless, { stdio: 'ignore', detached: true });
  child.on('error', () => undefined);
  child.unref();
  for (let i = 0; ; i += 1) {
    const [row] = await cluster.query('SHOW fsync').catch(() => []);
    if (row?.['fsync'] === 'off') return;
    if (i === START_TRIES) throw new Error('the careless server does not answer');
    await delay(100);
  }
}

/** One after another, each acknowledged before the next. */
async function commitRows(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  const until = performance.now() + COMMIT_FOR_MS;
  let rows = 0;
  while (performance.now() < until) {
    await client.query('INSERT INTO kept VALUES ($1)', [rows]);
    rows += 1;
  }
  // It dies with the machine.
  return rows;
}
