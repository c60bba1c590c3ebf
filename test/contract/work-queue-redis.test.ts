import { afterAll, beforeAll } from 'vitest';
import { NO_REDIS, redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';
import { describeWorkQueue } from './work-queue-contract.ts';
import { redisTarget } from './work-queue-targets.ts';

const skipReason = redisAvailable() ? false : NO_REDIS;
let redis: TestRedis | undefined;

beforeAll(async () => {
  if (skipReason === false) redis = await startRedis();
});
afterAll(async () => {
  await redis?.stop();
});

describeWorkQueue(
  'Redis',
  async () => {
    if (redis === undefined) throw new Error('no Redis');
    return redisTarget(redis);
  },
  skipReason,
);
