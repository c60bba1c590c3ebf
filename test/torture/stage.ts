/**
 * One grade set up to be tortured: a disk that can fail (where there can be one), a PostgreSQL and a Redis that can be
 * killed, a proxy before each, the campaign's load, and the service, which is started again whenever it is down, as
 * a supervisor does.
 *
 *   Interlock --proxy--> PostgreSQL (data on the disk)       embedded: no proxy, Interlock starts it itself
 *             --proxy--> Redis                               distributed only
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type FaultProxy, startFaultProxy } from '../contract/work-queue-proxy.ts';
import { createRandom, type Random } from '../simulation/random.ts';
import { openScene, type Scene } from '../support/campaign/scene.ts';
import type { ServiceProcess } from '../support/campaign/service-process.ts';
import type { Grade } from '../support/campaign/stores.ts';
import { dataDirectories } from '../support/data-directories.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { type Disk, openDisk, whyNoDisk } from './disk.ts';

export interface Stage {
  readonly grade: Grade;
  readonly bin: string;
  readonly random: Random;
  readonly scene: Scene;
  readonly cluster: Cluster;
  readonly disk: Disk | null;
  /** What the service connects through; null on the embedded grade, whose PostgreSQL has a Unix socket only. */
  readonly database: FaultProxy | null;
  readonly redis: { readonly server: TestRedis; readonly proxy: FaultProxy; readonly client: Redis } | null;
  /** A directory beside the data, on an ordinary disk, for backups and anchors. */
  readonly spare: string;
  service(): ServiceProcess;
  /** From service to service: killed or not, the next one is started and heard. */
  startService(env?: Readonly<Record<string, string>>): Promise<ServiceProcess>;
  /** Started, and perhaps never ready. */
  launch(env?: Readonly<Record<string, string>>): ServiceProcess;
  /** How long each start took until it answered. */
  readonly startsMs: number[];
  close(options: { keep: boolean }): Promise<void>;
}

const CHECKPOINTS_MAX = 12;
const EVALUATORS_AT_ONCE = 8;

export async function openStage({
  bin,
  grade,
  seed,
}: {
  bin: string;
  grade: Grade;
  seed: number;
}): Promise<Stage> {
  const random = createRandom(seed);
  const closers: (() => Promise<unknown>)[] = [];
  const shut = async () => {
    for (const close of closers.splice(0).reverse()) await close().catch(() => undefined);
  };
  try {
    const disk = whyNoDisk() === false ? await openDisk() : null;
    if (disk !== null) closers.push(() => disk.remove());
    const directories = dataDirectories();
    closers.push(() => directories.clean());
    const dataDir = disk === null ? await directories.make() : join(disk.directory, 'data');
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const spare = await directories.make();
    const cluster = await openCluster(dataDir, random);
    closers.push(() => cluster.kill('everything', 'SIGKILL'));
    const { env, database, redis } = await openParts(grade, cluster, closers);
    const scene = await openScene({
      bin,
      grade,
      seed,
      stores: { env, close: async () => undefined },
      workplace: {
        dataDir: grade === 'embedded' ? dataDir : join(spare, 'data'),
        evaluatorsAtOnce: EVALUATORS_AT_ONCE,
        config: { ledger: { anchors: join(spare, 'anchors') } },
      },
      checkpointsMax: CHECKPOINTS_MAX,
    });
    return assemble({ grade, bin, random, scene, cluster, disk, database, redis, spare }, shut);
  } catch (error) {
    await shut();
    throw error;
  }
}

async function openParts(
  grade: Grade,
  cluster: Cluster,
  closers: (() => Promise<unknown>)[],
): Promise<Pick<Stage, 'database' | 'redis'> & { env: Record<string, string> }> {
  if (grade === 'embedded') return { env: {}, database: null, redis: null };
  await cluster.start();
  const database = await startFaultProxy({ path: cluster.socketPath, speaks: 'postgres' });
  closers.push(database.close);
  const env: Record<string, string> = {
    DATABASE_URL: `postgresql://interlock@127.0.0.1:${database.port}/postgres?sslmode=disable`,
  };
  if (grade === 'server') return { env, database, redis: null };
  const server = await startRedis();
  closers.push(server.stop);
  const proxy = await startFaultProxy({ host: '127.0.0.1', port: server.port });
  closers.push(proxy.close);
  const client = new Redis(server.url, { maxRetriesPerRequest: 3 });
  client.on('error', () => {});
  closers.push(async () => client.disconnect());
  env['REDIS_URL'] = `redis://127.0.0.1:${proxy.port}`;
  return { env, database, redis: { server, proxy, client } };
}

type Parts = Omit<Stage, 'service' | 'startService' | 'launch' | 'startsMs' | 'close'>;

function assemble(parts: Parts, shut: () => Promise<void>): Stage {
  const { scene, spare } = parts;
  const startsMs: number[] = [];
  let current: ServiceProcess | null = null;

  function launch(env: Readonly<Record<string, string>> = {}): ServiceProcess {
    const fromMs = performance.now();
    const service = scene.start(env);
    current = service;
    service.ready.then(
      (url) => {
        startsMs.push(performance.now() - fromMs);
        if (current === service) scene.api.use(url);
      },
      () => undefined,
    );
    return service;
  }

  return {
    ...parts,
    startsMs,
    launch,
    service() {
      if (current === null) throw new Error('no service was started yet');
      return current;
    },
    async startService(env) {
      const service = launch(env);
      await service.ready;
      return service;
    },
    async close({ keep }) {
      await scene.close({ keep });
      await shut();
      await rm(spare, { recursive: true, force: true }).catch(() => undefined);
      // What was killed last is reaped before the process looks at what is left.
      await delay(0);
    },
  };
}
