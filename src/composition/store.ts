/** The database, migrated, the ledger in it, and the database's time: what everything else stands on. */
import type { Logger } from 'pino';
import { migrate } from '../database/migrate.ts';
import { type DatabaseHandle, openDatabase } from '../database/open-database.ts';
import { databaseTimeMs } from '../database/server-time.ts';
import { createSignedHeads, type SignedHeads } from '../ledger/heads.ts';
import { createLedger, type WritingLedger } from '../ledger/ledger.ts';
import { createDatabaseClock } from '../service/database-clock.ts';
import { realTimers } from '../timers.ts';
import type { InterlockConfiguration } from './configuration.ts';
import { inOrder, type Step } from './steps.ts';

/** The database and the ledger alone: what the command line needs to verify, export and replay. */
export interface Store {
  readonly database: DatabaseHandle;
  readonly ledger: WritingLedger;
  readonly heads: SignedHeads;
  close(): Promise<void>;
}

export async function openStore(config: InterlockConfiguration, logger: Logger): Promise<Store> {
  const database = await openDatabase({
    dataDir: config.dataDir,
    databaseUrl: config.database.url?.reveal(),
    directUrl: config.database.directUrl?.reveal(),
    logger,
    poolMax: 16,
  });
  try {
    await migrate(database.pool);
  } catch (error) {
    await database.close();
    throw error;
  }
  const ledger = createLedger({ pool: database.pool, logger });
  return {
    database,
    ledger,
    heads: createSignedHeads({ pool: database.pool }),
    close: () =>
      inOrder(logger, [
        ['ledger', () => ledger.close()],
        ['database', () => database.close()],
      ]),
  };
}

/** The time of decisions: the same for all who use one database. */
export async function databaseClock(
  { pool }: DatabaseHandle,
  logger: Logger,
  stops: Step[],
): Promise<() => Date> {
  const clock = await createDatabaseClock({ ask: () => databaseTimeMs(pool), timers: realTimers, logger });
  stops.push(['clock', async () => clock.stop()]);
  return () => clock.now();
}
