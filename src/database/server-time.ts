/** The database's clock, as every replica can ask for it. */
import type pg from 'pg';
import { z } from 'zod';

const row = z.object({ ms: z.coerce.number() });

export async function databaseTimeMs(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query('SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms');
  return row.parse(rows[0]).ms;
}
