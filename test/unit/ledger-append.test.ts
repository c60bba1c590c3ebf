/** What an append may hold, what one transaction makes of a batch, and replay over lines: all without a database. */
import { describe, expect, it } from 'vitest';
import { canonicalJson, type Json, type JsonObject } from '../../src/domain/canonical-json.ts';
import { prepare } from '../../src/ledger/append.ts';
import {
  eventId,
  GENESIS_HASH,
  parseCanonical,
  parseEnvelope,
  sealEnvelope,
} from '../../src/ledger/envelope.ts';
import type { Append } from '../../src/ledger/ledger.ts';
import { splitLines } from '../../src/ledger/lines.ts';
import { CompactRange, leafHash } from '../../src/ledger/merkle.ts';
import { type Ground, pairKey, plan } from '../../src/ledger/plan.ts';
import { type Fold, replayLines } from '../../src/ledger/replay.ts';
import { buildLedger, bytesOf, headLine, linesOf } from './ledger-fixture.ts';

const BYTES_MAX = 10_000;

function append(change: Partial<Append> = {}): Append {
  return {
    stream: 'run:a',
    expectedVersion: 0,
    events: [{ kind: 'RunRegistered', data: { n: 1 } }],
    actor: 'trainer',
    snapshot: { state: { n: 1 }, dueAt: null },
    views: [],
    ...change,
  };
}

const withData = (data: JsonObject): Append => append({ events: [{ kind: 'K', data }] });
const nested = (depth: number): Json => (depth === 0 ? 1 : [nested(depth - 1)]);
const cycle: JsonObject = {};
cycle['self'] = cycle;

describe('an append that could not be stored is refused before it travels with others', () => {
  it.each([
    ['NUL in a value', withData({ text: 'a\u0000b' }), 'NUL'],
    ['NUL in a key', withData({ 'a\u0000': 1 }), 'NUL'],
    ['NUL deep inside', withData({ a: [{ b: ['\u0000'] }] }), 'NUL'],
    ['half a surrogate pair', withData({ text: '\ud800' }), 'surrogate'],
    ['half a surrogate pair in a key', withData({ '\udc00': 1 }), 'surrogate'],
    ['a number that is none', withData({ n: Number.NaN }), 'canonical JSON'],
    ['infinity', withData({ n: Number.POSITIVE_INFINITY }), 'canonical JSON'],
    ['a nest too deep', withData({ deep: nested(100) }), '64 deep'],
    ['a ring', withData(cycle), '64 deep'],
    ['NUL in the stream', append({ stream: 'a\u0000' }), 'NUL'],
    ['no stream', append({ stream: '' }), 'stream'],
    ['an endless actor', append({ actor: 'a'.repeat(600) }), 'actor'],
    ['half a version', append({ expectedVersion: 0.5 }), 'expected version'],
    ['a negative version', append({ expectedVersion: -1 }), 'expected version'],
    ['no due time at all', append({ snapshot: { state: null, dueAt: new Date(Number.NaN) } }), 'due time'],
    [
      'a broken ordinal',
      append({ views: [{ kind: 'k', id: 'i', runId: '', ordinal: 0.5, doc: 1 }] }),
      'ordinal',
    ],
    [
      'NUL in a view',
      append({ views: [{ kind: 'k', id: 'i', runId: '', ordinal: 1, doc: '\u0000' }] }),
      'NUL',
    ],
    ['nothing at all', append({ events: [], snapshot: null }), 'receipt and nothing else'],
  ])('%s', (_what, bad, message) => {
    expect(() => prepare(bad, BYTES_MAX)).toThrow(
      expect.objectContaining({ code: 'ledger.invalid-append', retryable: false }),
    );
    expect(() => prepare(bad, BYTES_MAX)).toThrow(message);
  });

  it('a state without an event that led to it', () => {
    const receipt = { source: 's', webhookId: 'w', bodyDigest: 'd', response: null };
    expect(() => prepare(append({ events: [], receipt }), BYTES_MAX)).toThrow('nothing else');
    expect(prepare(append({ events: [], snapshot: null, receipt }), BYTES_MAX).receipt).not.toBeNull();
  });

  it('one that is too large', () => {
    expect(() => prepare(withData({ text: 'x'.repeat(BYTES_MAX) }), BYTES_MAX)).toThrow(
      expect.objectContaining({ code: 'ledger.too-large' }),
    );
  });

  it('takes all of Unicode otherwise', () => {
    const text = '\u0001 \u2028 é 😀 \ufffd "\\';
    expect(prepare(withData({ text }), BYTES_MAX).events[0]?.dataJson).toBe(canonicalJson({ text }));
  });
});

describe('the envelope', () => {
  it('is canonical JSON of its members, and its id follows from its place', () => {
    const fields = {
      actor: 'é"',
      id: eventId('run:a', 1),
      kind: 'K',
      prevHash: GENESIS_HASH,
      recordedAt: '2026-01-02T03:04:05.006Z',
      stream: 'run:a',
      version: 1,
    };
    const { text, leaf } = sealEnvelope({ ...fields, dataJson: '{"n":1}' });
    expect(text).toBe(canonicalJson({ ...fields, data: { n: 1 } }));
    expect(parseEnvelope(text)).toEqual({ ok: true, envelope: { ...fields, data: { n: 1 } } });
    expect(leaf).toEqual(leafHash(text));
    expect(fields.id).toMatch(/^evt_[a-z2-7]{26}$/);
    expect(eventId('run:a', 2)).not.toBe(fields.id);
    // From outside: printf 'run:a:1' | sha256sum | xxd -r -p | base32 | tr A-Z a-z | cut -c1-26
    expect(fields.id).toBe('evt_qxbqcyysyi4cvcj4fy5ifx4pgu');
  });
});

const ground = (change: Partial<Ground> = {}): Ground => ({
  head: { seq: 0, hash: GENESIS_HASH, recordedAtMs: 0, frontier: [] },
  nowMs: 1_800_000_000_000,
  versions: new Map(),
  receipts: new Map(),
  ...change,
});

const planned = (appends: readonly Append[], from: Ground = ground()) =>
  plan(
    appends.map((one) => prepare(one, BYTES_MAX)),
    from,
  );

describe('one transaction', () => {
  it('lets the second append to a stream see the first', () => {
    const { results, streams, events } = planned([
      append(),
      append({ expectedVersion: 1, snapshot: { state: { n: 2 }, dueAt: null } }),
      append({ expectedVersion: 1 }),
      append({ expectedVersion: 2, snapshot: null }),
    ]);
    expect(results.map(({ outcome }) => outcome)).toEqual([
      'appended',
      'appended',
      'version-conflict',
      'appended',
    ]);
    expect(results[2]).toEqual({ outcome: 'version-conflict', actualVersion: 2 });
    expect(events.map(({ event }) => [event.seq, event.version])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
    // An append without a snapshot leaves the last one standing.
    expect(streams).toEqual([
      { stream: 'run:a', version: 3, snapshot: { state: { n: 2 }, stateJson: '{"n":2}', dueAt: null } },
    ]);
  });

  it('writes a row of a view once, as it was last', () => {
    const view = (doc: number) => ({ kind: 'run', id: 'a', runId: 'a', ordinal: 1, doc });
    const { views } = planned([
      append({ views: [view(1), view(2)] }),
      append({ expectedVersion: 1, views: [view(3)] }),
    ]);
    expect(views).toEqual([{ kind: 'run', id: 'a', runId: 'a', ordinal: 1, docJson: '3' }]);
  });

  it('tells a receipt it knows before a version conflict, from the database or from the same batch', () => {
    const receipt = { source: 's', webhookId: 'w', bodyDigest: 'd1', response: { ok: true } };
    const batch = planned([append({ receipt }), append({ receipt: { ...receipt, bodyDigest: 'd2' } })]);
    const known = { outcome: 'receipt-conflict', receipt: { bodyDigest: 'd1', response: { ok: true } } };
    expect(batch.results[1]).toEqual(known);
    expect(batch.receipts).toHaveLength(1);
    const receipts = new Map([[pairKey('s', 'w'), { bodyDigest: 'd1', responseJson: '{"ok":true}' }]]);
    const later = planned([append({ receipt, expectedVersion: 9 })], ground({ receipts }));
    expect(later.results[0]).toEqual(known);
    expect(later.events).toEqual([]);
  });

  it('leaves the head alone when everything conflicts', () => {
    const from = ground({ versions: new Map([['run:a', 4]]) });
    const { head, events } = planned([append()], from);
    expect({ head, events }).toEqual({ head: from.head, events: [] });
  });

  it('never lets time run backwards, and keeps the head in step with a tree of all leaves', () => {
    const first = planned([append()], ground({ nowMs: 1_800_000_000_500 }));
    const second = planned(
      [append({ expectedVersion: 1 })],
      ground({ head: first.head, nowMs: 1_700_000_000_000, versions: new Map([['run:a', 1]]) }),
    );
    const [one, two] = [...first.events, ...second.events];
    expect(two?.event.recordedAt).toBe(one?.event.recordedAt);
    expect(two?.event.prevHash).toBe(one?.event.hash);
    const tree = new CompactRange();
    for (const { envelope } of [...first.events, ...second.events]) tree.append(leafHash(envelope));
    expect(second.head.frontier).toEqual(tree.frontierHex());
    expect(second.head.seq).toBe(2);
  });

  it('records what was meant when it was accepted, whatever the caller does to it afterwards', () => {
    const data: JsonObject = { n: 1 };
    const prepared = prepare(withData(data), BYTES_MAX);
    data['n'] = 2;
    expect(plan([prepared], ground()).events[0]?.event.data).toEqual({ n: 1 });
  });
});

describe('lines', () => {
  const split = async (text: string, chunkBytes: number): Promise<string[]> => {
    const lines: string[] = [];
    for await (const line of splitLines(bytesOf(Buffer.from(text), chunkBytes), 100)) {
      lines.push(
        line.kind === 'line' ? `${Buffer.from(line.bytes)}${line.terminated ? '$' : '!'}` : 'TOO LONG',
      );
    }
    return lines;
  };

  it.each([1, 3, 1_000])('end at line feeds and nowhere else, in chunks of %i bytes', async (chunkBytes) => {
    expect(await split('a\r\n\u2028é\n\nlast', chunkBytes)).toEqual(['a\r$', '\u2028é$', '$', 'last!']);
    expect(await split('', chunkBytes)).toEqual([]);
  });

  it('do not fill the memory', async () => {
    expect(await split(`ok\n${'x'.repeat(500)}\nnever read\n`, 10)).toEqual(['ok$', 'TOO LONG']);
  });
});

describe('replay of an export', () => {
  const sum: Fold<number> = {
    evolve: (state, event) => (state ?? 0) + Number(event.data['n']),
    toJson: (state) => state,
    check: (before, event) => (event.data['n'] === (before ?? 0) + 1 ? null : `the sum was ${before}`),
  };

  it('checks each event against the state before it', async () => {
    const { lines } = buildLedger([
      { stream: 'run:a', data: { n: 1 } },
      { stream: 'other' },
      { stream: 'run:a', data: { n: 2 } },
      { stream: 'run:a', data: { n: 7 } },
    ]);
    const foldFor = (stream: string) => (stream.startsWith('run:') ? sum : null);
    expect(await replayLines(linesOf([...lines, headLine('a.b.c'), 'junk']), foldFor)).toEqual({
      ok: false,
      events: 4,
      streams: 2,
      streamsNotFolded: 1,
      mismatches: [
        { stream: 'run:a', version: 3, seq: 4, kind: 'event', message: 'the sum was 3' },
        { stream: '', version: 0, seq: 5, kind: 'unreadable', message: 'line 6 is not JSON' },
      ],
    });
  });

  it('says where a fold fails, once', async () => {
    const { lines } = buildLedger([{ stream: 'a' }, { stream: 'a' }]);
    const failing: Fold<number> = {
      evolve: () => {
        throw new Error('no such event');
      },
      toJson: (state) => state,
    };
    const { mismatches } = await replayLines(linesOf(lines), () => failing);
    expect(mismatches).toEqual([
      { stream: 'a', version: 1, seq: 1, kind: 'fold-failed', message: 'no such event' },
    ]);
  });
});

describe('the quick way to a yes', () => {
  it.each([
    ['keys in another order', '{"b":1,"a":2}'],
    ['keys that read as numbers, in the order of numbers', '{"9":1,"10":2}'],
    ['half a surrogate pair, escaped', '{"a":"\\ud800"}'],
    ['a key twice', '{"a":1,"a":1}'],
    ['a number in another spelling', '{"a":1.0}'],
    ['minus zero', '{"a":-0}'],
    ['an infinity', '{"a":1e999}'],
    ['an escape that is not needed', '{"a":"\\u0041"}'],
    ['white space', '{"a": 1}'],
    ['a wrong order deep inside', '{"a":[{"c":1,"b":2}]}'],
  ])('is not taken for %s', (_what, text) => {
    expect(parseCanonical(text)).toMatchObject({ ok: false, code: 'not-canonical' });
  });

  it('is right where keys read as numbers and stand as they must', () => {
    expect(parseCanonical('{"10":2,"9":1}')).toMatchObject({ ok: true });
  });
});
