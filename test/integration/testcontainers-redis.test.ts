/** The queue of the distributed grade on Redis 7 in a container. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { describeWorkQueue, item, recorder } from '../contract/work-queue-contract.ts';
import { redisTarget } from '../contract/work-queue-targets.ts';
import { NO_DOCKER, type ServerContainer, startRedisContainer } from '../support/docker.ts';

const WITHIN = { timeout: 30_000, interval: 50 };

let server: ServerContainer;

beforeAll(async () => {
  if (NO_DOCKER === false) server = await startRedisContainer();
});
afterAll(async () => {
  if (NO_DOCKER === false) await server?.stop();
});

const target = () =>
  redisTarget({
    url: server.url,
    port: server.port,
    restart: () => server.crash(),
    kill9: () => server.crash(),
    stop: () => server.stop(),
  });

describeWorkQueue('a Redis container', target, NO_DOCKER);

const skipped = NO_DOCKER === false ? '' : ` (skipped: ${NO_DOCKER})`;
describe.skipIf(NO_DOCKER !== false)(`the queue on a Redis container${skipped}`, () => {
  it('goes on with what it had accepted when the server is killed and started again', async () => {
    const store = await target();
    const queue = store.create();
    try {
      const later = item('tick', { notBeforeMs: Date.now() + 3_000 });
      expect(await queue.enqueue([later])).toEqual({ queued: 1, failed: [] });
      // What the append-only file is sure to hold is one second old (appendfsync everysec).
      await vi.waitUntil(() => Date.now() > later.notBeforeMs - 1_500, WITHIN);
      await server.crash();
      const { handlers, times } = recorder();
      await vi.waitFor(() => queue.start(handlers), WITHIN);
      await vi.waitFor(() => expect(times(later.key)).toBe(1), WITHIN);
    } finally {
      await queue.close();
      await store.close();
    }
  });
});
