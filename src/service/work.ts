/**
 * The handlers of the work items: do one thing outside, report it by one command.
 *
 * Every handler asks the ledger first whether its item still stands, so late, repeated and orphaned jobs do
 * nothing. None retries by itself: a report makes the domain say when to try again.
 */
import { z } from 'zod';
import type { Alert, AlertChannel } from '../alerts/alert-channel.ts';
import { explain } from '../domain/run/halt.ts';
import { outstanding } from '../domain/run/outstanding.ts';
import type { Halt } from '../domain/run/state.ts';
import type { Evaluators } from '../evaluators/registry.ts';
import { faultPoint } from '../fault-points.ts';
import type { Isolators } from '../isolation/registry.ts';
import type { EvaluationProgressStore } from '../ledger/evaluation-progress.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Orchestrator } from '../orchestrators/orchestrator.ts';
import type { WorkHandlers, WorkItem } from '../queue/work-queue.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import { withCorrelation } from '../telemetry/correlation.ts';
import { withSpan } from '../telemetry/tracing.ts';
import { realTimers, type Timers } from '../timers.ts';
import { callOff, isCallOff } from './call-off-work.ts';
import { evaluate } from './evaluation-work.ts';
import { isolate } from './isolate-work.ts';
import { observeStop } from './observe-stop.ts';
import { signOrder } from './orders.ts';
import type { LoadedRun, RunService } from './run-service.ts';
import type { RunningEvaluations } from './running-evaluations.ts';
import { alertThread, haltThread } from './stories.ts';
import { correlationOf } from './telemetry.ts';
import type { WeightsGuard } from './weights-guard.ts';

export interface WorkDeps {
  readonly runs: RunService;
  readonly ledger: Pick<Ledger, 'view'>;
  readonly evaluators: Evaluators;
  readonly running: RunningEvaluations;
  /** Left out: nobody looks at the weights. */
  readonly weights?: Pick<WeightsGuard, 'look'> | undefined;
  /** Where progress is written down for whoever asks; left out, it is not. */
  readonly evaluationProgress?: EvaluationProgressStore;
  /** The adapter for one target of a run. */
  readonly orchestratorOf: (loaded: LoadedRun, targetId: string) => Orchestrator | null;
  readonly isolatorOf: Isolators;
  readonly channels: ReadonlyMap<string, AlertChannel>;
  readonly signer: TokenSigner;
  readonly instance: string;
  readonly callbackUrl: (evaluationId: string, attempt: number) => string;
  readonly statusUrl: (runId: string) => string;
  /** Runs as the commit left them that made an item outstanding, a moment ago: asked once, before the ledger. */
  readonly committed?: WeakMap<WorkItem, LoadedRun> | undefined;
  readonly timers?: Timers;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

const ACTOR = 'interlock';
const STEP_TIMEOUT_MS = 10_000;

const StepIds = z.object({
  haltId: z.string(),
  targetId: z.string(),
  round: z.int(),
  step: z.string(),
  attempt: z.int(),
});
const AlertIds = z.object({ alertId: z.string(), channel: z.string(), attempt: z.int() });

export function createWorkHandlers(deps: WorkDeps): WorkHandlers {
  const { runs } = deps;
  return {
    evaluate: (item, signal) => evaluate(item, signal, deps),
    dispatch: (item, signal) => (isCallOff(item) ? callOff : evaluate)(item, signal, deps),
    'halt-step': (item, signal) => haltStep(item, signal, deps),
    observe: (item, signal) => observeStop(item, signal, deps),
    isolate: (item, signal) => isolate(item, signal, deps),
    alert: (item, signal) => alert(item, signal, deps),
    tick: async ({ runId }) => {
      await runs.execute(runId, { type: 'Tick' }, { actor: ACTOR });
    },
  };
}

// --- halts ---------------------------------------------------------------------------------------------

async function haltStep(item: WorkItem, signal: AbortSignal, deps: WorkDeps): Promise<void> {
  const { runId, ids } = item;
  const { haltId, targetId, round, step, attempt } = StepIds.parse(ids);
  const loaded = deps.committed?.get(item) ?? (await deps.runs.load(runId));
  // Good for the first look alone: whoever comes again with the item asks what stands by then.
  deps.committed?.delete(item);
  const halt = loaded?.state.halt;
  if (loaded == null || halt == null || halt.haltId !== haltId || halt.round !== round) return;
  const rung = halt.targets
    .find((each) => each.targetId === targetId)
    ?.steps.find((each) => each.step === step);
  if (rung === undefined || rung.attempts + 1 !== attempt || halt.confirmedAt !== null) return;
  if (isHeldBack(item, loaded)) return;
  const attributes = {
    'interlock.run.id': runId,
    'interlock.halt.id': haltId,
    'interlock.target.id': targetId,
    'interlock.kind': step,
    'interlock.attempt': attempt,
  };
  const take = () =>
    takeStep({ loaded, halt }, { runId, haltId, targetId, round, step, attempt }, signal, deps);
  await withSpan(
    'halt.deliver',
    attributes,
    async (set) => set({ 'interlock.outcome': await take() }),
    () => ({ ...haltThread(runId, halt, attempt), kind: 'client' }),
  );
}

/** A rule of the ladder has moved the step since this was made outstanding: it comes again at its time. */
function isHeldBack({ kind, ids, notBeforeMs }: WorkItem, { state, policy }: LoadedRun): boolean {
  const { targetId, round, step, attempt } = StepIds.parse(ids);
  const standing = outstanding(state, policy).find(
    (each) =>
      each.kind === kind &&
      each.ids['targetId'] === targetId &&
      each.ids['round'] === round &&
      each.ids['step'] === step &&
      each.ids['attempt'] === attempt,
  );
  return standing === undefined || standing.notBeforeMs > notBeforeMs;
}

async function takeStep(
  { loaded, halt }: { loaded: LoadedRun; halt: Halt },
  { runId, haltId, targetId, round, step, attempt }: z.infer<typeof StepIds> & { runId: string },
  signal: AbortSignal,
  deps: WorkDeps,
): Promise<string> {
  const orchestrator = deps.orchestratorOf(loaded, targetId);
  const order = await signOrder(deps.signer, runId, halt);
  const [cause] = halt.causes;
  faultPoint('halt.sending');
  const outcome =
    orchestrator === null
      ? { kind: 'rejected' as const, detail: 'this kind of target is not enabled here' }
      : await within(STEP_TIMEOUT_MS, signal, deps.timers, (bounded) =>
          orchestrator.take(
            step,
            {
              runId,
              haltId,
              action: halt.action,
              reason: cause === undefined ? 'halted' : explain(cause),
              epoch: halt.epoch,
              order,
              attempt,
            },
            bounded,
          ),
        );
  faultPoint('halt.sent');
  if (outcome.kind !== 'accepted') {
    const fields = { runId, haltId, targetId, step, attempt, detail: outcome.detail };
    withCorrelation(correlationOf({ after: loaded.state }, fields), () =>
      deps.logger.warn(fields, 'a halt step did not take'),
    );
  }
  const { kind, detail } = outcome;
  await deps.runs.execute(
    runId,
    { type: 'RecordHaltStep', haltId, targetId, round, step, attempt, outcome: kind, detail },
    { actor: ACTOR },
  );
  faultPoint('halt.step-recorded');
  return kind;
}

/** A signal that also ends by time. By hand: on Node 20 a timeout inside AbortSignal.any may never fire. */
async function within<T>(
  ms: number,
  signal: AbortSignal,
  timers: Timers = realTimers,
  work: (bounded: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  const timer = timers.set(abort, ms);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await work(controller.signal);
  } finally {
    timers.clear(timer);
    signal.removeEventListener('abort', abort);
  }
}

// --- alerts --------------------------------------------------------------------------------------------

async function alert({ runId, ids }: WorkItem, signal: AbortSignal, deps: WorkDeps): Promise<void> {
  const { alertId, channel: name, attempt } = AlertIds.parse(ids);
  const loaded = await deps.runs.load(runId);
  const raised = loaded?.state.alerts.find((each) => each.alertId === alertId);
  const standing = raised?.channels.find((each) => each.channel === name);
  if (raised === undefined || standing === undefined || standing.attempts + 1 !== attempt) return;
  const channel = deps.channels.get(name);
  const message: Alert = {
    alertId,
    kind: raised.kind,
    severity: raised.severity,
    dedupKey: raised.dedupKey,
    runId,
    summary: raised.summary,
    details: raised.details,
    at: raised.raisedAt,
    statusUrl: deps.statusUrl(runId),
  };
  faultPoint('alert.sending');
  const delivery =
    channel === undefined
      ? { outcome: 'retry' as const, reason: `no channel ${name} is configured` }
      : await withSpan(
          'alert.send',
          { 'interlock.run.id': runId, 'interlock.alert.id': alertId, 'interlock.attempt': attempt },
          async (set) => {
            const sent = await channel.send(message, signal);
            set({ 'interlock.outcome': sent.outcome });
            return sent;
          },
          () => ({ ...alertThread(loaded?.state, attempt), kind: 'client' }),
        );
  faultPoint('alert.sent');
  // Called off by a shutdown: nothing happened, and nothing is counted.
  if (signal.aborted && delivery.outcome === 'retry') return;
  const { outcome, reason } = delivery;
  await deps.runs.execute(
    runId,
    { type: 'RecordAlertDelivery', alertId, channel: name, attempt, outcome, reason },
    { actor: ACTOR },
  );
}
