/** After close no handle is left: a process that closes its queue ends by itself. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresTarget, redisTarget } from '../contract/work-queue-targets.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { NO_REDIS, redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';

const CHILD = fileURLToPath(new URL('queue-exit-child.ts', import.meta.url));
const EXIT_DEADLINE_MS = 30_000;

/** Milliseconds from the child's "closed" to its end. */
async function runChild(kind: string, url: string, mode: 'start' | 'away') {
  const child = spawn(process.execPath, ['--import', 'tsx', CHILD, kind, url, mode], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: EXIT_DEADLINE_MS,
    killSignal: 'SIGKILL',
  });
  let closedAt = Number.NaN;
  let errors = '';
  child.stdout.on('data', () => {
    closedAt = performance.now();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const [code, signal] = await once(child, 'exit');
  return { code, signal, errors, exitMs: performance.now() - closedAt };
}

const cleanly = { code: 0, signal: null, errors: '' };

describe('a process that closed its queue', () => {
  let database: TestDatabase;
  let redis: TestRedis | undefined;

  beforeAll(async () => {
    database = await startTestDatabase();
    if (redisAvailable()) redis = await startRedis();
  });
  afterAll(async () => {
    await database.close();
    await redis?.stop();
  });

  it.each(['start', 'away'] as const)('ends by itself on PostgreSQL (%s)', async (mode) => {
    const target = await postgresTarget(database);
    try {
      if (mode === 'away') await target.cut();
      const result = await runChild('postgres', target.backend.url, mode);
      expect(result).toMatchObject(cleanly);
      expect(result.exitMs).toBeLessThan(2_000);
    } finally {
      await target.close();
    }
  });

  const title = redisAvailable() ? 'on Redis' : `on Redis (skipped: ${NO_REDIS})`;
  it.skipIf(!redisAvailable()).each(['start', 'away'] as const)(
    `ends by itself ${title} (%s)`,
    async (mode) => {
      if (redis === undefined) throw new Error('no Redis');
      const target = await redisTarget(redis);
      try {
        if (mode === 'away') await target.cut();
        const result = await runChild('redis', target.backend.url, mode);
        expect(result).toMatchObject(cleanly);
        expect(result.exitMs).toBeLessThan(2_000);
      } finally {
        await target.close();
      }
    },
  );
});
