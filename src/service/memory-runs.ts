/**
 * Runs in memory: the same decisions as in the service, for one process that keeps nothing.
 *
 * `decide` and `evolve` are the domain's own, and events go through their recorded form as they would on their way to the ledger.
 * Nothing is durable, nobody is halted and nobody is told: whoever uses this takes the answer and is done.
 */
import { plainJson } from '../domain/canonical-json.ts';
import type { Policy } from '../domain/policy/schema.ts';
import { isRejection } from '../domain/run/context.ts';
import { decide } from '../domain/run/decide.ts';
import { parseRunEvent, type RunEvent } from '../domain/run/events.ts';
import { evolve } from '../domain/run/evolve.ts';
import { type RunState, RunStateSchema } from '../domain/run/state.ts';
import { sha256 } from './digest.ts';
import type { Executed, RunService } from './run-service.ts';

export interface MemoryRuns extends Pick<RunService, 'load' | 'execute'> {
  /** After every command that recorded something, in order. */
  onEvents(listener: (events: readonly RunEvent[], state: RunState) => void): void;
}

/** All runs are under the one policy. */
export function createMemoryRuns(policy: Policy, clock: () => Date): MemoryRuns {
  const states = new Map<string, { version: number; state: RunState }>();
  const listeners: ((events: readonly RunEvent[], state: RunState) => void)[] = [];
  const load: RunService['load'] = async (runId) => {
    const held = states.get(runId);
    return held === undefined ? null : { ...held, policy };
  };
  return {
    load,
    onEvents: (listener) => void listeners.push(listener),
    async execute(runId, command, _options): Promise<Executed> {
      for (;;) {
        const loaded = await load(runId);
        const built = typeof command === 'function' ? await command(loaded) : command;
        // Somebody else was faster while the command was built.
        if (states.get(runId)?.version !== loaded?.version) continue;
        const before = loaded?.state ?? null;
        const decision = decide(before, built, { now: clock(), policy, digest: sha256, progress: null });
        if (isRejection(decision)) return { outcome: 'rejected', rejection: decision.rejected };
        let state = before;
        for (const event of decision) state = evolve(state, parseRunEvent(event.kind, plainJson(event.data)));
        if (state === null) throw new TypeError('a decision on a run that does not exist made none');
        if (decision.length === 0) return { outcome: 'unchanged', state, policy };
        const kept = RunStateSchema.parse(plainJson(state));
        states.set(runId, { version: (loaded?.version ?? 0) + 1, state: kept });
        for (const listener of listeners) listener(decision, kept);
        return { outcome: 'recorded', state: kept, policy, events: decision };
      }
    },
  };
}
