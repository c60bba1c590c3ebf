import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nestsDeeperThan } from '../../../src/domain/json-depth.ts';

const deeper = (text: string, depthMax: number): boolean => nestsDeeperThan(Buffer.from(text), depthMax);

/** The same by recursion, for values that are not deep. */
function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

describe('how deeply JSON nests', () => {
  it.each<[string, number, boolean]>([
    ['1', 0, false],
    ['[]', 0, true],
    ['[]', 1, false],
    ['[[],[]]', 2, false],
    ['{"a":[{}]}', 2, true],
    ['{"a":[{}]}', 3, false],
    ['"[[[["', 0, false],
    ['["\\"[["]', 1, false],
    ['["\\\\",[]]', 1, true],
    ['['.repeat(1_000_000), 32, true],
  ])('%.20s against %d: %s', (text, depthMax, expected) => expect(deeper(text, depthMax)).toBe(expected));

  it('agrees with what the value shows, whatever stands in its texts', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const depth = depthOf(value);
        const text = JSON.stringify(value);
        expect(deeper(text, depth)).toBe(false);
        if (depth > 0) expect(deeper(text, depth - 1)).toBe(true);
      }),
    );
  });
});
