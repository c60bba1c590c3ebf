/**
 * The work of one attempt of an evaluation: look at the weights, start, run, look again, and record what came of it.
 *
 * The result is nowhere but here until the ledger has it, so recording is tried until it is there.
 */
import { z } from 'zod';
import { assertNever } from '../domain/assert-never.ts';
import { executorFor } from '../domain/run/attempts.ts';
import { isPending, type Located, locate } from '../domain/run/evaluation.ts';
import { InterlockError } from '../errors.ts';
import { type EvaluatorOutcome, WEIGHTS_UNIT } from '../evaluators/evaluator.ts';
import type { DigestListener } from '../evaluators/weights/digester.ts';
import { faultPoint } from '../fault-points.ts';
import type { WorkItem } from '../queue/work-queue.ts';
import { withCorrelation } from '../telemetry/correlation.ts';
import { recordSpan, tracingOn, withSpan } from '../telemetry/tracing.ts';
import { pause, type Timers } from '../timers.ts';
import { digestOf, sha256 } from './digest.ts';
import { evaluationRequest } from './evaluation-request.ts';
import { createProgressNotes, type ProgressNotes } from './progress-notes.ts';
import { type ReportedResult, recordResult } from './results.ts';
import { checkpointThread } from './stories.ts';
import type { WeightsLook } from './weights-guard.ts';
import type { WorkDeps } from './work.ts';

const ACTOR = 'interlock';
const RECORD_AGAIN_MS = 100;
const RECORD_AGAIN_MAX_MS = 5_000;

const EvaluateIds = z.object({ evaluationId: z.string(), attempt: z.int() });

export async function evaluate({ runId, ids }: WorkItem, signal: AbortSignal, deps: WorkDeps): Promise<void> {
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
  await forgetIfOver(runId, evaluationId, attempt, located, deps);
  return outcome;
}

/** Files that a further attempt would go on from; what is left by a failure here is removed when it is old. */
async function forgetIfOver(
  runId: string,
  evaluationId: string,
  attempt: number,
  { evaluation, spec }: Located,
  { runs, evaluators, logger }: WorkDeps,
): Promise<void> {
  if (evaluators.forget === undefined) return;
  try {
    const loaded = await runs.load(runId);
    const now = loaded === null ? null : locate(loaded.state, evaluationId, loaded.policy);
    if (now !== null && isPending(now.evaluation)) return;
    await evaluators.forget(executorFor(evaluation, attempt, spec), evaluationId);
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
