/**
 * Can the ledger advance? Asked before a permit is issued: a permit given out while no halt could be recorded would
 * be one that nothing can end (RELIABILITY G13).
 *
 * Every append takes the head's row, so whoever can lock it could append; that the disk takes writes shows in the
 * permit's own transaction. Asked at most every few seconds per process and shared by all who wait. A head that is
 * lower than one seen before is another ledger (a backup was restored under the running service): no, until a
 * restart, where people decide. Fails towards no permit.
 */
import type { Pool } from 'pg';
import { withClient } from './connection.ts';
import { integer, type Row } from './rows.ts';

const GOOD_FOR_MS = 3_000;
const TIMEOUT_MS = 2_500;
const LOCK_TIMEOUT_MS = 1_500;

export interface LedgerPulse {
  /** Never rejects. */
  advances(): Promise<boolean>;
}

export function createLedgerPulse(
  pool: Pool,
  { monotonicMs = () => performance.now() }: { monotonicMs?: () => number } = {},
): LedgerPulse {
  let goodUntilMs = Number.NEGATIVE_INFINITY;
  let highest = 0;
  let asking: Promise<boolean> | null = null;

  async function ask(): Promise<boolean> {
    const askedAtMs = monotonicMs();
    try {
      const size = await withClient(pool, TIMEOUT_MS, async (client) => {
        await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
        await client.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
        const { rows } = await client.query<Row>('SELECT seq FROM ledger_head WHERE id = 1 FOR UPDATE');
        await client.query('ROLLBACK');
        const [row] = rows;
        return row === undefined ? -1 : integer(row, 'seq');
      });
      if (size < highest) return false;
      highest = size;
      // Counted from the question: the answer may have taken its time.
      goodUntilMs = askedAtMs + GOOD_FOR_MS;
      return true;
    } catch {
      return false;
    }
  }

  return {
    async advances() {
      if (monotonicMs() < goodUntilMs) return true;
      asking ??= ask().finally(() => {
        asking = null;
      });
      return asking;
    },
  };
}
