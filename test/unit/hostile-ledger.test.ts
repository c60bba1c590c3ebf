/**
 * Exports that somebody has been at: each kind of change is named by the offline verifier, at the entry it concerns.
 * The finer cases, and every byte of an export, are in ledger-verify.test.ts.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/domain/canonical-json.ts';
import { parseEnvelope, sealEnvelope } from '../../src/ledger/envelope.ts';
import type { Verification } from '../../src/ledger/verification.ts';
import { verifyExport } from '../../src/ledger/verify-export.ts';
import { buildLedger, bytesOf, createHeadKeys, type HeadKeys, headLine } from './ledger-fixture.ts';

const entries = Array.from({ length: 12 }, (_, i) => ({
  stream: i % 3 === 0 ? 'run-a' : 'run-b',
  data: { effectiveCompute: '1e25', n: i + 1, ratio: 1.5 },
}));
const ledger = buildLedger(entries);
let keys: HeadKeys;
let stranger: HeadKeys;
let head = '';

const claims = (size: number) => {
  const found = ledger.claims[size];
  if (found === undefined) throw new Error('no such head');
  return found;
};

beforeAll(async () => {
  [keys, stranger] = await Promise.all([createHeadKeys(), createHeadKeys()]);
  head = headLine(await keys.sign(claims(12)));
});

const file = (lines: readonly string[]): Buffer => Buffer.from(lines.map((line) => `${line}\n`).join(''));
const verify = (bytes: Uint8Array, trustedHead?: string): Promise<Verification> =>
  verifyExport(bytesOf(bytes, 4096), {
    verifyHeadJws: keys.verifyHeadJws,
    ...(trustedHead === undefined ? {} : { trustedHead }),
  });
const codes = ({ problems }: Verification): string[] =>
  problems.map(({ code, seq }) => (seq === null ? code : `${code}@${seq}`));
const edit = (seq: number, change: (line: string) => string): string[] => [
  ...ledger.lines.map((line, i) => (i + 1 === seq ? change(line) : line)),
  head,
];

describe('H01 an export that was changed', () => {
  it('H01 verifies as it was written', async () =>
    expect(await verify(file([...ledger.lines, head]))).toMatchObject({ ok: true, problems: [] }));

  it.each<[string, () => string[], RegExp]>([
    ['H01 one figure changed', () => edit(5, (line) => line.replace('"n":5', '"n":6')), /entry-changed@5/],
    [
      'H01 an entry removed',
      () => [...ledger.lines.filter((_, i) => i !== 4), head],
      /version-gap@|entry-removed@5/,
    ],
    [
      'H01 two entries swapped',
      () => {
        const [four = '', five = ''] = ledger.lines.slice(3, 5);
        return [...ledger.lines.slice(0, 3), five, four, ...ledger.lines.slice(5), head];
      },
      /entry-moved@/,
    ],
    ['H01 the tail cut', () => [...ledger.lines.slice(0, 9), head], /entries-missing/],
    [
      'H01 an entry put in twice',
      () => [...ledger.lines.slice(0, 6), ledger.lines[5] ?? '', ...ledger.lines.slice(6), head],
      /entry-repeated@7/,
    ],
  ])('%s', async (_what, lines, code) => {
    const found = await verify(file(lines()));
    expect(found.ok).toBe(false);
    expect(codes(found).join(' ')).toMatch(code);
  });

  it('H01 the whole chain rebuilt, and signed with a key of somebody else’s', async () => {
    const rebuilt = buildLedger(entries.map((entry, i) => (i === 4 ? { ...entry, data: { n: 99 } } : entry)));
    const forged = headLine(await stranger.sign(rebuilt.claims[12] ?? claims(12)));
    expect(codes(await verify(file([...rebuilt.lines, forged])))).toContain('head-signature');
  });

  it('H01 the whole chain rebuilt by whoever holds the key, against a head that was anchored before', async () => {
    const rebuilt = buildLedger(entries.map((entry, i) => (i === 4 ? { ...entry, data: { n: 99 } } : entry)));
    const signed = headLine(await keys.sign(rebuilt.claims[12] ?? claims(12)));
    const anchored = await keys.sign(claims(8));
    const found = await verify(file([...rebuilt.lines, signed]), anchored);
    expect(codes(found)).toContain('trusted-head-mismatch@8');
  });
});

describe('H03 an export in another spelling', () => {
  const reordered = (line: string): string => {
    const value: Record<string, unknown> = JSON.parse(line);
    return JSON.stringify(Object.fromEntries(Object.entries(value).reverse()));
  };
  it.each<[string, (line: string) => string]>([
    ['H03 a key stated twice', (line) => line.replace('{"actor"', '{"actor":"x","actor"')],
    ['H03 keys in another order', reordered],
    ['H03 1.50 for 1.5', (line) => line.replace('"ratio":1.5', '"ratio":1.50')],
    ['H03 15e-1 for 1.5', (line) => line.replace('"ratio":1.5', '"ratio":15e-1')],
    ['H03 5.0 for 5', (line) => line.replace('"n":5', '"n":5.0')],
    ['H03 -0', (line) => line.replace('"n":5', '"n":-0')],
    ['H03 a number too large for a double', (line) => line.replace('"n":5', '"n":1e999')],
    ['H03 a whole number that a double rounds', (line) => line.replace('"n":5', '"n":9007199254740993')],
    ['H03 a letter escaped', (line) => line.replace('"actor"', '"\\u0061ctor"')],
    ['H03 a space', (line) => line.replace(':', ': ')],
    ['H03 a byte order mark', (line) => `\ufeff${line}`],
    ['H03 a lone surrogate', (line) => line.replace('"n":5', '"n":"\\ud800"')],
    ['H03 a carriage return', (line) => `${line}\r`],
    ['H03 a separator of JavaScript', (line) => `${line}\u2028`],
    ['H03 an empty line', () => ''],
    ['H03 a line of another kind', () => '[]'],
    [
      'H03 thirty thousand arrays',
      (line) => line.replace('"n":5', `"n":${'['.repeat(30_000)}${']'.repeat(30_000)}`),
    ],
    ['H03 a prototype', (line) => line.replace('"n":5', '"__proto__":{"n":5}')],
  ])('%s is found', async (_what, change) => {
    const found = await verify(file(edit(5, change)));
    expect(found.ok).toBe(false);
    expect(found.problems.some(({ seq, line }) => seq === 5 || line === 5)).toBe(true);
  });

  it('H03 CRLF throughout is found at the first line, and the rest is still read', async () => {
    const found = await verify(Buffer.from([...ledger.lines, head].map((line) => `${line}\r\n`).join('')));
    expect(found.ok).toBe(false);
    expect(found.problems[0]).toMatchObject({ code: 'not-canonical', seq: 1 });
    expect(found.events).toBe(12);
  });
});

describe('exports that were never whole', () => {
  it('H08 one that ends in the middle of a line, and one without its last line feed', async () => {
    const whole = file([...ledger.lines, head]);
    for (const cut of [1, 40, Buffer.byteLength(head) + 20]) {
      const found = await verify(whole.subarray(0, whole.length - cut));
      expect(found.ok, `${cut} bytes less`).toBe(false);
      expect(codes(found)).toContain('unterminated');
    }
  });

  it('H04 heads that nobody known has signed, of other ledgers, or of more than is there prove nothing', async () => {
    const other = buildLedger([{ stream: 'run-z' }]);
    const rows: [string, string][] = [
      [headLine(await stranger.sign(claims(12))), 'head-signature'],
      [headLine(await keys.sign({ ...claims(12), root: '0'.repeat(64) })), 'head-mismatch@12'],
      [headLine(await keys.sign({ ...(other.claims[1] ?? claims(1)) })), 'head-mismatch@1'],
      [headLine(await keys.sign({ ...claims(12), size: 40 })), 'entries-missing'],
      ['{"signedHead":"a.b.c"}', 'head-unreadable'],
      ['{"signedHead":7}', 'head-unreadable'],
      [`{"signedHead":"${'A'.repeat(1_000_000)}"}`, 'head-unreadable'],
    ];
    for (const [line, code] of rows) {
      const found = await verify(file([...ledger.lines, line]));
      expect(found.ok, code).toBe(false);
      expect(codes(found)).toContain(code);
    }
    expect(codes(await verify(file(ledger.lines)))).toEqual(['no-signed-head']);
  });

  it('H02 a line of a hundred megabytes is refused before it is held', async () => {
    const piece = Buffer.alloc(1024 * 1024, 0x61);
    let given = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield file(ledger.lines);
      for (; given < 100; given += 1) yield piece;
    }
    const before = process.memoryUsage().rss;
    const found = await verifyExport(endless(), { verifyHeadJws: keys.verifyHeadJws });
    expect(codes(found).join(' ')).toContain('unreadable');
    expect(found.events).toBe(12);
    expect(given).toBeLessThan(70);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
  });

  it('H02 an entry of a megabyte of one digit costs no more than its length', () => {
    const { text } = sealEnvelope({
      actor: 'a',
      dataJson: canonicalJson({ a: '9'.repeat(1_000_000) }),
      id: 'x',
      kind: 'k',
      prevHash: '0'.repeat(64),
      recordedAt: '2026-01-01T00:00:00.000Z',
      stream: 's',
      version: 1,
    });
    for (const line of [text, text.replace(/"9+"/, '9'.repeat(1_000_000))]) {
      const from = process.cpuUsage();
      parseEnvelope(line);
      expect(process.cpuUsage(from).user / 1000).toBeLessThan(100);
    }
  });
});
