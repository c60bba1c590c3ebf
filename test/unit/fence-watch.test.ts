/** The watch over halted runs: who is looked at, what is told to the ledger, and what must not get in the way. */
import { describe, expect, it, vi } from 'vitest';
import type { Command } from '../../src/domain/run/decide.ts';
import type { Observation } from '../../src/orchestrators/orchestrator.ts';
import { createFenceWatch, type FenceWatchDeps } from '../../src/service/fence-watch.ts';
import type { LoadedRun } from '../../src/service/run-service.ts';
import { PROCESS_TARGET, policyOf, registered, WEBHOOK_TARGET } from './domain/run-life.ts';

function haltedRun({ stopped = true } = {}): LoadedRun {
  const life = registered(policyOf(), { targets: [WEBHOOK_TARGET, PROCESS_TARGET] });
  life.press();
  if (stopped) {
    const { haltId = '', round = 0 } = life.state.halt ?? {};
    life.does({ type: 'RecordStopObserved', haltId, targetId: 't2', round, detail: 'gone' });
  }
  return { state: life.state, policy: life.policy, version: 1 };
}

type Observe = (signal: AbortSignal) => Promise<Observation>;

function watching(named: Record<string, LoadedRun>, observe: Record<string, Observe>) {
  const runs = Object.fromEntries(
    Object.entries(named).map(([runId, loaded]) => [runId, { ...loaded, state: { ...loaded.state, runId } }]),
  );
  const told: { runId: string; command: Command }[] = [];
  const warned: object[] = [];
  const looked: string[] = [];
  const deps: FenceWatchDeps = {
    runs: {
      load: async (runId) => runs[runId] ?? null,
      execute: async (runId, command) => {
        if (typeof command !== 'function') told.push({ runId, command });
        return { outcome: 'unchanged' } as never;
      },
    },
    haltedRuns: async () => Object.keys(runs),
    orchestratorOf: ({ state }, targetId) => {
      const { runId } = state;
      looked.push(`${runId}/${targetId}`);
      const look = observe[runId];
      return look === undefined ? null : { observe: look };
    },
    logger: { warn: (fields) => warned.push(fields) },
    lookEveryMs: 5,
  };
  return { watch: createFenceWatch(deps), told, warned, looked };
}

const sees =
  (state: Observation['state']): Observe =>
  async () => ({ state, detail: `it is ${state}` });

describe('the watch over halted runs', () => {
  it('looks at what was seen stopped, and tells the ledger of what runs', async () => {
    const run = haltedRun();
    const { watch, told, looked } = watching({ a: run }, { a: sees('running') });
    await watch.look();
    expect(looked).toEqual(['a/t2']);
    expect(told).toEqual([
      {
        runId: 'a',
        command: {
          type: 'RecordLife',
          haltId: run.state.halt?.haltId,
          targetId: 't2',
          detail: 'it is running',
        },
      },
    ]);
  });

  it.each(['stopped', 'unknown'] as const)('takes %s for no life', async (state) => {
    const { watch, told } = watching({ a: haltedRun() }, { a: sees(state) });
    await watch.look();
    expect(told).toEqual([]);
  });

  it('leaves alone what is still being stopped, and what nobody can see any more', async () => {
    const { watch, looked, told } = watching(
      { a: haltedRun({ stopped: false }), b: haltedRun() },
      { a: sees('running') },
    );
    await watch.look();
    expect(looked).toEqual(['b/t2']);
    expect(told).toEqual([]);
  });

  it('goes on with the others where one cannot be looked at', async () => {
    const fails: Observe = async () => {
      throw new Error('boom');
    };
    const { watch, told, warned } = watching(
      { a: haltedRun(), b: haltedRun(), c: haltedRun() },
      { a: fails, b: sees('running'), c: sees('running') },
    );
    await watch.look();
    expect(told.map(({ runId }) => runId).sort()).toEqual(['b', 'c']);
    expect(warned).toMatchObject([{ runId: 'a', targetId: 't2' }]);
  });

  it('comes round again by itself until it is stopped, and then calls off what hangs', async () => {
    let looks = 0;
    let calledOff = false;
    const hangs: Observe = (signal) =>
      new Promise((resolve) => {
        looks += 1;
        if (looks === 1) resolve({ state: 'stopped', detail: 'gone' });
        signal.addEventListener('abort', () => {
          calledOff = true;
          resolve({ state: 'unknown', detail: 'given up' });
        });
      });
    const { watch, told } = watching({ a: haltedRun() }, { a: hangs });
    watch.start();
    await vi.waitFor(() => expect(looks).toBe(2));
    await watch.stop();
    expect(calledOff).toBe(true);
    expect(told).toEqual([]);
  });
});
