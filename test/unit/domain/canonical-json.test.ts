/** RFC 8785: its own examples, and what it must refuse. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, type Json, plainJson, sameJson } from '../../../src/domain/canonical-json.ts';
import { rows } from './table.ts';

function doubleOf(hex: string): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(`0x${hex}`));
  return view.getFloat64(0);
}

const text = fc.string({ unit: 'grapheme', maxLength: 8 }).filter((value) => value.isWellFormed());
const jsonValue = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<Json>(null, true, false),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    text,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(text, tie('value'), { maxKeys: 4 }),
  ),
})).value;

describe('canonical JSON', () => {
  it('writes the example of section 3.2.2', () => {
    const sent = String.raw`{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }`;
    expect(canonicalJson(JSON.parse(sent))).toBe(
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    );
  });

  it('writes text and names as ECMAScript does, whatever characters they are of', () => {
    for (let code = 0; code < 0x250; code += 1) {
      const value = `a${String.fromCharCode(code)}`;
      expect(canonicalJson({ [value]: value })).toBe(JSON.stringify({ [value]: value }));
    }
    expect(canonicalJson('a\n')).toBe(String.raw`"a\n"`);
  });

  it('sorts keys by UTF-16 code units, as in section 3.2.3', () => {
    const names = ['\u20ac', '\r', '\ufb33', '1', '\ud83d\ude00', '\u0080', '\u00f6'];
    const written = canonicalJson(Object.fromEntries(names.map((name) => [name, 0])));
    expect(Object.keys(JSON.parse(written)).filter((key) => key !== '1')).toEqual([
      '\r',
      '\u0080',
      '\u00f6',
      '\u20ac',
      '\ud83d\ude00',
      '\ufb33',
    ]);
    expect(written.startsWith(String.raw`{"\r":0,"1":0,`)).toBe(true);
  });

  it.each(
    rows(`
      IEEE 754         | text, from appendix B
      0000000000000000 | 0
      8000000000000000 | 0
      0000000000000001 | 5e-324
      8000000000000001 | -5e-324
      7fefffffffffffff | 1.7976931348623157e+308
      4340000000000000 | 9007199254740992
      c340000000000000 | -9007199254740992
      4430000000000000 | 295147905179352830000
      44b52d02c7e14af5 | 9.999999999999997e+22
      44b52d02c7e14af6 | 1e+23
      44b52d02c7e14af7 | 1.0000000000000001e+23
      444b1ae4d6e2ef4e | 999999999999999700000
      444b1ae4d6e2ef4f | 999999999999999900000
      444b1ae4d6e2ef50 | 1e+21
      3eb0c6f7a0b5ed8c | 9.999999999999997e-7
      3eb0c6f7a0b5ed8d | 0.000001
      41b3de4355555553 | 333333333.3333332
      41b3de4355555554 | 333333333.33333325
      41b3de4355555555 | 333333333.3333333
      becbf647612f3696 | -0.0000033333333333333333
      43143ff3c1cb0959 | 1424953923781206.2
    `).slice(1),
  )('writes the double %s as %s', (hex = '', expected = '') => {
    expect(canonicalJson(doubleOf(hex))).toBe(expected);
  });

  it.each([
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['a lone surrogate', '\ud83d'],
    ['a lone surrogate in a key', { '\udc00': 1 }],
    ['NaN below', [{ a: [Number.NaN] }]],
  ])('refuses %s', (_name, value) => {
    expect(() => canonicalJson(value)).toThrow(RangeError);
  });

  it('refuses a member that is undefined rather than dropping it', () => {
    const value: Json = {};
    Object.assign(value, { a: 1, b: undefined });
    expect(() => canonicalJson(value)).toThrow(RangeError);
  });

  it('gives the same text whatever the order of the members, and reads back as the same value', () => {
    fc.assert(
      fc.property(jsonValue, (value) => {
        const written = canonicalJson(value);
        expect(canonicalJson(JSON.parse(written))).toBe(written);
        if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
          expect(canonicalJson(Object.fromEntries(Object.entries(value).reverse()))).toBe(written);
        }
      }),
    );
  });
});

describe('two values as JSON', () => {
  const loose = fc.jsonValue({ maxDepth: 3 });

  it('are the same exactly where their canonical texts are', () => {
    const small = fc.oneof(
      loose,
      fc.constantFrom({ a: 1 }, { a: 1, b: [] }, [{}], [[]], [], {}, '', 0, -0, null),
    );
    fc.assert(
      fc.property(small, small, (a, b) => {
        const text = (value: unknown): string => canonicalJson(JSON.parse(JSON.stringify(value)));
        expect(sameJson(a, b)).toBe(text(a) === text(b));
        expect(sameJson(a, structuredClone(a))).toBe(true);
      }),
    );
  });

  it.each([
    ['a member that is undefined counts as absent', { a: 1, b: undefined }, { a: 1 }, true],
    ['the order of members does not count', { a: 1, b: 2 }, { b: 2, a: 1 }, true],
    ['the order of items does', [1, 2], [2, 1], false],
    ['an absent member is no null', { a: null }, {}, false],
    ['what is no number in JSON is null', [Number.NaN], [null], true],
    ['an object is no list', {}, [], false],
    ['a list is not longer than itself', [1], [1, 2], false],
    ['another member under another name', { a: 1 }, { b: 1 }, false],
  ])('%s', (_what, a, b, expected) => {
    expect(sameJson(a, b)).toBe(expected);
    expect(sameJson(b, a)).toBe(expected);
  });
});

describe('plain JSON', () => {
  const throughText = (value: object): unknown => JSON.parse(JSON.stringify(value));

  it('is what JSON leaves of a value', () => {
    const loose = fc.object({ withDate: true, withSparseArray: true, withNullPrototype: true });
    fc.assert(
      fc.property(loose, (value) => {
        expect(plainJson(value)).toStrictEqual(throughText(value));
      }),
    );
  });

  it('is the value itself where JSON leaves nothing out', () => {
    const value = { text: 'a', list: [1, null, true, { member: 0.5 }], empty: {} };
    expect(plainJson(value)).toBe(value);
  });

  it.each<[string, object]>([
    ['a member that is undefined', { a: 1, b: { c: undefined } }],
    ['an item that is undefined', { a: [undefined] }],
    ['a hole in a list', { a: new Array(2) }],
    ['what is no number in JSON', { a: Number.NaN, b: Number.POSITIVE_INFINITY }],
    ['minus zero', { a: -0 }],
    ['a date', { a: new Date(0) }],
    ['a map', { a: new Map([[1, 2]]) }],
    ['a function', { a: () => 1 }],
    ['what writes itself', { a: { toJSON: () => 'b' } }],
  ])('is a copy where there is %s', (_what, value) => {
    expect(plainJson(value)).not.toBe(value);
    expect(plainJson(value)).toStrictEqual(throughText(value));
  });
});
