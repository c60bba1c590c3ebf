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
import { createPermitNumbers, lockProgress } from './permit-numbers.ts';
import { createPointReads } from './point-reads.ts';
import { type Row, text, timestamp } from './rows.ts';
import { createSharedTransactions, transaction } from './shared-transactions.ts';

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
  /** Of a run that nothing stops now: every process of it gets one. */
  readonly shared?: boolean;
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
  const beats = createSharedTransactions<Stated, Beat>(pool, TIMEOUT_MS, recordBeats);
  const numberPermit = createPermitNumbers(pool, TIMEOUT_MS);
  return {
    async read(runId) {
      const [row] = await rows.read(runId);
      return row === undefined ? NONE : progressOf(row);
    },
    beat: (runId, effectiveCompute, step, instance = null) =>
      beats(runId, { effectiveCompute, step, instance }),
    reserveSequence: (runId, stream, mayIssue, claim = UNNAMED, related = []) =>
      numberPermit({ runId, stream, mayIssue, claim, related }),
    async release(runId, instance) {
      await transaction(pool, TIMEOUT_MS, (client) =>
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

/** What one heartbeat says. */
interface Stated {
  readonly effectiveCompute: Compute;
  readonly step: number | null;
  readonly instance: string | null;
}

async function recordBeats(
  client: PoolClient,
  members: ReadonlyMap<string, Stated>,
): Promise<Map<string, Beat>> {
  const standing = await lockProgress(client, [...members.keys()], `run_id, ${COLUMNS}, instances`);
  const judged = [...members].map(([runId, stated]) => judge(runId, stated, expected(standing.get(runId))));
  const { rows } = await client.query<Row>(
    `UPDATE run_progress AS p SET compute_high = said.high, compute_last = said.last,
       step = coalesce(said.step, p.step), heartbeat_at = clock_timestamp(), instances = said.instances,
       progress_at = CASE WHEN said.advanced THEN clock_timestamp() ELSE progress_at END
     FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::boolean[])
       AS said (run_id, high, last, step, instances, advanced)
     WHERE p.run_id = said.run_id RETURNING p.run_id, ${COLUMNS}`,
    [
      judged.map(({ runId }) => runId),
      judged.map(({ high }) => high),
      judged.map(({ stated }) => stated.effectiveCompute),
      judged.map(({ stated }) => stated.step),
      judged.map(({ instances }) => instances),
      judged.map(({ isFurther }) => isFurther),
    ],
  );
  const written = new Map(rows.map((row) => [text(row, 'run_id'), row]));
  return new Map(
    judged.map(({ runId, before, advanced, appeared }) => [
      runId,
      { before, after: progressOf(expected(written.get(runId))), advanced, appeared },
    ]),
  );
}

function judge(runId: string, stated: Stated, row: Row) {
  const { effectiveCompute, instance } = stated;
  const before = progressOf(row);
  const { computeHigh, computeLast } = before;
  const known = instancesOf(row['instances']);
  // Clients that name no instance share one name: they are taken for one process.
  const name = instance ?? '';
  const last = known.get(name) ?? (instance === null ? (computeLast ?? undefined) : undefined);
  // Of a process that is new, what counts is whether it is further than any has been.
  const reference = last ?? computeHigh;
  const isFurther = reference === null || compareCompute(effectiveCompute, reference) > 0;
  known.delete(name);
  known.set(name, effectiveCompute);
  const isFirst = computeLast === null;
  return {
    runId,
    stated,
    before,
    high: computeHigh === null ? effectiveCompute : maxCompute(effectiveCompute, computeHigh),
    instances: JSON.stringify([...known].slice(-INSTANCES_KEPT)),
    isFurther,
    advanced: isFurther && !isFirst,
    appeared: instance !== null && last === undefined && !isFirst,
  };
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

function expected(row: Row | undefined): Row {
  if (row === undefined)
    throw new InterlockError('a row that must be there is not', { code: 'ledger.damaged' });
  return row;
}
