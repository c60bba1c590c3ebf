/**
 * Looks at a halted target until it has stopped or time is up; the item stays outstanding and comes again.
 *
 * Often at first, since most stops take no second; not more often than the adapter finds bearable. What is seen of a
 * stop is reported by a command, and only `stopped` is. A look that took long may show what was so before the run computed
 * once more: how long it took goes with it, and the domain says whether it counts (domain/run/confirmation.ts).
 */
import { z } from 'zod';
import type { RunState } from '../domain/run/state.ts';
import { faultPoint } from '../fault-points.ts';
import type { Orchestrator } from '../orchestrators/orchestrator.ts';
import type { WorkItem } from '../queue/work-queue.ts';
import { pause, realTimers, type Timers } from '../timers.ts';
import type { LoadedRun, RunService } from './run-service.ts';

export interface ObserveDeps {
  readonly runs: Pick<RunService, 'load' | 'execute'>;
  readonly orchestratorOf: (
    loaded: LoadedRun,
    targetId: string,
  ) => Pick<Orchestrator, 'observe' | 'pollMs'> | null;
  readonly timers?: Timers;
}

const ACTOR = 'interlock';
const LOOK_FOR_MS = 20_000;
const OFTEN_FOR_MS = 3_000;
const OFTEN_MS = 50;
const SELDOM_MS = 500;

const Ids = z.object({ haltId: z.string(), targetId: z.string(), round: z.int() });

export async function observeStop(
  { runId, ids }: Pick<WorkItem, 'runId' | 'ids'>,
  signal: AbortSignal,
  { runs, orchestratorOf, timers = realTimers }: ObserveDeps,
): Promise<void> {
  const { haltId, targetId, round } = Ids.parse(ids);
  const loaded = await runs.load(runId);
  const orchestrator = loaded === null ? null : orchestratorOf(loaded, targetId);
  if (orchestrator === null) return;
  const { pollMs = 0 } = orchestrator;
  const startedMs = timers.monotonicMs();
  while (!signal.aborted) {
    const askedMs = timers.monotonicMs();
    const { state, detail } = await orchestrator.observe(signal);
    if (state === 'stopped') {
      faultPoint('halt.observed');
      const tookMs = Math.ceil(timers.monotonicMs() - askedMs);
      const recorded = await runs.execute(
        runId,
        { type: 'RecordStopObserved', haltId, targetId, round, detail, tookMs },
        { actor: ACTOR },
      );
      if (recorded.outcome !== 'unchanged' || !isAwaited(recorded.state, { haltId, targetId, round })) return;
    }
    const spentMs = timers.monotonicMs() - startedMs;
    if (spentMs > LOOK_FOR_MS) return;
    await pause(Math.max(spentMs < OFTEN_FOR_MS ? OFTEN_MS : SELDOM_MS, pollMs), signal, timers);
  }
}

/** The run was seen to compute while it was looked at: what was seen is too old, and the next look tells. */
function isAwaited({ halt }: RunState, { haltId, targetId, round }: z.infer<typeof Ids>): boolean {
  if (halt === null || halt.haltId !== haltId || halt.round !== round) return false;
  return halt.targets.find((each) => each.targetId === targetId)?.stoppedAt === null;
}
