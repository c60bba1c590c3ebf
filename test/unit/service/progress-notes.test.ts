import { describe, expect, test } from 'vitest';
import type { AttemptProgress } from '../../../src/ledger/evaluation-progress.ts';
import { createProgressNotes } from '../../../src/service/progress-notes.ts';
import { realTimers, type Timers } from '../../../src/timers.ts';

/** Timers that fire when they are told to. */
function handTimers() {
  let due: (() => void)[] = [];
  const timers: Timers = {
    ...realTimers,
    set(run) {
      due.push(run);
      return { simulated: due.length };
    },
    clear() {
      due = [];
    },
  };
  return {
    timers,
    fire() {
      for (const run of due.splice(0)) run();
    },
    waiting: () => due.length,
  };
}

const attempt = { runId: 'run-1', evaluationId: 'ev_a', attempt: 2 };
const said = (done: number) => ({ done, total: 50, unit: 'samples' as const });
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('notes of progress', () => {
  test('are written at once, then no more often than the pause, and then the newest alone', async () => {
    const noted: AttemptProgress[] = [];
    const hand = handTimers();
    const store = {
      note: async (each: AttemptProgress) => void noted.push(each),
      forget: async () => undefined,
    };
    const notes = createProgressNotes(attempt, store, hand.timers);
    for (const done of [1, 2, 3]) notes.heard(said(done));
    await turn();
    expect(noted.map(({ done }) => done)).toEqual([1]);
    hand.fire();
    await turn();
    expect(noted.map(({ done }) => done)).toEqual([1, 3]);
    expect(noted[1]).toMatchObject({ ...attempt, total: 50, unit: 'samples', errored: null });
  });

  test('go when the attempt is over, and none comes after', async () => {
    const story: string[] = [];
    const hand = handTimers();
    const store = {
      note: async ({ done }: AttemptProgress) => void story.push(`note ${done}`),
      forget: async (id: string) => void story.push(`forget ${id}`),
    };
    const notes = createProgressNotes(attempt, store, hand.timers);
    notes.heard(said(1));
    await notes.end();
    notes.heard(said(2));
    hand.fire();
    await turn();
    expect(story).toEqual(['note 1', 'forget ev_a']);
    expect(hand.waiting()).toBe(0);
  });

  test('that cannot be written are in nobody’s way', async () => {
    const hand = handTimers();
    const broken = () => Promise.reject(new Error('the database is down'));
    const notes = createProgressNotes(attempt, { note: broken, forget: broken }, hand.timers);
    notes.heard(said(1));
    await expect(notes.end()).resolves.toBeUndefined();
  });
});
