/**
 * Export: the ledger as JSON Lines, for people who need not trust this database.
 *
 * First every event, as exactly the bytes that were hashed; then every signed head up to there, in rising order.
 * The heads come last so that a file cut short has lost them, which the verifier sees.
 *
 * A snapshot without a transaction held open: the ledger only grows at its end and has no gaps, so that "all up to
 * the size seen first" stays the same thing however slowly the reader reads.
 */
import type { Pool } from 'pg';
import { canonicalJson } from '../domain/canonical-json.ts';
import { InterlockError } from '../errors.ts';
import { query } from './connection.ts';
import { integer, text } from './rows.ts';

/** Rows of up to 4 MB: small enough for the worst, one round trip per page for the usual. */
const PAGE_ROWS = 200;

/** Lines without their line feeds; `exportBytes` adds them. */
export async function* exportLines(pool: Pool, { timeoutMs = 30_000 } = {}): AsyncGenerator<string> {
  const rows = (sql: string, values: readonly unknown[]) => query(pool, timeoutMs, sql, values);
  const [head] = await rows('SELECT seq FROM ledger_head WHERE id = 1', []);
  const size = head === undefined ? 0 : integer(head, 'seq');
  for (let after = 0; after < size; ) {
    const page = await rows(
      'SELECT seq, envelope FROM ledger_event WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3',
      [after, size, PAGE_ROWS],
    );
    if (page.length === 0) {
      throw new InterlockError(`the ledger ends at event ${after}, before its head`, {
        code: 'ledger.damaged',
      });
    }
    for (const row of page) {
      after = integer(row, 'seq');
      yield text(row, 'envelope');
    }
  }
  for (let after = -1; ; ) {
    const page = await rows(
      'SELECT size, jws FROM signed_head WHERE size > $1 AND size <= $2 ORDER BY size LIMIT $3',
      [after, size, PAGE_ROWS],
    );
    for (const row of page) {
      after = integer(row, 'size');
      yield canonicalJson({ signedHead: text(row, 'jws') });
    }
    if (page.length < PAGE_ROWS) return;
  }
}

export async function* exportBytes(pool: Pool, options?: { timeoutMs?: number }): AsyncGenerator<Uint8Array> {
  for await (const line of exportLines(pool, options)) yield Buffer.from(`${line}\n`);
}
