/** Every kind of tampering is found, and named, by the offline verifier. */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type BlockScanners, createBlockScanners } from '../../src/ledger/block-scanners.ts';
import type { Verification } from '../../src/ledger/verification.ts';
import { verifyExport, verifyLedger } from '../../src/ledger/verify-export.ts';
import {
  buildLedger,
  bytesOf,
  createHeadKeys,
  type Entry,
  type HeadKeys,
  headLine,
  linesOf,
} from './ledger-fixture.ts';

/** Two streams, interleaved: a1 b1 a2 a3 b2 a4 a5 b3. */
const entries: Entry[] = ['a', 'b', 'a', 'a', 'b', 'a', 'a', 'b'].map((stream) => ({ stream }));
const ledger = buildLedger(entries);
const SIGNED = [3, 6, 8];

let keys: HeadKeys;
let stranger: HeadKeys;
let heads: string[];

beforeAll(async () => {
  [keys, stranger] = await Promise.all([createHeadKeys(), createHeadKeys()]);
  heads = await signed(ledger, SIGNED);
});

async function signed(built: typeof ledger, sizes: readonly number[], by = keys): Promise<string[]> {
  const claims = sizes.map((size) => built.claims[size] ?? { size, root: '', hash: '' });
  return (await Promise.all(claims.map((claim) => by.sign(claim)))).map(headLine);
}

const jwsOf = (line: string): string => String(Object.values(JSON.parse(line))[0]);

/** A readable verdict: `code@entry` for each problem, in order. */
const told = ({ problems }: Verification): string =>
  problems.map(({ code, seq }) => (seq === null ? code : `${code}@${seq}`)).join(' ');

async function verify(
  lines: readonly string[],
  options: { trustedHead?: string } = {},
): Promise<Verification> {
  const file = Buffer.from(lines.map((line) => `${line}\n`).join(''));
  return verifyExport(bytesOf(file), { verifyHeadJws: keys.verifyHeadJws, ...options });
}

const without = (...seqs: number[]): string[] => ledger.lines.filter((_, index) => !seqs.includes(index + 1));

const edited = (seq: number, edit: (line: string) => string): string[] =>
  ledger.lines.map((line, index) => (index + 1 === seq ? edit(line) : line));

function swapped(first: number, second: number): string[] {
  const lines = [...ledger.lines];
  const [a, b] = [lines[first - 1], lines[second - 1]];
  if (a === undefined || b === undefined) throw new Error('no such entries');
  lines[first - 1] = b;
  lines[second - 1] = a;
  return lines;
}

describe('an untouched ledger', () => {
  it('verifies, with its heads at the end', async () => {
    expect(await verify([...ledger.lines, ...heads])).toEqual({
      ok: true,
      events: 8,
      head: ledger.claims[8],
      headsVerified: 3,
      headsUnchecked: 0,
      unsignedEvents: 0,
      problems: [],
      problemsTotal: 0,
    });
  });

  it('verifies with each head directly after what it covers', async () => {
    const [three = '', six = '', eight = ''] = heads;
    const lines = [...ledger.lines.slice(0, 3), three, ...ledger.lines.slice(3, 6), six];
    expect((await verify([...lines, ...ledger.lines.slice(6), eight])).headsVerified).toBe(3);
  });

  it('counts the events that no head covers yet', async () => {
    const [three = '', six = ''] = heads;
    const result = await verify([...ledger.lines, three, six]);
    expect(result).toMatchObject({ ok: true, headsVerified: 2, unsignedEvents: 2 });
  });

  it('verifies empty, if somebody signed that', async () => {
    expect(await verify(await signed(ledger, [0]))).toMatchObject({ ok: true, events: 0 });
    expect(told(await verify([]))).toBe('no-signed-head');
  });

  it('verifies without any head only where that is allowed', async () => {
    expect(told(await verify(ledger.lines))).toBe('no-signed-head');
    const lax = { verifyHeadJws: keys.verifyHeadJws, requireSignedHead: false };
    expect(await verifyLedger(linesOf(ledger.lines), lax)).toMatchObject({ ok: true, unsignedEvents: 8 });
  });
});

describe('tampering is named with the first bad entry', () => {
  const cases: { what: string; make: () => string[]; verdict: string }[] = [
    {
      what: 'one digit of the data changed',
      make: () => edited(4, (line) => line.replace('"n":4', '"n":5')),
      verdict: 'entry-changed@4 head-mismatch@6',
    },
    {
      what: 'the last entry changed',
      make: () => edited(8, (line) => line.replace('"n":8', '"n":9')),
      verdict: 'head-mismatch@8',
    },
    {
      what: 'the actor changed',
      make: () => edited(2, (line) => line.replace('trainer', 'nobody')),
      verdict: 'entry-changed@2 head-mismatch@3',
    },
    {
      what: 'an entry removed from the middle of a stream',
      make: () => without(4),
      verdict: 'entry-removed@4 version-gap@5 head-mismatch@6 entries-missing',
    },
    {
      what: 'the newest entry of a stream removed, others after it',
      make: () => without(7),
      verdict: 'entry-removed@7 entries-missing',
    },
    {
      what: 'the first entry removed',
      make: () => without(1),
      verdict: 'entry-removed@1 version-gap@2 head-mismatch@3 entries-missing',
    },
    {
      what: 'two neighbours of different streams swapped',
      make: () => swapped(2, 3),
      verdict: 'entry-moved@2 time-backwards@3 entry-moved@3 entry-moved@4 head-mismatch@3',
    },
    {
      what: 'the first two swapped',
      make: () => swapped(1, 2),
      verdict: 'entry-moved@1 time-backwards@2 entry-moved@2 entry-moved@3 head-mismatch@3',
    },
    {
      what: 'an entry repeated',
      make: () => [...ledger.lines.slice(0, 4), ledger.lines[3] ?? '', ...ledger.lines.slice(4)],
      verdict: 'version-repeated@5 entry-repeated@5 head-mismatch@6',
    },
    { what: 'the tail cut by one', make: () => without(8), verdict: 'entries-missing' },
    { what: 'the tail cut by five', make: () => ledger.lines.slice(0, 3), verdict: 'entries-missing' },
    { what: 'everything cut', make: () => [], verdict: 'entries-missing no-signed-head' },
    {
      what: 'CRLF line ends',
      make: () => edited(3, (line) => `${line}\r`),
      verdict: 'not-canonical@3 head-mismatch@3',
    },
    {
      what: 'a duplicate key',
      make: () => edited(3, (line) => line.replace('"data":', '"data":{"n":3},"data":')),
      verdict: 'not-canonical@3 head-mismatch@3',
    },
    {
      what: 'a duplicate key in the data',
      make: () => edited(3, (line) => line.replace('"n":3', '"n":3,"n":3')),
      verdict: 'not-canonical@3 head-mismatch@3',
    },
    {
      what: 'reordered keys',
      make: () => edited(3, (line) => line.replace(/("actor":"trainer"),("data":\{"n":3\})/, '$2,$1')),
      verdict: 'not-canonical@3 head-mismatch@3',
    },
    {
      what: '1.0 for 1',
      make: () => edited(1, (line) => line.replace('"n":1', '"n":1.0')),
      verdict: 'not-canonical@1 head-mismatch@3',
    },
    {
      what: 'a huge number',
      make: () => edited(1, (line) => line.replace('"n":1', '"n":1e999')),
      verdict: 'not-canonical@1 head-mismatch@3',
    },
    {
      what: 'a number past double precision',
      make: () => edited(1, (line) => line.replace('"n":1', '"n":9007199254740993')),
      verdict: 'not-canonical@1 head-mismatch@3',
    },
    {
      what: 'a space',
      make: () => edited(5, (line) => line.replace(':', ': ')),
      verdict: 'not-canonical@5 head-mismatch@6',
    },
    {
      what: 'an escape that need not be',
      make: () => edited(5, (line) => line.replace('trainer', '\\u0074rainer')),
      verdict: 'not-canonical@5 head-mismatch@6',
    },
    {
      what: 'a byte order mark',
      make: () => edited(1, (line) => `\uFEFF${line}`),
      verdict: 'unreadable@1 version-gap@3 head-mismatch@3',
    },
    {
      what: 'an empty line',
      make: () => edited(4, () => ''),
      verdict: 'unreadable@4 version-gap@6 head-mismatch@6',
    },
    {
      what: 'half a line',
      make: () => edited(8, (line) => line.slice(0, 40)),
      verdict: 'unreadable@8 head-mismatch@8',
    },
    {
      what: 'an unknown member',
      make: () =>
        edited(8, (line) => line.replace('}', '},"extra":1').replace('"extra":1,"id"', '"extra":1,"id"')),
      verdict: 'unreadable@8 head-mismatch@8',
    },
    {
      what: 'nesting without end',
      make: () => edited(8, () => '['.repeat(100_000)),
      verdict: 'unreadable@8 head-mismatch@8',
    },
  ];

  it.each(cases)('$what', async ({ make, verdict }) => {
    const result = await verify([...make(), ...heads]);
    expect(told(result)).toBe(verdict);
    expect(result.ok).toBe(false);
  });

  it('a chain rebuilt after a change, and not signed again', async () => {
    const forged = buildLedger(
      entries.map((entry, index) => (index === 4 ? { ...entry, data: { n: 0 } } : entry)),
    );
    const result = await verify([...forged.lines, ...heads]);
    expect(told(result)).toBe('head-mismatch@6');
    expect(result.problems[0]?.message).toContain('after entry 3, where a signed head agrees');
  });

  it('a chain rebuilt and signed with a new key', async () => {
    const forged = buildLedger(entries.map((entry) => ({ ...entry, data: { n: 0 } })));
    const result = await verify([...forged.lines, ...(await signed(forged, SIGNED, stranger))]);
    expect(told(result)).toBe('head-signature head-signature head-signature no-signed-head');
  });

  it('a chain rebuilt and signed with the real key, against a head anchored before', async () => {
    const forged = buildLedger(
      entries.map((entry, index) => (index === 1 ? { ...entry, data: { n: 0 } } : entry)),
    );
    const lines = [...forged.lines, ...(await signed(forged, SIGNED))];
    expect(await verify(lines)).toMatchObject({ ok: true });
    const trustedHead = jwsOf(heads[0] ?? '');
    expect(told(await verify(lines, { trustedHead }))).toBe('trusted-head-mismatch@3');
    expect(await verify([...ledger.lines, ...heads], { trustedHead })).toMatchObject({ ok: true });
  });

  it('an old export offered as the whole, against a newer anchored head', async () => {
    const lines = [...ledger.lines.slice(0, 6), ...heads.slice(0, 2)];
    expect(await verify(lines)).toMatchObject({ ok: true });
    const result = await verify(lines, { trustedHead: jwsOf(heads[2] ?? '') });
    expect(told(result)).toBe('entries-missing');
    expect(result.problems[0]?.message).toContain(
      'the trusted head covers 8 entries, of which 2 are not here',
    );
  });

  it('an anchored head that is not signed by a known key', async () => {
    const [foreign = ''] = await signed(ledger, [3], stranger);
    const result = await verify([...ledger.lines, ...heads], { trustedHead: jwsOf(foreign) });
    expect(told(result)).toBe('trusted-head-unreadable');
  });

  it('time, versions and ids that cannot be, though everything is chained and signed', async () => {
    const odd = buildLedger([
      { stream: 'a' },
      { stream: 'a', recordedAt: '2020-01-01T00:00:00.000Z' },
      { stream: 'a', version: 4 },
      { stream: 'a', version: 4 },
      { stream: 'b', id: 'evt_other' },
    ]);
    const result = await verify([...odd.lines, ...(await signed(odd, [5]))]);
    expect(told(result)).toBe('time-backwards@2 version-gap@3 version-repeated@4 id-mismatch@5');
  });

  it('heads out of order, misplaced, malformed or with another member', async () => {
    const [three = '', six = '', eight = ''] = heads;
    expect(told(await verify([...ledger.lines, six, three, eight]))).toBe('head-order');
    expect(told(await verify([eight, ...ledger.lines]))).toBe('head-order no-signed-head');
    const bad = '{"signedHead":"a.b"}';
    expect(told(await verify([...ledger.lines, three, bad, eight]))).toBe('head-unreadable');
    expect(told(await verify([...ledger.lines, eight.replace('}', ',"x":1}')]))).toBe(
      'head-unreadable no-signed-head',
    );
    expect(told(await verify([...ledger.lines, eight.replace('"}', '" }')]))).toBe(
      'head-unreadable no-signed-head',
    );
  });

  it('bytes that are not UTF-8, even where a decoder would mend them to what was signed', async () => {
    const built = buildLedger([{ stream: 'a', data: { text: '\uFFFD' } }]);
    const file = Buffer.from(`${built.lines[0]}\n${(await signed(built, [1]))[0]}\n`);
    const at = file.indexOf(Buffer.from('\uFFFD'));
    const mended = Buffer.concat([file.subarray(0, at), Buffer.of(0xff), file.subarray(at + 3)]);
    const options = { verifyHeadJws: keys.verifyHeadJws };
    expect(await verifyExport(bytesOf(file), options)).toMatchObject({ ok: true });
    expect(told(await verifyExport(bytesOf(mended), options))).toBe('unreadable@1 head-mismatch@1');
  });

  it('goes on after a thousand bad lines, and tells the first hundred', async () => {
    const result = await verify(Array.from({ length: 1_000 }, () => 'x'));
    expect(result.problems).toHaveLength(100);
    expect(result.problems[0]?.message).toBe('entry 1 is not JSON');
    expect(result.problemsTotal).toBe(1_001);
  });
});

describe('any changed byte', () => {
  let file: Buffer;
  beforeAll(() => {
    const lines = [...ledger.lines, ...heads];
    file = Buffer.from(lines.map((line) => `${line}\n`).join(''));
  });
  const okAfter = async (changed: Uint8Array): Promise<boolean> =>
    (await verifyExport(bytesOf(changed, 997), { verifyHeadJws: keys.verifyHeadJws })).ok;

  it('is found, wherever it is', async () => {
    const change = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, byte }) => {
        const changed = Buffer.from(file);
        const place = at % file.length;
        fc.pre(changed[place] !== byte);
        changed[place] = byte;
        expect(await okAfter(changed)).toBe(false);
      }),
      { numRuns: 400 },
    );
  });

  it('is found in every byte of the last head, in whose encoding some bits mean nothing', async () => {
    const start = file.lastIndexOf('{"signedHead"');
    for (let place = start; place < file.length; place += 1) {
      for (const flip of place > file.length - 6 ? [1, 2, 4, 8, 16] : [1]) {
        const changed = Buffer.from(file);
        changed[place] = (changed[place] ?? 0) ^ flip;
        if (await okAfter(changed)) throw new Error(`byte ${place - start} xor ${flip} was not seen`);
      }
    }
  });

  it('is found when it is missing or one too many', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 0, max: 255 }), async (at, byte) => {
        const place = at % file.length;
        const dropped = Buffer.concat([file.subarray(0, place), file.subarray(place + 1)]);
        const added = Buffer.concat([file.subarray(0, place), Buffer.of(byte), file.subarray(place)]);
        expect(await okAfter(dropped)).toBe(false);
        expect(await okAfter(added)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});

describe('an export that is looked at in blocks', () => {
  const long = buildLedger(
    Array.from({ length: 60 }, (_, index) => ({ stream: 'abc'[(index * index) % 3] ?? 'a' })),
  );
  let lines: string[];
  let trustedHead: string;
  beforeAll(async () => {
    const [first = '', second = '', last = ''] = await signed(long, [20, 45, 60]);
    lines = [...long.lines.slice(0, 25), first, ...long.lines.slice(25), second, last];
    trustedHead = jwsOf(first);
  });

  /** Another order, another number, another letter: what somebody could do to a file line by line. */
  interface Tampering {
    how: 'drop' | 'repeat' | 'swap' | 'edit';
    at: number;
    other: number;
    column: number;
  }
  const tampering: fc.Arbitrary<Tampering> = fc.record({
    how: fc.constantFrom('drop' as const, 'repeat' as const, 'swap' as const, 'edit' as const),
    at: fc.nat({ max: 62 }),
    other: fc.nat({ max: 62 }),
    column: fc.nat({ max: 400 }),
  });

  function tampered(given: readonly string[], { how, at, other, column }: Tampering): string[] {
    const changed = [...given];
    const line = changed[at] ?? '';
    if (how === 'drop') changed.splice(at, 1);
    else if (how === 'repeat') changed.splice(other, 0, line);
    else if (how === 'edit') changed[at] = `${line.slice(0, column)}7${line.slice(column + 1)}`;
    else [changed[at], changed[other]] = [changed[other] ?? '', line];
    return changed;
  }

  const inBlocks = (given: readonly string[], chunkBytes: number, scanners?: BlockScanners) =>
    verifyExport(
      bytesOf(Buffer.from(given.map((line) => `${line}\n`).join('')), chunkBytes),
      { verifyHeadJws: keys.verifyHeadJws, trustedHead },
      scanners,
    );

  it('comes to what looking at one line after the other comes to, whatever was done to it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(tampering, { maxLength: 3 }),
        fc.integer({ min: 1, max: 40_000 }),
        async (tamperings, chunkBytes) => {
          const given = tamperings.reduce(tampered, lines);
          const options = { verifyHeadJws: keys.verifyHeadJws, trustedHead };
          expect(await inBlocks(given, chunkBytes)).toEqual(await verifyLedger(linesOf(given), options));
        },
      ),
      { numRuns: 150 },
    );
  });

  it('comes to the same on several threads', async () => {
    const threads = () => createBlockScanners({ threads: 2, hereMaxBytes: 0 });
    expect(await inBlocks(lines, 2_000, threads())).toEqual(await inBlocks(lines, 2_000));
    const changed = tampered(lines, { how: 'edit', at: 33, other: 0, column: 30 });
    const found = await inBlocks(changed, 2_000, threads());
    expect(found).toEqual(await inBlocks(changed, 2_000));
    expect(found.ok).toBe(false);
  });

  it('is no ledger that verifies where a thread ended before it had answered', async () => {
    const threads = createBlockScanners({ threads: 2, hereMaxBytes: 0 });
    const dying: BlockScanners = {
      ...threads,
      scan(block) {
        const scanned = threads.scan(block);
        void threads.close();
        return scanned;
      },
    };
    await expect(inBlocks(lines, 2_000, dying)).rejects.toMatchObject({ code: 'ledger.verification-ended' });
    // Nor does one that asks afterwards wait for ever.
    await expect(threads.scan(new Uint8Array(8))).rejects.toMatchObject({
      code: 'ledger.verification-ended',
    });
  });
});
