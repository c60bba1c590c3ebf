/**
 * What a PostgreSQL server must be before Interlock acknowledges anything on the strength of it.
 *
 * "Acknowledged" means durable, so a server that answers COMMIT before the bytes are on disk is refused, not warned
 * about. The checks see the settings as our own role and database get them.
 */
import type pg from 'pg';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';

export type Durability = 'machine-crash' | 'site';

const oldestVersion = 140_000;

const settingsSchema = z.object({
  version: z.coerce.number().int(),
  fsync: z.string(),
  synchronousCommit: z.string(),
  fullPageWrites: z.string(),
  encoding: z.string(),
  standbys: z.string(),
  readOnly: z.boolean(),
  lockTimeout: z.string(),
});
export type ServerSettings = z.infer<typeof settingsSchema>;

export async function readServerSettings(pool: pg.Pool): Promise<ServerSettings> {
  const result = await pool.query(`
    SELECT current_setting('server_version_num') AS version,
           current_setting('fsync') AS fsync,
           current_setting('synchronous_commit') AS "synchronousCommit",
           current_setting('full_page_writes') AS "fullPageWrites",
           current_setting('server_encoding') AS encoding,
           current_setting('synchronous_standby_names') AS standbys,
           pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS "readOnly",
           current_setting('lock_timeout') AS "lockTimeout"`);
  return settingsSchema.parse(result.rows[0]);
}

/** Throws for a server that cannot keep the promise; tells what a commit on a good one survives. */
export function assessServer(settings: ServerSettings): Durability {
  if (settings.version < oldestVersion) {
    const major = Math.floor(settings.version / 10_000);
    throw refused('server-too-old', `PostgreSQL 14 or newer is needed and the database server is ${major}`);
  }
  if (settings.readOnly) {
    throw refused(
      'server-read-only',
      'the database server is a standby or read-only: point DATABASE_URL at the primary',
    );
  }
  if (settings.encoding !== 'UTF8') {
    throw refused('server-encoding', `the database must be encoded in UTF8 and is in ${settings.encoding}`);
  }
  const off = Object.entries({
    fsync: settings.fsync,
    synchronous_commit: settings.synchronousCommit,
    full_page_writes: settings.fullPageWrites,
  }).find(([, value]) => value === 'off');
  if (off !== undefined) {
    throw refused(
      'server-not-durable',
      `the database server has ${off[0]} = off: what Interlock acknowledges must survive a crash, so switch it on`,
    );
  }
  const waitsForStandby =
    ['on', 'remote_apply'].includes(settings.synchronousCommit) && settings.standbys !== '';
  return waitsForStandby ? 'site' : 'machine-crash';
}

function refused(code: string, message: string): InterlockError {
  return new InterlockError(message, { code: `database.${code}` });
}
