/**
 * One database conversation with a deadline, and what its failure means.
 *
 * `pg` waits for ever on a connection whose other end has vanished without a word, and a pool without
 * `connectionTimeoutMillis` waits for ever for a free one. Every conversation here has a timer; when it rings the
 * connection is destroyed, not returned, because nobody knows what is still under way on it.
 *
 * Not here: retrying. Only the writer knows what may be said twice.
 */
import type { Pool, PoolClient } from 'pg';
import { InterlockError } from '../errors.ts';

export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/** Rejects with DeadlineError after `timeoutMs`. The work goes on unobserved: the caller must dispose of it. */
export function withDeadline<T>(work: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DeadlineError(`${what} took over ${timeoutMs} ms`)), timeoutMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export async function withClient<T>(
  pool: Pool,
  timeoutMs: number,
  talk: (client: PoolClient) => Promise<T>,
): Promise<T> {
  const connecting = pool.connect();
  let client: PoolClient;
  try {
    client = await withDeadline(connecting, timeoutMs, 'getting a database connection');
  } catch (error) {
    // A connection that arrives after we gave up must go back, or the pool runs dry.
    connecting.then(
      (late) => late.release(),
      () => undefined,
    );
    throw error;
  }
  // pg reports a broken connection as an 'error' event too; without a listener that ends the process.
  const ignore = (): void => undefined;
  client.on('error', ignore);
  let broken = true;
  try {
    const answer = await withDeadline(talk(client), timeoutMs, 'a database conversation');
    broken = false;
    return answer;
  } finally {
    // After a fault nobody knows what is open on it (a transaction, a lock, an answer still to come): throw it
    // away. Its listener stays, because its socket may yet fail.
    if (!broken) client.removeListener('error', ignore);
    client.release(broken);
  }
}

/** One read, with its faults told apart for the caller. */
export async function query(
  pool: Pool,
  timeoutMs: number,
  text: string,
  values: readonly unknown[],
): Promise<Record<string, unknown>[]> {
  try {
    return await withClient(pool, timeoutMs, async (client) => {
      const result = await client.query<Record<string, unknown>>(text, [...values]);
      return result.rows;
    });
  } catch (error) {
    throw databaseFault(error);
  }
}

/**
 * What the server itself said. Errors of the system have codes too, and `EPIPE` (a server that has just died) is as
 * long as an SQLSTATE; but every SQLSTATE that PostgreSQL knows has a digit in it.
 */
export function sqlState(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(error.code) ? error.code : undefined;
}

/** The statement is at fault, not the moment: saying it again gives the same answer. */
export function isOwnFault(error: unknown): boolean {
  const state = sqlState(error);
  if (state === undefined || endsServer(error)) return false;
  // A disk that turned read-only is told by the code of a missing privilege; only the check of grants means it.
  if (state === '42501' && routineOf(error) !== 'aclcheck_error') return false;
  const transient = ['08', '40', '53', '55', '57', '58', 'F0', 'XX'];
  // 25006: read-only transaction (a standby after a fail-over); 25P03: idle in transaction, cut off.
  return !transient.includes(state.slice(0, 2)) && state !== '25006' && state !== '25P03';
}

/** The server gave up its session or itself: that is never for what one statement said. */
function endsServer(error: unknown): boolean {
  const severity = typeof error === 'object' && error !== null && 'severity' in error ? error.severity : null;
  return severity === 'FATAL' || severity === 'PANIC';
}

function routineOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'routine' in error ? error.routine : undefined;
}

export function databaseFault(error: unknown): InterlockError {
  if (error instanceof InterlockError) return error;
  if (isOwnFault(error)) {
    return new InterlockError('the database refused a ledger statement', {
      code: 'ledger.failed',
      cause: error,
    });
  }
  return unavailable('the ledger cannot be reached', error);
}

export const unavailable = (message: string, cause?: unknown): InterlockError =>
  new InterlockError(message, { code: 'ledger.unavailable', retryable: true, cause });

/** For a log: PostgreSQL's own error object quotes the row it refused. */
export function faultFields(error: unknown): { code: string; reason: string } {
  const code = error instanceof InterlockError ? error.code : (sqlState(error) ?? 'none');
  return { code, reason: error instanceof Error ? error.message : 'unknown' };
}
