/**
 * The connection pool every request shares, with its deadlines.
 *
 * No statement waits for ever, on either side of the wire: the server ends what runs or waits too long, and the
 * client gives up on a server that has gone silent. A lost connection is an event that must be heard, or it ends
 * the process: here it is logged, and the query that was under way fails to its caller.
 */
import pg from 'pg';
import type { DatabaseLogger } from './logger.ts';

export interface PoolOptions {
  readonly url: string;
  readonly max: number;
  readonly logger: DatabaseLogger;
  /** Some connection poolers refuse settings at connect time; then the role must carry them. */
  readonly withServerTimeouts: boolean;
  onConnectionLost(): void;
}

export const statementTimeoutMs = 15_000;
export const lockTimeoutMs = 2_000;
export const idleInTransactionTimeoutMs = 10_000;
const connectTimeoutMs = 5_000;
/** The server's own deadline should speak first: its answer says what happened. */
const clientSlackMs = 5_000;

export function createPool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: 'interlock',
    keepAlive: true,
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: statementTimeoutMs + clientSlackMs,
    ...(options.withServerTimeouts
      ? {
          statement_timeout: statementTimeoutMs,
          lock_timeout: lockTimeoutMs,
          idle_in_transaction_session_timeout: idleInTransactionTimeoutMs,
        }
      : {}),
  });
  pool.on('connect', (client) => {
    // The pool listens to idle clients only; one that is lost while checked out, between two queries, has no
    // other listener.
    client.on('error', () => options.onConnectionLost());
  });
  pool.on('error', (error) => {
    // Not the error itself: the driver hangs the client on it, and with that the password.
    const code = 'code' in error ? error.code : error.name;
    options.logger.warn({ code }, 'a database connection was lost');
    options.onConnectionLost();
  });
  return pool;
}
