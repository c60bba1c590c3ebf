/**
 * How things stand, in one look at the database: what the gauges of `/metrics` show of the ledger.
 *
 * Counted from views and heads, so every replica sees the same and a restart changes nothing. The look reads each
 * run's summary; it is made at most every few seconds, and only while somebody asks.
 */
import type { Pool } from 'pg';
import { query } from './connection.ts';
import { integer, text } from './rows.ts';

export interface Standing {
  readonly runs: readonly { readonly status: string; readonly count: number }[];
  readonly holds: number;
  readonly halts: { readonly stopped: number; readonly notStopped: number };
  /** Runs that may train and sent no heartbeat for as long as the longest permit lives. */
  readonly lapsed: number;
  readonly inShadow: number;
  readonly ledgerSize: number;
  /** Null where no head was ever signed. */
  readonly signedHead: { readonly size: number; readonly ageSeconds: number } | null;
  /** How long the longest overdue stream has been due; 0 where none is. */
  readonly dueLagSeconds: number;
  readonly databaseTimeMs: number;
}

const TIMEOUT_MS = 2_000;

const RUNS = `
SELECT doc::jsonb ->> 'status' AS status,
  count(*)::int AS runs,
  coalesce(sum(jsonb_array_length(doc::jsonb -> 'holds')), 0)::int AS holds,
  (count(*) FILTER (WHERE doc::jsonb #>> '{halt,stopped}' = 'true'))::int AS stopped,
  (count(*) FILTER (WHERE doc::jsonb #>> '{halt,stopped}' = 'false'))::int AS not_stopped,
  (count(*) FILTER (WHERE doc::jsonb #>> '{shadow,until}' IS NOT NULL
    AND doc::jsonb #>> '{shadow,endedAt}' IS NULL AND doc::jsonb ->> 'status' <> 'finished'))::int AS in_shadow,
  (count(*) FILTER (WHERE doc::jsonb ->> 'status' = 'training'
    AND coalesce(heartbeat_at, to_timestamp(ordinal / 1000.0)) < clock_timestamp() - interval '1 hour'))::int AS lapsed
FROM view_row LEFT JOIN run_progress ON run_progress.run_id = view_row.run_id
WHERE kind = 'run' GROUP BY 1`;

const HEADS = `
SELECT (SELECT seq FROM ledger_head)::bigint AS size,
  (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms,
  coalesce((SELECT extract(epoch FROM clock_timestamp() - min(due_at)) * 1000 FROM stream_head
    WHERE due_at <= clock_timestamp()), 0)::bigint AS lag_ms,
  (SELECT max(size) FROM signed_head)::bigint AS signed_size,
  (extract(epoch FROM clock_timestamp() - (SELECT max(signed_at) FROM signed_head)) * 1000)::bigint AS signed_age_ms`;

export async function readStanding(pool: Pool): Promise<Standing> {
  const [runs, [heads = {}]] = await Promise.all([
    query(pool, TIMEOUT_MS, RUNS, []),
    query(pool, TIMEOUT_MS, HEADS, []),
  ]);
  const sum = (column: string): number => runs.reduce((total, row) => total + integer(row, column), 0);
  const signed = heads['signed_size'] !== null && heads['signed_size'] !== undefined;
  return {
    runs: runs.map((row) => ({ status: text(row, 'status'), count: integer(row, 'runs') })),
    holds: sum('holds'),
    halts: { stopped: sum('stopped'), notStopped: sum('not_stopped') },
    lapsed: sum('lapsed'),
    inShadow: sum('in_shadow'),
    ledgerSize: integer(heads, 'size'),
    signedHead: signed
      ? { size: integer(heads, 'signed_size'), ageSeconds: integer(heads, 'signed_age_ms') / 1000 }
      : null,
    dueLagSeconds: integer(heads, 'lag_ms') / 1000,
    databaseTimeMs: integer(heads, 'now_ms'),
  };
}
