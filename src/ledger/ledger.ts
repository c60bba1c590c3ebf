/**
 * The ledger: the only code that writes events, and the one source of truth for everything else.
 *
 * An append is one stream's next events, at the version its author saw, with the state they lead to, the rows
 * people read, and the receipt of the message that caused them: all of it lands or none. Appends of one process
 * travel together (writer.ts); several processes may append to one database.
 *
 * Guarantees: what `append` answered is committed and fsynced; versions of a stream and the order of the whole
 * ledger have no gaps; no event is recorded twice, even where a commit's answer was lost.
 * Fails towards refusing: away, overloaded or unknowable is an InterlockError, never a quiet success.
 * Every call has a deadline.
 *
 * Not here: what the events mean (domain), signed heads (heads.ts), export, verification and replay.
 */
import type { Pool } from 'pg';
import type { Json, JsonObject } from '../domain/canonical-json.ts';
import { InterlockError } from '../errors.ts';
import { prepare } from './append.ts';
import { query } from './connection.ts';
import { parseJson } from './envelope.ts';
import { CompactRange } from './merkle.ts';
import { pairKey } from './plan.ts';
import { createPointReads } from './point-reads.ts';
import { EVENT_COLUMNS, hexList, integer, type Row, recordedEvent, text, timestamp } from './rows.ts';
import { type KeptState, statesOf } from './state-cache.ts';
import { GroupCommitWriter } from './writer.ts';

export interface NewEvent {
  kind: string;
  data: JsonObject;
}

export interface RecordedEvent {
  seq: number;
  stream: string;
  version: number;
  id: string;
  kind: string;
  data: JsonObject;
  actor: string;
  recordedAt: string;
  prevHash: string;
  hash: string;
}

/** A row of a projection. Only a reading aid: it can be thrown away and rebuilt from the events. */
export interface ViewUpsert {
  kind: string;
  id: string;
  runId: string;
  /** Order within a kind. */
  ordinal: number;
  doc: Json;
}

export type ViewRow = ViewUpsert;

export interface Append {
  stream: string;
  /** 0 = the stream must not exist. */
  expectedVersion: number;
  /** May be empty only where a receipt alone is recorded; then there is no snapshot and no view either. */
  events: readonly NewEvent[];
  actor: string;
  /** Stored with the stream's head, and given back as it is by the next `load`: it may not be changed afterwards. null leaves what is there. */
  snapshot: { state: Json; dueAt: Date | null } | null;
  views: readonly ViewUpsert[];
  /** (source, webhookId) stays unique for ever. */
  receipt?: { source: string; webhookId: string; bodyDigest: string; response: Json };
}

export type AppendResult =
  | { outcome: 'appended'; version: number; events: RecordedEvent[] }
  | { outcome: 'version-conflict'; actualVersion: number }
  | { outcome: 'receipt-conflict'; receipt: { bodyDigest: string; response: Json } };

export interface Ledger {
  /**
   * Throws `ledger.unavailable` (retryable) when the database is away or a commit's fate stayed unknowable,
   * `ledger.overloaded` (retryable) when too much is waiting, `ledger.invalid-append` for what cannot be recorded.
   */
  append(append: Append): Promise<AppendResult>;
  /** Loads of an unchanged stream may give the same state object: it is not to be changed. */
  load(stream: string): Promise<{ version: number; state: Json; dueAt: Date | null } | null>;
  /** Beyond `after`, in order; at most 1,000, as in every list here. */
  read(query: { after: number; stream?: string; limit: number }): Promise<RecordedEvent[]>;
  /** Streams whose due time has come, the longest overdue first; names alone, so `limit` may be as large as 50,000. */
  dueStreams(before: Date, limit: number): Promise<string[]>;
  receipt(source: string, webhookId: string): Promise<{ bodyDigest: string; response: Json } | null>;
  view(kind: string, id: string): Promise<ViewRow | null>;
  /** Pages by ordinal. Rows that share the last ordinal come with it, past the limit, so that none is skipped. */
  views(query: {
    kind: string;
    runId?: string;
    after?: number;
    limit: number;
    order: 'asc' | 'desc';
  }): Promise<ViewRow[]>;
  head(): Promise<{ size: number; hash: string; root: string }>;
  /** After the commit, in ledger order, for what this process appended. A listener that throws is logged. */
  onAppended(listener: (events: RecordedEvent[]) => void): () => void;
  /** Refuses new appends, finishes those it has, within their deadlines. */
  close(): Promise<void>;
}

/** A ledger with a writer of its own. */
export interface WritingLedger extends Ledger {
  /** How long its writer has been at one step; 0 where it rests. Every step is bounded. */
  writerBusyMs(): number;
}

export interface LedgerLogger {
  warn(fields: { [name: string]: unknown }, message: string): void;
  error(fields: { [name: string]: unknown }, message: string): void;
}

export interface LedgerLimits {
  /** Appends per transaction. */
  batchMax: number;
  /** Bytes of envelopes, states and views per transaction (one append may exceed it alone). */
  batchBytesMax: number;
  /** Bytes of one append. */
  appendBytesMax: number;
  /** Appends waiting for a transaction. */
  queueMax: number;
  queueBytesMax: number;
  /** How long an append waits for its transaction to start. */
  queueTimeoutMs: number;
  /** How long a transaction that certainly left nothing behind is tried again. */
  retryTimeoutMs: number;
  /** How long a lost commit is looked for. */
  settleTimeoutMs: number;
  /** One transaction, or one read. */
  statementTimeoutMs: number;
}

export const DEFAULT_LIMITS: LedgerLimits = {
  batchMax: 256,
  batchBytesMax: 8 * 1024 * 1024,
  appendBytesMax: 4 * 1024 * 1024,
  queueMax: 10_000,
  queueBytesMax: 64 * 1024 * 1024,
  queueTimeoutMs: 10_000,
  retryTimeoutMs: 2_000,
  settleTimeoutMs: 10_000,
  statementTimeoutMs: 5_000,
};

/** Where nobody needs to get up. */
export const silentLogger: LedgerLogger = { warn: () => undefined, error: () => undefined };

const PAGE_MAX = 1_000;
const DUE_MAX = 50_000;

export function createLedger({
  pool,
  logger = silentLogger,
  limits: given = {},
}: {
  pool: Pool;
  logger?: LedgerLogger;
  limits?: Partial<LedgerLimits>;
}): WritingLedger {
  const limits = { ...DEFAULT_LIMITS, ...given };
  const states = statesOf(pool);
  const writer = new GroupCommitWriter({ pool, logger, limits, states });
  const rows = (sql: string, values: readonly unknown[]) =>
    query(pool, limits.statementTimeoutMs, sql, values);
  const at = { pool, timeoutMs: limits.statementTimeoutMs };
  const heads = createPointReads<{ stream: string; kept: KeptState | undefined }>({
    ...at,
    sql: `SELECT asked.stream, asked.tag, version, last_append, ${epochMs('due_at')} AS due_ms,
        CASE WHEN last_append = asked.tag THEN NULL ELSE state END AS state
      FROM unnest($1::text[], $2::text[]) AS asked (stream, tag) JOIN stream_head AS head ON head.stream = asked.stream`,
    values: (keys) => [keys.map(({ stream }) => stream), keys.map(({ kept }) => kept?.tag ?? '')],
    nameOf: ({ stream, kept }) => pairKey(stream, kept?.tag ?? ''),
    nameOfRow: (row) => pairKey(text(row, 'stream'), text(row, 'tag')),
  });
  const receipts = createPointReads<readonly [source: string, webhookId: string]>({
    ...at,
    sql: `SELECT source, webhook_id, body_digest, response FROM webhook_receipt
      WHERE (source, webhook_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))`,
    values: (keys) => [keys.map(([source]) => source), keys.map(([, webhookId]) => webhookId)],
    nameOf: ([source, webhookId]) => pairKey(source, webhookId),
    nameOfRow: (row) => pairKey(text(row, 'source'), text(row, 'webhook_id')),
  });
  const views = createPointReads<readonly [kind: string, id: string]>({
    ...at,
    sql: `SELECT kind, id, run_id, ordinal, doc FROM view_row
      WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))`,
    values: (keys) => [keys.map(([kind]) => kind), keys.map(([, id]) => id)],
    nameOf: ([kind, id]) => pairKey(kind, id),
    nameOfRow: (row) => pairKey(text(row, 'kind'), text(row, 'id')),
  });

  async function load(stream: string): ReturnType<Ledger['load']> {
    const kept = states.get(stream);
    const [row] = await heads.read({ stream, kept });
    if (row === undefined) return null;
    return {
      version: integer(row, 'version'),
      state: row['state'] === null && kept !== undefined ? kept.state : freshState(stream, row),
      dueAt: timestamp(row, 'due_ms'),
    };
  }

  function freshState(stream: string, row: Row): Json {
    const json = text(row, 'state');
    const state = parseJson(json);
    states.set(stream, { tag: text(row, 'last_append'), state }, json.length);
    return state;
  }

  return {
    writerBusyMs: () => writer.busyMs(),

    async append(append) {
      return writer.submit(prepare(append, limits.appendBytesMax));
    },

    load,

    async read({ after, stream, limit }) {
      const found =
        stream === undefined
          ? await rows(`SELECT ${EVENT_COLUMNS} FROM ledger_event WHERE seq > $1 ORDER BY seq LIMIT $2`, [
              whole(after),
              page(limit),
            ])
          : await rows(
              // By version, not by seq: the unique index on (stream, version) is in the same order.
              `SELECT ${EVENT_COLUMNS} FROM ledger_event WHERE stream = $1 AND seq > $2 ORDER BY version LIMIT $3`,
              [stream, whole(after), page(limit)],
            );
      return found.map(recordedEvent);
    },

    async dueStreams(before, limit) {
      const found = await rows(
        `SELECT stream FROM stream_head WHERE due_at IS NOT NULL AND due_at <= $1::timestamptz
         ORDER BY due_at, stream LIMIT $2`,
        [before.toISOString(), Math.min(Math.max(Math.trunc(limit), 1), DUE_MAX)],
      );
      return found.map((row) => text(row, 'stream'));
    },

    async receipt(source, webhookId) {
      const [row] = await receipts.read([source, webhookId]);
      if (row === undefined) return null;
      return { bodyDigest: text(row, 'body_digest'), response: parseJson(text(row, 'response')) };
    },

    async view(kind, id) {
      const [row] = await views.read([kind, id]);
      return row === undefined ? null : viewRow(row);
    },

    async views({ kind, runId, after, limit, order }) {
      const [beyond, direction] = order === 'asc' ? ['>', 'ASC'] : ['<', 'DESC'];
      const found = await rows(
        `SELECT * FROM (
           SELECT kind, id, run_id, ordinal, doc FROM view_row
           WHERE kind = $1 AND ($2::text IS NULL OR run_id = $2) AND ($3::bigint IS NULL OR ordinal ${beyond} $3)
           ORDER BY ordinal ${direction} FETCH FIRST $4 ROWS WITH TIES
         ) AS page ORDER BY ordinal ${direction}, id ${direction}`,
        [kind, runId ?? null, after === undefined ? null : whole(after), page(limit)],
      );
      return found.map(viewRow);
    },

    async head() {
      const [row] = await rows('SELECT seq, hash, frontier FROM ledger_head WHERE id = 1', []);
      if (row === undefined) {
        throw new InterlockError('the ledger has no head', { code: 'ledger.damaged' });
      }
      const size = integer(row, 'seq');
      const root = CompactRange.fromHex(size, hexList(row['frontier'])).root().toString('hex');
      return { size, hash: text(row, 'hash'), root };
    },

    onAppended: (listener) => writer.onAppended(listener),
    close: () => writer.close(),
  };
}

const epochMs = (column: string): string => `round(extract(epoch FROM ${column}) * 1000)::bigint`;

const page = (limit: number): number => Math.min(Math.max(Math.trunc(limit), 1), PAGE_MAX);

function whole(position: number): number {
  if (Number.isSafeInteger(position)) return position;
  throw new InterlockError('a position in the ledger is a whole number', { code: 'ledger.invalid-query' });
}

function viewRow(row: Record<string, unknown>): ViewRow {
  return {
    kind: text(row, 'kind'),
    id: text(row, 'id'),
    runId: text(row, 'run_id'),
    ordinal: integer(row, 'ordinal'),
    doc: parseJson(text(row, 'doc')),
  };
}
