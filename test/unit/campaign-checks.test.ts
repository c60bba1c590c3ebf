import { describe, expect, it } from 'vitest';
import { checkHalts } from '../support/campaign/checks.ts';
import type { Evidence, LedgerEvent } from '../support/campaign/evidence.ts';
import { createJournal } from '../support/campaign/journal.ts';

const event = (kind: string, data: Record<string, unknown>): LedgerEvent => ({
  stream: 'run-r1',
  version: 1,
  kind,
  data,
  actor: 'board',
  recordedAt: '2026-11-29T12:00:00.000Z',
});
const cause = (reason: string) => ({ kind: 'person', reason });
const ordered = (haltId: string, reason: string, epoch: number) =>
  event('HaltOrdered', { haltId, epoch, cause: cause(reason) });
const joined = (orderId: string, haltId: string) => event('PressRecorded', { orderId, haltId });
const resumed = (haltId: string) => event('RunResumed', { haltId });

const evidence = (events: readonly LedgerEvent[]): Evidence => ({
  events,
  states: new Map(),
  objections: [],
  permit: () => Promise.reject(new Error('no permit was issued')),
  order: () => Promise.reject(new Error('no order was received')),
});

function violations(
  events: readonly LedgerEvent[],
  presses: readonly { haltId: string; reason: string }[],
): Promise<string[]> {
  const journal = createJournal();
  for (const { haltId, reason } of presses) {
    journal.knowHalt(haltId);
    journal.presses.push({ runId: 'r1', haltId, reason });
  }
  return checkHalts({ journal, halts: [], alerts: new Set() }, evidence(events));
}

describe('the outside checker, on an acknowledged press', () => {
  const burst = [
    ordered('halt_x', 'first', 1),
    joined('halt_x', 'halt_x'),
    resumed('halt_x'),
    ordered('halt_2', 'second', 3),
    joined('halt_x', 'halt_2'),
    resumed('halt_2'),
  ];
  const both = [
    { haltId: 'halt_x', reason: 'first' },
    { haltId: 'halt_x', reason: 'second' },
  ];

  it('finds both presses of a burst, where people resumed between them', async () => {
    expect(await violations(burst, both)).toEqual([]);
  });

  it('misses the one whose cause stands in no halt that its order names', async () => {
    const without = burst.filter(({ data }) => data['haltId'] !== 'halt_2');
    expect(await violations(without, both)).toEqual([
      'the acknowledged red button of r1 (second, halt_x) is lost',
    ]);
  });

  it('misses a halt that was told and is in no ledger', async () => {
    expect(await violations([], [{ haltId: 'halt_x', reason: 'first' }])).toEqual([
      'the acknowledged red button of r1 (first, halt_x) is lost',
      'halt halt_x was told outside and is not in the ledger',
    ]);
  });
});
