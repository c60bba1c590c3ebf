import { describe, expect, it } from 'vitest';
import type { RecordedEvent } from '../../../src/ledger/ledger.ts';
import { createHeadSchedule } from '../../../src/service/heads-schedule.ts';
import type { Timers } from '../../../src/timers.ts';

const event = (kind: string): RecordedEvent => ({
  seq: 1,
  stream: 'run-r1',
  version: 1,
  id: 'e1',
  kind,
  data: {},
  actor: 'interlock',
  recordedAt: '2026-11-29T12:00:00.000Z',
  prevHash: '',
  hash: '',
});

function schedule() {
  const due = new Map<number, () => void>();
  const timers: Timers = {
    set(run) {
      const simulated = due.size + 1;
      due.set(simulated, run);
      return { simulated };
    },
    clear(timer) {
      if (timer !== undefined && 'simulated' in timer) due.delete(timer.simulated);
    },
    monotonicMs: () => 0,
  };
  let hear: (commit: { events: readonly RecordedEvent[] }) => void = () => undefined;
  let signed = 0;
  const heads = createHeadSchedule({
    heads: {
      async recordHead() {
        signed += 1;
        return { size: 1, root: '', hash: '', jws: '', signedAt: '' };
      },
    },
    signer: { signHead: async () => '' },
    runs: {
      onCommit(listener) {
        hear = listener;
      },
    },
    logger: { warn: () => undefined },
    timers,
  });
  heads.start();
  return {
    heads,
    commit: (...kinds: string[]) => hear({ events: kinds.map(event) }),
    signed: () => signed,
    waiting: () => due.size,
    async ring() {
      for (const [timer, run] of due) {
        due.delete(timer);
        run();
      }
      await new Promise(setImmediate);
    },
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('the schedule of signed heads', () => {
  it('signs at the first commit at once', async () => {
    const { commit, signed, heads } = schedule();
    commit('RunRegistered');
    await settled();
    expect(signed()).toBe(1);
    await heads.stop();
  });

  it('signs one head for all halts of a burst, after they were sent', async () => {
    const { commit, signed, ring, heads } = schedule();
    commit('RunRegistered');
    for (let i = 0; i < 100; i += 1) commit('HaltOrdered');
    await settled();
    expect(signed()).toBe(1);
    await ring();
    expect(signed()).toBe(2);
    commit('RunResumed');
    await ring();
    expect(signed()).toBe(3);
    await heads.stop();
  });

  it('signs what is waiting when it stops, and nothing afterwards', async () => {
    const { commit, signed, waiting, heads } = schedule();
    commit('RunRegistered');
    commit('HaltOrdered');
    await heads.stop();
    expect(signed()).toBe(2);
    expect(waiting()).toBe(0);
  });
});
