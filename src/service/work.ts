/**
 * The handlers of the work items: do one thing outside, report it by one command.
 *
 * Every handler asks the ledger first whether its item still stands, so late, repeated and orphaned jobs do
 * nothing. None retries by itself: a report makes the domain say when to try again.
 */
import { z } from 'zod';
import type { Alert, AlertChannel } from '../alerts/alert-channel.ts';
import { assertNever } from '../domain/assert-never.ts';
import { executorFor } from '../domain/run/attempts.ts';
import { isPending, type Located, locate } from '../domain/run/evaluation.ts';
import { explain } from '../domain/run/halt.ts';
import { outstanding } from '../domain/run/outstanding.ts';
import type { Halt } from '../domain/run/state.ts';
import { InterlockError } from '../errors.ts';
import { type EvaluatorOutcome, WEIGHTS_UNIT } from '../evaluators/evaluator.ts';
import type { Evaluators } from '../evaluators/registry.ts';
import type { DigestListener } from '../evaluators/weights/digester.ts';
import { faultPoint } from '../fault-points.ts';
import type { Isolators } from '../isolation/registry.ts';
import type { EvaluationProgressStore } from '../ledger/evaluation-progress.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Orchestrator } from '../orchestrators/orchestrator.ts';
import type { WorkHandlers, WorkItem } from '../queue/work-queue.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import { withCorrelation } from '../telemetry/correlation.ts';
import { recordSpan, tracingOn, withSpan } from '../telemetry/tracing.ts';
import { pause, realTimers, type Timers } from '../timers.ts';
import { callOff, isCallOff } from './call-off-work.ts';
import { digestOf, sha256 } from './digest.ts';
import { evaluationRequest } from './evaluation-request.ts';
import { isolate } from './isolate-work.ts';
import { observeStop } from './observe-stop.ts';
import { signOrder } from './orders.ts';
import { createProgressNotes, type ProgressNotes } from './progress-notes.ts';
import { type ReportedResult, recordResult } from './results.ts';
import type { LoadedRun, RunService } from './run-service.ts';
import type { RunningEvaluations } from './running-evaluations.ts';
import { alertThread, checkpointThread, haltThread } from './stories.ts';
import { correlationOf } from './telemetry.ts';
import type { WeightsGuard, WeightsLook } from './weights-guard.ts';

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
const RECORD_AGAIN_MS = 100;
const RECORD_AGAIN_MAX_MS = 5_000;
const STEP_TIMEOUT_MS = 10_000;

const EvaluateIds = z.object({ evaluationId: z.string(), attempt: z.int() });
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

// --- evaluations ---------------------------------------------------------------------------------------

async function evaluate({ runId, ids }: WorkItem, signal: AbortSignal, deps: WorkDeps): Promise<void> {
  const { runs, instance } = deps;
  const { evaluationId, attempt } = EvaluateIds.parse(ids);
  const startTime = new Date();
  // Before the attempt's time begins to count: the first look reads all of it.
  const reading = notesOf({ runId, evaluationId, attempt }, deps);
  const onRead = (bytesDone: number, bytesTotal: number): void =>
    reading?.heard({ done: megabytes(bytesDone), total: megabytes(bytesTotal), unit: WEIGHTS_UNIT });
  const before = await unlessAborted(lookAt(runId, evaluationId, deps, onRead), signal);
  await reading?.end();
  if (before === null) return; // handed back, and the look goes on: whoever takes the item next joins it
  const started = await runs.execute(
    runId,
    { type: 'StartEvaluation', evaluationId, attempt, instance },
    { actor: ACTOR },
  );
  if (started.outcome !== 'recorded') return;
  faultPoint('evaluation.started');
  const located = locate(started.state, evaluationId, started.policy);
  if (located === null) return;
  const { correlationId, checkpointId } = located.checkpoint;
  const thread = () => checkpointThread(runId, checkpointId);
  const attributes = {
    'interlock.run.id': runId,
    'interlock.checkpoint.id': checkpointId,
    'interlock.evaluation.id': evaluationId,
    'interlock.attempt': attempt,
    'interlock.kind': executorFor(located.evaluation, attempt, located.spec).kind,
  };
  if (tracingOn()) {
    recordSpan('work.claim', attributes, { ...thread(), kind: 'consumer', startTime, endTime: new Date() });
  }
  await withCorrelation(correlationId, () =>
    withSpan(
      'evaluation.run',
      attributes,
      async (set) => {
        const outcome = await runAttempt({ runId, attempt, evaluationId, before }, located, signal, deps);
        set({ 'interlock.outcome': outcome.kind === 'failed' ? outcome.reason : outcome.kind });
      },
      thread,
    ),
  );
}

interface Running {
  readonly runId: string;
  readonly evaluationId: string;
  readonly attempt: number;
  /** What the weights were found to be before the attempt began. */
  readonly before: WeightsLook;
}

const lookAt = (
  runId: string,
  evaluationId: string,
  { weights }: WorkDeps,
  onProgress?: DigestListener,
): Promise<WeightsLook> =>
  weights === undefined ? Promise.resolve({ ok: true }) : weights.look(runId, evaluationId, onProgress);

const megabytes = (bytes: number): number => Math.round(bytes / 1e6);

const notesOf = (
  attempt: { runId: string; evaluationId: string; attempt: number },
  { evaluationProgress, timers }: WorkDeps,
): ProgressNotes | null =>
  evaluationProgress === undefined ? null : createProgressNotes(attempt, evaluationProgress, timers);

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  if (signal.aborted) return null;
  let abort: () => void = () => undefined;
  const aborted = new Promise<null>((resolve) => {
    abort = () => resolve(null);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** A score is of the weights that were there before and after; of others it clears nothing, and may still trip. */
async function ofSameWeights(
  outcome: EvaluatorOutcome,
  runId: string,
  evaluationId: string,
  deps: WorkDeps,
): Promise<EvaluatorOutcome> {
  if (outcome.kind !== 'reported') return outcome;
  const look = await lookAt(runId, evaluationId, deps);
  return look.ok ? outcome : { kind: 'failed', reason: look.reason, result: outcome.result };
}

async function runAttempt(
  { runId, evaluationId, attempt, before }: Running,
  located: Located,
  signal: AbortSignal,
  deps: WorkDeps,
): Promise<EvaluatorOutcome> {
  const { checkpoint, evaluation, spec } = located;
  const { evaluators, running, logger } = deps;
  const job = running.begin(runId, evaluationId, attempt, signal);
  const notes = notesOf({ runId, evaluationId, attempt }, deps);
  let outcome: EvaluatorOutcome;
  try {
    outcome = before.ok
      ? await evaluators.run(
          executorFor(evaluation, attempt, spec),
          evaluationRequest(runId, attempt, located, deps.callbackUrl),
          job.signal,
          notes === null ? {} : { onProgress: notes.heard },
        )
      : { kind: 'failed', reason: before.reason };
    outcome = await ofSameWeights(outcome, runId, evaluationId, deps);
  } catch (error) {
    logger.warn({ err: error, runId, evaluationId, attempt }, 'the evaluator broke');
    outcome = { kind: 'failed', reason: 'spawn-failed', detail: 'internal error' };
  } finally {
    job.end();
  }
  await notes?.end();
  const known = {
    checkpointId: checkpoint.checkpointId,
    evaluation: evaluation.evaluation,
    variant: evaluation.variant,
    evaluationId,
    attempt,
  };
  faultPoint('evaluation.ended');
  await untilRecorded(() => report(runId, known, outcome, signal, deps), signal, deps.timers);
  faultPoint('evaluation.recorded');
  await forgetIfOver(runId, evaluationId, located, deps);
  return outcome;
}

/** Files that a further attempt would go on from; what is left by a failure here is removed when it is old. */
async function forgetIfOver(
  runId: string,
  evaluationId: string,
  { spec: { executor } }: Located,
  { runs, evaluators, logger }: WorkDeps,
): Promise<void> {
  if (evaluators.forget === undefined) return;
  try {
    const loaded = await runs.load(runId);
    const now = loaded === null ? null : locate(loaded.state, evaluationId, loaded.policy);
    if (now !== null && isPending(now.evaluation)) return;
    await evaluators.forget(executor, evaluationId);
  } catch (error) {
    logger.warn({ err: error, runId, evaluationId }, 'files of an evaluation that is over were not removed');
  }
}

/**
 * The result is nowhere but here: thrown away it would cost the evaluation its whole timeout, for nobody else may
 * call the attempt lost while this instance lives. So it waits for the ledger, in its slot.
 */
async function untilRecorded(
  record: () => Promise<void>,
  signal: AbortSignal,
  timers?: Timers,
): Promise<void> {
  for (let pauseMs = RECORD_AGAIN_MS; ; pauseMs = Math.min(pauseMs * 2, RECORD_AGAIN_MAX_MS)) {
    try {
      return await record();
    } catch (error) {
      const passing = error instanceof InterlockError && error.retryable;
      if (!passing || signal.aborted) throw error;
      await pause(pauseMs, signal, timers);
    }
  }
}

async function report(
  runId: string,
  known: Omit<ReportedResult, 'result' | 'resultDigest' | 'by'>,
  outcome: EvaluatorOutcome,
  signal: AbortSignal,
  { runs, ledger, instance }: WorkDeps,
): Promise<void> {
  const { evaluationId, attempt } = known;
  const options = { actor: ACTOR };
  switch (outcome.kind) {
    case 'reported': {
      const { result, launch } = outcome;
      const recorded = await runs.execute(
        runId,
        recordResult(ledger, { ...known, result, launch, resultDigest: resultDigest(result), by: ACTOR }),
        options,
      );
      if (recorded.outcome !== 'rejected') return;
      // Not the shape of a result: the numbers in it may still trip.
      const reason = 'unreadable-result';
      const detail = recorded.rejection.path ?? null;
      await runs.execute(
        runId,
        { type: 'FailAttempt', evaluationId, attempt, reason, detail, result, launch },
        options,
      );
      return;
    }
    case 'dispatched':
      await runs.execute(runId, { type: 'NoteDispatched', evaluationId, attempt }, options);
      return;
    case 'failed': {
      const { reason, detail = null, result, launch } = outcome;
      if (reason === 'cancelled' && signal.aborted) {
        const handBack = {
          type: 'ReturnAttempt',
          evaluationId,
          attempt,
          instance,
          reason: 'shutdown',
        } as const;
        await runs.execute(runId, handBack, options);
        return;
      }
      await runs.execute(
        runId,
        { type: 'FailAttempt', evaluationId, attempt, reason, detail, result, launch },
        options,
      );
      return;
    }
    default:
      assertNever(outcome);
  }
}

/** A log is named by its bytes: it may hold hundreds of thousands of scores, and says nothing else when it is read again. */
const LogResult = z.object({ harnessLog: z.object({ fileDigest: z.string().regex(/^[0-9a-f]{64}$/) }) });

/** Made once: making a schema costs far more than reading a result by it. */
const AnyJson = z.json();

/** The same result has the same digest, whoever sends it and however it was spaced. */
export function resultDigest(result: unknown): string {
  const log = LogResult.safeParse(result);
  if (log.success) return sha256(`harness-log ${log.data.harnessLog.fileDigest}`);
  const json = AnyJson.safeParse(result);
  if (!json.success) return sha256(String(result));
  try {
    return digestOf(json.data);
  } catch {
    return sha256(JSON.stringify(json.data));
  }
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
