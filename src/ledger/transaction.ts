/**
 * One batch, one transaction: lock the head, read, plan, write, commit.
 *
 * The lock on the head's single row is what makes the order global and gapless (a sequence leaves gaps), and what
 * lets `settle` find out how a lost commit ended. READ COMMITTED is said aloud: under a snapshot taken before the
 * lock was granted, the versions read after it would be stale.
 * Nothing but this connection is awaited between BEGIN and COMMIT.
 */
import type { Pool, PoolClient } from 'pg';
import { z } from 'zod';
import { faultPoint } from '../fault-points.ts';
import type { PreparedAppend } from './append.ts';
import { databaseFault, isOwnFault, withClient } from './connection.ts';
import { type Ground, type HeadRow, type Plan, pairKey, plan } from './plan.ts';
import { hexList, integer, text } from './rows.ts';

export type Attempt =
  /** Committed, or there was nothing to commit. */
  | { fate: 'done'; plan: Plan }
  /** Nothing of it is in the database. `ownFault`: trying the same again is futile. */
  | { fate: 'undone'; error: unknown; ownFault: boolean }
  /** COMMIT was sent and not answered. */
  | { fate: 'unknown'; error: unknown; plan: Plan };

/**
 * Begins and locks in one round trip: a halt waits for each. The settings are for this transaction only: a pooler may
 * hand the connection to somebody else afterwards.
 */
async function beginLocked(client: PoolClient, statementTimeoutMs: number): Promise<HeadRow> {
  const results: unknown = await client.query(
    `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
     SET LOCAL lock_timeout = ${statementTimeoutMs};
     SET LOCAL statement_timeout = ${statementTimeoutMs};
     SET LOCAL idle_in_transaction_session_timeout = ${statementTimeoutMs};
     SELECT set_config('synchronous_commit', 'on', true)
       WHERE current_setting('synchronous_commit') IN ('off', 'local');
     SELECT seq, hash, floor(extract(epoch FROM recorded_at) * 1000)::bigint AS recorded_ms, frontier
       FROM ledger_head WHERE id = 1 FOR UPDATE`,
  );
  // Several statements have several results, which the driver's types do not say.
  const [row] = Results.parse(results).at(-1)?.rows ?? [];
  if (row === undefined) throw new Error('the ledger has no head row');
  return {
    seq: integer(row, 'seq'),
    hash: text(row, 'hash'),
    recordedAtMs: integer(row, 'recorded_ms'),
    frontier: hexList(row['frontier']),
  };
}

const Results = z.array(z.object({ rows: z.array(z.record(z.string(), z.unknown())) }));

export async function attempt(
  pool: Pool,
  batch: readonly PreparedAppend[],
  timeoutMs: number,
  appendTag: string,
): Promise<Attempt> {
  let committing: Plan | null = null;
  try {
    return await withClient(pool, timeoutMs, async (client) => {
      const head = await beginLocked(client, timeoutMs);
      const planned = plan(batch, await ground(client, head, batch));
      faultPoint('append.locked');
      if (planned.events.length === 0 && planned.receipts.length === 0) {
        await client.query('ROLLBACK');
        return { fate: 'done', plan: planned };
      }
      await write(client, planned, appendTag);
      // From here on a silence may mean either.
      committing = planned;
      faultPoint('append.written');
      const commit = client.query('COMMIT');
      // Heard by somebody even where the next line does not return.
      commit.catch(() => undefined);
      faultPoint('append.committing');
      const { command } = await commit;
      // A transaction that failed earlier answers COMMIT with ROLLBACK, and no error.
      if (command !== 'COMMIT') throw new Error('the commit became a rollback');
      faultPoint('append.committed');
      return { fate: 'done', plan: planned };
    });
  } catch (error) {
    if (committing !== null) return { fate: 'unknown', error, plan: committing };
    return { fate: 'undone', error, ownFault: isOwnFault(error) };
  }
}

async function ground(client: PoolClient, head: HeadRow, batch: readonly PreparedAppend[]): Promise<Ground> {
  const receipts = batch.flatMap(({ receipt }) => (receipt === null ? [] : [receipt]));
  // A second statement, so that its snapshot is taken after the lock was granted.
  const { rows } = await client.query<Record<string, unknown>>(
    `SELECT 'clock' AS what, floor(extract(epoch FROM clock_timestamp()) * 1000)::text AS a, NULL AS b, NULL AS c, NULL AS d
     UNION ALL
     SELECT 'stream', stream, version::text, NULL, NULL FROM stream_head WHERE stream = ANY($1::text[])
     UNION ALL
     SELECT 'receipt', source, webhook_id, body_digest, response FROM webhook_receipt
       WHERE (source, webhook_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))`,
    [
      [...new Set(batch.map(({ stream }) => stream))],
      receipts.map(({ source }) => source),
      receipts.map(({ webhookId }) => webhookId),
    ],
  );
  const of = (what: string) => rows.filter((row) => row['what'] === what);
  return {
    head,
    nowMs: Math.max(...of('clock').map((row) => integer(row, 'a'))),
    versions: new Map(of('stream').map((row) => [text(row, 'a'), integer(row, 'b')])),
    receipts: new Map(
      of('receipt').map((row) => [
        pairKey(text(row, 'a'), text(row, 'b')),
        { bodyDigest: text(row, 'c'), responseJson: text(row, 'd') },
      ]),
    ),
  };
}

/** One statement, one round trip: every table this batch touches. */
const WRITE = `
WITH event AS (
  INSERT INTO ledger_event (seq, stream, version, id, kind, actor, recorded_at, envelope, prev_hash, hash)
  SELECT seq, stream, version, id, kind, actor, $27::timestamptz, envelope, prev_hash, hash
  FROM unnest($1::bigint[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
    AS row (seq, stream, version, id, kind, actor, envelope, prev_hash, hash)
), stream_with_state AS (
  INSERT INTO stream_head (stream, version, state, due_at, last_append)
  SELECT stream, version, state, due_at, $28 FROM unnest($10::text[], $11::int[], $12::text[], $13::timestamptz[])
    AS row (stream, version, state, due_at)
  ON CONFLICT (stream) DO UPDATE SET version = EXCLUDED.version, state = EXCLUDED.state,
    due_at = EXCLUDED.due_at, last_append = EXCLUDED.last_append
), stream_without_state AS (
  INSERT INTO stream_head (stream, version, state, due_at, last_append)
  SELECT stream, version, 'null', NULL, $28 FROM unnest($14::text[], $15::int[]) AS row (stream, version)
  ON CONFLICT (stream) DO UPDATE SET version = EXCLUDED.version, last_append = EXCLUDED.last_append
), view AS (
  INSERT INTO view_row (kind, id, run_id, ordinal, doc)
  SELECT * FROM unnest($16::text[], $17::text[], $18::text[], $19::bigint[], $20::text[])
  ON CONFLICT (kind, id) DO UPDATE SET run_id = EXCLUDED.run_id, ordinal = EXCLUDED.ordinal, doc = EXCLUDED.doc
), receipt AS (
  INSERT INTO webhook_receipt (source, webhook_id, body_digest, response, recorded_at)
  SELECT source, webhook_id, body_digest, response, clock_timestamp()
  FROM unnest($21::text[], $22::text[], $23::text[], $24::text[]) AS row (source, webhook_id, body_digest, response)
)
UPDATE ledger_head SET seq = $25, hash = $26, recorded_at = $27, frontier = $29 WHERE id = 1`;

/**
 * Canonical JSON as an array literal of PostgreSQL. Both escape quotation marks and backslashes in the same way, and
 * canonical text holds nothing else that either would (control characters are spelled out in it), so that V8 can do
 * in one go what the driver does with two replacements per text.
 */
export function canonicalTexts(texts: readonly string[]): string {
  return `{${JSON.stringify(texts).slice(1, -1)}}`;
}

async function write(client: PoolClient, planned: Plan, appendTag: string): Promise<void> {
  const { events, views, receipts, head } = planned;
  const withState = planned.streams.flatMap(({ stream, version, snapshot }) =>
    snapshot === null ? [] : [{ stream, version, ...snapshot }],
  );
  const withoutState = planned.streams.filter(({ snapshot }) => snapshot === null);
  await client.query(WRITE, [
    events.map(({ event }) => event.seq),
    events.map(({ event }) => event.stream),
    events.map(({ event }) => event.version),
    events.map(({ event }) => event.id),
    events.map(({ event }) => event.kind),
    events.map(({ event }) => event.actor),
    canonicalTexts(events.map(({ envelope }) => envelope)),
    events.map(({ event }) => event.prevHash),
    events.map(({ event }) => event.hash),
    withState.map(({ stream }) => stream),
    withState.map(({ version }) => version),
    canonicalTexts(withState.map(({ stateJson }) => stateJson)),
    withState.map(({ dueAt }) => dueAt),
    withoutState.map(({ stream }) => stream),
    withoutState.map(({ version }) => version),
    views.map(({ kind }) => kind),
    views.map(({ id }) => id),
    views.map(({ runId }) => runId),
    views.map(({ ordinal }) => ordinal),
    canonicalTexts(views.map(({ docJson }) => docJson)),
    receipts.map(({ source }) => source),
    receipts.map(({ webhookId }) => webhookId),
    receipts.map(({ bodyDigest }) => bodyDigest),
    canonicalTexts(receipts.map(({ responseJson }) => responseJson)),
    head.seq,
    head.hash,
    new Date(head.recordedAtMs).toISOString(),
    appendTag,
    JSON.stringify(head.frontier),
  ]);
}

/**
 * How a commit without an answer ended. Its backend holds the head's row until it is over, so whoever gets that
 * row afterwards sees the end; then one row of the batch speaks for all. An event's hash binds its text, its time
 * and everything before it: at our place with our hash, it is ours.
 */
export async function settle(pool: Pool, planned: Plan, timeoutMs: number): Promise<'landed' | 'not-landed'> {
  try {
    return await withClient(pool, timeoutMs, async (client) => {
      await beginLocked(client, timeoutMs);
      const landed = await isThere(client, planned);
      await client.query('ROLLBACK');
      return landed ? 'landed' : 'not-landed';
    });
  } catch (error) {
    throw databaseFault(error);
  }
}

async function isThere(client: PoolClient, { events, receipts }: Plan): Promise<boolean> {
  const [first] = events;
  if (first !== undefined) {
    const { seq, hash } = first.event;
    const { rowCount } = await client.query('SELECT 1 FROM ledger_event WHERE seq = $1 AND hash = $2', [
      seq,
      hash,
    ]);
    return rowCount === 1;
  }
  const [receipt] = receipts;
  if (receipt === undefined) return true;
  // It was not there under the lock. If somebody else has recorded the very same since, that is as good as ours.
  const { rowCount } = await client.query(
    'SELECT 1 FROM webhook_receipt WHERE source = $1 AND webhook_id = $2 AND body_digest = $3 AND response = $4',
    [receipt.source, receipt.webhookId, receipt.bodyDigest, receipt.responseJson],
  );
  return rowCount === 1;
}
