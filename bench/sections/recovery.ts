/**
 * Everything in the queue is lost at once (FLUSHALL, or the schema dropped where PostgreSQL carries the queue) while
 * 10,000 runs each have an evaluation waiting: how long until all of it is in the queue again?
 */
import { createPostgresBackend, createRedisBackend, Queue } from 'bullmq';
import { Redis } from 'ioredis';
import type { Figure, Section, SectionContext } from '../figure.ts';
import { oneEndless } from '../policies.ts';
import { checkpointBody, registerRuns } from '../registering.ts';
import type { Service } from '../stand.ts';
import { spread } from '../statistics.ts';

const QUEUE = 'interlock-evaluate';
const TARGET_S = 30;
const GIVE_UP_S = 180;
const LOOK_EACH_MS = 100;
/** Evaluations that run, and so do not wait. */
const RUNNING_MAX = 2;

interface Store {
  count(): Promise<number>;
  wipe(): Promise<void>;
  close(): Promise<void>;
}

async function run({ stand, quick, profileTo, note }: SectionContext): Promise<Figure[]> {
  const [runs, wipes] = quick ? [500, 1] : [10_000, 2];
  const generator = await stand.generator();
  const service = await stand.service({ policies: { 'one-endless': oneEndless }, profileTo });
  const store = openQueueStore(service);
  try {
    note(`${runs} runs`);
    await registerRuns(generator, service, { runs, prefix: 'wait-' });
    await generator.run({
      port: service.port,
      connections: 32,
      requests: runs,
      path: '/v1/checkpoints',
      body: checkpointBody('wait-{n}', '1e21'),
      secret: service.secret,
      holds: '"disposition":"evaluate"',
    });
    const full = runs - RUNNING_MAX;
    await untilQueued(store, full);
    const seconds: number[] = [];
    for (let wipe = 0; wipe < wipes; wipe += 1) {
      await store.wipe();
      seconds.push(await untilQueued(store, full));
    }
    const worst = Math.max(...seconds);
    return [
      {
        name: `queue wiped, ${runs} runs with work: all of it queued again`,
        measured: `${worst.toFixed(1)} s`,
        baseline: null,
        ratio: null,
        target: `<= ${TARGET_S} s`,
        met: worst <= TARGET_S,
        details: spread(seconds),
      },
    ];
  } finally {
    await store.close();
    await service.stop();
    await generator.stop();
  }
}

async function untilQueued(store: Store, wanted: number): Promise<number> {
  const startedMs = performance.now();
  for (;;) {
    const queued = await store.count();
    const seconds = (performance.now() - startedMs) / 1000;
    if (queued >= wanted) return seconds;
    if (seconds > GIVE_UP_S) throw new Error(`${queued} of ${wanted} were in the queue after ${GIVE_UP_S} s`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EACH_MS));
  }
}

function openQueueStore({ redis, database }: Service): Store {
  const total = (counts: Readonly<Record<string, number>>): number =>
    (counts['waiting'] ?? 0) + (counts['delayed'] ?? 0) + (counts['prioritized'] ?? 0);
  if (redis !== null) {
    const connection = new Redis(redis.url, { maxRetriesPerRequest: null });
    const queue = new Queue(QUEUE, { connection, skipMetasUpdate: true }, createRedisBackend);
    return {
      count: async () => total(await queue.getJobCounts()),
      wipe: async () => void (await connection.flushall()),
      close: async () => {
        await queue.close();
        connection.disconnect();
      },
    };
  }
  if (database === null) throw new Error('the embedded grade is not measured here');
  const connection = { connectionString: database.url, schema: 'bullmq', max: 2 };
  const queue = new Queue(QUEUE, { connection, skipMetasUpdate: true }, createPostgresBackend);
  queue.on('error', () => {});
  return {
    // While the schema is missing, nothing is queued.
    count: async () => queue.getJobCounts().then(total, () => 0),
    wipe: async () => void (await database.pool.query('DROP SCHEMA bullmq CASCADE')),
    close: () => queue.close(),
  };
}

export const recovery: Section = { name: 'recovery', title: 'The queue is wiped', run };
