import { describe, expect, it } from 'vitest';
import { liveness } from '../../src/service/liveness.ts';
import { type Check, readiness } from '../../src/service/readiness.ts';

const MINUTE_MS = 60_000;

describe('liveness', () => {
  it.each([
    ['at rest', 0, null, { alive: true }],
    ['at work', 20_000, 31_000, { alive: true }],
    [
      'with a writer that does not come back',
      2 * MINUTE_MS,
      0,
      { alive: false, stuck: 'the writer of the ledger' },
    ],
    [
      'with a reconciler that does not come back',
      0,
      2 * MINUTE_MS,
      { alive: false, stuck: 'the reconciler' },
    ],
  ] as const)('%s', (_, writerMs, sweepMs, expected) => {
    expect(liveness({ writerBusyMs: () => writerMs, sinceSweepMs: () => sweepMs })).toEqual(expected);
  });
});

describe('readiness names what cannot be done now', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  const good: Check = { name: 'queue', ok: true, detail: '' };
  const bad: Check = { name: 'queue', ok: false, detail: '' };
  const held: Check = { name: 'containment', ok: true, detail: 'by marks; not held here: memory' };
  const away = () => Promise.reject(new Error('away'));
  it.each([
    ['nothing', async () => undefined, [good], now, [], true],
    ['with the database away', away, [good], now, ['acknowledge', 'issue-permits', 'evaluate'], false],
    ['with the queue away', async () => undefined, [good, bad], now, ['evaluate'], true],
    ['without sweeps', async () => undefined, [good], null, ['meet-deadlines'], false],
    [
      'with all of it',
      away,
      [bad],
      null,
      ['acknowledge', 'issue-permits', 'evaluate', 'meet-deadlines'],
      false,
    ],
  ])('%s', async (_, database, queue, lastSweepAt, cannot, ready) => {
    const state = await readiness({
      database,
      queue: async () => queue,
      lastSweepAt: () => lastSweepAt,
      clock: () => now,
      durability: 'machine-crash',
      standing: [held],
    });
    expect(state).toMatchObject({ ready, cannot });
    expect(state.checks).toContainEqual(held);
  });
});
