import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createWorkQueue } from '../../src/queue/create-work-queue.ts';
import type { WorkQueue } from '../../src/queue/work-queue.ts';
import { item, recorder, silentLogger, untilAborted } from '../contract/work-queue-contract.ts';
import { redisTarget, type StoreTarget } from '../contract/work-queue-targets.ts';
import { NO_REDIS, redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';

const WITHIN = { timeout: 20_000, interval: 20 };

const skip = !redisAvailable();
const title = skip ? `the queue on Redis (skipped: ${NO_REDIS})` : 'the queue on Redis';

describe.skipIf(skip)(title, () => {
  let redis: TestRedis;
  let target: StoreTarget;
  const opened: WorkQueue[] = [];

  function track(queue: WorkQueue): WorkQueue {
    opened.push(queue);
    return queue;
  }
  const open = (tuning?: Parameters<StoreTarget['create']>[0]) => track(target.create(tuning));
  const at = (url: string) =>
    track(createWorkQueue({ backend: { kind: 'redis', url }, logger: silentLogger }));

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => {
    await redis.stop();
  });
  beforeEach(async () => {
    target = await redisTarget(redis);
  });
  afterEach(async () => {
    await target.mend();
    await Promise.all(opened.splice(0).map((queue) => queue.close()));
    await target.close();
  });

  it('refuses a Redis that may evict jobs, and names the setting', async () => {
    const evicting = await startRedis({ maxmemoryPolicy: 'allkeys-lru' });
    try {
      const queue = at(evicting.url);
      await expect(queue.start(recorder().handlers)).rejects.toMatchObject({
        code: 'queue.refused',
        retryable: false,
        message: expect.stringMatching(/maxmemory-policy is allkeys-lru.*set maxmemory-policy to noeviction/),
      });
      await queue.close();
    } finally {
      await evicting.stop();
    }
  });

  it.each([-10_000, 10_000])('refuses to work with a clock %i ms off', async (offsetMs) => {
    const queue = open({ clock: { now: () => Date.now() + offsetMs } });
    await expect(queue.start(recorder().handlers)).rejects.toMatchObject({
      code: 'queue.refused',
      message: expect.stringContaining('clock'),
    });
  });

  it('answers in time where Redis never was, refuses to start, starts once it is there', async () => {
    await target.cut();
    const queue = open();
    const askedAt = performance.now();
    expect((await queue.enqueue([item('tick')])).failed.length).toBe(1);
    expect(performance.now() - askedAt).toBeLessThan(3_000);
    await expect(queue.start(recorder().handlers)).rejects.toMatchObject({
      code: 'queue.refused',
      retryable: true,
    });
    await target.mend();
    const { handlers, times } = recorder();
    await vi.waitUntil(
      () =>
        queue.start(handlers).then(
          () => true,
          () => false,
        ),
      WITHIN,
    );
    const work = item('tick');
    await queue.enqueue([work]);
    await vi.waitFor(() => expect(times(work.key)).toBe(1), WITHIN);
  });

  it('goes on with what it had accepted after kill -9 of the server', async () => {
    const own = await startRedis();
    const queue = at(own.url);
    try {
      const { ran, handlers } = recorder();
      // AOF everysec: what is a second old survives the death of the process.
      const before = Array.from({ length: 50 }, () => item('tick', { notBeforeMs: Date.now() + 1_500 }));
      expect((await queue.enqueue(before)).failed).toEqual([]);
      await queue.start(handlers);
      await own.kill9();
      const lost = item('tick');
      expect((await queue.enqueue([lost])).failed).toEqual([lost]);
      await own.restart();
      await vi.waitFor(() => expect(new Set(ran.map(({ key }) => key)).size).toBe(50), WITHIN);
      await vi.waitUntil(async () => (await queue.enqueue([lost])).queued === 1, WITHIN);
      await vi.waitFor(() => expect(ran.map(({ key }) => key)).toContain(lost.key), WITHIN);
    } finally {
      await queue.close();
      await own.stop();
    }
  });

  it('loses nothing it accepted while every connection is cut again and again', async () => {
    const queue = open();
    const { ran, handlers } = recorder();
    await queue.start(handlers);
    const accepted = new Set<string>();
    for (let round = 0; round < 8; round += 1) {
      const batch = Array.from({ length: 30 }, () => item('tick'));
      const adding = queue.enqueue(batch);
      target.proxy.dropConnections();
      const refused = new Set((await adding).failed.map(({ key }) => key));
      for (const { key } of batch) if (!refused.has(key)) accepted.add(key);
      await vi.waitUntil(async () => (await queue.enqueue([item('alert')])).queued === 1, WITHIN);
    }
    const isDone = () => {
      const done = new Set(ran.map(({ key }) => key));
      return [...accepted].every((key) => done.has(key));
    };
    await vi.waitUntil(isDone, { timeout: 60_000, interval: 50 });
  }, 90_000);

  it('answers in time when the server goes silent, and closes in time as well', async () => {
    const queue = open();
    await queue.start(recorder(untilAborted).handlers);
    await queue.enqueue([item('evaluate')]);
    target.proxy.silence();
    const work = Array.from({ length: 100 }, () => item('tick'));
    const askedAt = performance.now();
    expect((await queue.enqueue(work)).failed.length).toBe(100);
    expect(performance.now() - askedAt).toBeLessThan(3_500);
    const closedAt = performance.now();
    await queue.close();
    expect(performance.now() - closedAt).toBeLessThan(15_000);
  }, 40_000);

  it('aborts a handler whose lock is lost', async () => {
    const reasons: unknown[] = [];
    const queue = open({ timeouts: { observe: 10_000 } });
    const { handlers, times } = recorder((work, signal) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return untilAborted(work, signal);
    });
    await queue.start(handlers);
    const work = item('observe');
    await queue.enqueue([work]);
    await vi.waitFor(() => expect(times(work.key)).toBe(1), WITHIN);
    await target.wipe();
    await vi.waitFor(() => expect(reasons.length).toBe(1), WITHIN);
    expect(reasons[0]).toMatchObject({ code: 'queue.lock-lost' });
  });

  it('reports work as failed while Redis is full, and goes on when there is room', async () => {
    const queue = open();
    const { handlers, times } = recorder();
    await queue.start(handlers);
    const admin = new Redis(redis.url);
    try {
      await admin.config('SET', 'maxmemory', '1');
      const work = item('tick');
      expect((await queue.enqueue([work])).failed).toEqual([work]);
      await admin.config('SET', 'maxmemory', '0');
      expect((await queue.enqueue([work])).queued).toBe(1);
      await vi.waitFor(() => expect(times(work.key)).toBe(1), WITHIN);
    } finally {
      await admin.config('SET', 'maxmemory', '0');
      admin.disconnect();
    }
  });
});
