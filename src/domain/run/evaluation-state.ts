/**
 * How events move the attempts of an evaluation (evaluation.ts decides which come).
 *
 * Only here does an attempt change its state; the number of an attempt is never used again.
 */
import { currentAttempt } from './evaluation.ts';
import type { RunEventData } from './events.ts';
import type { Attempt, EvaluationState, RunState } from './state.ts';

function withEvaluation(
  state: RunState,
  evaluationId: string,
  change: (evaluation: EvaluationState) => EvaluationState,
): RunState {
  const checkpoints = state.checkpoints.map((checkpoint) =>
    checkpoint.evaluations.some((each) => each.evaluationId === evaluationId)
      ? {
          ...checkpoint,
          evaluations: checkpoint.evaluations.map((each) =>
            each.evaluationId === evaluationId ? change(each) : each,
          ),
        }
      : checkpoint,
  );
  return { ...state, checkpoints };
}

function withAttempt(
  state: RunState,
  { evaluationId, attempt: number }: { evaluationId: string; attempt: number },
  change: Partial<Attempt>,
): RunState {
  return withEvaluation(state, evaluationId, (evaluation) => ({
    ...evaluation,
    attempts: evaluation.attempts.map((each) => (each.attempt === number ? { ...each, ...change } : each)),
  }));
}

export function newAttempt(attempt: number, purpose: Attempt['purpose'], notBefore: string): Attempt {
  return {
    attempt,
    purpose,
    state: 'queued',
    notBefore,
    instance: null,
    startedAt: null,
    deadlineAt: null,
    reading: null,
    resultDigest: null,
    reason: null,
  };
}

function spentOf({
  spentMs,
  exhausted,
}: Pick<RunEventData<'EvaluationAttemptFailed'>, 'spentMs' | 'exhausted'>): Partial<Attempt> {
  return {
    ...(spentMs === undefined ? {} : { spentMs }),
    ...(exhausted === undefined ? {} : { exhausted }),
  };
}

function withNextAttempt(
  state: RunState,
  evaluationId: string,
  notBefore: string | null,
  purpose: Attempt['purpose'] = 'automatic',
): RunState {
  if (notBefore === null) return state;
  return withEvaluation(state, evaluationId, (evaluation) => ({
    ...evaluation,
    attempts: [
      ...evaluation.attempts,
      newAttempt(currentAttempt(evaluation).attempt + 1, purpose, notBefore),
    ],
  }));
}

const toldAt = (nextAt: string): NonNullable<Attempt['callOff']> => ({ calls: 0, nextAt, lastDetail: null });

/** A word that comes after it was cancelled does not take that back: it starts again with the run. */
function withFailed(state: RunState, data: RunEventData<'EvaluationAttemptFailed'>): RunState {
  return withEvaluation(state, data.evaluationId, (evaluation) => ({
    ...evaluation,
    attempts: evaluation.attempts.map((each) =>
      each.attempt === data.attempt
        ? {
            ...each,
            state: each.state === 'cancelled' ? each.state : 'failed',
            instance: null,
            reason: data.reason,
            reading: data.reading,
            ...spentOf(data),
            ...(data.callOff === undefined ? {} : { callOff: toldAt(data.at) }),
          }
        : each,
    ),
  }));
}

export const evaluationEvolvers = {
  EvaluationStarted: (state: RunState, data: RunEventData<'EvaluationStarted'>): RunState =>
    withAttempt(state, data, {
      state: 'running',
      instance: data.instance,
      startedAt: data.at,
      deadlineAt: data.deadlineAt,
      ...(data.replica === undefined ? {} : { replica: data.replica }),
    }),
  EvaluationDispatched: (state: RunState, data: RunEventData<'EvaluationDispatched'>): RunState =>
    withAttempt(state, data, { state: 'awaiting-callback', instance: null }),
  /**
   * Handed back unfinished: another attempt at once where the budget has room, under a number of its own, so that a late word of
   * this one fits.
   */
  EvaluationReturned: (state: RunState, data: RunEventData<'EvaluationReturned'>): RunState =>
    withNextAttempt(
      withAttempt(state, data, { state: 'failed', instance: null, reason: data.reason, ...spentOf(data) }),
      data.evaluationId,
      data.exhausted === undefined ? data.at : null,
      data.purpose,
    ),
  EvaluationReported: (state: RunState, data: RunEventData<'EvaluationReported'>): RunState =>
    withNextAttempt(
      withAttempt(state, data, {
        state: 'reported',
        instance: null,
        reading: data.reading,
        resultDigest: data.resultDigest,
        ...spentOf(data),
      }),
      data.evaluationId,
      data.nextAttemptAt,
    ),
  EvaluationAttemptFailed: (state: RunState, data: RunEventData<'EvaluationAttemptFailed'>): RunState =>
    withNextAttempt(withFailed(state, data), data.evaluationId, data.nextAttemptAt),
  EvaluationRequeued: (state: RunState, data: RunEventData<'EvaluationRequeued'>): RunState =>
    withEvaluation(state, data.evaluationId, (evaluation) => ({
      ...evaluation,
      attempts: [...evaluation.attempts, newAttempt(data.attempt, data.purpose, data.notBefore ?? data.at)],
    })),
  EvaluationsCancelled: (state: RunState, data: RunEventData<'EvaluationsCancelled'>): RunState =>
    data.evaluationIds.reduce(
      (before, evaluationId) =>
        withEvaluation(before, evaluationId, (evaluation) => ({
          ...evaluation,
          attempts: evaluation.attempts.map((each) =>
            each === currentAttempt(evaluation) && each.resultDigest === null
              ? {
                  ...each,
                  state: 'cancelled' as const,
                  instance: null,
                  reason: data.reason,
                  ...spentOf({ spentMs: data.spentMs?.[evaluationId] }),
                  ...(data.callOff?.includes(evaluationId) === true ? { callOff: toldAt(data.at) } : {}),
                }
              : each,
          ),
        })),
      state,
    ),
  /** The checkpoint is no longer in the state; views hold it, and a halt it causes is an event of its own. */
  ArchivedResultReported: (state: RunState, _data: RunEventData<'ArchivedResultReported'>): RunState => state,
};
