/**
 * The configuration and the ledger, for the commands that need them.
 *
 * Which file: `--config`, else INTERLOCK_CONFIG, else ./config/interlock.yaml.
 * Reading commands never make a ledger: a mistyped path must not verify an empty one with success.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { alertChannelConfigSchema } from '../alerts/registry.ts';
import type { InterlockConfiguration } from '../composition/configuration.ts';
import type { Store } from '../composition/store.ts';
import { loadConfiguration } from '../config/load.ts';
import { InterlockError } from '../errors.ts';
import { createLogger } from '../telemetry/logger.ts';
import { configPath } from './config-path.ts';
import type { Terminal } from './terminal.ts';

export function loadConfig(
  stated: string | undefined,
  { env }: Pick<Terminal, 'env'>,
): Promise<InterlockConfiguration> {
  return loadConfiguration(configPath(stated, env), { env, alertSchema: alertChannelConfigSchema });
}

/** Opens the ledger (starting the embedded database, or attaching to the one that runs), and closes it again. */
export async function withStore<T>(
  config: InterlockConfiguration,
  work: (store: Store) => Promise<T>,
): Promise<T> {
  await assertLedger(config);
  const logger = createLogger({ level: 'error', destination: pino.destination({ dest: 2, sync: true }) });
  // The whole service comes with it; commands that only read a file or a key need not wait for that.
  const { openStore } = await import('../composition/store.ts');
  const store = await openStore(config, logger);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

async function assertLedger({ database, dataDir }: InterlockConfiguration): Promise<void> {
  if (database.url !== null) return;
  const cluster = join(dataDir, 'postgres');
  const isThere = await stat(cluster).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isThere) {
    throw new InterlockError(
      `there is no ledger in ${dataDir}: the service has not run with this configuration, or it used a DATABASE_URL that is not set here`,
      { code: 'cli.no-ledger' },
    );
  }
}
