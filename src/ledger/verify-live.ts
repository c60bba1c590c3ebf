/**
 * The verifier on a live database: what `verify.ts` finds in an export, and whether the columns, the ledger's head
 * and the streams' heads say the same as the events.
 *
 * Here each event's hash stands beside it, so that a changed entry is named exactly. One snapshot; appends go on
 * meanwhile. The states of the streams are replay's (replay.ts): a verifier does not know what events mean.
 */
import type { Pool } from 'pg';
import { CompactRange, leafHash } from './merkle.ts';
import { hexList, integer, type Row, text } from './rows.ts';
import { inSnapshot, pages, type Read } from './snapshot.ts';
import type { Verification, VerifyOptions } from './verification.ts';
import { LedgerVerifier } from './verify.ts';

const EVENT_ROWS = `SELECT seq, stream, version, id, kind, actor, prev_hash, hash, envelope,
    round(extract(epoch FROM recorded_at) * 1000)::bigint AS recorded_ms
  FROM ledger_event WHERE seq > $1 ORDER BY seq LIMIT $2`;
const HEAD_ROWS = 'SELECT size, root, hash, jws FROM signed_head WHERE size > $1 ORDER BY size LIMIT $2';
const STREAM_ROWS = 'SELECT stream, version FROM stream_head WHERE stream > $1 ORDER BY stream LIMIT $2';

export async function verifyLive(pool: Pool, options: VerifyOptions): Promise<Verification> {
  return inSnapshot(pool, async (read) => {
    const verifier = await LedgerVerifier.create(options);
    const heads = pages(read, HEAD_ROWS, -1, (row) => integer(row, 'size'));
    let head = await heads.next();
    const signHeads = async (upTo: number): Promise<void> => {
      while (!head.done && integer(head.value, 'size') <= upTo) {
        await checkSignedHead(verifier, head.value, options);
        head = await heads.next();
      }
    };
    await signHeads(0);
    let last = 0;
    for await (const row of pages(read, EVENT_ROWS, 0, (event) => integer(event, 'seq'))) {
      const seq = integer(row, 'seq');
      if (seq !== last + 1) {
        const place = verifier.events + 1;
        verifier.report('entry-removed', place, null, `is missing: after number ${last} comes number ${seq}`);
      }
      last = seq;
      checkEvent(verifier, row);
      await signHeads(verifier.events);
    }
    await signHeads(Number.POSITIVE_INFINITY);
    await checkLedgerHead(verifier, read);
    await checkStreamHeads(verifier, read);
    return verifier.finish();
  });
}

function checkEvent(verifier: LedgerVerifier, row: Row): void {
  const envelopeText = text(row, 'envelope');
  const envelope = verifier.event(envelopeText);
  const place = verifier.events;
  const differs = (column: string, told: unknown, truth: unknown): void => {
    if (told === truth) return;
    verifier.report('column-mismatch', place, null, `has a column ${column} that differs from its envelope`);
  };
  if (text(row, 'hash') !== leafHash(envelopeText).toString('hex')) {
    verifier.report('entry-changed', place, null, 'does not have the hash recorded beside it');
  }
  if (envelope === null) return;
  differs('stream', row['stream'], envelope.stream);
  differs('version', row['version'], envelope.version);
  differs('id', row['id'], envelope.id);
  differs('kind', row['kind'], envelope.kind);
  differs('actor', row['actor'], envelope.actor);
  differs('prev_hash', row['prev_hash'], envelope.prevHash);
  differs('recorded_at', integer(row, 'recorded_ms'), Date.parse(envelope.recordedAt));
}

async function checkSignedHead(
  verifier: LedgerVerifier,
  row: Row,
  { verifyHeadJws }: VerifyOptions,
): Promise<void> {
  const jws = text(row, 'jws');
  await verifier.signedHead(jws, null);
  const claims = await verifyHeadJws(jws).catch(() => null);
  if (claims === null) return;
  const { size, root, hash } = claims;
  if (size !== integer(row, 'size') || root !== row['root'] || hash !== row['hash']) {
    verifier.report(
      'column-mismatch',
      size,
      null,
      'has a signed head whose columns differ from its signature',
    );
  }
}

async function checkLedgerHead(verifier: LedgerVerifier, read: Read): Promise<void> {
  const [row] = await read('SELECT seq, hash, frontier FROM ledger_head WHERE id = 1');
  const found = verifier.head;
  const differs = (what: string): void =>
    verifier.report(
      'ledger-head-mismatch',
      null,
      null,
      `the ledger's head has another ${what} than its events`,
    );
  if (row === undefined) differs('row, none at all,');
  else if (integer(row, 'seq') !== found.size) differs('size');
  else if (frontierRoot(row) !== found.root) differs('Merkle root');
  if (row !== undefined && row['hash'] !== found.hash) differs('hash');
}

function frontierRoot(row: Row): string | null {
  try {
    return CompactRange.fromHex(integer(row, 'seq'), hexList(row['frontier'])).root().toString('hex');
  } catch {
    return null;
  }
}

async function checkStreamHeads(verifier: LedgerVerifier, read: Read): Promise<void> {
  const { streams } = verifier;
  let known = 0;
  for await (const row of pages(read, STREAM_ROWS, '', (head) => text(head, 'stream'))) {
    const stream = text(row, 'stream');
    const found = streams.get(stream);
    if (found !== undefined) known += 1;
    if (found?.version === row['version']) continue;
    const events = found === undefined ? 'no events' : `events up to version ${found.version}`;
    verifier.report(
      'stream-head-mismatch',
      found?.seq ?? null,
      null,
      `stream ${stream} has a head at version ${integer(row, 'version')} and ${events}`,
    );
  }
  if (known < streams.size) {
    verifier.report(
      'stream-head-mismatch',
      null,
      null,
      `${streams.size - known} streams have lost their heads`,
    );
  }
}
