/**
 * One evaluation of one checkpoint: its attempts, and what came of them.
 *
 * queued -> running -> (awaiting-callback) -> reported | failed | cancelled. The attempt's number is the
 * fencing token: only one worker starts it, and a result counts once per attempt. All conclusive attempts
 * count and the worst stands; a top-up attempt draws fresh samples and is pooled with the first.
 */

import { durationMs } from '../duration.ts';
import type { LaunchFacts } from '../launch-facts.ts';
import type { Evaluation, Policy } from '../policy/schema.ts';
import {
  budgetUsedUp,
  executorFor,
  nextAttemptWaitMs,
  replicaOf,
  spends,
  wallTimeLeftMs,
} from './attempts.ts';
import { calledOff } from './call-off.ts';
import { type Context, type Decision, iso, isoAfter, reject } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { jobsStoppedBecause } from './quarantine.ts';
import { readingOf, type Situation, salvagedReading, takeResult } from './reading.ts';
import type { StoredReading } from './reading-documents.ts';
import type { Attempt, CheckpointState, EvaluationState, RunState } from './state.ts';
import { unscorableBecause, WEIGHTS_CHANGED } from './weights.ts';

/** Beyond the executor's own timeout, before an attempt without any word counts as failed. */
const ATTEMPT_GRACE_MS = 10_000;

export interface StartEvaluation {
  readonly type: 'StartEvaluation';
  readonly evaluationId: string;
  readonly attempt: number;
  readonly instance: string;
}
export interface NoteDispatched {
  readonly type: 'NoteDispatched';
  readonly evaluationId: string;
  readonly attempt: number;
}
export interface ReturnAttempt {
  readonly type: 'ReturnAttempt';
  readonly evaluationId: string;
  readonly attempt: number;
  readonly instance: string;
  readonly reason: 'shutdown' | 'instance-lost';
}
/** `result` is untrusted: what the evaluator wrote, as parsed JSON, or `{harnessLog}` as a reader translated it. */
export interface RecordResult {
  readonly type: 'RecordResult';
  readonly evaluationId: string;
  readonly attempt: number;
  readonly result: unknown;
  readonly resultDigest: string;
  /** Where Interlock started the harness itself. */
  readonly launch?: LaunchFacts | undefined;
  /** Why it cannot be shown to be of the checkpoint's weights: it settles nothing, and may trip. */
  readonly doubt?: string | undefined;
  readonly by: string;
}
export interface FailAttempt {
  readonly type: 'FailAttempt';
  readonly evaluationId: string;
  readonly attempt: number;
  readonly reason: string;
  readonly detail: string | null;
  /** A result found although the attempt failed: never a pass, yet a score at a threshold trips. */
  readonly result: unknown;
  readonly launch?: LaunchFacts | undefined;
}
export interface RetryEvaluation {
  readonly type: 'RetryEvaluation';
  readonly evaluationId: string;
  readonly by: string;
}

export interface Located {
  readonly checkpoint: CheckpointState;
  readonly evaluation: EvaluationState;
  readonly spec: Evaluation;
}

export function specOf(policy: Policy, id: string): Evaluation {
  const spec = policy.evaluations.find((evaluation) => evaluation.id === id);
  if (spec === undefined) throw new RangeError(`the pinned policy has no evaluation ${id}`);
  return spec;
}

export function locate(state: RunState, evaluationId: string, policy: Policy): Located | null {
  for (const checkpoint of state.checkpoints) {
    const evaluation = checkpoint.evaluations.find((each) => each.evaluationId === evaluationId);
    if (evaluation !== undefined) {
      return { checkpoint, evaluation, spec: specOf(policy, evaluation.evaluation) };
    }
  }
  return null;
}

export function currentAttempt({ attempts }: EvaluationState): Attempt {
  const current = attempts.at(-1);
  if (current === undefined) throw new RangeError('an evaluation has at least one attempt');
  return current;
}

export type EvaluationStatus =
  | 'queued'
  | 'running'
  | 'awaiting-callback'
  | 'completed'
  | 'inconclusive'
  | 'cancelled'
  /** Waits for what the tripwires of its checkpoint come to. */
  | 'deferred'
  /** The tripwires cleared the checkpoint: never as good as passed, and no gap either. */
  | 'not-needed';

/** `completed` needs one conclusive reading; without one, an attempt still to come keeps it open. */
export function statusOf(evaluation: EvaluationState): EvaluationStatus {
  const { state } = currentAttempt(evaluation);
  if (evaluation.attempts.some(({ reading }) => reading?.conclusive === true)) return 'completed';
  if (state === 'queued' || state === 'running' || state === 'awaiting-callback') return state;
  if (state === 'deferred' || state === 'not-needed' || state === 'cancelled') return state;
  return 'inconclusive';
}

export function isConcluded(evaluation: EvaluationState): boolean {
  const status = statusOf(evaluation);
  return (
    status === 'completed' || status === 'inconclusive' || status === 'cancelled' || status === 'not-needed'
  );
}

/** An attempt is still to report, be it a first, a retry or a top-up. */
export function isPending(evaluation: EvaluationState): boolean {
  const { state } = currentAttempt(evaluation);
  return state === 'queued' || state === 'running' || state === 'awaiting-callback';
}

function attemptOf(located: Located | null, attempt: number): Attempt | null {
  return located?.evaluation.attempts.find((each) => each.attempt === attempt) ?? null;
}

export function startEvaluation(state: RunState, command: StartEvaluation, context: Context): Decision {
  const located = locate(state, command.evaluationId, context.policy);
  const attempt = attemptOf(located, command.attempt);
  if (located === null || attempt === null) return reject('not-found', 'no such attempt');
  if (attempt.state !== 'queued' || attempt !== currentAttempt(located.evaluation)) {
    return reject('stale', `attempt ${command.attempt} is ${attempt.state}`);
  }
  const unscorable = unscorableBecause(located.checkpoint);
  if (unscorable !== null) return reject('stale', unscorable);
  const { evaluation, spec } = located;
  const replica = replicaOf(evaluation, command.attempt, spec);
  const timeoutMs = durationMs(executorFor(evaluation, command.attempt, spec).timeout) + ATTEMPT_GRACE_MS;
  const deadlineMs = Math.min(timeoutMs, wallTimeLeftMs(evaluation, spec) ?? timeoutMs);
  return [
    {
      kind: 'EvaluationStarted',
      data: {
        evaluationId: command.evaluationId,
        attempt: command.attempt,
        instance: command.instance,
        deadlineAt: isoAfter(context.now, deadlineMs),
        ...(replica === 0 ? {} : { replica }),
        at: iso(context.now),
      },
    },
  ];
}

export function noteDispatched(state: RunState, command: NoteDispatched, context: Context): Decision {
  const attempt = attemptOf(locate(state, command.evaluationId, context.policy), command.attempt);
  if (attempt?.state !== 'running') return [];
  const { evaluationId, attempt: number } = command;
  return [{ kind: 'EvaluationDispatched', data: { evaluationId, attempt: number, at: iso(context.now) } }];
}

export function returnAttempt(state: RunState, command: ReturnAttempt, context: Context): Decision {
  const located = locate(state, command.evaluationId, context.policy);
  const attempt = attemptOf(located, command.attempt);
  if (located === null || attempt?.state !== 'running' || attempt.instance !== command.instance) return [];
  const { evaluationId, attempt: number, reason } = command;
  const used = uses(located, attempt, 0, context);
  const { purpose } = attempt;
  const asked = purpose === 'first' || purpose === 'automatic' ? {} : { purpose };
  return [
    {
      kind: 'EvaluationReturned',
      data: { evaluationId, attempt: number, reason, ...asked, ...used, at: iso(context.now) },
    },
  ];
}

export function recordResult(state: RunState, command: RecordResult, context: Context): Decision {
  const located = locate(state, command.evaluationId, context.policy);
  const attempt = attemptOf(located, command.attempt);
  if (located === null || attempt === null) {
    return reject(
      'not-found',
      `evaluation ${command.evaluationId} has no attempt ${command.attempt}`,
      'attempt',
    );
  }
  const executor = executorFor(located.evaluation, command.attempt, located.spec);
  if (executor.kind === 'outside' && command.by !== executor.party) {
    return reject('forbidden', `${executor.party} alone reports ${located.spec.id}`, 'evaluationId');
  }
  if (attempt.resultDigest !== null) {
    if (attempt.resultDigest === command.resultDigest) return [];
    return reject('conflict', `attempt ${command.attempt} has already reported another result`, 'attempt');
  }
  const parsed = takeResult(command.result, located.spec, context.digest);
  if (!parsed.ok) {
    const [{ path, message }] = parsed.problems;
    return reject('invalid', message, path);
  }
  const situation = situationOf(state, located, attempt, command.launch, context);
  const read = settled(readingOf(parsed.result, situation), located.checkpoint);
  const { doubt } = command;
  const reading =
    doubt === undefined ? read : { ...read, conclusive: false, reasons: [doubt, ...read.reasons] };
  const current = attempt === currentAttempt(located.evaluation);
  return [
    {
      kind: 'EvaluationReported',
      data: {
        evaluationId: command.evaluationId,
        attempt: command.attempt,
        reading,
        resultDigest: command.resultDigest,
        model: null,
        transcriptUri: parsed.result.transcriptUri ?? null,
        late: !current || located.checkpoint.closed !== null,
        ...followed(located, attempt, current && !reading.conclusive, reading.n ?? 0, context),
        by: command.by,
        at: iso(context.now),
      },
    },
  ];
}

export function failAttempt(state: RunState, command: FailAttempt, context: Context): Decision {
  const located = locate(state, command.evaluationId, context.policy);
  const attempt = attemptOf(located, command.attempt);
  if (located === null || attempt === null) return [];
  const situation = situationOf(state, located, attempt, command.launch, context);
  const reading = salvagedReading(command.result, command.reason, situation, context.digest);
  const failed = attemptFailed(located, attempt, command.reason, command.detail, reading, context);
  const { state: stood } = attempt;
  if (stood === 'running' || stood === 'awaiting-callback') return [failed];
  // Not begun, given up, handed back or cancelled: its word comes of itself, settles nothing, and may still trip.
  if (stood === 'reported' || attempt.reading !== null || reading?.score == null) return [];
  const reason = attempt.reason ?? command.reason;
  const next = stood === 'failed' ? { nextAttemptAt: null } : {};
  return [{ ...failed, data: { ...failed.data, reason, ...next } }];
}

/** An attempt past its deadline: the worker is gone, or the callback never came. */
export function expireAttempts(state: RunState, context: Context): RunEvent[] {
  for (const checkpoint of state.checkpoints) {
    for (const evaluation of checkpoint.evaluations) {
      const attempt = currentAttempt(evaluation);
      const waiting = attempt.state === 'running' || attempt.state === 'awaiting-callback';
      if (waiting && attempt.deadlineAt !== null && context.now.getTime() >= Date.parse(attempt.deadlineAt)) {
        const located = { checkpoint, evaluation, spec: specOf(context.policy, evaluation.evaluation) };
        const spent = { ...attempt, ...spends(attempt, located.spec, context.now) };
        const attempts = evaluation.attempts.map((each) => (each === attempt ? spent : each));
        const isSpent = wallTimeLeftMs({ ...evaluation, attempts }, located.spec) === 0;
        if (!isSpent) return [attemptFailed(located, attempt, 'timed-out', null, null, context)];
        const { kind, data } = attemptFailed(located, attempt, 'budget-exhausted', null, null, context);
        // One that is late may still bring its result; what has used up its budget is to use no more.
        return [{ kind, data: { ...data, ...calledOff(evaluation, context.policy) } }];
      }
    }
  }
  return [];
}

export function retryEvaluation(state: RunState, command: RetryEvaluation, context: Context): Decision {
  const located = locate(state, command.evaluationId, context.policy);
  if (located === null) return reject('not-found', `no open evaluation ${command.evaluationId}`);
  const stopped = jobsStoppedBecause(state, context.policy);
  if (stopped !== null) return reject('conflict', stopped);
  const unscorable = unscorableBecause(located.checkpoint);
  if (unscorable !== null) return reject('conflict', unscorable);
  // Also where a conclusive result is in: one repeated attempt at a time.
  const { state: attempt } = currentAttempt(located.evaluation);
  if (attempt === 'deferred') return reject('conflict', 'it waits for the tripwires of its checkpoint');
  if (isPending(located.evaluation)) {
    return reject('conflict', `attempt ${currentAttempt(located.evaluation).attempt} is still to report`);
  }
  const used = budgetUsedUp(located.evaluation, located.spec);
  if (used !== null) return reject('conflict', `the budget of this evaluation is used up (${used})`);
  return [requeued(located.evaluation, 'retry', command.by, context)];
}

export function requeued(
  evaluation: EvaluationState,
  purpose: 'retry' | 'top-up' | 'resume',
  by: string,
  context: Context,
  waitMs = 0,
): RunEvent {
  return {
    kind: 'EvaluationRequeued',
    data: {
      evaluationId: evaluation.evaluationId,
      attempt: currentAttempt(evaluation).attempt + 1,
      purpose,
      by,
      ...(waitMs === 0 ? {} : { notBefore: isoAfter(context.now, waitMs) }),
      at: iso(context.now),
    },
  };
}

function situationOf(
  state: RunState,
  { checkpoint, evaluation, spec }: Located,
  attempt: Attempt,
  launch: LaunchFacts | undefined,
  { policy }: Context,
): Situation {
  const { checkpointId } = checkpoint;
  const { evaluationId, variant } = evaluation;
  return { state, policy, spec, checkpointId, checkpoint, evaluationId, variant, attempt, launch };
}

function attemptFailed(
  located: Located,
  attempt: Attempt,
  reason: string,
  detail: string | null,
  reading: StoredReading | null,
  context: Context,
): Extract<RunEvent, { kind: 'EvaluationAttemptFailed' }> {
  return {
    kind: 'EvaluationAttemptFailed',
    data: {
      evaluationId: located.evaluation.evaluationId,
      attempt: attempt.attempt,
      reason,
      detail,
      reading,
      ...followed(located, attempt, attempt === currentAttempt(located.evaluation), reading?.n ?? 0, context),
      at: iso(context.now),
    },
  };
}

type Used = Pick<RunEventData<'EvaluationAttemptFailed'>, 'spentMs' | 'exhausted'>;

/** What an attempt that ends now used of a budget, and what of it is used up with it. */
function uses({ evaluation, spec }: Located, attempt: Attempt, samples: number, { now }: Context): Used {
  const spent = spends(attempt, spec, now);
  const attempts = evaluation.attempts.map((each) => (each === attempt ? { ...each, ...spent } : each));
  const exhausted = budgetUsedUp({ ...evaluation, attempts }, spec, samples);
  return { ...spent, ...(exhausted === null ? {} : { exhausted }) };
}

/**
 * Beside that, when the next automatic attempt is due. A top-up is followed by none: another one is asked for, or people are
 * woken. Nor is what was cancelled: it starts again with the run.
 */
function followed(
  located: Located,
  attempt: Attempt,
  isWanted: boolean,
  samples: number,
  context: Context,
): Used & Pick<RunEventData<'EvaluationAttemptFailed'>, 'nextAttemptAt'> {
  const { checkpoint, evaluation, spec } = located;
  const used = uses(located, attempt, samples, context);
  const isFollowed = isWanted && attempt.purpose !== 'top-up' && attempt.state !== 'cancelled';
  const wanted = isFollowed && used.exhausted === undefined && unscorableBecause(checkpoint) === null;
  const waitMs = wanted ? nextAttemptWaitMs(evaluation, spec) : null;
  return { nextAttemptAt: waitMs === null ? null : isoAfter(context.now, waitMs), ...used };
}

/** Of weights that were exchanged it says nothing of the checkpoint: never a pass, and a score at a threshold trips. */
function settled(reading: StoredReading, checkpoint: CheckpointState): StoredReading {
  if (unscorableBecause(checkpoint) === null) return reading;
  return { ...reading, conclusive: false, reasons: [WEIGHTS_CHANGED, ...reading.reasons] };
}
