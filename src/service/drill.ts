/**
 * A drill of one run: all targets at once, each target's steps one after the other, every step with a time limit.
 *
 * A step that its kind cannot rehearse is told as such: that is no proof that a halt would fail, and none that it would not.
 */
import { OWN_STEPS } from '../domain/policy/ladder.ts';
import type { DrillResult, RunTarget } from '../domain/run/halt-documents.ts';
import type { HaltMessage, Orchestrator } from '../orchestrators/orchestrator.ts';
import { realTimers, type Timers } from '../timers.ts';
import type { LoadedRun } from './run-service.ts';

const STEP_MS = 10_000;

export interface DrillDeps {
  readonly orchestratorOf: (loaded: LoadedRun, targetId: string) => Orchestrator | null;
  readonly timers?: Timers;
}

export async function holdDrill(
  loaded: LoadedRun,
  drillId: string,
  reason: string,
  { orchestratorOf, timers = realTimers }: DrillDeps,
): Promise<DrillResult[]> {
  const { runId, epoch, targets } = loaded.state;
  const message: HaltMessage = {
    runId,
    haltId: drillId,
    action: 'halt',
    reason,
    epoch,
    // Never a real one: a rehearsal must not be able to stop anything.
    order: '',
    attempt: 1,
  };

  async function rehearsed(target: RunTarget): Promise<DrillResult[]> {
    const { targetId, kind, ladder } = target;
    const orchestrator = orchestratorOf(loaded, targetId);
    const results: DrillResult[] = [];
    for (const { step } of ladder) {
      const startedMs = timers.monotonicMs();
      const outcome = await rehearse(orchestrator, step, message, timers);
      const tookMs = Math.round(timers.monotonicMs() - startedMs);
      results.push({ targetId, kind, step, ...outcome, tookMs });
    }
    return results;
  }

  return (await Promise.all(targets.map(rehearsed))).flat();
}

type Outcome = Pick<DrillResult, 'outcome' | 'detail'>;

async function rehearse(
  orchestrator: Orchestrator | null,
  step: string,
  message: HaltMessage,
  timers: Timers,
): Promise<Outcome> {
  if (OWN_STEPS.has(step)) {
    return { outcome: 'not-rehearsed', detail: 'Interlock takes this step by itself; nothing is sent' };
  }
  if (orchestrator === null) {
    return {
      outcome: 'failed',
      detail: 'its kind is not enabled in interlock.yaml, so a halt cannot reach it',
    };
  }
  if (orchestrator.rehearse === undefined) {
    return { outcome: 'not-rehearsed', detail: `the ${orchestrator.kind} orchestrator cannot rehearse` };
  }
  const limit = new AbortController();
  const timer = timers.set(() => limit.abort(), STEP_MS);
  try {
    const { kind, detail } = await orchestrator.rehearse(step, message, limit.signal);
    return { outcome: kind === 'accepted' ? 'passed' : 'failed', detail };
  } catch {
    return { outcome: 'failed', detail: 'the rehearsal ended with a fault of its own' };
  } finally {
    timers.clear(timer);
  }
}
