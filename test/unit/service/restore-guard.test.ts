import { describe, expect, it } from 'vitest';
import type { Json } from '../../../src/domain/canonical-json.ts';
import type { Anchor } from '../../../src/ledger/anchors.ts';
import { createRestoreGuard } from '../../../src/service/restore-guard.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const ANCHOR: Anchor = { size: 5, hash: 'h5', jws: 'j5', signedAt: new Date('2026-11-29T12:00:00Z') };

/** A ledger of two events where five were anchored, until people accept it. */
function restored(whileAccepting: () => void = () => undefined) {
  let accepted: Json = null;
  let anchor: Anchor | null = ANCHOR;
  const guard = createRestoreGuard({
    ledger: {
      async load() {
        const state = accepted;
        await turn();
        return state === null ? null : { version: 1, state, dueAt: null };
      },
      read: async () => [],
      head: async () => ({ size: 2, hash: 'h2', root: 'r2' }),
      views: async () => [],
      async append({ snapshot }) {
        whileAccepting();
        await turn();
        accepted = snapshot?.state ?? null;
        return { outcome: 'appended', version: 1, events: [] };
      },
    },
    heads: {
      recordHead: async () => ({
        size: 2,
        root: 'r2',
        hash: 'h2',
        jws: 'j2',
        signedAt: '2026-11-29T12:01:00Z',
      }),
      heads: async () => [],
      latestHead: async () => null,
      proveEvent: async () => ({ leaf: '', index: 0, size: 0, proof: [] }),
    },
    runs: { execute: () => Promise.reject(new Error('there is no run')) },
    anchors: {
      async newest() {
        const newest = anchor;
        await turn();
        return newest;
      },
      write: async () => undefined,
    },
    clock: () => new Date('2026-11-29T12:02:00Z'),
    logger: { warn: () => undefined, error: () => undefined },
  });
  return {
    guard,
    putBack(other: Anchor | null) {
      anchor = other;
    },
  };
}

describe('the restore guard', () => {
  it('is content once people have accepted, also where a comparison was under way', async () => {
    const { guard } = restored(() => void guard.compare());
    expect(await guard.refusal()).toContain('put back from a backup');
    expect(await guard.accept('operator', 'the disk died')).toMatchObject({ size: 2, anchoredSize: 5 });
    expect(await guard.refusal()).toBeNull();
    expect(guard.check()?.ok).toBe(true);
  });

  it('believes no comparison with a database that went away meanwhile', async () => {
    const { guard, putBack } = restored();
    putBack(null);
    const comparing = guard.compare();
    guard.doubt();
    putBack(ANCHOR);
    await comparing;
    expect(await guard.refusal()).toContain('put back from a backup');
  });
});
