/** Signed heads, export, verification and replay on a real database, and what is found after somebody tampered. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { exportBytes, exportLines } from '../../src/ledger/export.ts';
import { createSignedHeads, type SignedHeads } from '../../src/ledger/heads.ts';
import { createLedger, type Ledger } from '../../src/ledger/ledger.ts';
import { verifyInclusion } from '../../src/ledger/merkle.ts';
import { rebuildViews } from '../../src/ledger/rebuild-views.ts';
import { type Fold, replayLines, replayLive } from '../../src/ledger/replay.ts';
import type { Verification } from '../../src/ledger/verification.ts';
import { verifyExport, verifyLedger } from '../../src/ledger/verify-export.ts';
import { verifyLive } from '../../src/ledger/verify-live.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { createHeadKeys, type HeadKeys, linesOf } from '../unit/ledger-fixture.ts';
import { appendTo } from './ledger-support.ts';

const told = ({ problems }: Verification): string =>
  problems.map(({ code, seq }) => (seq === null ? code : `${code}@${seq}`)).join(' ');

/** The state is the sum of what came. */
const sum: Fold<number> = {
  evolve: (state, event) => (state ?? 0) + Number(event.data['n']),
  toJson: (state) => ({ sum: state }),
  check: (before, event) => (event.data['n'] === event.version ? null : `n was ${before}`),
  project: (_before, { stream, version }, after) => [
    { kind: 'run', id: stream, runId: stream, ordinal: version, doc: { sum: after } },
  ],
};
const foldFor = (stream: string) => (stream.startsWith('run:') ? sum : null);

const TABLES = ['ledger_event', 'ledger_head', 'stream_head', 'view_row', 'signed_head'];

describe('a recorded ledger', () => {
  let keys: HeadKeys;
  let database: TestDatabase;
  let ledger: Ledger;
  let heads: SignedHeads;

  /** run:a has versions 1 to 4, run:b 1 to 3, interleaved, heads at 4 and 7. Every test may break it. */
  beforeAll(async () => {
    keys = await createHeadKeys();
    database = await startTestDatabase();
    ledger = createLedger({ pool: database.pool });
    heads = createSignedHeads({ pool: database.pool });
    const versions = new Map<string, number>();
    for (const stream of ['run:a', 'run:b', 'run:a', 'run:b', 'run:a', 'run:b', 'run:a']) {
      const version = versions.get(stream) ?? 0;
      versions.set(stream, version + 1);
      const total = ((version + 1) * (version + 2)) / 2;
      await ledger.append(
        appendTo(stream, version, {
          snapshot: { state: { sum: total }, dueAt: null },
          views: [{ kind: 'run', id: stream, runId: stream, ordinal: version + 1, doc: { sum: total } }],
        }),
      );
      if ((await ledger.head()).size === 4) await heads.recordHead(keys.sign);
    }
    await heads.recordHead(keys.sign);
    await database.pool.query(
      `CREATE SCHEMA kept; ${TABLES.map((table) => `CREATE TABLE kept.${table} AS TABLE ${table}`).join(';')}`,
    );
  });
  beforeEach(async () => {
    const restore = TABLES.map((table) => `DELETE FROM ${table}; INSERT INTO ${table} TABLE kept.${table}`);
    await tamper(restore.join(';'));
    await database.pool.query('ALTER TABLE ledger_event ENABLE TRIGGER ALL');
  });
  afterAll(async () => {
    await ledger.close();
    await database.close();
  });

  /** As the owner of the database can: without the guard rail. */
  async function tamper(sql: string): Promise<void> {
    await database.pool.query(`ALTER TABLE ledger_event DISABLE TRIGGER ALL; ${sql}`);
  }
  const live = () => verifyLive(database.pool, keys);
  async function exported(): Promise<string[]> {
    const lines: string[] = [];
    for await (const line of exportLines(database.pool)) lines.push(line);
    return lines;
  }
  const offline = async () => verifyLedger(linesOf(await exported()), keys);

  it('verifies live and offline, and both tell the same head', async () => {
    const head = await ledger.head();
    const expected = { ok: true, events: 7, head, headsVerified: 2, unsignedEvents: 0, problems: [] };
    expect(await live()).toMatchObject(expected);
    expect(await verifyExport(exportBytes(database.pool), keys)).toMatchObject(expected);
    await ledger.append(appendTo('run:c'));
    expect(await live()).toMatchObject({ ok: true, events: 8, unsignedEvents: 1 });
    expect(await offline()).toMatchObject({ ok: true, events: 8, unsignedEvents: 1 });
  });

  it('is exported as the bytes that were hashed, then the heads, while appends go on', async () => {
    const before = await ledger.head();
    const lines = exportLines(database.pool);
    const first = await lines.next();
    await ledger.append(appendTo('run:late'));
    await heads.recordHead(keys.sign);
    const rest: string[] = [];
    for await (const line of lines) rest.push(line);
    const { rows } = await database.pool.query<{ envelope: string }>(
      'SELECT envelope FROM ledger_event ORDER BY seq LIMIT 7',
    );
    expect([first.value, ...rest.slice(0, 6)]).toEqual(rows.map(({ envelope }) => envelope));
    expect(rest).toHaveLength(8);
    const all = linesOf([String(first.value), ...rest]);
    expect(await verifyLedger(all, keys)).toMatchObject({ ok: true, events: 7, head: before });
  });

  it('holds together over many pages', async () => {
    const events = Array.from({ length: 1_200 }, (_, index) => ({ kind: 'K', data: { n: index + 1 } }));
    const snapshot = { state: { sum: (1_200 * 1_201) / 2 }, dueAt: null };
    await ledger.append(appendTo('run:long', 0, { events, snapshot }));
    await heads.recordHead(keys.sign);
    const head = await ledger.head();
    expect(await live()).toMatchObject({ ok: true, events: 1_207, head, headsVerified: 3 });
    expect(await offline()).toMatchObject({ ok: true, events: 1_207, head, headsVerified: 3 });
    expect(await replayLive(database.pool, foldFor)).toMatchObject({ ok: true, events: 1_207 });
    expect(await rebuildViews(database.pool, foldFor)).toEqual({ events: 1_207, rows: 3 });
  });

  it('shows one changed byte in an export', async () => {
    const lines = await exported();
    const changed = lines.map((line, index) => (index === 2 ? line.replace('"n":2', '"n":3') : line));
    expect(told(await verifyLedger(linesOf(changed), keys))).toBe('entry-changed@3 head-mismatch@4');
  });

  it('signs each size once, and lists the heads', async () => {
    const again = await heads.recordHead(async () => 'not asked');
    expect(again).toEqual(await heads.latestHead());
    expect((await heads.heads({ limit: 10 })).map(({ size }) => size)).toEqual([4, 7]);
    expect((await heads.heads({ after: 4, limit: 10 })).map(({ size }) => size)).toEqual([7]);
    expect(await keys.verifyHeadJws(again.jws)).toMatchObject(await ledger.head());
  });

  it('gives one head to several processes that sign at once', async () => {
    await ledger.append(appendTo('run:c'));
    const signed = await Promise.all(
      [1, 2, 3].map(() => createSignedHeads({ pool: database.pool }).recordHead(keys.sign)),
    );
    expect(new Set(signed.map(({ jws }) => jws)).size).toBe(1);
  });

  it('signs the empty ledger too', async () => {
    const empty = await startTestDatabase();
    await createSignedHeads({ pool: empty.pool }).recordHead(keys.sign);
    expect(await verifyLive(empty.pool, keys)).toMatchObject({ ok: true, events: 0, headsVerified: 1 });
    await empty.close();
  });

  it('proves one event alone against a signed head', async () => {
    const head = await heads.latestHead();
    if (head === null) throw new Error('no head');
    for (let seq = 1; seq <= head.size; seq += 1) {
      const { leaf, index, size, proof } = await heads.proveEvent(seq, head.size);
      const hex = (hash: string) => Buffer.from(hash, 'hex');
      const inclusion = { leaf: hex(leaf), index, size, proof: proof.map(hex), root: hex(head.root) };
      expect(verifyInclusion(inclusion)).toBe(true);
    }
    await expect(heads.proveEvent(8, 7)).rejects.toMatchObject({ code: 'ledger.invalid-query' });
  });

  it.each([
    [
      'has become smaller',
      `UPDATE ledger_head SET seq = 6, frontier = (SELECT jsonb_agg(hash) FROM ledger_event WHERE seq < 3)`,
    ],
    [
      'has another root at the same size',
      `UPDATE ledger_head SET frontier = jsonb_set(frontier, '{0}', to_jsonb(repeat('a', 64)))`,
    ],
    [
      'has another entry under the last signed head',
      `UPDATE ledger_event SET envelope = replace(envelope, 'trainer', 'nobody') WHERE seq = 7`,
    ],
  ])('is not signed when it %s', async (_what, sql) => {
    await tamper(sql);
    let asked = false;
    const sign = async () => {
      asked = true;
      return 'x';
    };
    await expect(heads.recordHead(sign)).rejects.toMatchObject({
      code: 'ledger.head-inconsistent',
      retryable: false,
    });
    expect(asked).toBe(false);
  });

  it.each([
    [
      'a changed envelope',
      `UPDATE ledger_event SET envelope = replace(envelope, '"n":2', '"n":9') WHERE seq = 3`,
      'entry-changed@3 head-mismatch@4 ledger-head-mismatch',
    ],
    [
      'the last envelope changed',
      `UPDATE ledger_event SET envelope = replace(envelope, '"n":4', '"n":9') WHERE seq = 7`,
      'entry-changed@7 head-mismatch@7 ledger-head-mismatch ledger-head-mismatch',
    ],
    [
      'another spelling',
      `UPDATE ledger_event SET envelope = envelope || ' ' WHERE seq = 3`,
      'not-canonical@3 entry-changed@3 head-mismatch@4 ledger-head-mismatch',
    ],
    [
      'an event removed',
      'DELETE FROM ledger_event WHERE seq = 3',
      'entry-removed@3 version-gap@4 head-mismatch@4 ledger-head-mismatch entries-missing',
    ],
    [
      'the tail cut',
      'DELETE FROM ledger_event WHERE seq > 5',
      'stream-head-mismatch@4 stream-head-mismatch@5 ledger-head-mismatch ledger-head-mismatch entries-missing',
    ],
    [
      'the tail cut, with heads and all',
      `DELETE FROM ledger_event WHERE seq > 4; DELETE FROM signed_head WHERE size > 4; UPDATE stream_head SET version = 2; UPDATE ledger_head SET seq = 4, hash = (SELECT hash FROM ledger_event WHERE seq = 4), frontier = '[]'`,
      'ledger-head-mismatch',
    ],
    [
      'a column',
      `UPDATE ledger_event SET kind = 'HaltOrdered', actor = 'x' WHERE seq = 2`,
      'column-mismatch@2 column-mismatch@2',
    ],
    [
      'a stream given to another',
      `UPDATE ledger_event SET stream = 'run:c' WHERE seq = 7`,
      'column-mismatch@7',
    ],
    ['the hash', `UPDATE ledger_event SET hash = repeat('a', 64) WHERE seq = 2`, 'entry-changed@2'],
    ['the head', `UPDATE ledger_head SET hash = repeat('a', 64)`, 'ledger-head-mismatch'],
    ['no head', 'DELETE FROM ledger_head', 'ledger-head-mismatch'],
    [
      'a stream version',
      `UPDATE stream_head SET version = 9 WHERE stream = 'run:b'`,
      'stream-head-mismatch@6',
    ],
    [
      'a stream that never was',
      `INSERT INTO stream_head VALUES ('run:x', 1, '{}', NULL, '')`,
      'stream-head-mismatch',
    ],
    ['a stream head lost', `DELETE FROM stream_head WHERE stream = 'run:b'`, 'stream-head-mismatch'],
    [
      'a signed head of somebody else',
      `UPDATE signed_head SET jws = 'eyJ9.eyJ9.eyJ9' WHERE size = 4`,
      'head-signature',
    ],
    [
      'the columns of a signed head',
      `UPDATE signed_head SET root = repeat('a', 64) WHERE size = 4`,
      'column-mismatch@4',
    ],
    ['no signed heads', 'DELETE FROM signed_head', 'no-signed-head'],
  ])('shows in the live database: %s', async (_what, sql, verdict) => {
    await tamper(sql);
    expect(told(await live())).toBe(verdict);
  });

  it('replays to what is stored', async () => {
    await ledger.append(appendTo('other', 0, { events: [{ kind: 'Note', data: {} }], snapshot: null }));
    const agreed = { ok: true, events: 8, streams: 3, streamsNotFolded: 1, mismatches: [] };
    expect(await replayLive(database.pool, foldFor)).toEqual(agreed);
    expect(await replayLines(linesOf(await exported()), foldFor)).toEqual(agreed);
    expect(await replayLive(database.pool, foldFor, { stream: 'run:b' })).toMatchObject({
      ok: true,
      events: 3,
      streams: 1,
    });
  });

  it('shows a state that its events do not lead to, and an event that does not follow', async () => {
    await database.pool.query(`UPDATE stream_head SET state = '{"sum":7}' WHERE stream = 'run:b'`);
    await ledger.append(
      appendTo('run:a', 4, {
        events: [{ kind: 'K', data: { n: 50 } }],
        snapshot: { state: { sum: 60 }, dueAt: null },
      }),
    );
    expect((await replayLive(database.pool, foldFor)).mismatches).toEqual([
      { stream: 'run:a', version: 5, seq: 8, kind: 'event', message: 'n was 10' },
      {
        stream: 'run:b',
        version: 3,
        seq: null,
        kind: 'state',
        message: expect.stringContaining('not what its events'),
      },
    ]);
    expect(await replayLive(database.pool, foldFor, { stream: 'run:b' })).toMatchObject({ ok: false });
  });

  it('gets its views back from the events, while appends go on', async () => {
    await database.pool.query(`DELETE FROM view_row WHERE id = 'run:a'; UPDATE view_row SET doc = '"wrong"'`);
    await database.pool.query(`INSERT INTO view_row VALUES ('old', 'x', '', 1, '1')`);
    const rivals = Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        ledger.append(
          appendTo(`run:${index}`, 0, {
            views: [{ kind: 'run', id: `run:${index}`, runId: `run:${index}`, ordinal: 1, doc: { sum: 1 } }],
          }),
        ),
      ),
    );
    await rebuildViews(database.pool, foldFor);
    await rivals;
    const rows = await ledger.views({ kind: 'run', limit: 100, order: 'asc' });
    expect(rows).toHaveLength(22);
    expect(await ledger.view('run', 'run:a')).toMatchObject({ ordinal: 4, doc: { sum: 10 } });
    expect(await ledger.view('run', 'run:b')).toMatchObject({ ordinal: 3, doc: { sum: 6 } });
    expect(await ledger.view('old', 'x')).toBeNull();
  });

  it('keeps its views when an event cannot be folded', async () => {
    const failing: Fold<number> = {
      ...sum,
      evolve: () => {
        throw new Error('no such event');
      },
    };
    await expect(rebuildViews(database.pool, () => failing)).rejects.toMatchObject({
      code: 'ledger.replay-failed',
    });
    expect(await ledger.views({ kind: 'run', limit: 9, order: 'asc' })).toHaveLength(2);
  });
});
