/** The storage grades, as the service is started on them. */
import { rm } from 'node:fs/promises';
import { type DatabaseHandle, openDatabase } from '../../../src/database/open-database.ts';
import { dataDirectories } from '../data-directories.ts';
import { silentLogger } from '../embedded-database.ts';
import { NO_REDIS, redisAvailable, startRedis } from '../redis.ts';

export const GRADES = ['embedded', 'server', 'distributed'] as const;
export type Grade = (typeof GRADES)[number];

export interface Stores {
  readonly env: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

/** Why a grade cannot be tried here; false where it can. */
export function missing(grade: Grade): string | false {
  return grade === 'distributed' && !redisAvailable() ? NO_REDIS : false;
}

export async function openStores(grade: Grade): Promise<Stores> {
  if (grade === 'embedded') return { env: {}, close: async () => undefined };
  const postgres = await startPostgres();
  if (grade === 'server') return { env: { DATABASE_URL: postgres.url }, close: postgres.close };
  const redis = await startRedis().catch(async (error: unknown) => {
    await postgres.close();
    throw error;
  });
  return {
    env: { DATABASE_URL: postgres.url, REDIS_URL: redis.url },
    close: async () => {
      await redis.stop();
      await postgres.close();
    },
  };
}

/** A server of its own, which the service knows by its address only. */
async function startPostgres(): Promise<{ url: string; close(): Promise<void> }> {
  const directories = dataDirectories();
  const dataDir = await directories.make();
  let handle: DatabaseHandle;
  try {
    handle = await openDatabase({ dataDir, logger: silentLogger, poolMax: 2 });
  } catch (error) {
    await rm(dataDir, { recursive: true, force: true });
    throw error;
  }
  return {
    url: handle.url,
    close: async () => {
      await handle.close();
      await directories.clean();
    },
  };
}
