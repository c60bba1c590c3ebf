/** The stores the contract is held on: each real one behind a proxy, so that a test can take it away. */

import { Redis } from 'ioredis';
import { createWorkQueue, type QueueBackend } from '../../src/queue/create-work-queue.ts';
import { QUEUE_SCHEMA } from '../../src/queue/postgres-broker.ts';
import { dropQueue } from '../support/drop-queue.ts';
import type { TestDatabase } from '../support/embedded-database.ts';
import { createMemoryStore, createMemoryWorkQueue } from '../support/memory-work-queue.ts';
import type { TestRedis } from '../support/redis.ts';
import { silentLogger, type WorkQueueTarget } from './work-queue-contract.ts';
import { type FaultProxy, startFaultProxy } from './work-queue-proxy.ts';

export function memoryTarget(): WorkQueueTarget {
  const store = createMemoryStore();
  return {
    create: (tuning) => createMemoryWorkQueue({ store, ...tuning }),
    cut: async () => {
      store.reachable = false;
    },
    mend: async () => {
      store.reachable = true;
    },
    wipe: async () => store.wipe(),
    close: async () => {},
  };
}

export interface StoreTarget extends WorkQueueTarget {
  readonly proxy: FaultProxy;
  readonly backend: QueueBackend;
}

export interface PostgresTarget extends StoreTarget {
  readonly database: TestDatabase;
}

export async function postgresTarget(database: TestDatabase): Promise<PostgresTarget> {
  const proxy = await startFaultProxy({ ...socketOf(database.url), speaks: 'postgres' });
  const backend = { kind: 'postgres', url: throughProxy(database.url, proxy.port) } as const;
  return {
    database,
    proxy,
    backend,
    create: (tuning) => createWorkQueue({ backend, logger: silentLogger, ...tuning }),
    cut: proxy.cut,
    mend: proxy.mend,
    wipe: () => dropQueue(database.pool),
    async close() {
      await proxy.close();
      await removeJobs(database);
    },
  };
}

/** The next test starts on an empty queue, and need not build the schema again. */
async function removeJobs(database: TestDatabase): Promise<void> {
  const { rows } = await database.pool.query('select to_regclass($1) is not null as there', [
    `${QUEUE_SCHEMA}.job`,
  ]);
  if (rows[0]?.there === true) await database.pool.query(`DELETE FROM ${QUEUE_SCHEMA}.job`);
}

function socketOf(url: string): { path: string } | { host: string; port: number } {
  const { hostname, port, searchParams } = new URL(url);
  const host = searchParams.get('host') ?? decodeURIComponent(hostname);
  const number = Number(searchParams.get('port') ?? (port || '5432'));
  return host.startsWith('/') ? { path: `${host}/.s.PGSQL.${number}` } : { host, port: number };
}

function throughProxy(url: string, port: number): string {
  const changed = new URL(url);
  changed.hostname = '127.0.0.1';
  changed.port = String(port);
  changed.searchParams.delete('host');
  changed.searchParams.delete('port');
  return changed.href;
}

export async function redisTarget(redis: TestRedis): Promise<StoreTarget> {
  const direct = new Redis(redis.url);
  await direct.flushall();
  const proxy = await startFaultProxy({ host: '127.0.0.1', port: redis.port });
  const backend = { kind: 'redis', url: `redis://127.0.0.1:${proxy.port}` } as const;
  return {
    proxy,
    backend,
    create: (tuning) => createWorkQueue({ backend, logger: silentLogger, ...tuning }),
    cut: proxy.cut,
    mend: proxy.mend,
    wipe: async () => {
      await direct.flushall();
    },
    async close() {
      await proxy.close();
      direct.disconnect();
    },
  };
}
