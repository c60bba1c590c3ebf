/**
 * Rows as the database gives them, read into values or refused: the ledger's edge towards `pg`.
 *
 * int8 comes as text; a sequence number past 2^53 would lie and is refused. What does not fit is
 * `ledger.damaged`: somebody else wrote into our tables.
 */
import { InterlockError } from '../errors.ts';
import { parseJson, readEnvelope } from './envelope.ts';
import type { RecordedEvent } from './ledger.ts';

export type Row = Record<string, unknown>;

export const EVENT_COLUMNS = 'seq, envelope, hash';

const damaged = (column: string): InterlockError =>
  new InterlockError(`the database holds an unreadable ${column}`, { code: 'ledger.damaged' });

export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw damaged(column);
  return value;
}

export function integer(row: Row, column: string): number {
  const value = row[column];
  const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) throw damaged(column);
  return number;
}

/** A column of milliseconds since 1970. */
export function timestamp(row: Row, column: string): Date | null {
  return row[column] === null ? null : new Date(integer(row, column));
}

/** A jsonb list of hashes. */
export function hexList(value: unknown): string[] {
  if (!Array.isArray(value)) throw damaged('frontier');
  return value.map((hash: unknown) => {
    if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash)) throw damaged('frontier');
    return hash;
  });
}

/** The envelope is the truth; the columns beside it only find it (verify-live.ts compares them). */
export function recordedEvent(row: Row): RecordedEvent {
  const parsed = readEnvelope(parseJson(text(row, 'envelope')));
  if (!parsed.ok) throw damaged(`envelope: it ${parsed.message}`);
  return { seq: integer(row, 'seq'), ...parsed.envelope, hash: text(row, 'hash') };
}
