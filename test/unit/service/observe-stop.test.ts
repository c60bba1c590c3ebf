/** How often a halted target is looked at: soon at first, seldom later, and never more often than it bears. */
import { describe, expect, it } from 'vitest';
import type { Command } from '../../../src/domain/run/decide.ts';
import type { Observation } from '../../../src/orchestrators/orchestrator.ts';
import { observeStop } from '../../../src/service/observe-stop.ts';
import type { Timers } from '../../../src/timers.ts';
import { policyOf, registered } from '../domain/run-life.ts';

/** Time that passes only while somebody waits. */
function waiting() {
  const pauses: number[] = [];
  let nowMs = 0;
  const timers: Timers = {
    set(run, ms) {
      pauses.push(ms);
      nowMs += ms;
      queueMicrotask(run);
      return { simulated: pauses.length };
    },
    clear: () => undefined,
    monotonicMs: () => nowMs,
  };
  return { pauses, timers };
}

async function looksOf({ stopsAtLook, pollMs }: { stopsAtLook?: number; pollMs?: number }) {
  const { state, policy } = registered(policyOf());
  const { pauses, timers } = waiting();
  const told: Command[] = [];
  let looks = 0;
  await observeStop(
    { runId: 'run-1', ids: { haltId: 'halt_a', targetId: 't1', round: 0 } },
    new AbortController().signal,
    {
      timers,
      runs: {
        load: async () => ({ state, policy, version: 1 }),
        execute: async (_runId, command) => {
          if (typeof command !== 'function') told.push(command);
          return { outcome: 'recorded', state, policy, events: [] };
        },
      },
      orchestratorOf: () => ({
        async observe(): Promise<Observation> {
          looks += 1;
          return { state: looks === stopsAtLook ? 'stopped' : 'running', detail: `look ${looks}` };
        },
        ...(pollMs === undefined ? {} : { pollMs }),
      }),
    },
  );
  return { pauses, told, looks };
}

describe('looking whether a target has stopped', () => {
  it('looks every 50 ms for three seconds, then every 500 ms, and ends after twenty', async () => {
    const { pauses, told } = await looksOf({});
    expect(new Set(pauses)).toEqual(new Set([50, 500]));
    expect(pauses.filter((ms) => ms === 50)).toHaveLength(60);
    expect(pauses.reduce((sum, ms) => sum + ms, 0)).toBe(20_500);
    expect(told).toEqual([]);
  });

  it('looks no more often than the adapter bears', async () => {
    const { pauses, looks } = await looksOf({ pollMs: 2_000 });
    expect(new Set(pauses)).toEqual(new Set([2_000]));
    expect(looks).toBe(12);
  });

  it('does not look more often for an adapter that bears more', async () => {
    expect((await looksOf({ pollMs: 1 })).pauses).toEqual((await looksOf({})).pauses);
  });

  it('tells of the stop at once, and looks no more', async () => {
    const { told, pauses } = await looksOf({ stopsAtLook: 3, pollMs: 1_000 });
    expect(pauses).toEqual([1_000, 1_000]);
    expect(told).toEqual([
      { type: 'RecordStopObserved', haltId: 'halt_a', targetId: 't1', round: 0, detail: 'look 3', tookMs: 0 },
    ]);
  });
});
