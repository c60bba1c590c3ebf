/**
 * Side columns of a run: what heartbeats say, and the permit's sequence. Not events: there are too many, and
 * none decides anything by itself. Losing the last of them costs a repeated heartbeat, never a latch.
 *
 * `reserveSequence` is the one place where a permit may come from: it reads the stream's head and takes the
 * next number in one transaction, so no permit is numbered after a halt that the head already knows.
 */
import type { Pool, PoolClient } from 'pg';
import type { Json } from '../domain/canonical-json.ts';
import { type Compute, compareCompute, compute, maxCompute } from '../domain/compute.ts';
import { InterlockError } from '../errors.ts';
import { databaseFault, query, withClient } from './connection.ts';
import { parseJson } from './envelope.ts';
import { integer, type Row, text, timestamp } from './rows.ts';

export interface Progress {
  /** The highest compute any heartbeat stated. */
  readonly computeHigh: Compute | null;
  /** The last heartbeat's compute. */
  readonly computeLast: Compute | null;
  readonly heartbeatAt: Date | null;
  /** When a heartbeat last stated more than the one before it. */
  readonly progressAt: Date | null;
}

export interface Beat {
  readonly before: Progress;
  readonly after: Progress;
  /** This heartbeat states more compute than the one before it. */
  readonly advanced: boolean;
}

export interface ProgressStore {
  read(runId: string): Promise<Progress>;
  /** Records a heartbeat; the high-water mark never falls. */
  beat(runId: string, effectiveCompute: Compute, step: number | null): Promise<Beat>;
  /** The next permit number of the run, if `mayIssue` says so of the stream's state as the primary has it now. */
  reserveSequence<T>(
    runId: string,
    stream: string,
    mayIssue: (state: Json) => T | null,
  ): Promise<{ seq: number; terms: T } | null>;
}

const NONE: Progress = { computeHigh: null, computeLast: null, heartbeatAt: null, progressAt: null };
const COLUMNS = `compute_high, compute_last,
  floor(extract(epoch FROM heartbeat_at) * 1000)::bigint AS heartbeat_ms,
  floor(extract(epoch FROM progress_at) * 1000)::bigint AS progress_ms`;
const TIMEOUT_MS = 5_000;

export function createProgressStore(pool: Pool): ProgressStore {
  return {
    async read(runId) {
      const rows = await query(pool, TIMEOUT_MS, `SELECT ${COLUMNS} FROM run_progress WHERE run_id = $1`, [
        runId,
      ]);
      return rows[0] === undefined ? NONE : progressOf(rows[0]);
    },
    beat: (runId, effectiveCompute, step) =>
      transaction(pool, async (client) => {
        await client.query('INSERT INTO run_progress (run_id) VALUES ($1) ON CONFLICT DO NOTHING', [runId]);
        const select = `SELECT ${COLUMNS} FROM run_progress WHERE run_id = $1 FOR UPDATE`;
        const before = progressOf(expected(await one(client, select, [runId])));
        const { computeHigh, computeLast } = before;
        const advanced = computeLast === null || compareCompute(effectiveCompute, computeLast) > 0;
        const high = computeHigh === null ? effectiveCompute : maxCompute(effectiveCompute, computeHigh);
        const update = `UPDATE run_progress SET compute_high = $2, compute_last = $3, step = coalesce($4, step),
            heartbeat_at = clock_timestamp(),
            progress_at = CASE WHEN $5 THEN clock_timestamp() ELSE progress_at END
          WHERE run_id = $1 RETURNING ${COLUMNS}`;
        const row = await one(client, update, [runId, high, effectiveCompute, step, advanced]);
        return { before, after: progressOf(expected(row)), advanced: advanced && computeLast !== null };
      }),
    reserveSequence: (runId, stream, mayIssue) =>
      transaction(pool, async (client) => {
        // Waits for an append that is under way: a halt committed before this line is seen.
        const head = await one(client, 'SELECT state FROM stream_head WHERE stream = $1 FOR SHARE', [stream]);
        const terms = head === null ? null : mayIssue(parseJson(text(head, 'state')));
        if (terms === null) return null;
        const insert = `INSERT INTO run_progress (run_id, permit_seq) VALUES ($1, 1)
          ON CONFLICT (run_id) DO UPDATE SET permit_seq = run_progress.permit_seq + 1 RETURNING permit_seq`;
        return { seq: integer(expected(await one(client, insert, [runId])), 'permit_seq'), terms };
      }),
  };
}

function progressOf(row: Row): Progress {
  const decimal = (column: string): Compute | null =>
    row[column] === null ? null : compute(text(row, column));
  return {
    computeHigh: decimal('compute_high'),
    computeLast: decimal('compute_last'),
    heartbeatAt: timestamp(row, 'heartbeat_ms'),
    progressAt: timestamp(row, 'progress_ms'),
  };
}

/** One short transaction; a connection whose fate is unclear is thrown away with whatever was open on it. */
async function transaction<T>(pool: Pool, talk: (client: PoolClient) => Promise<T>): Promise<T> {
  try {
    return await withClient(pool, TIMEOUT_MS, async (client) => {
      await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
      const answer = await talk(client);
      await client.query('COMMIT');
      return answer;
    });
  } catch (error) {
    throw databaseFault(error);
  }
}

async function one(client: PoolClient, sql: string, values: unknown[]): Promise<Row | null> {
  const { rows } = await client.query<Row>(sql, values);
  return rows[0] ?? null;
}

function expected(row: Row | null): Row {
  if (row === null) throw new InterlockError('a row that must be there is not', { code: 'ledger.damaged' });
  return row;
}
