/**
 * Side columns of a run: what heartbeats say, and the permit's sequence. Not events: there are too many, and
 * none decides anything by itself. Losing the last of them costs a repeated heartbeat, never a latch.
 *
 * `reserveSequence` is the one place where a permit may come from: it reads the stream's head and takes the
 * next number in one transaction, so no permit is numbered after a halt that the head already knows. There it is
 * also settled which process of the run the permit is for: one at a time, by the database's clock.
 */
import type { Pool, PoolClient } from 'pg';
import type { Json } from '../domain/canonical-json.ts';
import { type Compute, compareCompute, compute, maxCompute } from '../domain/compute.ts';
import { InterlockError } from '../errors.ts';
import { databaseFault, withClient } from './connection.ts';
import { parseJson } from './envelope.ts';
import { createPointReads } from './point-reads.ts';
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
  /** This heartbeat states more compute than the one before it, of the same process. */
  readonly advanced: boolean;
  /** The first heartbeat of this process, of a run that has had others. */
  readonly appeared?: boolean;
}

/** Which process asks for a permit; null where the client names none. */
export interface PermitClaim {
  readonly instance: string | null;
  /** The process that it replaces and says is gone. */
  readonly supersedes: string | null;
  /** How long the permit will last: for so long no other process gets one. */
  readonly lifetimeMs: number;
}

export type Reserved<T> =
  | { readonly seq: number; readonly terms: T; readonly tookOver?: string }
  /** Another process has a permit that may still be good. */
  | { readonly occupied: { readonly holder: string; readonly until: Date } };

export interface ProgressStore {
  read(runId: string): Promise<Progress>;
  /** Records a heartbeat; the high-water mark never falls. */
  beat(
    runId: string,
    effectiveCompute: Compute,
    step: number | null,
    instance?: string | null,
  ): Promise<Beat>;
  /**
   * The next permit number of the run, if `mayIssue` says so of the stream's state as the primary has it now, and of
   * the states of the `related` streams that there are, as they are at that moment.
   */
  reserveSequence<T>(
    runId: string,
    stream: string,
    mayIssue: (state: Json, related?: readonly Json[]) => T | null,
    claim?: PermitClaim,
    related?: readonly string[],
  ): Promise<Reserved<T> | null>;
  /** The process trains no more: its permit, if it has one, keeps nobody waiting. */
  release?(runId: string, instance: string): Promise<void>;
}

const NONE: Progress = { computeHigh: null, computeLast: null, heartbeatAt: null, progressAt: null };
const COLUMNS = `compute_high, compute_last,
  floor(extract(epoch FROM heartbeat_at) * 1000)::bigint AS heartbeat_ms,
  floor(extract(epoch FROM progress_at) * 1000)::bigint AS progress_ms`;
const TIMEOUT_MS = 5_000;

export function createProgressStore(pool: Pool): ProgressStore {
  const rows = createPointReads<string>({
    pool,
    timeoutMs: TIMEOUT_MS,
    sql: `SELECT run_id, ${COLUMNS} FROM run_progress WHERE run_id = ANY($1::text[])`,
    values: (runIds) => [runIds],
    nameOf: (runId) => runId,
    nameOfRow: (row) => text(row, 'run_id'),
  });
  return {
    async read(runId) {
      const [row] = await rows.read(runId);
      return row === undefined ? NONE : progressOf(row);
    },
    beat: (runId, effectiveCompute, step, instance = null) =>
      transaction(pool, async (client) => {
        await client.query('INSERT INTO run_progress (run_id) VALUES ($1) ON CONFLICT DO NOTHING', [runId]);
        const select = `SELECT ${COLUMNS}, instances FROM run_progress WHERE run_id = $1 FOR UPDATE`;
        const row = expected(await one(client, select, [runId]));
        const before = progressOf(row);
        const { computeHigh, computeLast } = before;
        const known = instancesOf(row['instances']);
        // Clients that name no instance share one name: they are taken for one process.
        const name = instance ?? '';
        const last = known.get(name) ?? (instance === null ? (computeLast ?? undefined) : undefined);
        // Of a process that is new, what counts is whether it is further than any has been.
        const reference = last ?? computeHigh;
        const advanced = reference === null || compareCompute(effectiveCompute, reference) > 0;
        const high = computeHigh === null ? effectiveCompute : maxCompute(effectiveCompute, computeHigh);
        known.delete(name);
        known.set(name, effectiveCompute);
        const update = `UPDATE run_progress SET compute_high = $2, compute_last = $3, step = coalesce($4, step),
            heartbeat_at = clock_timestamp(), instances = $6,
            progress_at = CASE WHEN $5 THEN clock_timestamp() ELSE progress_at END
          WHERE run_id = $1 RETURNING ${COLUMNS}`;
        const instances = JSON.stringify([...known].slice(-INSTANCES_KEPT));
        const values = [runId, high, effectiveCompute, step, advanced, instances];
        const after = progressOf(expected(await one(client, update, values)));
        const isFirst = computeLast === null;
        return {
          before,
          after,
          advanced: advanced && !isFirst,
          appeared: instance !== null && last === undefined && !isFirst,
        };
      }),
    reserveSequence: (runId, stream, mayIssue, claim = UNNAMED, related = []) =>
      transaction(pool, async (client) => {
        // Waits for an append that is under way: a halt committed before this line is seen.
        const head = await one(client, 'SELECT state FROM stream_head WHERE stream = $1 FOR SHARE', [stream]);
        if (head === null) return null;
        // Without a lock: two runs that name one another must not wait for one another.
        const others =
          related.length === 0
            ? []
            : (
                await client.query<Row>('SELECT state FROM stream_head WHERE stream = ANY($1::text[])', [
                  related,
                ])
              ).rows.map((row) => parseJson(text(row, 'state')));
        const terms = mayIssue(parseJson(text(head, 'state')), others);
        return terms === null ? null : number(client, runId, claim, terms);
      }),
    async release(runId, instance) {
      await transaction(pool, (client) =>
        client.query(
          'UPDATE run_progress SET permit_holder = NULL, permit_until = NULL WHERE run_id = $1 AND permit_holder = $2',
          [runId, instance],
        ),
      );
    },
  };
}

const INSTANCES_KEPT = 8;
const UNNAMED: PermitClaim = { instance: null, supersedes: null, lifetimeMs: 0 };

/** Free for a process if nobody has it, it has it itself, it ran out, or its holder is said to be gone. */
async function number<T>(
  client: PoolClient,
  runId: string,
  { instance, supersedes, lifetimeMs }: PermitClaim,
  terms: T,
): Promise<Reserved<T>> {
  const holderOf = `SELECT permit_holder, permit_until > clock_timestamp() AS live,
      floor(extract(epoch FROM permit_until) * 1000)::bigint AS until_ms FROM run_progress WHERE run_id = $1`;
  const before = supersedes === null ? null : await one(client, `${holderOf} FOR UPDATE`, [runId]);
  const insert = `INSERT INTO run_progress AS p (run_id, permit_seq, permit_holder, permit_until)
    VALUES ($1, 1, $2, CASE WHEN $2::text IS NULL THEN NULL ELSE clock_timestamp() + $3 * interval '1 ms' END)
    ON CONFLICT (run_id) DO UPDATE SET permit_seq = p.permit_seq + 1,
      permit_holder = coalesce(excluded.permit_holder, p.permit_holder),
      permit_until = coalesce(excluded.permit_until, p.permit_until)
    WHERE p.permit_holder IS NULL OR p.permit_holder = $2 OR p.permit_holder = $4
      OR p.permit_until <= clock_timestamp()
    RETURNING permit_seq`;
  const row = await one(client, insert, [runId, instance, lifetimeMs, supersedes]);
  if (row === null) {
    const holder = expected(await one(client, holderOf, [runId]));
    return {
      occupied: {
        holder: text(holder, 'permit_holder'),
        until: timestamp(holder, 'until_ms') ?? new Date(0),
      },
    };
  }
  const tookOver = before !== null && before['live'] === true && before['permit_holder'] === supersedes;
  const seq = integer(row, 'permit_seq');
  return tookOver && supersedes !== null ? { seq, terms, tookOver: supersedes } : { seq, terms };
}

/** What cannot be read is as if nothing had been stated: the next heartbeat of each says it again. */
function instancesOf(value: unknown): Map<string, Compute> {
  if (typeof value !== 'string') return new Map();
  const parsed: unknown = JSON.parse(value);
  const pairs = Array.isArray(parsed) ? parsed : [];
  return new Map(
    pairs.flatMap((pair: unknown) => {
      const [name, stated] = Array.isArray(pair) ? pair : [];
      return typeof name === 'string' && typeof stated === 'string' ? [[name, compute(stated)] as const] : [];
    }),
  );
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
