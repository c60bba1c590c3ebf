import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeJobId, JOB_ID_LENGTH_MAX } from '../../src/queue/job-id.ts';
import { WORK_KINDS } from '../../src/queue/queues.ts';

const kind = fc.constantFrom(...WORK_KINDS);
// Any UTF-16 at all: NUL, colons, lone surrogates, digits only, very long.
const unit = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code));
const key = fc.oneof(
  fc.string({ unit, maxLength: 400 }),
  fc.string({ unit: fc.constantFrom('~', '+', '/', '0', 'a', ':', '\u0000'), maxLength: 12 }),
  fc.nat().map(String),
  fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 180, maxLength: 260 }),
);

describe('encodeJobId', () => {
  it('gives an id that BullMQ and both stores accept', () => {
    fc.assert(
      fc.property(kind, key, (k, text) => {
        const id = encodeJobId(k, text);
        expect(id).toMatch(/^[a-z][A-Za-z0-9~+./_-]*$/);
        expect(id.length).toBeLessThanOrEqual(JOB_ID_LENGTH_MAX);
        expect(String(Number.parseInt(id, 10))).not.toBe(id);
      }),
      { numRuns: 2_000 },
    );
  });

  it('gives the same id for the same item and another for any other', () => {
    fc.assert(
      fc.property(kind, key, kind, key, (k1, t1, k2, t2) => {
        expect(encodeJobId(k1, t1) === encodeJobId(k2, t2)).toBe(k1 === k2 && t1 === t2);
      }),
      { numRuns: 5_000 },
    );
  });

  it.each([
    ['a plain key stays readable', 'ev_abc/2', 'evaluate/ev_abc/2'],
    ['a colon is escaped', 'a:b', 'evaluate/a~003ab'],
    ['an escape in the key is not an escape', 'a~003ab', 'evaluate/a~007e003ab'],
    ['digits only do not stay so', '42', 'evaluate/42'],
    ['NUL', '\u0000', 'evaluate/~0000'],
    ['a lone surrogate', '\ud800', 'evaluate/~d800'],
  ])('%s', (_name, text, id) => {
    expect(encodeJobId('evaluate', text)).toBe(id);
  });

  it('keeps apart long keys that differ only in a lone surrogate, or at the very end', () => {
    const long = 'x'.repeat(1_000);
    const ids = [`${long}\ud800`, `${long}\ud801`, `${long}\ufffd`, `${long}a`, `${long}b`].map((text) =>
      encodeJobId('tick', text),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('yields no hash for a short key that looks like one', () => {
    const hashed = encodeJobId('tick', 'x'.repeat(1_000));
    expect(encodeJobId('tick', hashed.slice('tick/'.length))).not.toBe(hashed);
  });
});
