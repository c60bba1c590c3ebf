/** Asking the orchestrators what they account to a run: when, whom, and what is done with odd answers. */
import { describe, expect, it, vi } from 'vitest';
import type { Command } from '../../src/domain/run/decide.ts';
import type { Orchestrator, Usage } from '../../src/orchestrators/orchestrator.ts';
import { createAccountingWatch } from '../../src/service/accounting.ts';
import type { Commit, RunService } from '../../src/service/run-service.ts';
import type { Timers } from '../../src/timers.ts';
import { PROCESS_TARGET, policyOf, registered } from './domain/run-life.ts';

const accounting = { accelerators: [{ id: 'fast', peakFlops: 1e15, perNode: 8 }] };
const policy = policyOf({ accounting });

type Ask = NonNullable<Orchestrator['usage']>;

/** Everything that waits on a timer runs when the test says so. */
function handTimers(): { timers: Timers; fire: () => void } {
  const due: (() => void)[] = [];
  const timers: Timers = {
    set: (run) => ({ simulated: due.push(run) }),
    clear: () => undefined,
    monotonicMs: () => 0,
  };
  const fire = (): void => {
    for (const run of due.splice(0)) run();
  };
  return { timers, fire };
}

function watched(usages: readonly (Ask | undefined)[], pinned = policy) {
  const targets = usages.map((_, i) => ({ ...PROCESS_TARGET, targetId: `t${i + 1}` }));
  const { state } = registered(pinned, { targets });
  const commands: Command[] = [];
  const listeners: ((commit: Commit) => void)[] = [];
  const warnings: string[] = [];
  const runs: RunService = {
    load: async () => ({ version: 1, state, policy: pinned }),
    execute: async (_runId, command) => {
      if (typeof command !== 'function') commands.push(command);
      return { outcome: 'unchanged', state, policy: pinned };
    },
    receive: async () => 'new',
    onCommit: (listener) => void listeners.push(listener),
  };
  const { timers, fire } = handTimers();
  const row = { status: 'training', registeredAt: state.registeredAt };
  const watch = createAccountingWatch({
    runs,
    ledger: {
      views: async () => [{ kind: 'run', id: 'r1', runId: 'r1', ordinal: 1, doc: row }],
    },
    orchestratorOf: (_loaded, targetId) => {
      const usage = usages[Number(targetId.slice(1)) - 1];
      return orchestratorWith(usage);
    },
    logger: { warn: (_fields, message) => void warnings.push(message) },
    timers,
  });
  const reports = (checkpointId: string): void => {
    const event = {
      seq: 2,
      stream: 'run-r1',
      version: 2,
      id: 'e',
      kind: 'CheckpointReported',
      data: { checkpointId },
      actor: 'trainer',
      recordedAt: state.registeredAt,
      prevHash: '',
      hash: '',
    };
    const commit = { runId: 'r1', before: state, after: state, policy: pinned, events: [event], items: [] };
    for (const listener of listeners) listener(commit);
  };
  return { watch, commands, warnings, reports, fire };
}

function orchestratorWith(usage: Ask | undefined): Orchestrator {
  return {
    kind: 'fake',
    steps: [],
    take: async () => ({ kind: 'accepted', detail: '' }),
    observe: async () => ({ state: 'running', detail: '' }),
    ...(usage === undefined ? {} : { usage }),
  };
}

const says =
  (usage: Usage | null): Ask =>
  async () =>
    usage;
const HAD: Usage = { nodeSeconds: 7200, acceleratorSeconds: 57_600 };

describe('what targets account', () => {
  it('is noted at each checkpoint, of those that account at all', async () => {
    const { commands, reports, watch } = watched([says(HAD), undefined, says(null)]);
    reports('c1');
    await vi.waitFor(() => expect(commands).toHaveLength(1));
    expect(commands).toEqual([
      { type: 'NoteUsage', checkpointId: 'c1', targets: [{ targetId: 't1', ...HAD }] },
    ]);
    await watch.stop();
  });

  it('is asked for in between, for a run that states too little to have a checkpoint due', async () => {
    const { commands, fire, watch } = watched([says(HAD)]);
    watch.start({ sweeps: true });
    fire();
    await vi.waitFor(() => expect(commands).toMatchObject([{ checkpointId: null }]));
    await watch.stop();
  });

  it.each<[string, Ask]>([
    ['no number', says({ ...HAD, nodeSeconds: Number.NaN })],
    ['less than nothing', says({ ...HAD, acceleratorSeconds: -8 })],
    ['endless', says({ ...HAD, nodeSeconds: Number.POSITIVE_INFINITY })],
    ['a fault', () => Promise.reject(new Error('broken'))],
  ])('is left out where it is %s, and what others say is noted', async (_name, odd) => {
    const { commands, reports, watch } = watched([odd, says(HAD)]);
    reports('c1');
    await vi.waitFor(() => expect(commands).toMatchObject([{ targets: [{ targetId: 't2' }] }]));
    await watch.stop();
  });

  it('that never answers is given up, by its limit or at the end', async () => {
    const never: Ask = (signal) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve(null), { once: true }));
    const { commands, reports, fire, watch } = watched([never, says(HAD)]);
    reports('c1');
    await vi.waitFor(() => {
      // Once it has been asked, its limit is the one timer there is.
      fire();
      expect(commands).toHaveLength(1);
    });
    reports('c2');
    await watch.stop();
    expect(commands).toHaveLength(1);
  });

  it('is not asked for where the policy has no use for it, and nothing is asked after the end', async () => {
    const asked = vi.fn(says(HAD));
    const idle = watched([asked], policyOf());
    idle.reports('c1');
    await idle.watch.stop();
    idle.reports('c2');
    expect(asked).not.toHaveBeenCalled();
    expect(idle.commands).toEqual([]);
  });
});
