import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson, type Json, type JsonObject } from '../../src/domain/canonical-json.ts';
import { stateText } from '../../src/ledger/state-text.ts';

const DEPTH_MAX = 64;

/** As `fc.jsonValue` makes it: text that UTF-8 can carry. */
const json = fc
  .jsonValue({ maxDepth: 4 })
  .map((value): Json => JSON.parse(JSON.stringify(value).toWellFormed()))
  .filter((value) => {
    try {
      canonicalJson(value);
      return true;
    } catch {
      return false;
    }
  });

test('is the canonical JSON of the state, the first time and again', () => {
  fc.assert(
    fc.property(fc.oneof(json, fc.dictionary(fc.string(), json)), (state) => {
      const copy: Json = JSON.parse(JSON.stringify(state));
      const expected = canonicalJson(copy);
      expect(stateText(copy, DEPTH_MAX)).toBe(expected);
      expect(stateText(copy, DEPTH_MAX)).toBe(expected);
    }),
  );
});

test('of the next state too, which shares parts with the one before', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.array(json)), fc.string(), json, (state, key, added) => {
      const before: JsonObject = JSON.parse(JSON.stringify(state));
      stateText(before, DEPTH_MAX);
      const list = before[key];
      const after = { ...before, [key]: Array.isArray(list) ? [...list, added] : [added] };
      expect(stateText(after, DEPTH_MAX)).toBe(canonicalJson(after));
      expect(stateText(before, DEPTH_MAX)).toBe(canonicalJson(before));
    }),
  );
});

test.each<[string, unknown]>([
  ['undefined', { a: undefined }],
  ['undefined in a list', { a: [undefined] }],
  ['a number that is none', { a: [{ b: Number.NaN }] }],
  ['a date', new Date(0)],
  ['a date inside', { a: [new Date(0)] }],
  ['a map', new Map()],
])('refuses what canonical JSON refuses: %s', (_what, state) => {
  const refuses = (write: (value: Json, depthMax: number) => string) =>
    expect(() => Reflect.apply(write, null, [state, DEPTH_MAX])).toThrow();
  refuses(canonicalJson);
  refuses(stateText);
});

test('refuses what is nested too deep at the same depth', () => {
  const nested = (depth: number): Json => (depth === 0 ? [] : { a: nested(depth - 1) });
  for (const wrap of [(value: Json) => value, (value: Json): Json => ({ list: [value] })]) {
    for (let depth = 0; depth < 8; depth += 1) {
      const results = [canonicalJson, stateText].map((write) => {
        try {
          return write(wrap(nested(depth)), 5);
        } catch {
          return 'refused';
        }
      });
      expect(results[1], `depth ${depth}`).toBe(results[0]);
    }
  }
});
