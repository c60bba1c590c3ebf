/** Heads of streams in bulk: for a copy of what the ledger knows that is kept elsewhere, complete and then up to date. */
import type { Pool } from 'pg';
import type { Json } from '../domain/canonical-json.ts';
import { query } from './connection.ts';
import { parseJson } from './envelope.ts';
import { integer, text } from './rows.ts';

export interface StreamHead {
  readonly stream: string;
  readonly version: number;
  readonly state: Json;
}

export interface StreamHeads {
  /** Streams of this prefix beyond `after`, by name. */
  page(prefix: string, after: string, limit: number): Promise<StreamHead[]>;
  /** The last event there is. */
  lastSeq(): Promise<number>;
  /** Streams of this prefix with events beyond `seq`, looking at most at `limit` events; and how far it looked. */
  changedSince(prefix: string, seq: number, limit: number): Promise<{ streams: string[]; seq: number }>;
}

const TIMEOUT_MS = 5_000;

export function createStreamHeads(pool: Pool): StreamHeads {
  return {
    async page(prefix, after, limit) {
      const rows = await query(
        pool,
        TIMEOUT_MS,
        `SELECT stream, version, state FROM stream_head
         WHERE stream > $1 AND stream >= $2 AND starts_with(stream, $2) ORDER BY stream LIMIT $3`,
        [after, prefix, limit],
      );
      return rows.map((row) => ({
        stream: text(row, 'stream'),
        version: integer(row, 'version'),
        state: parseJson(text(row, 'state')),
      }));
    },
    async lastSeq() {
      const [row] = await query(pool, TIMEOUT_MS, 'SELECT seq FROM ledger_head WHERE id = 1', []);
      return row === undefined ? 0 : integer(row, 'seq');
    },
    async changedSince(prefix, seq, limit) {
      const rows = await query(
        pool,
        TIMEOUT_MS,
        `SELECT stream, max(seq) AS seq FROM
           (SELECT stream, seq FROM ledger_event WHERE seq > $1 ORDER BY seq LIMIT $2) AS fresh
         GROUP BY stream`,
        [seq, limit],
      );
      const found = rows.map((row) => ({ stream: text(row, 'stream'), seq: integer(row, 'seq') }));
      return {
        streams: found.map(({ stream }) => stream).filter((stream) => stream.startsWith(prefix)),
        seq: Math.max(seq, ...found.map((each) => each.seq)),
      };
    },
  };
}
