/**
 * Looks at one target of a halted run until it is seen to have stopped, and has that recorded.
 *
 * What cannot be seen is no stop. A look that took long may show what was so before the run computed once more: how
 * long it took goes with it, and the domain says whether it counts (domain/run/halt.ts).
 */
import { z } from 'zod';
import type { RunState } from '../domain/run/state.ts';
import { faultPoint } from '../fault-points.ts';
import type { Orchestrator } from '../orchestrators/orchestrator.ts';
import type { WorkItem } from '../queue/work-queue.ts';
import { realTimers, type Timers } from '../timers.ts';
import type { LoadedRun, RunService } from './run-service.ts';

export interface ObserveDeps {
  readonly runs: RunService;
  readonly orchestratorOf: (loaded: LoadedRun, targetId: string) => Orchestrator | null;
  readonly timers?: Timers;
}

const ACTOR = 'interlock';
const OBSERVE_FOR_MS = 20_000;
const OBSERVE_FAST_MS = 50;
const OBSERVE_SLOW_MS = 500;

const ObserveIds = z.object({ haltId: z.string(), targetId: z.string(), round: z.int() });

/** Looks until it has stopped or time is up; the item stays outstanding and comes again. */
export async function observe(
  { runId, ids }: WorkItem,
  signal: AbortSignal,
  deps: ObserveDeps,
): Promise<void> {
  const { haltId, targetId, round } = ObserveIds.parse(ids);
  const loaded = await deps.runs.load(runId);
  const orchestrator = loaded === null ? null : deps.orchestratorOf(loaded, targetId);
  if (orchestrator === null) return;
  const { timers = realTimers } = deps;
  const startedMs = timers.monotonicMs();
  while (!signal.aborted) {
    const askedMs = timers.monotonicMs();
    const { state, detail } = await orchestrator.observe(signal);
    if (state === 'stopped') {
      faultPoint('halt.observed');
      const tookMs = Math.ceil(timers.monotonicMs() - askedMs);
      const recorded = await deps.runs.execute(
        runId,
        { type: 'RecordStopObserved', haltId, targetId, round, detail, tookMs },
        { actor: ACTOR },
      );
      if (recorded.outcome !== 'unchanged' || !isAwaited(recorded.state, { haltId, targetId, round })) return;
    }
    const spentMs = timers.monotonicMs() - startedMs;
    if (spentMs > OBSERVE_FOR_MS) return;
    await pause(spentMs < 3_000 ? OBSERVE_FAST_MS : OBSERVE_SLOW_MS, signal, timers);
  }
}

/** The run was seen to compute while it was looked at: what was seen is too old, and the next look tells. */
function isAwaited({ halt }: RunState, { haltId, targetId, round }: z.infer<typeof ObserveIds>): boolean {
  if (halt === null || halt.haltId !== haltId || halt.round !== round) return false;
  return halt.targets.find((each) => each.targetId === targetId)?.stoppedAt === null;
}

export function pause(ms: number, signal: AbortSignal, timers: Timers = realTimers): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timers.clear(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = timers.set(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
