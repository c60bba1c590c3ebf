import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Refusal } from '../../src/http/refusal.ts';
import { isHeldExactly, parseStrictJson } from '../../src/http/strict-json.ts';

const read = (text: string | Uint8Array) =>
  parseStrictJson(typeof text === 'string' ? Buffer.from(text) : text);

function refusal(text: string | Uint8Array): Refusal {
  try {
    read(text);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error('was accepted');
}

const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
const pairs = (count: number) => `{${Array.from({ length: count }, (_, i) => `"k${i}":0`).join(',')}}`;

describe('strict JSON', () => {
  it.each<[string, string | Uint8Array, number, string, string | null]>([
    // what                               body                                        status code            path
    ['an empty body', '', 400, 'malformed-json', null],
    ['text that is not JSON', '{"a":}', 400, 'malformed-json', null],
    ['a bare NaN', '{"a":NaN}', 400, 'malformed-json', null],
    ['trailing text', '{} {}', 400, 'malformed-json', null],
    ['null', 'null', 400, 'malformed-json', 'body'],
    ['an array', '[]', 400, 'malformed-json', 'body'],
    ['a string', '"x"', 400, 'malformed-json', 'body'],
    ['a number', '7', 400, 'malformed-json', 'body'],
    ['a byte order mark', '\ufeff{}', 400, 'malformed-json', null],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 400, 'malformed-json', null],
    ['a UTF-8 encoded surrogate', Buffer.from('7b2261223a22eda080227d', 'hex'), 400, 'malformed-json', null],
    ['a duplicate key', '{"a":1,"b":2,"a":2}', 400, 'duplicate-key', 'a'],
    ['a duplicate key, escaped', '{"a":1,"\\u0061":2}', 400, 'duplicate-key', 'a'],
    ['a duplicate key, deep', '{"t":[{},{"url":1,"url":1}]}', 400, 'duplicate-key', 't[1].url'],
    ['a __proto__ key', '{"__proto__":{}}', 400, 'malformed-json', '__proto__'],
    ['a __proto__ key, escaped', '{"\\u005f_proto__":{}}', 400, 'malformed-json', '__proto__'],
    [
      'constructor.prototype',
      '{"constructor":{"prototype":{}}}',
      400,
      'malformed-json',
      'constructor.prototype',
    ],
    ['nesting over 32', nested(33), 400, 'too-deep', null],
    ['nesting of 30,000', `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`, 400, 'too-deep', null],
    ['too many keys', pairs(5_001), 400, 'too-many-members', null],
    ['too many elements', `{"a":[${'0,'.repeat(30_000)}0]}`, 400, 'too-many-members', null],
    ['a NUL in a string', '{"a":{"b":"x\\u0000y"}}', 422, 'invalid-request', 'a.b'],
    ['a NUL in a key', '{"x\\u0000":1}', 422, 'invalid-request', '["x\\u0000"]'],
    ['a lone surrogate', '{"a":["ok","\\ud800"]}', 422, 'invalid-request', 'a[1]'],
    ['1e999', '{"c":1e999}', 422, 'invalid-request', 'c'],
    ['-1e999', '{"c":-1e999}', 422, 'invalid-request', 'c'],
    ['an integer beyond a double', '{"c":{"d":9007199254740993}}', 422, 'invalid-request', 'c.d'],
    ['a number that underflows', '{"c":1e-400}', 422, 'invalid-request', 'c'],
    ['401 digits', `{"c":0.${'1'.repeat(401)}}`, 422, 'invalid-request', 'c'],
  ])('refuses %s', (_, body, status, code, path) => {
    const problem = refusal(body);
    expect([problem.status, problem.code]).toEqual([status, code]);
    if (path !== null) expect(problem.errors[0]?.path).toBe(path);
  });

  it('says how to send a number that a double cannot hold', () => {
    expect(refusal('{"effectiveCompute":9007199254740993}').errors[0]?.message).toContain('send as string');
  });

  it.each([
    ['numbers a double holds', '{"a":9007199254740992,"b":0.1,"c":1e25,"d":-0,"e":1.50,"f":5e-324,"g":1E+2}'],
    ['%.17g output', '{"a":0.10000000000000001,"b":0.84999999999999998}'],
    ['the depth that is allowed', nested(32)],
    ['the members that are allowed', pairs(4_999)],
    ['the same key in different objects', '{"a":{"x":1},"b":{"x":1},"c":[{"x":1},{"x":1}]}'],
    ['escapes, pairs of surrogates, and quotes in keys', '{"a\\"b":"\\ud83d\\ude00 \\\\","c":"\\u00e9"}'],
    ['strings that look like structure', '{"a":"{\\"a\\":1,[","b":"}]"}'],
    ['a plain constructor key', '{"constructor":"x","prototype":1}'],
    ['white space', ' \n\t{ "a" :\r [ true , false , null ] } \n'],
  ])('accepts %s', (_, body) => {
    expect(read(body)).toEqual(JSON.parse(body));
  });

  it('never repeats a value in an error', () => {
    for (const body of ['{"a":"canary-7d1f","a":1}', '{"a": canary-7d1f}', '{"b":"canary-7d1f\\u0000"}']) {
      expect(JSON.stringify({ ...refusal(body) })).not.toContain('canary-7d1f');
    }
  });

  it('shortens and escapes a hostile key in a path', () => {
    const path = refusal(`{"\u202e${'k'.repeat(5_000)}":"\\u0000"}`).errors[0]?.path ?? '';
    expect(path.length).toBeLessThan(100);
    expect(path).not.toContain('\u202e');
  });

  it('reads whatever JSON.stringify writes, unchanged', () => {
    const key = fc
      .string({ unit: 'grapheme' })
      .filter((k) => !k.includes('\0') && k !== '__proto__' && k !== 'constructor');
    const text = fc.string({ unit: 'grapheme' }).filter((s) => !s.includes('\0'));
    const leaf = fc.oneof(
      text,
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.maxSafeInteger(),
      fc.boolean(),
      fc.constant(null),
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 5 },
        leaf,
        fc.array(tie('value'), { maxLength: 5 }),
        fc.dictionary(key, tie('value'), { maxKeys: 5 }),
      ),
    }));
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 8 }), (object) => {
        const body = JSON.stringify(object);
        expect(read(body)).toEqual(JSON.parse(body));
      }),
      { numRuns: 300 },
    );
  });

  it('holds a whole number exactly if and only if it is printed again as it was', () => {
    expect(isHeldExactly('5053636376754920400')).toBe(false);
    expect(isHeldExactly('18446744073709551616')).toBe(false);
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 10n ** 20n }), (integer) => {
        expect(isHeldExactly(integer.toString())).toBe(String(Number(integer)) === integer.toString());
      }),
      { numRuns: 1_000 },
    );
  });

  it.each<[string, string]>([
    ['one long number', `{"a":1${'0'.repeat(60_000)}1}`],
    ['one long fraction', `{"a":0.${'0'.repeat(60_000)}1}`],
    ['one long run of backslashes', `{"a":"${'\\\\'.repeat(30_000)}"}`],
    ['many deep brackets', '['.repeat(65_000)],
    ['many keys', pairs(8_000)],
    ['an open string', `{"a":"${'x'.repeat(65_000)}`],
  ])('answers within 100 ms on %s', (_, body) => {
    const timesMs = Array.from({ length: 5 }, () => {
      const start = performance.now();
      refusalOrValue(body);
      return performance.now() - start;
    });
    // The best of five: a busy machine may delay any one of them.
    expect(Math.min(...timesMs)).toBeLessThan(100);
  });
});

function refusalOrValue(body: string): unknown {
  try {
    return read(body);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
