import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { encodeJobId } from '../../src/queue/job-id.ts';
import { QUEUES } from '../../src/queue/queues.ts';
import type { WorkItem, WorkQueue } from '../../src/queue/work-queue.ts';
import { NO_REDIS, redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';
import { describeWorkQueue, item, recorder } from './work-queue-contract.ts';
import { redisTarget, type StoreTarget } from './work-queue-targets.ts';

const skipReason = redisAvailable() ? false : NO_REDIS;
let redis: TestRedis | undefined;

beforeAll(async () => {
  if (skipReason === false) redis = await startRedis();
});
afterAll(async () => {
  await redis?.stop();
});

function running(): TestRedis {
  if (redis === undefined) throw new Error('no Redis');
  return redis;
}

describeWorkQueue('Redis', async () => redisTarget(running()), skipReason);

describe.skipIf(skipReason !== false)('a Redis that lost some of its keys', () => {
  let target: StoreTarget;
  let client: Redis;
  const queues: WorkQueue[] = [];
  const longDue = (): WorkItem => item('evaluate', { notBeforeMs: Date.now() - 10_000 });
  const key = (part: string) => `bull:${QUEUES.evaluate.name}:${part}`;

  beforeEach(async () => {
    target = await redisTarget(running());
    client = new Redis(running().url);
  });
  afterEach(async () => {
    client.disconnect();
    await Promise.all(queues.splice(0).map((queue) => queue.close()));
    await target.close();
  });

  const open = () => {
    const queue = target.create();
    queues.push(queue);
    return queue;
  };
  const lose = async (...keys: string[]) => expect(await client.del(...keys)).toBe(keys.length);

  for (const [list, notBeforeMs] of [
    ['wait', 0],
    ['delayed', 60_000],
  ] as const) {
    it(`queues a job again that stood in '${list}', once it is long due and offered again`, async () => {
      const queue = open();
      const work = item('evaluate', { notBeforeMs: Date.now() + notBeforeMs });
      await queue.enqueue([work]);
      await lose(key(list));
      const { handlers, times } = recorder();
      await queue.start(handlers);
      const offered = { ...work, notBeforeMs: Date.now() - 10_000 };
      expect(await queue.enqueue([offered])).toEqual({ queued: 1, failed: [] });
      await vi.waitFor(() => expect(times(work.key)).toBe(1), { timeout: 10_000 });
    });
  }

  it('leaves a job alone that a worker holds, though its list is gone', async () => {
    const queue = open();
    const work = longDue();
    let end = () => {};
    const { handlers, times } = recorder(() => new Promise((resolve) => (end = resolve)));
    await queue.start(handlers);
    await queue.enqueue([work]);
    await vi.waitFor(() => expect(times(work.key)).toBe(1), { timeout: 10_000 });
    await lose(key('active'));
    await queue.enqueue([work]);
    expect(await client.exists(key(encodeJobId('evaluate', work.key)))).toBe(1);
    expect(await client.llen(key('wait'))).toBe(0);
    end();
  });

  it('leaves waiting jobs in their order', async () => {
    const queue = open();
    const works = [longDue(), longDue(), longDue()];
    await queue.enqueue(works);
    const before = await client.lrange(key('wait'), 0, -1);
    await queue.enqueue(works);
    expect(await client.lrange(key('wait'), 0, -1)).toEqual(before);
    expect(before).toHaveLength(3);
  });

  it('picks up in seconds what waits with no mark that anything does', async () => {
    const queue = open();
    const { handlers, times } = recorder();
    await queue.start(handlers);
    const work = longDue();
    await queue.enqueue([item('evaluate', { notBeforeMs: Date.now() + 3_600_000 }), work]);
    await client.del(key('marker'));
    await vi.waitFor(() => expect(times(work.key)).toBe(1), { timeout: 5_000 });
  });
});
