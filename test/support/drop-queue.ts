/** The queue of a PostgreSQL, taken away under whoever works on it. */
import pg from 'pg';
import { QUEUE_SCHEMA } from '../../src/queue/postgres-broker.ts';

const TRIES = 20;

/** Against live workers it can deadlock; PostgreSQL ends one of the two, and where that was the drop it goes again. */
export async function dropQueue(pool: Pick<pg.Pool, 'query'>): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await pool.query(`DROP SCHEMA IF EXISTS ${QUEUE_SCHEMA} CASCADE`);
      return;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || tries >= TRIES) throw error;
    }
  }
}
