import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { READ_LIMITS, type ReadLimits } from '../../src/evaluators/formats/format.ts';
import { LogFault } from '../../src/evaluators/formats/log-fault.ts';
import { type LogSource, logOfBytes, openLog } from '../../src/evaluators/formats/log-source.ts';
import { openZipMember, readZipDirectory } from '../../src/evaluators/formats/zip.ts';
import { decompressZstd } from '../../src/evaluators/formats/zstd.ts';
import { type ZipEntry, zipOf, zstdBlock, zstdFrames } from '../support/zip-writer.ts';

async function problemOf<T>(work: () => Promise<T>): Promise<T | string> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof LogFault) return `${error.problem}: ${error.detail}`;
    throw error;
  }
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

async function contentOf(source: LogSource, limits: ReadLimits): Promise<Record<string, string>> {
  const content: Record<string, string> = {};
  for (const member of (await readZipDirectory(source, limits)).values())
    content[member.name] = (await bytesOf(openZipMember(source, member))).toString('latin1');
  return content;
}

const read = (bytes: Uint8Array, limits: Partial<ReadLimits> = {}) =>
  problemOf(() => contentOf(logOfBytes(bytes, 'a.eval'), { ...READ_LIMITS, ...limits }));

async function* pieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

const unpack = (bytes: Uint8Array, length = 1_000) =>
  problemOf(async () => (await bytesOf(decompressZstd(pieces(bytes, length)))).toString('latin1'));

const HELLO = { name: 'a', content: 'hello' } as const;
const LARGE = 'x'.repeat(3_000_000);

describe('an archive', () => {
  it.each(['stored', 'deflate', 'zstd'] as const)(
    'gives its members back, small and large (%s)',
    async (method) => {
      // Random enough that the large one is large when it is compressed, too.
      const large = Array.from({ length: 40_000 }, (_, i) => (i * 2_654_435_761) % 4_294_967_296).join(' ');
      const entries = [
        { name: 'empty', content: '', method },
        { name: 'small', content: 'hello', method },
        { name: 'large', content: large, method },
      ];
      expect(await read(zipOf(entries))).toEqual({ empty: '', small: 'hello', large });
      expect(await read(zipOf(entries, 'a comment'))).toEqual({ empty: '', small: 'hello', large });
    },
  );

  it('gives the last member of a name that occurs twice', async () => {
    expect(await read(zipOf([HELLO, { name: 'b', content: '' }, { name: 'a', content: 'again' }]))).toEqual({
      b: '',
      a: 'again',
    });
  });

  it.each<[string, ZipEntry['lies'], RegExp]>([
    ['that is encrypted', { flags: 1 }, /encrypted/],
    ['that is strongly encrypted', { flags: 0x40 }, /encrypted/],
    ['that is a link', { madeBy: 3, externalAttributes: 0xa1ff0000 }, /link/],
    ['of an unknown method', { method: 14 }, /compression method/],
    ['of another CRC-32', { crc: 1 }, /CRC-32/],
    ['that is longer than it says', { expandedBytes: 3 }, /more content|broken deflate/],
    ['that is shorter than it says', { expandedBytes: 7 }, /less content/],
    [
      'with bytes after its content',
      { data: Buffer.concat([deflateRawSync('hello'), Buffer.alloc(9)]) },
      /bytes after its content/,
    ],
    ['that stops in the middle', { data: deflateRawSync('hello').subarray(0, 3) }, /broken deflate/],
    ['of no data', { data: Buffer.alloc(0) }, /broken deflate/],
    ['whose header names another', { localName: 'b' }, /another thing/],
    ['that runs into the directory', { compressedBytes: 5_000 }, /directory/],
    ['that begins nowhere', { offset: 7 }, /no member|overlap|directory/],
    [
      'of a size beyond all sizes',
      { expandedBytes: 0xffffffff, extra: Buffer.from('01000800ffffffffffffffff', 'hex') },
      /beyond all sizes/,
    ],
    ['of a size that is stated nowhere', { expandedBytes: 0xffffffff }, /not stated/],
    ['of a broken extra field', { extra: Buffer.from('0100ff00', 'hex') }, /extra field/],
    [
      'that claims a terabyte',
      { expandedBytes: 0xffffffff, extra: Buffer.from('010008000000000000010000', 'hex') },
      /^log-bomb/,
    ],
  ])('with a member %s is refused', async (_what, lies, expected) => {
    const result = await read(zipOf([{ ...HELLO, lies: lies ?? {} }]));
    expect(result).toMatch(/^log-(?:unreadable|bomb): /);
    expect(result).toMatch(expected);
  });

  it('whose members share their bytes is refused: that is how petabytes fit into kilobytes', async () => {
    const kernel = { name: 'a', content: LARGE };
    const shared = {
      name: 'b',
      content: LARGE,
      lies: { offset: 0, data: Buffer.alloc(0), compressedBytes: 2_900 },
    };
    expect(await read(zipOf([kernel, shared]))).toBe('log-bomb: members that overlap');
  });

  it.each(['deflate', 'zstd'] as const)(
    'that expands out of all proportion is refused before it is expanded (%s)',
    async (method) => {
      expect(await read(zipOf([{ name: 'a', content: LARGE, method }]), { expansion: 100 })).toMatch(
        /^log-bomb/,
      );
      expect(await read(zipOf([{ name: 'a', content: LARGE, method, lies: { expandedBytes: 10 } }]))).toMatch(
        /^log-unreadable/,
      );
      expect(await read(zipOf([HELLO, { ...HELLO, name: 'b' }]), { expandedBytes: 9 })).toMatch(
        /^log-too-large/,
      );
    },
  );

  it('of a directory over the bound is refused', async () => {
    const many = Array.from({ length: 2_000 }, (_, i) => ({
      name: `m${i}`,
      content: '',
      method: 'stored' as const,
    }));
    expect(await read(zipOf(many), { documentBytes: 50_000 })).toMatch(/^log-too-large/);
  });

  it.each<[string, (bytes: Buffer) => Buffer, RegExp]>([
    ['bytes after its end', (bytes) => Buffer.concat([bytes, Buffer.alloc(3)]), /after its end/],
    [
      'bytes before its directory that it does not know of',
      (bytes) => Buffer.concat([Buffer.alloc(3), bytes]),
      /directory/,
    ],
    ['more members than it has', (bytes) => change(change(bytes, -12, 9), -14, 9), /more members|directory/],
    ['fewer members than it has', (bytes) => change(change(bytes, -12, 0), -14, 0), /belong to no member/],
    ['another disk', (bytes) => change(bytes, -18, 1), /several disks/],
  ])('that says %s is refused', async (_what, damage, expected) => {
    expect(await read(damage(zipOf([HELLO])))).toMatch(expected);
  });

  it('is truncated, not broken, wherever it is cut off', async () => {
    const bytes = zipOf([HELLO, { name: 'b', content: 'world' }]);
    for (let cut = 4; cut < bytes.length; cut += 1)
      expect(await read(bytes.subarray(0, cut))).toMatch(/^log-truncated: .*central directory/);
    expect(await read(Buffer.from('no archive at all'))).toMatch(/^log-unreadable/);
  });

  it('holds a zip64 end record to what it says', async () => {
    const bytes = zipOf([HELLO]);
    const end = bytes.subarray(-22);
    const large = Buffer.alloc(56 + 20);
    large.writeUInt32LE(0x06064b50, 0);
    large.writeBigUInt64LE(44n, 4);
    large.writeBigUInt64LE(1n, 24);
    large.writeBigUInt64LE(1n, 32);
    large.writeBigUInt64LE(BigInt(end.readUInt32LE(12)), 40);
    large.writeBigUInt64LE(BigInt(end.readUInt32LE(16)), 48);
    large.writeUInt32LE(0x07064b50, 56);
    large.writeBigUInt64LE(BigInt(bytes.length - 22), 64);
    const whole = (): Buffer => Buffer.concat([bytes.subarray(0, -22), large, end]);
    expect(await read(whole())).toEqual({ a: 'hello' });
    large.writeBigUInt64LE(1n << 62n, 40);
    expect(await read(whole())).toMatch(/beyond all sizes/);
    large.writeBigUInt64LE(7n, 40);
    expect(await read(whole())).toMatch(/directory is not where/);
  });
});

/** Sets one byte, counted from the end. */
function change(bytes: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[changed.length + at] = value;
  return changed;
}

// Written by zstd 1.5.4 at levels 3 and 19, with checksums.
const TEXT = Array.from(
  { length: 200 },
  (_, i) => `sample ${(i * 7919) % 97} says ${String.fromCharCode(97 + (i % 26))} and NaN\n`,
).join('');
const PACKED = [
  Buffer.from(
    'KLUv/QRYFQ0AxpE1GnAlc/DfSBKEgNPT05Z6nf7IzMzMVOD+F/dYLwAqACYALkCMeiH8AMtn2Wk8mezlTmFNzpG/Q9d4LxoJZICA' +
      'FjAYgTa0QbqaNLDhcKKnSQG+f8lMfTZeqzPcfUcnuWFyuVYSRfroM7ZwYrFx4a+0nCvqdOIm6EmvAw0D1oLU5rt1xd/HbEaYdp6r' +
      'H/L+I0+dzW7V/XKdkV/zOUHtPbaeGANBBDkNsygJchgF0ayKmgjSQBA9TsMsSoIcl1VREyGCDqNwWRU1QYHHaZhFSYyCaIXLqigm' +
      'ZYEaqDHF3v8NsUeppAMRiBhIhFVJYtIH6fylJxZ/7bbtL72x2LbbX3qxtG3b3/Tip8tvLLb9TS9+a+O/br/56+03f93+zqud+OrK' +
      'lgZfqkw78dWVbbeSP98t27a7d8qluogY3xxzUrG8Dq8DnHZrPBwfjs0WzQLjWTjT2/7ubdH6CW67JjyOh6MzNBpnsDLoJBUNiXOG' +
      'eWT1Yd4+MnvIsHro7YZxFIHdmWasgTPOmHDGGRNnSMwMEwqPeMbEGWeYOOOMcWIfP9v6VR3reO4=',
    'base64',
  ),
  Buffer.from(
    'KLUv/QRobQsA1pY4GXBPOiC1uOOqv/5a/Ndfw5ZSJilTget//pk9AC4ALACXPMtVapTDifVJJrGM2BD8w8mBqvFj1CJLUZhoEWeH' +
      'piG1YCekHKAFvgYQcAINweE0TvNgnKdBTYEBaThPTcv6npLPWIh6y2w9z5esDm34omc5n1pnqdBFS+Q/pa9XmMwQ66fgdtBlnjBV' +
      'AUVL5D+lr1eYzBDr532p6q6G1mRp4xOqqyxszzLVnuhDL8wyvPZpTk+uOzKsqfZEH3phluG1T3N6ct2RYTUt63tKPmMh6i2z9Txf' +
      'sjq04Yue5XxqnaVCB4DjqBEA9vY/A6BdNgMRmIQXCdt+/2RuDEZE5NqDFK3t1hkRketDpjFCZad9TEnJt5YoTNHu6bMwJSXfGiJU' +
      'dtrPLEZE5NqDFK3t1hkRketDpjFCZad9TEnJt1YiJKRICbWLQli0tGlK5uTJ04VlS5uWLW0akiXx9OnR0qZlS5uWTSRhaZUVZBUd' +
      '63ju',
    'base64',
  ),
];

describe('zstd', () => {
  it.each([1, 3, 7, 100_000])('is read in pieces of %i bytes, frame after frame', async (length) => {
    for (const packed of PACKED) expect(await unpack(packed, length)).toBe(TEXT);
    const skippable = Buffer.from('5a2a4d1803000000616263', 'hex');
    const several = Buffer.concat([...PACKED, skippable, ...PACKED]);
    expect(await unpack(several, length)).toBe(TEXT.repeat(4));
  });

  it('is read of raw and repeated blocks', () =>
    fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 300 }),
        fc.integer({ min: 1, max: 99 }),
        async (bytes, length) => {
          const content = Buffer.concat([bytes, Buffer.alloc(200, 7)]);
          expect(await unpack(zstdFrames(content, 150), length)).toBe(content.toString('latin1'));
        },
      ),
    ));

  it('is truncated wherever it is cut off', async () => {
    for (const packed of PACKED)
      for (let cut = 0; cut < packed.length; cut += 1)
        expect(await unpack(packed.subarray(0, cut))).toBe('log-truncated: a zstd frame ends in the middle');
  });

  it('of whatever bytes gives content or a fault, and never more than its blocks may', () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...PACKED),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 }),
        async (packed, changes) => {
          const bytes = Buffer.from(packed);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          const result = await unpack(bytes);
          expect(result.length).toBeLessThan(128 * 1024 * 4);
        },
      ),
      { numRuns: 2_000 },
    ));

  it.each<[string, Buffer, RegExp]>([
    ['a dictionary', Buffer.from('28b52ffd0140010100000000', 'hex'), /dictionary/],
    ['a reserved bit', Buffer.from('28b52ffd0840010000', 'hex'), /reserved/],
    ['a window of two gigabytes', Buffer.from('28b52ffd00a8010000', 'hex'), /^log-too-large: a zstd window/],
    ['no frame', Buffer.from('000102030405', 'hex'), /no frame/],
    ['a block of the reserved type', frame(zstdBlock(3, 1, Buffer.alloc(1), true)), /a block/],
    ['a block larger than a block may be', frame(zstdBlock(1, 200_000, Buffer.alloc(1), true)), /a block/],
    ['less content than stated', Buffer.from('28b52ffd2005010000', 'hex'), /less content|truncated|a block/],
    [
      'a match before the beginning',
      frame(zstdBlock(2, 6, Buffer.from([0, 1, 0x54, 0, 9, 0, 1]).subarray(0, 6), true)),
      /broken zstd/,
    ],
  ])('with %s is refused', async (_what, bytes, expected) => {
    expect(await unpack(bytes)).toMatch(expected);
  });

  it('never lets a block give more than a block may, however many matches it has', async () => {
    // 32,512 matches of 34 bytes that take no bits at all: over a megabyte out of ten bytes.
    const matches = Buffer.from([0x00, 0xff, 0x00, 0x00, 0x54, 0, 0, 31, 0x01]);
    const raw = zstdBlock(0, 10, Buffer.from('abcdefghij'), false);
    expect(await unpack(frame(raw, zstdBlock(2, matches.length, matches, true)))).toMatch(
      /gives more than a block may/,
    );
  });
});

function frame(...blocks: Buffer[]): Buffer {
  return Buffer.concat([Buffer.from('28b52ffd0038', 'hex'), ...blocks]);
}

const DATA = path.join(process.env['INTERLOCK_EVAL_LOGS'] ?? '../shared/data/eval-logs', 'inspect');
const hasData = existsSync(DATA);
const archives = hasData
  ? readdirSync(DATA, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.eval') && !file.includes('truncated'),
    )
  : [];

describe.skipIf(!hasData)(
  'genuine archives (skipped without the development set: INTERLOCK_EVAL_LOGS names its directory)',
  () => {
    it.each(archives)('%s comes out as its CRC-32 says, to the last member', async (file) => {
      const source = await openLog(path.join(DATA, file));
      if (source === null) throw new Error(`${file}: not there`);
      const content = await problemOf(() => contentOf(source, READ_LIMITS));
      await source.close();
      expect(content).toBeTypeOf('object');
    });
  },
);
