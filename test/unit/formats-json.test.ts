import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonLines } from '../../src/evaluators/formats/json-lines.ts';
import {
  ANY,
  JsonScanner,
  type JsonValue,
  type Selection,
  selectJson,
} from '../../src/evaluators/formats/json-select.ts';
import { parseHarnessJson } from '../../src/evaluators/formats/json-text.ts';
import { LogFault } from '../../src/evaluators/formats/log-fault.ts';

const parse = (text: string | Uint8Array, limit = 1_000_000) =>
  parseHarnessJson(typeof text === 'string' ? Buffer.from(text) : text, limit);

function problem(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof LogFault) return error.problem;
    throw error;
  }
  return 'none';
}

/** What every one-value selection saw, whatever way the text is cut into chunks. */
function select(text: string, paths: Selection['path'][], cut = text.length): [string, JsonValue][] {
  const seen: [string, JsonValue][] = [];
  const scanner = new JsonScanner(
    paths.map((path) => ({ path, onValue: (value, at) => seen.push([at.join('/'), value]) })),
    { valueBytes: 100_000 },
  );
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += cut) scanner.write(bytes.subarray(at, at + cut));
  scanner.end();
  return seen;
}

async function* chunks(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function lines(text: string, lineBytes = 1_000, length = 3) {
  const read = [];
  for await (const line of jsonLines(chunks(Buffer.from(text), length), lineBytes)) read.push(line);
  return read;
}

describe('JSON of a harness', () => {
  it('is read as JSON.parse reads it, however it is cut into chunks', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 1, max: 7 }), fc.boolean(), (value, cut, spaced) => {
        const text = spaced ? JSON.stringify(value, null, 2) : JSON.stringify(value);
        expect(select(text, [[]], cut)).toEqual([['', JSON.parse(text)]]);
      }),
    );
  });

  it('is refused exactly where JSON.parse refuses it', () => {
    fc.assert(
      fc.property(
        fc.jsonValue().map((value) => JSON.stringify({ value })),
        fc.nat(),
        fc.constantFrom('', ',', '"', '}', ']', '0', '-', '\\', '\u0001', 'e', '.', 'é'),
        (text, where, put) => {
          const at = where % text.length;
          const changed = text.slice(0, at) + put + text.slice(at + 1);
          let valid = true;
          try {
            JSON.parse(changed);
          } catch {
            valid = false;
          }
          const found = problem(() => parse(changed));
          // A name that the change made equal to its neighbour is valid for JSON.parse, and one name too many here.
          if (valid) expect(['none', 'log-unreadable']).toContain(found);
          else expect(found).not.toBe('none');
        },
      ),
    );
  });

  it('says of every beginning of a document that it ends in the middle', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(), (value, where) => {
        const bytes = Buffer.from(JSON.stringify(value));
        const cut = bytes.subarray(0, where % bytes.length);
        expect(problem(() => parse(cut))).toBe(cut.length === 0 ? 'log-empty' : 'log-truncated');
      }),
    );
  });

  it.each<[string, JsonValue]>([
    ['NaN', 'NaN'],
    ['[NaN, Infinity, -Infinity]', ['NaN', 'Infinity', '-Infinity']],
    ['{"a":NaN,"b":"NaN"}', { a: 'NaN', b: 'NaN' }],
    ['[1e999, -1e999, 1e-999, 12]', ['Infinity', '-Infinity', 0, 12]],
    ['{"\\u0061":"\\ud83d\\ude00 é"}', { a: '😀 é' }],
    [' \n[ ]\t', []],
    ['-0.5e+3', -500],
  ])('reads %s as Python wrote it', (text, value) => {
    expect(parse(text)).toEqual(value);
    if (text.length > 3) expect(select(text, [[]], 1)).toEqual([['', value]]);
  });

  it.each([
    ['nan', 'log-unreadable'],
    ['+1', 'log-unreadable'],
    ['01', 'log-unreadable'],
    ['1.', 'log-unreadable'],
    ['-Inf1nity', 'log-unreadable'],
    ['[1,]', 'log-unreadable'],
    ['{"a":1,}', 'log-unreadable'],
    ['{} {}', 'log-unreadable'],
    ['[1}', 'log-unreadable'],
    ['"a\nb"', 'log-unreadable'],
    ['"\\x"', 'log-unreadable'],
    ['"\\u00g0"', 'log-unreadable'],
    ['{"a":1,"\\u0061":2}', 'log-unreadable'],
    ['{"t":[{"b":1,"b":2}]}', 'log-unreadable'],
    ['\ufeff{}', 'log-unreadable'],
    ['{"a":tru', 'log-truncated'],
    ['{"a":"é', 'log-truncated'],
    ['', 'log-empty'],
    ['['.repeat(5_000), 'log-too-large'],
    ['9'.repeat(5_000), 'log-too-large'],
    [`"${'x'.repeat(1_000_000)}"`, 'log-too-large'],
  ])('refuses %j as %s', (text, expected) => {
    expect(problem(() => parse(text))).toBe(expected);
  });

  it.each([
    [[0x22, 0xff, 0x22]],
    [[0x22, 0xed, 0xa0, 0x80, 0x22]],
    [[0x22, 0xc0, 0x80, 0x22]],
    [[0x22, 0xe2, 0x82, 0x22]],
    [[0x22, 0x80, 0x22]],
  ])('refuses bytes %j that are no UTF-8, in one piece and byte by byte', (bytes) => {
    const scanner = new JsonScanner([], { valueBytes: 100 });
    expect(problem(() => parse(Uint8Array.from(bytes)))).toBe('log-unreadable');
    expect(
      problem(() => {
        for (const byte of bytes) scanner.write(Uint8Array.of(byte));
        scanner.end();
      }),
    ).not.toBe('none');
  });
});

describe('selected paths', () => {
  const text =
    '{"eval":{"task":"t","n":NaN},"samples":[{"id":1,"scores":{"m.x":{"value":"C"}}},{"id":2,"big":["skipped"]},{}]}';

  it.each([1, 2, 5, 1_000])('gives the values at them and passes over the rest, in chunks of %i', (cut) => {
    expect(
      select(text, [['eval'], ['samples', ANY, 'id'], ['samples', ANY, 'scores', ANY, 'value']], cut),
    ).toEqual([
      ['eval', { task: 't', n: 'NaN' }],
      ['samples/0/id', 1],
      ['samples/0/scores/m.x/value', 'C'],
      ['samples/1/id', 2],
    ]);
  });

  it('tells where a value begins, of which kind, and where it ends', async () => {
    const seen: string[] = [];
    await selectJson(
      chunks(Buffer.from(text), 4),
      [
        {
          path: ['samples', ANY],
          onStart: (kind, path) => seen.push(`${kind} ${path.join('/')}`),
          onEnd: (path) => seen.push(`end ${path.join('/')}`),
        },
      ],
      { valueBytes: 10 },
    );
    expect(seen).toEqual([
      'object samples/0',
      'end samples/0',
      'object samples/1',
      'end samples/1',
      'object samples/2',
      'end samples/2',
    ]);
  });

  it('holds nothing of what it passes over, so that only a selected value meets the limit', () => {
    const long = `{"a":"${'x'.repeat(200_000)}","b":1}`;
    expect(select(long, [['b']], 1_000)).toEqual([['b', 1]]);
    expect(problem(() => select(long, [['a']], 1_000))).toBe('log-too-large');
  });

  it('refuses a name that stands twice on the way to them', () => {
    expect(problem(() => select('{"status":"error","status":"success"}', [['status']]))).toBe(
      'log-unreadable',
    );
  });
});

describe('JSON lines', () => {
  it('come one at a time with their numbers, empty ones passed over', async () => {
    expect(await lines('{"a":NaN}\n\n  \r\n[1]\r\n2')).toEqual([
      { kind: 'value', line: 1, value: { a: 'NaN' } },
      { kind: 'value', line: 4, value: [1] },
      { kind: 'value', line: 5, value: 2 },
    ]);
  });

  it('say of a last line that it stops in the middle, and refuse one that another follows', async () => {
    expect(await lines('1\n{"a":')).toEqual([
      { kind: 'value', line: 1, value: 1 },
      { kind: 'truncated', line: 2 },
    ]);
    await expect(lines('{"a":\n1\n')).rejects.toMatchObject({ problem: 'log-unreadable' });
    await expect(lines('1\n2 3\n')).rejects.toMatchObject({ problem: 'log-unreadable' });
  });

  it('are of bounded length, with or without an end', async () => {
    await expect(lines(`"${'x'.repeat(2_000)}"`)).rejects.toMatchObject({ problem: 'log-too-large' });
    await expect(lines(`"${'x'.repeat(2_000)}"\n`, 1_000, 10_000)).rejects.toMatchObject({
      problem: 'log-too-large',
    });
  });
});
