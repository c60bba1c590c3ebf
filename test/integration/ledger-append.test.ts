/** The ledger on a real PostgreSQL: order, conflicts, receipts, reads, and what the tables refuse. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/domain/canonical-json.ts';
import { createLedger, type Ledger, type RecordedEvent } from '../../src/ledger/ledger.ts';
import { CompactRange } from '../../src/ledger/merkle.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { appendTo, recordingLogger } from './ledger-support.ts';

describe('the ledger', () => {
  let database: TestDatabase;
  let ledger: Ledger;
  let count = 0;
  /** Every test has streams of its own; the order of the whole is shared. */
  let stream: string;

  beforeAll(async () => {
    database = await startTestDatabase();
    ledger = createLedger({ pool: database.pool });
  });
  beforeEach(() => {
    count += 1;
    stream = `run:${count}`;
  });
  afterAll(async () => {
    await ledger.close();
    await database.close();
  });

  it('returns what it recorded, and reads back the same', async () => {
    const before = await ledger.head();
    const result = await ledger.append(
      appendTo(stream, 0, {
        events: [
          { kind: 'RunRegistered', data: { title: 'é \u2028 😀 "' } },
          { kind: 'PermitIssued', data: {} },
        ],
      }),
    );
    if (result.outcome !== 'appended') throw new Error(result.outcome);
    expect(result.version).toBe(2);
    expect(result.events.map(({ seq }) => seq)).toEqual([before.size + 1, before.size + 2]);
    expect(result.events[0]).toMatchObject({ stream, version: 1, kind: 'RunRegistered', actor: 'trainer' });
    expect(result.events[0]?.prevHash).toBe(before.hash);
    expect(await ledger.read({ after: 0, stream, limit: 10 })).toEqual(result.events);
    expect(await ledger.read({ after: before.size, limit: 1 })).toEqual(result.events.slice(0, 1));
    expect((await ledger.head()).hash).toBe(result.events[1]?.hash);
  });

  it('loads the state and the due time stored with the last append', async () => {
    const dueAt = new Date('2026-03-04T05:06:07.089Z');
    await ledger.append(appendTo(stream, 0, { snapshot: { state: { b: [1, null], a: 'x' }, dueAt } }));
    expect(await ledger.load(stream)).toEqual({ version: 1, state: { a: 'x', b: [1, null] }, dueAt });
    // An append that says nothing about the state leaves it.
    await ledger.append(appendTo(stream, 1, { snapshot: null }));
    expect(await ledger.load(stream)).toEqual({ version: 2, state: { a: 'x', b: [1, null] }, dueAt });
    await ledger.append(appendTo(stream, 2, { snapshot: { state: null, dueAt: null } }));
    expect(await ledger.load(stream)).toEqual({ version: 3, state: null, dueAt: null });
    expect(await ledger.load('run:never')).toBeNull();
  });

  it('stores text with every kind of character as it was given', async () => {
    const control = Array.from({ length: 31 }, (_, index) => String.fromCharCode(index + 1)).join('');
    const value = {
      text: `"quoted" \\ {a,b} NULL ${control} \u007f é \u2028 😀 \\" \\\\`,
      'na"me\\': ['"', '\\', ''],
    };
    const receipt = { source: 'trainer', webhookId: `${stream}-odd`, bodyDigest: 'digest', response: value };
    const append = appendTo(stream, 0, {
      events: [{ kind: 'RunRegistered', data: value }],
      snapshot: { state: value, dueAt: null },
      views: [{ kind: 'odd', id: stream, runId: stream, ordinal: 1, doc: value }],
      receipt,
    });
    await ledger.append(append);
    const [event] = await ledger.read({ after: 0, stream, limit: 1 });
    expect(event?.data).toEqual(value);
    const { rows } = await database.pool.query(
      'SELECT state, doc FROM stream_head JOIN view_row ON id = stream WHERE stream = $1',
      [stream],
    );
    expect(rows).toEqual([{ state: canonicalJson(value), doc: canonicalJson(value) }]);
    expect(await ledger.append(append)).toMatchObject({
      outcome: 'receipt-conflict',
      receipt: { response: value },
    });
  });

  it('appends to 200 streams at once, without a gap, and keeps the tree in step', async () => {
    const rivals = createLedger({ pool: database.pool });
    const before = await ledger.head();
    const streams = Array.from({ length: 200 }, (_, index) => `${stream}:${index}`);
    const results = await Promise.all(
      streams.flatMap((name, index) => [
        (index % 2 === 0 ? ledger : rivals).append(appendTo(name)),
        (index % 3 === 0 ? ledger : rivals).append(appendTo(name)),
      ]),
    );
    await rivals.close();
    expect(results.filter(({ outcome }) => outcome === 'appended')).toHaveLength(200);
    const refused = results.filter(({ outcome }) => outcome === 'version-conflict');
    expect(refused).toHaveLength(200);
    expect(refused[0]).toEqual({ outcome: 'version-conflict', actualVersion: 1 });

    const events: RecordedEvent[] = [];
    for (let page = await ledger.read({ after: 0, limit: 70 }); page.length > 0; ) {
      events.push(...page);
      page = await ledger.read({ after: events.at(-1)?.seq ?? 0, limit: 70 });
    }
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    expect(new Set(events.slice(before.size).map((event) => event.stream))).toEqual(new Set(streams));
    const tree = new CompactRange();
    for (const [index, { hash, prevHash, recordedAt }] of events.entries()) {
      tree.append(Buffer.from(hash, 'hex'));
      expect(prevHash).toBe(events[index - 1]?.hash ?? '0'.repeat(64));
      expect(recordedAt >= (events[index - 1]?.recordedAt ?? '')).toBe(true);
    }
    expect(await ledger.head()).toEqual({
      size: events.length,
      hash: events.at(-1)?.hash,
      root: tree.root().toString('hex'),
    });
  });

  it('refuses conflicts one by one, and records the rest of the batch', async () => {
    const results = await Promise.all([
      ledger.append(appendTo(stream)),
      ledger.append(appendTo(stream, 1)),
      ledger.append(appendTo(stream, 1)),
      ledger.append(appendTo(`${stream}:b`, 7)),
      ledger.append(appendTo(`${stream}:c`)),
    ]);
    expect(results.map(({ outcome }) => outcome)).toEqual([
      'appended',
      'appended',
      'version-conflict',
      'version-conflict',
      'appended',
    ]);
    expect(results[2]).toEqual({ outcome: 'version-conflict', actualVersion: 2 });
    expect(results[3]).toEqual({ outcome: 'version-conflict', actualVersion: 0 });
  });

  it('answers a repeated receipt with the first response, whatever the digest, and for ever', async () => {
    const receipt = { source: stream, webhookId: 'wh_1', bodyDigest: 'd1', response: { status: 202 } };
    expect(await ledger.receipt(stream, 'wh_1')).toBeNull();
    expect(await ledger.append(appendTo(stream, 0, { receipt }))).toMatchObject({ outcome: 'appended' });
    const known = { outcome: 'receipt-conflict', receipt: { bodyDigest: 'd1', response: { status: 202 } } };
    const again = { ...receipt, bodyDigest: 'd2', response: { status: 500 } };
    expect(await ledger.append(appendTo(stream, 1, { receipt }))).toEqual(known);
    expect(await ledger.append(appendTo(stream, 0, { receipt: again }))).toEqual(known);
    expect(await ledger.receipt(stream, 'wh_1')).toEqual(known.receipt);
    expect((await ledger.load(stream))?.version).toBe(1);
  });

  it('records one of many copies of a message that arrive together', async () => {
    const receipt = { source: stream, webhookId: 'wh_1', bodyDigest: 'd', response: null };
    const rival = createLedger({ pool: database.pool });
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        (index % 2 ? ledger : rival).append(appendTo(`${stream}:${index}`, 0, { receipt })),
      ),
    );
    await rival.close();
    expect(results.filter(({ outcome }) => outcome === 'appended')).toHaveLength(1);
    expect(results.filter(({ outcome }) => outcome === 'receipt-conflict')).toHaveLength(39);
  });

  it('records a receipt alone, at the version its author saw', async () => {
    await ledger.append(appendTo(stream));
    const receipt = { source: stream, webhookId: 'wh_2', bodyDigest: 'd', response: { duplicate: true } };
    const alone = { events: [], snapshot: null, receipt };
    const before = await ledger.head();
    expect(await ledger.append(appendTo(stream, 0, alone))).toEqual({
      outcome: 'version-conflict',
      actualVersion: 1,
    });
    expect(await ledger.append(appendTo(stream, 1, alone))).toEqual({
      outcome: 'appended',
      version: 1,
      events: [],
    });
    expect(await ledger.receipt(stream, 'wh_2')).toEqual({
      bodyDigest: 'd',
      response: { duplicate: true },
    });
    expect(await ledger.head()).toEqual(before);
  });

  it('finds the streams that are due, the longest overdue first', async () => {
    const due = (minute: number) => ({
      snapshot: { state: null, dueAt: new Date(Date.UTC(2001, 0, 1, 0, minute)) },
    });
    await ledger.append(appendTo(`${stream}:late`, 0, due(5)));
    await ledger.append(appendTo(`${stream}:early`, 0, due(1)));
    await ledger.append(appendTo(`${stream}:later`, 0, due(9)));
    const at = new Date(Date.UTC(2001, 0, 1, 0, 5));
    expect(await ledger.dueStreams(at, 10)).toEqual([`${stream}:early`, `${stream}:late`]);
    expect(await ledger.dueStreams(at, 1)).toEqual([`${stream}:early`]);
    await ledger.append(appendTo(`${stream}:early`, 1, { snapshot: { state: null, dueAt: null } }));
    expect(await ledger.dueStreams(at, 10)).toEqual([`${stream}:late`]);
  });

  it('pages through views in both directions, by run or over all, and skips none that tie', async () => {
    const kind = `card-${stream}`;
    const view = (id: string, runId: string, ordinal: number) => ({ kind, id, runId, ordinal, doc: { id } });
    await ledger.append(
      appendTo(stream, 0, {
        views: [view('c', 'r1', 3), view('a', 'r1', 1), view('b2', 'r2', 2), view('b1', 'r1', 2)],
      }),
    );
    const ids = async (query: Omit<Parameters<Ledger['views']>[0], 'kind'>) =>
      (await ledger.views({ kind, ...query })).map(({ id }) => id);
    expect(await ids({ limit: 10, order: 'asc' })).toEqual(['a', 'b1', 'b2', 'c']);
    expect(await ids({ limit: 10, order: 'desc' })).toEqual(['c', 'b2', 'b1', 'a']);
    expect(await ids({ limit: 2, order: 'asc' })).toEqual(['a', 'b1', 'b2']);
    expect(await ids({ limit: 2, order: 'asc', after: 2 })).toEqual(['c']);
    expect(await ids({ limit: 2, order: 'desc', after: 3 })).toEqual(['b2', 'b1']);
    expect(await ids({ runId: 'r1', limit: 1, order: 'desc' })).toEqual(['c']);
    expect(await ids({ runId: 'r1', limit: 9, order: 'asc', after: 1 })).toEqual(['b1', 'c']);

    await ledger.append(appendTo(stream, 1, { views: [{ ...view('a', 'r3', 9), doc: 'new' }] }));
    expect(await ledger.view(kind, 'a')).toEqual({ kind, id: 'a', runId: 'r3', ordinal: 9, doc: 'new' });
    expect(await ledger.view(kind, 'never')).toBeNull();
  });

  it('tells its listeners after the commit, in order, and survives one that throws', async () => {
    const logger = recordingLogger();
    const told = createLedger({ pool: database.pool, logger });
    const seen: string[] = [];
    const stop = told.onAppended((events) => seen.push(...events.map(({ id }) => id)));
    told.onAppended(() => {
      throw new Error('a listener with a bug');
    });
    const results = await Promise.all([told.append(appendTo(stream)), told.append(appendTo(stream, 1))]);
    stop();
    await told.append(appendTo(stream, 2));
    await told.close();
    expect(seen).toEqual(
      results.flatMap((r) => (r.outcome === 'appended' ? r.events.map(({ id }) => id) : [])),
    );
    expect(seen).toHaveLength(2);
    expect(logger.messages[0]).toContain('a listener to the ledger failed');
  });

  it('refuses more than may wait, retryably, and records what it took', async () => {
    const small = createLedger({ pool: database.pool, limits: { queueMax: 3, batchMax: 2 } });
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, (_, index) => small.append(appendTo(`${stream}:${index}`))),
    );
    await small.close();
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
    ]);
    expect(results[4]).toMatchObject({ reason: { code: 'ledger.overloaded', retryable: true } });
  });

  it('finishes what it has when it closes, and takes no more', async () => {
    const closing = createLedger({ pool: database.pool });
    const last = closing.append(appendTo(stream));
    await closing.close();
    expect(await last).toMatchObject({ outcome: 'appended' });
    await expect(closing.append(appendTo(stream, 1))).rejects.toMatchObject({ code: 'ledger.unavailable' });
  });

  it('fails only the one append that the database cannot take', async () => {
    await database.pool.query(`ALTER TABLE view_row ADD CONSTRAINT no_poison CHECK (kind <> 'poison')`);
    const poison = { views: [{ kind: 'poison', id: 'x', runId: '', ordinal: 1, doc: null }] };
    const results = await Promise.allSettled([
      ledger.append(appendTo(`${stream}:a`)),
      ledger.append(appendTo(`${stream}:b`, 0, poison)),
      ledger.append(appendTo(`${stream}:c`)),
    ]);
    await database.pool.query('ALTER TABLE view_row DROP CONSTRAINT no_poison');
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'ledger.failed', retryable: false } });
    expect(await ledger.load(`${stream}:b`)).toBeNull();
  });

  it.each([
    'UPDATE ledger_event SET actor = actor',
    `UPDATE ledger_event SET actor = 'x' WHERE seq = -1`,
    'DELETE FROM ledger_event',
    'TRUNCATE ledger_event',
    `SET session_replication_role = replica; DELETE FROM ledger_event`,
  ])('has tables that refuse: %s', async (statement) => {
    await expect(database.pool.query(statement)).rejects.toThrow('append-only');
  });
});
