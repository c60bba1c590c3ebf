/**
 * A changed protocol, side by side with the one before: an evaluation that `succeeds` another.
 *
 * From the first evaluated checkpoint at its `from` on both are run; the new one also on the checkpoint last cleared, so that
 * there is a point on either side of the change. The graver counts, as of any two evaluations. The old one ends once two further
 * checkpoints have conclusive results of both, in every variant: one that fails to report keeps the other in place. It never
 * comes back, and the new one never pauses, whatever compute a later checkpoint has.
 * What is asked of the checkpoint last cleared can only add: it is not required there, and its failure takes nothing back.
 */
import { compareCompute } from '../compute.ts';
import { type Evaluation, type Policy, variantsOf } from '../policy/schema.ts';
import { type Context, iso } from './context.ts';
import { statusOf } from './evaluation.ts';
import { newAttempt } from './evaluation-state.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { idOf } from './ids.ts';
import type { CheckpointState, RunState } from './state.ts';

/** Checkpoints beyond the one last cleared on which both are run. */
export const SIDE_BY_SIDE = 2;

type Asked = RunEventData<'CheckpointReported'>['evaluations'];
type Reported = Pick<CheckpointState, 'checkpointId' | 'effectiveCompute'>;
type Change = Evaluation & { readonly succeeds: NonNullable<Evaluation['succeeds']> };

const changesOf = ({ evaluations }: Policy): Change[] =>
  evaluations.flatMap((spec) => (spec.succeeds === undefined ? [] : [{ ...spec, succeeds: spec.succeeds }]));

/** What is run on a checkpoint: all of the policy but what has not begun yet, and what has ended. */
export function evaluationsWanted(
  state: Pick<RunState, 'successions'>,
  { effectiveCompute }: Pick<Reported, 'effectiveCompute'>,
  policy: Policy,
): Evaluation[] {
  const { successions = [] } = state;
  return policy.evaluations.filter(({ id, succeeds }) => {
    if (successions.some((each) => each.succeeds === id && each.ended)) return false;
    if (succeeds === undefined || successions.some((each) => each.evaluation === id)) return true;
    return succeeds.from === undefined || compareCompute(effectiveCompute, succeeds.from) >= 0;
  });
}

/** One for each variant. */
export function askedOf(
  spec: Evaluation,
  runId: string,
  checkpointId: string,
  { digest }: Pick<Context, 'digest'>,
): Asked {
  return variantsOf(spec).map(({ id: variant }) => ({
    evaluationId: idOf('ev', digest, runId, checkpointId, spec.id, variant),
    evaluation: spec.id,
    variant,
  }));
}

/** With the report of the first checkpoint that both are run on. */
export function beginSuccessions(state: RunState, reported: Reported, context: Context): RunEvent[] {
  const { policy, now } = context;
  const { successions = [], lastCleared, runId } = state;
  const wanted = evaluationsWanted(state, reported, policy);
  return changesOf(policy)
    .filter(({ id }) => wanted.some((spec) => spec.id === id))
    .filter(({ id }) => !successions.some(({ evaluation }) => evaluation === id))
    .map((change) => {
      const before = state.checkpoints.find(({ checkpointId }) => checkpointId === lastCleared?.checkpointId);
      // Once it has left the state nothing about it is kept, and its weights need not be there.
      const isThere = before !== undefined && before.checkpointId !== reported.checkpointId;
      return {
        kind: 'SuccessionBegun' as const,
        data: {
          evaluation: change.id,
          succeeds: change.succeeds.evaluation,
          checkpointId: reported.checkpointId,
          lastCleared: isThere
            ? {
                checkpointId: before.checkpointId,
                evaluations: askedOf(change, runId, before.checkpointId, context),
              }
            : null,
          at: iso(now),
        },
      };
    });
}

/** Once enough checkpoints are closed with conclusive results of both. */
export function endSuccessions(
  state: RunState,
  { policy, now }: Pick<Context, 'policy' | 'now'>,
): RunEvent[] {
  for (const { evaluation, succeeds, ended, lastCleared } of state.successions ?? []) {
    if (ended) continue;
    const both = state.checkpoints.filter(
      (checkpoint) =>
        checkpoint.closed !== null &&
        checkpoint.checkpointId !== lastCleared &&
        isComplete(checkpoint, evaluation, policy) &&
        isComplete(checkpoint, succeeds, policy),
    );
    if (both.length < SIDE_BY_SIDE) continue;
    const checkpoints = both.map(({ checkpointId }) => checkpointId);
    return [{ kind: 'SuccessionEnded', data: { evaluation, succeeds, checkpoints, at: iso(now) } }];
  }
  return [];
}

function isComplete({ evaluations }: CheckpointState, id: string, policy: Policy): boolean {
  const spec = policy.evaluations.find((each) => each.id === id);
  if (spec === undefined) return false;
  return variantsOf(spec).every((variant) =>
    evaluations.some(
      (each) => each.evaluation === id && each.variant === variant.id && statusOf(each) === 'completed',
    ),
  );
}

/** Of the two, one was run: the other has not begun yet, or has ended. */
export function isReplaced(
  spec: Evaluation,
  run: readonly { readonly evaluation: string }[],
  policy: Policy,
): boolean {
  const other =
    spec.succeeds?.evaluation ??
    policy.evaluations.find(({ succeeds }) => succeeds?.evaluation === spec.id)?.id;
  return other !== undefined && run.some(({ evaluation }) => evaluation === other);
}

export const successionEvolvers = {
  SuccessionBegun: (state: RunState, data: RunEventData<'SuccessionBegun'>): RunState => {
    const { evaluation, succeeds, lastCleared, at } = data;
    const begun = { evaluation, succeeds, lastCleared: lastCleared?.checkpointId ?? null, ended: false };
    return {
      ...state,
      successions: [...(state.successions ?? []), begun],
      checkpoints: state.checkpoints.map((checkpoint) =>
        checkpoint.checkpointId === lastCleared?.checkpointId
          ? {
              ...checkpoint,
              evaluations: [
                ...checkpoint.evaluations,
                ...lastCleared.evaluations.map((each) => ({
                  ...each,
                  attempts: [newAttempt(1, 'first', at)],
                  beside: true as const,
                })),
              ],
            }
          : checkpoint,
      ),
    };
  },
  SuccessionEnded: (state: RunState, { evaluation }: RunEventData<'SuccessionEnded'>): RunState => ({
    ...state,
    successions: (state.successions ?? []).map((each) =>
      each.evaluation === evaluation ? { ...each, ended: true } : each,
    ),
  }),
};
