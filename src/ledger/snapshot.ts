/**
 * One look at the whole database: everything read in it is of the same moment.
 *
 * For verification and replay, which compare tables with each other and so cannot page through a moving ledger.
 * The transaction is read only and repeatable read; it holds back vacuum while it lasts, and takes no lock that an
 * append would wait for. The work between two reads is the caller's own arithmetic, nothing that waits.
 */
import type { Pool } from 'pg';
import { databaseFault, withClient } from './connection.ts';
import type { Row } from './rows.ts';

export type Read = (sql: string, values?: readonly unknown[]) => Promise<Row[]>;

/** A ledger of millions of events is folded in minutes. */
const SNAPSHOT_TIMEOUT_MS = 60 * 60_000;
const STATEMENT_TIMEOUT_MS = 15_000;

export async function inSnapshot<T>(
  pool: Pool,
  look: (read: Read) => Promise<T>,
  { timeoutMs = SNAPSHOT_TIMEOUT_MS } = {},
): Promise<T> {
  let fault: { error: unknown } | null = null;
  try {
    return await withClient(pool, timeoutMs, async (client) => {
      const read: Read = async (sql, values = []) => {
        try {
          return (await client.query<Row>(sql, [...values])).rows;
        } catch (error) {
          fault = { error };
          throw error;
        }
      };
      await client.query(
        `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         SET LOCAL statement_timeout = ${STATEMENT_TIMEOUT_MS}; SET LOCAL idle_in_transaction_session_timeout = ${STATEMENT_TIMEOUT_MS}`,
      );
      const seen = await look(read);
      await client.query('ROLLBACK');
      return seen;
    });
  } catch (error) {
    // What the caller's own code threw is the caller's.
    throw fault === null ? error : databaseFault(error);
  }
}

const PAGE_ROWS = 500;

/** Keyset pages: `sql` takes the last key and the page's size, and orders by that key. */
export async function* pages(
  read: Read,
  sql: string,
  first: unknown,
  keyOf: (row: Row) => unknown,
): AsyncGenerator<Row> {
  for (let after = first; ; ) {
    const page = await read(sql, [after, PAGE_ROWS]);
    for (const row of page) {
      yield row;
      after = keyOf(row);
    }
    if (page.length < PAGE_ROWS) return;
  }
}
