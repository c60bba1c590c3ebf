/**
 * Signed heads: what is shown to the outside, so that a later rewrite or a cut tail contradicts a signature.
 *
 * The rule of such logs: never sign a head inconsistent with an earlier one. A ledger that has become smaller (an
 * old backup was restored), that has another root at the same size, or whose entry under the last signed head is
 * no longer the one that was signed, is refused with `ledger.head-inconsistent`: people must look.
 * Only the entry at the earlier head is compared, not all before it; `verify` and `verifyLive` do that.
 *
 * Not here: when to sign, and where to anchor (the service), with which key (signing).
 */
import type { Pool } from 'pg';
import { InterlockError } from '../errors.ts';
import { faultPoint } from '../fault-points.ts';
import { query } from './connection.ts';
import { GENESIS_HASH } from './envelope.ts';
import { CompactRange, inclusionProof, leafHash } from './merkle.ts';
import { hexList, integer, type Row, text, timestamp } from './rows.ts';

export interface HeadClaims {
  size: number;
  root: string;
  /** Of the newest event; binds the chain as `root` binds the tree. */
  hash: string;
  /** The database's clock, RFC 3339 UTC. */
  at: string;
}

export interface SignedHead {
  size: number;
  root: string;
  hash: string;
  jws: string;
  signedAt: string;
}

export interface SignedHeads {
  /** Signs the ledger as it stands. A size that is signed already is not signed again: the same head comes back. */
  recordHead(sign: (claims: HeadClaims) => Promise<string>): Promise<SignedHead>;
  /** In rising order of size, beyond `after`. */
  heads(query: { after?: number; limit: number }): Promise<SignedHead[]>;
  latestHead(): Promise<SignedHead | null>;
  /** That event `seq` stands in the ledger of `size` events: with a signed head, one event can be proved alone. */
  proveEvent(
    seq: number,
    size: number,
  ): Promise<{ leaf: string; index: number; size: number; proof: string[] }>;
}

const HEAD_COLUMNS =
  'size, root, hash, jws, floor(extract(epoch FROM signed_at) * 1000)::bigint AS signed_ms';
const PAGE_MAX = 1_000;

export function createSignedHeads({
  pool,
  timeoutMs = 5_000,
}: {
  pool: Pool;
  timeoutMs?: number;
}): SignedHeads {
  const rows = (sql: string, values: readonly unknown[] = []) => query(pool, timeoutMs, sql, values);

  /** One statement, one snapshot: the head, the newest signed one, and the entry that one was signed over. */
  async function standing(): Promise<{ claims: HeadClaims; latest: SignedHead | null }> {
    const [row] = await rows(
      `SELECT h.seq, h.hash AS head_hash, h.frontier,
              floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms,
              s.size, s.root, s.hash, s.jws, s.signed_ms, e.envelope
       FROM ledger_head h
       LEFT JOIN (SELECT ${HEAD_COLUMNS} FROM signed_head ORDER BY size DESC LIMIT 1) s ON true
       LEFT JOIN ledger_event e ON e.seq = s.size
       WHERE h.id = 1`,
    );
    if (row === undefined) {
      throw new InterlockError('the ledger has no head', { code: 'ledger.damaged' });
    }
    const size = integer(row, 'seq');
    const claims = {
      size,
      root: CompactRange.fromHex(size, hexList(row['frontier'])).root().toString('hex'),
      hash: text(row, 'head_hash'),
      at: new Date(integer(row, 'now_ms')).toISOString(),
    };
    const latest = row['size'] === null ? null : signedHead(row);
    if (latest !== null) assertContinues(claims, latest, row['envelope']);
    return { claims, latest };
  }

  return {
    async recordHead(sign) {
      const { claims, latest } = await standing();
      if (latest?.size === claims.size) return latest;
      faultPoint('head.signing');
      const jws = await sign(claims);
      faultPoint('head.signed');
      await rows(
        `INSERT INTO signed_head (size, root, hash, jws, signed_at) VALUES ($1, $2, $3, $4, $5::timestamptz)
         ON CONFLICT (size) DO NOTHING`,
        [claims.size, claims.root, claims.hash, jws, claims.at],
      );
      // Another process may have signed the same size first; then theirs is the one that stands.
      const [row] = await rows(`SELECT ${HEAD_COLUMNS} FROM signed_head WHERE size = $1`, [claims.size]);
      if (row === undefined) {
        throw new InterlockError('a signed head was not kept', { code: 'ledger.damaged' });
      }
      const kept = signedHead(row);
      if (kept.root !== claims.root || kept.hash !== claims.hash)
        throw inconsistent('has another root', kept);
      faultPoint('head.kept');
      return kept;
    },

    async heads({ after = -1, limit }) {
      const found = await rows(
        `SELECT ${HEAD_COLUMNS} FROM signed_head WHERE size > $1 ORDER BY size LIMIT $2`,
        [after, Math.min(Math.max(Math.trunc(limit), 1), PAGE_MAX)],
      );
      return found.map(signedHead);
    },

    async latestHead() {
      const [row] = await rows(`SELECT ${HEAD_COLUMNS} FROM signed_head ORDER BY size DESC LIMIT 1`);
      return row === undefined ? null : signedHead(row);
    },

    async proveEvent(seq, size) {
      if (!Number.isSafeInteger(seq) || !Number.isSafeInteger(size) || seq < 1 || seq > size) {
        throw new InterlockError('there is no such event in a ledger of that size', {
          code: 'ledger.invalid-query',
        });
      }
      const index = seq - 1;
      let leaf = '';
      async function* leaves(): AsyncGenerator<Buffer> {
        for (let after = 0; after < size; ) {
          const page = await rows(
            'SELECT seq, hash FROM ledger_event WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT 5000',
            [after, size],
          );
          if (page.length === 0) {
            throw new InterlockError('the ledger has fewer events', { code: 'ledger.invalid-query' });
          }
          for (const row of page) {
            after = integer(row, 'seq');
            if (after === seq) leaf = text(row, 'hash');
            yield Buffer.from(text(row, 'hash'), 'hex');
          }
        }
      }
      const proof = await inclusionProof(leaves(), index, size);
      return { leaf, index, size, proof: proof.map((hash) => hash.toString('hex')) };
    },
  };
}

function assertContinues(claims: HeadClaims, latest: SignedHead, envelope: unknown): void {
  if (claims.size < latest.size) throw inconsistent('is smaller', latest);
  if (claims.size === latest.size && (claims.root !== latest.root || claims.hash !== latest.hash)) {
    throw inconsistent('has another root', latest);
  }
  const hash = typeof envelope === 'string' ? leafHash(envelope).toString('hex') : GENESIS_HASH;
  if (hash !== latest.hash) throw inconsistent('has another entry there', latest);
}

const inconsistent = (how: string, { size }: SignedHead): InterlockError =>
  new InterlockError(`the ledger contradicts its signed head of ${size} events: it ${how}`, {
    code: 'ledger.head-inconsistent',
  });

function signedHead(row: Row): SignedHead {
  const signedAt = timestamp(row, 'signed_ms');
  return {
    size: integer(row, 'size'),
    root: text(row, 'root'),
    hash: text(row, 'hash'),
    jws: text(row, 'jws'),
    signedAt: (signedAt ?? new Date(0)).toISOString(),
  };
}
