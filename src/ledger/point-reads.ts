/**
 * Reads by key that wait together travel together: one statement for all of them instead of a round trip each.
 *
 * A read never takes an answer that was asked for before it: whoever comes while a statement is under way waits for
 * the next. Under no load that is at once; under load the statements grow instead of their number, and with it the
 * database's work per read shrinks.
 * Fails one by one: where the database refuses a statement, each key is asked for alone, so that a key that cannot
 * be asked for spoils nobody else's read.
 */
import type { Pool } from 'pg';
import { InterlockError } from '../errors.ts';
import { query } from './connection.ts';
import type { Row } from './rows.ts';

export interface PointReads<K> {
  /** All rows of this key, at least as new as the call. */
  read(key: K): Promise<readonly Row[]>;
}

export interface PointReadsOptions<K> {
  readonly pool: Pool;
  readonly timeoutMs: number;
  /** Takes the lists that `values` makes of the keys. Each row names its key so that `keyOfRow` can tell it. */
  readonly sql: string;
  readonly values: (keys: readonly K[]) => unknown[];
  readonly nameOf: (key: K) => string;
  readonly nameOfRow: (row: Row) => string;
}

/** Two, so that one can be prepared by the database while the other's rows are being read here. */
const UNDER_WAY_MAX = 2;
const KEYS_MAX = 256;

interface Waiting<K> {
  readonly key: K;
  readonly resolve: (rows: readonly Row[]) => void;
  readonly reject: (error: unknown) => void;
}

export function createPointReads<K>(options: PointReadsOptions<K>): PointReads<K> {
  const { pool, timeoutMs, sql, values, nameOf, nameOfRow } = options;
  const queue: Waiting<K>[] = [];
  let underWay = 0;
  let isScheduled = false;

  function schedule(): void {
    if (isScheduled || underWay >= UNDER_WAY_MAX || queue.length === 0) return;
    isScheduled = true;
    // Whoever reads in the same turn of the event loop travels along.
    setImmediate(() => {
      isScheduled = false;
      if (underWay >= UNDER_WAY_MAX || queue.length === 0) return;
      underWay += 1;
      const batch = queue.splice(0, KEYS_MAX);
      void answer(batch).finally(() => {
        underWay -= 1;
        schedule();
      });
      schedule();
    });
  }

  /** Answers everybody in the batch, and never throws. */
  async function answer(batch: readonly Waiting<K>[]): Promise<void> {
    const byName = new Map<string, Row[]>();
    const keys = new Map<string, K>();
    for (const { key } of batch) keys.set(nameOf(key), key);
    try {
      for (const row of await query(pool, timeoutMs, sql, values([...keys.values()]))) {
        const name = nameOfRow(row);
        const rows = byName.get(name);
        if (rows === undefined) byName.set(name, [row]);
        else rows.push(row);
      }
    } catch (error) {
      if (batch.length > 1 && error instanceof InterlockError && error.code === 'ledger.failed') {
        for (const one of batch) await answer([one]);
      } else for (const { reject } of batch) reject(error);
      return;
    }
    for (const { key, resolve } of batch) resolve(byName.get(nameOf(key)) ?? []);
  }

  return {
    read: (key) =>
      new Promise((resolve, reject) => {
        queue.push({ key, resolve, reject });
        schedule();
      }),
  };
}
