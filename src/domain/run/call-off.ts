/**
 * Calling evaluations off: telling whoever carries one out elsewhere that it is cancelled, until they take it.
 *
 * What runs here ends with its processes. A service that was asked to evaluate, and containers or machines that a program had
 * made for it, know nothing of that; where the policy says how they are told (`executor.callOff`), they are told.
 * Fails toward stopping: it is tried for as long as the checkpoint is in the state, and that keeps it there.
 */
import { mustBeCalledOff } from '../executor.ts';
import type { Policy } from '../policy/schema.ts';
import { executorFor } from './attempts.ts';
import { type Context, type Decision, iso, isoAfter } from './context.ts';
import type { RunEventData } from './events.ts';
import type { EvaluationState, RunState } from './state.ts';

export interface RecordCallOff {
  readonly type: 'RecordCallOff';
  readonly evaluationId: string;
  readonly attempt: number;
  /** The how-manieth try. */
  readonly call: number;
  readonly outcome: 'accepted' | 'retry' | 'rejected';
  readonly detail: string;
}

const RETRY_MS = [1_000, 2_000, 5_000, 15_000, 30_000, 60_000, 300_000] as const;
const SLOW_MS = 300_000;

/** Of those that are to be cancelled, the ones that somebody else has to hear of: begun, and with a way to say so. */
export function toCallOff(evaluations: readonly EvaluationState[], policy: Policy): string[] {
  return evaluations
    .filter((evaluation) => {
      const current = evaluation.attempts.at(-1);
      const spec = policy.evaluations.find(({ id }) => id === evaluation.evaluation);
      if (current === undefined || spec === undefined) return false;
      const isTold = mustBeCalledOff(executorFor(evaluation, current.attempt, spec));
      return isTold && (current.state === 'running' || current.state === 'awaiting-callback');
    })
    .map(({ evaluationId }) => evaluationId);
}

/** Of one that is ended although nobody cancelled it. */
export function calledOff(evaluation: EvaluationState, policy: Policy): { callOff?: true } {
  return toCallOff([evaluation], policy).length === 0 ? {} : { callOff: true };
}

export function recordCallOff(state: RunState, command: RecordCallOff, context: Context): Decision {
  const { evaluationId, attempt, call, outcome, detail } = command;
  const standing = find(state, evaluationId)?.attempts.find((each) => each.attempt === attempt)?.callOff;
  if (standing === undefined || standing.nextAt === null || call !== standing.calls + 1) return [];
  const waitMs =
    outcome === 'rejected' ? SLOW_MS : (RETRY_MS[Math.min(call, RETRY_MS.length) - 1] ?? SLOW_MS);
  const nextAt = outcome === 'accepted' ? null : isoAfter(context.now, waitMs);
  return [
    {
      kind: 'EvaluationCalledOff',
      data: { evaluationId, attempt, call, outcome, detail, nextAt, at: iso(context.now) },
    },
  ];
}

const find = ({ checkpoints }: RunState, evaluationId: string): EvaluationState | undefined =>
  checkpoints.flatMap(({ evaluations }) => evaluations).find((each) => each.evaluationId === evaluationId);

/** Somebody is still to be told: the checkpoint stays until then. */
export function isToCallOff({ attempts }: EvaluationState): boolean {
  return attempts.some(({ callOff }) => callOff !== undefined && callOff.nextAt !== null);
}

export const callOffEvolvers = {
  EvaluationCalledOff: (state: RunState, data: RunEventData<'EvaluationCalledOff'>): RunState => {
    const { evaluationId, attempt, call, detail, nextAt } = data;
    const change = (evaluation: EvaluationState): EvaluationState => ({
      ...evaluation,
      attempts: evaluation.attempts.map((each) =>
        each.attempt === attempt ? { ...each, callOff: { calls: call, nextAt, lastDetail: detail } } : each,
      ),
    });
    return {
      ...state,
      checkpoints: state.checkpoints.map((checkpoint) => ({
        ...checkpoint,
        evaluations: checkpoint.evaluations.map((each) =>
          each.evaluationId === evaluationId ? change(each) : each,
        ),
      })),
    };
  },
};
