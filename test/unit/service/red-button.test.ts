import { describe, expect, it } from 'vitest';
import type { Identity } from '../../../src/config/identities.ts';
import { InterlockError } from '../../../src/errors.ts';
import { createRedButton } from '../../../src/service/red-button.ts';

const board: Identity = {
  id: 'board',
  name: 'Board',
  groups: ['board'],
  roles: ['governance'],
  via: 'bearer',
  evaluations: null,
};
const body = { reason: 'now', action: 'halt', group: 'board' } as const;

describe('a press that the ledger is too slow for', () => {
  it('withholds permits from before it is spooled, and no longer where it could not be', async () => {
    const awaited = new Set<string>();
    const whileSpooling: string[] = [];
    const button = createRedButton({
      runs: { execute: () => new Promise(() => {}) },
      ledger: { view: async () => null },
      unfinishedRuns: async () => [],
      desk: {
        press: async () => {
          whileSpooling.push(...awaited);
          throw new InterlockError('the disk is full', { code: 'button.not-spooled', retryable: true });
        },
      },
      sender: {
        send: () => undefined,
        release: () => undefined,
        deliveries: () => [],
        attempted: async () => undefined,
        size: 0,
        close: async () => undefined,
      },
      isLedgerUp: () => true,
      awaited: {
        expect: ({ pressId, scope }) => void awaited.add(`${pressId} ${JSON.stringify(scope)}`),
        forget: (pressId) => {
          for (const each of awaited) if (each.startsWith(pressId)) awaited.delete(each);
        },
      },
      clock: () => new Date(),
      patienceMs: 5,
    });
    await expect(button.pressRun('gpt-next-7', body, board)).rejects.toThrow('the disk is full');
    expect(whileSpooling).toEqual([expect.stringContaining('"runId":"gpt-next-7"')]);
    expect([...awaited]).toEqual([]);
  });
});
