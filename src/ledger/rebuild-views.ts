/**
 * Rebuilds every projection row from the events, as after a change of what people want to read.
 *
 * The new rows grow in a temporary table while appends go on. Only for the last few events, and for the exchange
 * itself, is the ledger's head locked; no event is missed and no newer row is overwritten. All in one transaction:
 * a crash leaves the old rows. Nothing is exchanged when an event could not be folded.
 */
import type { Pool, PoolClient } from 'pg';
import { canonicalJson } from '../domain/canonical-json.ts';
import { InterlockError } from '../errors.ts';
import { databaseFault, withClient } from './connection.ts';
import type { ViewUpsert } from './ledger.ts';
import { Folder, type FoldFor } from './replay.ts';
import { EVENT_COLUMNS, type Row, recordedEvent } from './rows.ts';

const PAGE_ROWS = 1_000;
const TIMEOUT_MS = 60 * 60_000;

export async function rebuildViews<S>(
  pool: Pool,
  foldFor: FoldFor<S>,
): Promise<{ events: number; rows: number }> {
  try {
    return await withClient(pool, TIMEOUT_MS, async (client) => {
      await client.query(
        `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
         SET LOCAL idle_in_transaction_session_timeout = '60s';
         CREATE TEMPORARY TABLE view_row_rebuilt (LIKE view_row INCLUDING ALL) ON COMMIT DROP`,
      );
      const folder = new Folder(foldFor);
      await catchUp(client, folder);
      await client.query('SELECT 1 FROM ledger_head WHERE id = 1 FOR UPDATE');
      await catchUp(client, folder);
      const [problem] = folder.mismatches;
      if (problem !== undefined) {
        throw new InterlockError(
          `the views were left as they are: ${problem.stream} version ${problem.version} cannot be folded`,
          { code: 'ledger.replay-failed' },
        );
      }
      await client.query('DELETE FROM view_row');
      const { rowCount } = await client.query('INSERT INTO view_row SELECT * FROM view_row_rebuilt');
      await client.query('COMMIT');
      return { events: folder.events, rows: rowCount ?? 0 };
    });
  } catch (error) {
    throw databaseFault(error);
  }
}

/** Until nothing newer is committed. Each page is a statement of its own and sees what came meanwhile. */
async function catchUp<S>(client: PoolClient, folder: Folder<S>): Promise<void> {
  for (;;) {
    const { rows } = await client.query<Row>(
      `SELECT ${EVENT_COLUMNS} FROM ledger_event WHERE seq > $1 ORDER BY seq LIMIT ${PAGE_ROWS}`,
      [folder.events],
    );
    if (rows.length === 0) return;
    const views = new Map<string, ViewUpsert>();
    for (const row of rows) {
      const event = recordedEvent(row);
      const applied = folder.apply(event);
      if (applied === null) continue;
      const { fold, before, after } = applied;
      for (const view of fold.project?.(before, event, after) ?? []) {
        views.set(JSON.stringify([view.kind, view.id]), view);
      }
    }
    await upsert(client, [...views.values()]);
  }
}

async function upsert(client: PoolClient, views: readonly ViewUpsert[]): Promise<void> {
  if (views.length === 0) return;
  await client.query(
    `INSERT INTO view_row_rebuilt (kind, id, run_id, ordinal, doc)
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
     ON CONFLICT (kind, id) DO UPDATE SET run_id = EXCLUDED.run_id, ordinal = EXCLUDED.ordinal, doc = EXCLUDED.doc`,
    [
      views.map(({ kind }) => kind),
      views.map(({ id }) => id),
      views.map(({ runId }) => runId),
      views.map(({ ordinal }) => ordinal),
      views.map(({ doc }) => canonicalJson(doc)),
    ],
  );
}
