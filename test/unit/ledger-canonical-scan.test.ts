import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson } from '../../src/domain/canonical-json.ts';
import { scanEnvelope } from '../../src/ledger/canonical-scan.ts';
import { GENESIS_HASH, parseEnvelope, sealEnvelope } from '../../src/ledger/envelope.ts';

const sealed = (dataJson: string): string =>
  sealEnvelope({
    actor: 'trainer',
    dataJson,
    id: 'evt_abcdefghijklmnopqrstuvwxyz',
    kind: 'CheckpointReported',
    prevHash: GENESIS_HASH,
    recordedAt: '2026-11-01T00:00:00.000Z',
    stream: 'run-a',
    version: 12,
  }).text;

const scan = (text: string) => scanEnvelope(Buffer.from(text));

/** What the slow way makes of it: null where it refuses. */
function slowly(text: string) {
  const parsed = parseEnvelope(text);
  if (!parsed.ok) return null;
  const { id, prevHash, recordedAt, stream, version } = parsed.envelope;
  return { id, prevHash, recordedAt, stream, version };
}

function expectNoWider(bytes: Uint8Array): void {
  const place = scanEnvelope(bytes);
  if (place === null) return;
  const text = Buffer.from(bytes).toString('utf8');
  expect(Buffer.from(text).equals(bytes), 'the bytes are UTF-8').toBe(true);
  expect(place).toEqual(slowly(text));
}

const PIECES = [
  ...[
    '"',
    '\\',
    '\\n',
    '\\u000a',
    '\\ud800',
    ',',
    ':',
    '{',
    '}',
    '[',
    ']',
    ' ',
    '\t',
    '-',
    '.',
    '0',
    '1',
    '9',
  ],
  ...[
    'e',
    'E',
    '+',
    '-0',
    '0.0',
    '1e21',
    '1e+21',
    '1.0',
    '00',
    'true',
    'null',
    'é',
    '\u2028',
    '\ufeff',
    '😀',
  ],
  ...[
    '"a":1',
    '"a":1,"a":1',
    '"b":1,"a":1',
    '"10":1,"9":1',
    '"__proto__":{}',
    'NaN',
    '0x1',
    '/',
    '\x7f',
    '\r',
  ],
];

describe('the quick way of reading an envelope', () => {
  test('it reads what the service writes, without the slow way', () => {
    const data = {
      at: '2026-11-01T00:00:00.000Z',
      explanation: 'said "no" \\ then\nover – 😀',
      list: [1, -1, 0, 0.05, 1.706424234, 0.000001, 1e21, 1e-7, 123456789012345, 9007199254740991],
      nested: { '10': [], '9': {}, a: null, b: true, c: false },
    };
    const text = sealed(canonicalJson(data));
    expect(scan(text)).not.toBeNull();
    expect(scan(text)).toEqual(slowly(text));
  });

  test.each([
    ['a number with a zero behind', '{"a":1.0}'],
    ['minus zero', '{"a":-0}'],
    ['minus zero with a fraction', '{"a":-0.0}'],
    ['a leading zero', '{"a":01}'],
    ['a leading plus', '{"a":+1}'],
    ['an exponent that is not written so', '{"a":1e2}'],
    ['a small number without its exponent', '{"a":0.0000001}'],
    ['more digits than a number holds', '{"a":0.10000000000000001}'],
    ['a whole number too large to be exact', '{"a":9007199254740993}'],
    ['no number', '{"a":NaN}'],
    ['a bare minus', '{"a":-}'],
    ['white space', '{"a": 1}'],
    ['a member twice', '{"a":1,"a":1}'],
    ['members out of order', '{"b":1,"a":1}'],
    ['a name that another begins with, behind it', '{"ab":1,"a":1}'],
    ['names in the order of numbers', '{"9":1,"10":1}'],
    ['an escape that need not be', '{"a":"\\/"}'],
    ['a letter written as its number', '{"a":"\\u0061"}'],
    ['half a surrogate', '{"a":"\\ud800"}'],
    ['a control character', '{"a":"\u0001"}'],
    ['a comma at the end', '{"a":[1,]}'],
    ['data that is a list', '[]'],
    ['data that is nothing', 'null'],
  ])('%s is not let through', (_, dataJson) => {
    const text = sealed(dataJson);
    expect(scan(text)).toBeNull();
    expect(slowly(text)).toBeNull();
  });

  test('bytes that are not UTF-8 are not let through', () => {
    const bytes = Buffer.from(sealed('{"a":"xx"}'));
    bytes[bytes.indexOf('xx')] = 0xff;
    expect(scanEnvelope(bytes)).toBeNull();
  });

  test('a head that is almost right is not let through', () => {
    const text = sealed('{}');
    const [before, after] = [`"version":12}`, '"recordedAt":"2026-11-01T00:00:00.000Z"'];
    for (const [from, to] of [
      [before, '"version":0}'],
      [before, '"version":012}'],
      [before, '"version":12} '],
      [before, '"version":12}}'],
      [before, '"version":12'],
      [before, '"version":99999999999999999}'],
      [before, '"version":12,"x":1}'],
      [after, '"recordedAt":"2026-02-30T00:00:00.000Z"'],
      [after, '"recordedAt":"2026-11-01T00:00:00.000+"'],
      ['"stream":"run-a"', '"stream":""'],
      [GENESIS_HASH, GENESIS_HASH.slice(1)],
      [GENESIS_HASH, `${GENESIS_HASH}0`],
      [GENESIS_HASH, `${GENESIS_HASH.slice(1)}A`],
      ['{"actor"', '{"Actor"'],
    ] as const) {
      const changed = text.replace(from, to);
      expect(changed).not.toBe(text);
      expect([changed, scan(changed)]).toEqual([changed, null]);
      expect(slowly(changed)).toBeNull();
    }
  });

  test('for any data it says the same as the slow way, or nothing', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (data) => {
        const text = JSON.stringify(data);
        expectNoWider(Buffer.from(sealed(text)));
        expectNoWider(Buffer.from(sealed(text.replaceAll('0', '-0'))));
      }),
      { numRuns: 300 },
    );
  });

  test('a spelling changed anywhere is let through only where the slow way would', () => {
    const text = sealed('{"a":[1.5,-2,{"b":"x","c":""}],"n":1e+21,"z":[true,null,0.05]}');
    const bytes = Buffer.from(text);
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(6), fc.constantFrom(...PIECES), (at, cut, piece) => {
        const changed = [bytes.subarray(0, at), Buffer.from(piece), bytes.subarray(at + cut)];
        expectNoWider(Buffer.concat(changed));
      }),
      { numRuns: 3_000 },
    );
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, code) => {
        const changed = Buffer.from(bytes);
        changed[at] = code;
        expectNoWider(changed);
      }),
      { numRuns: 3_000 },
    );
  });
});
