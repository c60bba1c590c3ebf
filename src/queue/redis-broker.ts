/**
 * BullMQ on Redis through ioredis: one connection for producers that fails fast, one for workers that waits.
 *
 * Redis must not evict (`noeviction`): under any other policy acknowledged jobs vanish without an error.
 * Locks are kept by the server's clock here, delays by the clients'.
 *
 * Fails toward "not queued": while Redis is away every add is refused at once.
 */
import { once } from 'node:events';
import { createRedisBackend, type Job, Queue, Worker } from 'bullmq';
import { Redis, type RedisOptions } from 'ioredis';
import { InterlockError } from '../errors.ts';
import { brake } from './brake.ts';
import {
  BLIND_WAIT_MAX_S,
  type Broker,
  COUNTED_STATES,
  countsOf,
  type Probe,
  type Processor,
  type QueuePort,
  STALLED_COUNT_MAX,
  type WorkerPort,
  type WorkerSettings,
} from './broker.ts';
import { attempt, CALL_DEADLINE_MS, withDeadline } from './deadline.ts';
import { createFaultLog, type QueueLogger } from './log.ts';

const VERSION_MIN = 7;
const WORKERS_LOOK_IN = ['wait', 'prioritized', 'delayed', 'active'] as const;
const LISTENERS_MAX = 200;
const RECONNECT_MAX_MS = 1_000;
/** After a polite end; ioredis keeps this timer even where the socket is long gone. */
const DISCONNECT_MS = 500;

export interface RedisBrokerOptions {
  url: string;
  logger: QueueLogger;
}

/** Knows the copies BullMQ makes for blocking, so that close can end them too. */
class FamilyRedis extends Redis {
  readonly copies = new Set<Redis>();

  override duplicate(override?: Partial<RedisOptions>): Redis {
    const copy = super.duplicate(override);
    copy.on('error', () => {}); // BullMQ listens as well and reports
    copy.once('end', () => this.copies.delete(copy));
    this.copies.add(copy);
    return copy;
  }
}

export function createRedisBroker({ url, logger }: RedisBrokerOptions): Broker {
  const faults = createFaultLog(logger);
  const closing = new AbortController();
  const common = {
    lazyConnect: true,
    connectTimeout: CALL_DEADLINE_MS,
    disconnectTimeout: DISCONNECT_MS,
    retryStrategy: (times: number) => Math.min(times * 50, RECONNECT_MAX_MS),
  };
  const producer = new FamilyRedis(url, {
    ...common,
    connectionName: 'interlock-producer',
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 1,
    commandTimeout: CALL_DEADLINE_MS,
  });
  const consumer = new FamilyRedis(url, {
    ...common,
    connectionName: 'interlock-worker',
    maxRetriesPerRequest: null,
  });
  producer.on('error', (error) => faults.warn('redis', error, 'queue connection lost'));
  consumer.on('error', (error) => faults.warn('redis', error, 'worker connection lost'));
  // BullMQ raises and lowers the limit around its own listeners, so "none" (0) would become three.
  producer.setMaxListeners(LISTENERS_MAX);
  consumer.setMaxListeners(LISTENERS_MAX);

  let connecting: Promise<void> | undefined;

  async function prepare(): Promise<void> {
    if (producer.status === 'ready') return;
    connecting ??= withDeadline('the connection to Redis', () => connected(producer)).finally(() => {
      connecting = undefined;
    });
    await connecting;
  }

  function openQueue(name: string): QueuePort {
    const queue = new Queue(name, { connection: producer, skipMetasUpdate: true }, createRedisBackend);
    queue.on('error', (error) => faults.warn(name, error, 'queue error'));
    return {
      ready: () => queue.waitUntilReady(),
      add: async (jobName, data, options) => {
        await queue.add(jobName, data, options);
      },
      addAll: async (jobs) => {
        await queue.addBulk(jobs.map((job) => ({ ...job })));
      },
      has: async (jobId) => (await queue.getJob(jobId)) !== undefined,
      freeStranded: async (jobIds) => {
        // One script reads all of them, so that a job on its way from one to the next is in one.
        const held = new Set(await queue.getRanges([...WORKERS_LOOK_IN], 0, -1));
        const doubtful = jobIds.filter((jobId) => !held.has(jobId));
        const keys = await Promise.all(doubtful.map((jobId) => producer.exists(queue.toKey(jobId))));
        const stranded = doubtful.filter((_, i) => keys[i] === 1);
        // 0 where a worker holds its lock: it is being done, and its end or the lock's frees it.
        const removed = await Promise.all(
          stranded.map((jobId) => queue.remove(jobId, { removeChildren: false })),
        );
        return removed.reduce((sum, one) => sum + one, 0);
      },
      counts: async () => countsOf(await queue.getJobCounts(...COUNTED_STATES)),
      close: () => queue.close(),
    };
  }

  function openWorker(name: string, processor: Processor, settings: WorkerSettings): WorkerPort {
    const worker = new Worker(
      name,
      // Three parameters, or BullMQ leaves out the signal.
      (job: Job, token?: string, signal?: AbortSignal) => processor(job, token, signal),
      {
        connection: consumer,
        concurrency: settings.concurrency,
        lockDuration: settings.lockDurationMs,
        stalledInterval: settings.stalledIntervalMs,
        maxStalledCount: STALLED_COUNT_MAX,
        drainDelay: BLIND_WAIT_MAX_S,
        runRetryDelay: 1_000,
      },
      (queueName, opts, factoryOpts) =>
        brake(createRedisBackend(queueName, opts, factoryOpts), {
          onFailure: async () => {},
          closing: closing.signal,
        }),
    );
    worker.on('error', (error) => faults.warn(name, error, 'worker error'));
    worker.on('lockRenewalFailed', settings.onLockLost);
    return {
      ready: () => worker.waitUntilReady(),
      pause: () => worker.pause(true),
      resume: () => worker.resume(),
      close: () => worker.close(),
    };
  }

  const versionProbe: Probe = {
    name: 'redis-version',
    run: async () => {
      const version = infoField(await producer.info('server'), 'redis_version');
      return Number.parseInt(version, 10) >= VERSION_MIN
        ? { ok: true, detail: `Redis ${version}` }
        : {
            ok: false,
            detail: `Redis ${version || 'of unknown version'}: at least ${VERSION_MIN} is needed`,
          };
    },
  };

  const evictionProbe: Probe = {
    name: 'redis-eviction',
    run: async () => {
      // INFO rather than CONFIG GET, which managed services refuse.
      const policy = infoField(await producer.info('memory'), 'maxmemory_policy');
      return policy === 'noeviction'
        ? { ok: true, detail: 'maxmemory-policy is noeviction' }
        : {
            ok: false,
            detail: `maxmemory-policy is ${policy || 'unknown'}: jobs would vanish without an error; set maxmemory-policy to noeviction`,
          };
    },
  };

  return {
    prepare,
    openQueue,
    openWorker,
    probes: [versionProbe, evictionProbe],
    async serverTimeMs() {
      const [seconds, microseconds] = await producer.time();
      return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
    },
    async close() {
      closing.abort();
      const clients = [...producer.copies, producer, ...consumer.copies, consumer];
      const ends = clients.filter(({ status }) => status !== 'end').map((client) => once(client, 'end'));
      for (const client of clients) client.disconnect();
      // One that was waiting to reconnect never says so; it holds nothing either.
      await attempt('the end of the connections to Redis', () => Promise.all(ends), DISCONNECT_MS);
    },
  };
}

/** Rejects on the first failure: a producer fails fast, and the next call tries again. */
async function connected(client: Redis): Promise<void> {
  if (client.status === 'wait' || client.status === 'end') return client.connect();
  await new Promise<void>((resolve, reject) => {
    const onReady = () => {
      client.off('close', onClose);
      resolve();
    };
    const onClose = () => {
      client.off('ready', onReady);
      reject(new InterlockError('Redis is not reachable', { code: 'queue.unreachable', retryable: true }));
    };
    client.once('ready', onReady);
    client.once('close', onClose);
  });
}

function infoField(info: string, field: string): string {
  return new RegExp(`^${field}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}
