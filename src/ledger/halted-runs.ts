/** Runs whose halt stands, from the rows that people read. */
import type { Pool } from 'pg';
import { query } from './connection.ts';
import { text } from './rows.ts';

const TIMEOUT_MS = 5_000;

const HALTED = `
SELECT run_id FROM view_row WHERE kind = 'run' AND doc::jsonb ->> 'status' = 'halted' ORDER BY run_id`;

export async function haltedRuns(pool: Pool): Promise<string[]> {
  const rows = await query(pool, TIMEOUT_MS, HALTED, []);
  return rows.map((row) => text(row, 'run_id'));
}
