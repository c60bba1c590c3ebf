/**
 * The weights of a checkpoint: which bytes were evaluated, and that they stayed the same ones.
 *
 * A digest is stated by the sender, or worked out by Interlock where the weights lie in a local path, or both; the first
 * that is known is the one that counts, for good. Weights that are found to be others are no longer those of the
 * checkpoint: what is still to report fails, nothing further is asked of them, a result that comes all the same settles
 * nothing, and a finding holds the run until people have looked. Scores that were in before stay: they may still trip.
 * Not here: reading files (src/evaluators/weights), or when they are looked at (src/service/weights-guard.ts).
 */
import type { Consequence } from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { calledOff } from './call-off.ts';
import { type Context, type Decision, iso } from './context.ts';
import { currentAttempt, isPending, statusOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { idOf } from './ids.ts';
import type { CheckpointState, EvaluationState, RunState } from './state.ts';

export const WEIGHTS_CHANGED = 'weights-changed';

/** What Interlock read where the weights lie. */
export interface NoteWeights {
  readonly type: 'NoteWeights';
  readonly checkpointId: string;
  /** `sha256:` and hexadecimal digits, as docs/clients.md defines it. */
  readonly digest: string;
  readonly files: number;
  readonly bytes: number;
  /** Changes with size, times and place of any of its files: while it is the same, nothing has to be read again. */
  readonly fingerprint: string;
}

export function noteWeights(state: RunState, command: NoteWeights, context: Context): Decision {
  const checkpoint = state.checkpoints.find(({ checkpointId }) => checkpointId === command.checkpointId);
  // Nothing more is to be scored of it, or it is known already that nothing can be.
  if (checkpoint === undefined || checkpoint.weights?.changed !== undefined) return [];
  const { type: _, ...found } = command;
  const at = iso(context.now);
  const expected = checkpoint.weights?.digest ?? checkpoint.weightsDigest ?? null;
  if (expected !== null && expected !== command.digest) {
    return changed(state, checkpoint, expected, command.digest, context);
  }
  const known = checkpoint.weights;
  if (known !== undefined && known.fingerprint === command.fingerprint) return [];
  return [{ kind: 'WeightsDigested', data: { ...found, at } }];
}

function changed(
  state: RunState,
  { checkpointId, evaluations }: CheckpointState,
  expected: string,
  found: string,
  context: Context,
): RunEvent[] {
  const at = iso(context.now);
  return [
    { kind: 'WeightsChanged', data: { checkpointId, expected, found, at } },
    ...evaluations.filter(isAwaited).map((evaluation): RunEvent => {
      const { evaluationId } = evaluation;
      const { attempt } = currentAttempt(evaluation);
      const failed = { reason: WEIGHTS_CHANGED, detail: null, reading: null, nextAttemptAt: null };
      const told = calledOff(evaluation, context.policy);
      return { kind: 'EvaluationAttemptFailed', data: { evaluationId, attempt, ...failed, ...told, at } };
    }),
    ...raiseAlert(state, context, {
      kind: 'notice',
      severity: 'critical',
      dedupKey: idOf('alert', context.digest, state.runId, 'weights', checkpointId),
      summary: `${state.runId}: ${changedExplanation(checkpointId, expected, found)}`,
      details: { checkpointId, expected, found },
    }),
  ];
}

/** Also what waits for tripwires: of these weights it would never begin. */
const isAwaited = (evaluation: EvaluationState): boolean =>
  isPending(evaluation) || statusOf(evaluation) === 'deferred';

function changedExplanation(checkpointId: string, expected: string, found: string): string {
  return `the weights of ${checkpointId} are not those that it was reported with: ${found} lies where ${expected} should; it cannot be scored any more`;
}

/** Built in; a policy may let `weights` do more than hold. */
export function weightsFindings(
  { checkpointId, weights }: CheckpointState,
  then: readonly Consequence[],
): Finding[] {
  if (weights?.changed === undefined) return [];
  const { expected, found } = weights.changed;
  return [
    {
      rule: 'weights',
      kind: 'weights',
      category: null,
      stage: null,
      evaluation: null,
      checkpointId,
      observed: found,
      threshold: expected,
      basis: null,
      then: [...then],
      explanation: changedExplanation(checkpointId, expected, found),
      waived: false,
    },
  ];
}

/** Why nothing more may be asked of a checkpoint's weights; null where nothing speaks against it. */
export function unscorableBecause({
  checkpointId,
  weights,
}: Pick<CheckpointState, 'checkpointId' | 'weights'>): string | null {
  return weights?.changed === undefined
    ? null
    : `the weights of ${checkpointId} changed after it was reported; report them as a checkpoint of their own`;
}

function withWeights(
  state: RunState,
  checkpointId: string,
  change: (checkpoint: CheckpointState) => CheckpointState['weights'],
): RunState {
  return {
    ...state,
    checkpoints: state.checkpoints.map((each) => {
      if (each.checkpointId !== checkpointId) return each;
      const weights = change(each);
      return weights === undefined ? each : { ...each, weights };
    }),
  };
}

export const weightsEvolvers = {
  WeightsDigested: (
    state: RunState,
    { checkpointId, at, ...weights }: RunEventData<'WeightsDigested'>,
  ): RunState => withWeights(state, checkpointId, () => ({ ...weights, digestedAt: at })),
  WeightsChanged: (
    state: RunState,
    { checkpointId, expected, found, at }: RunEventData<'WeightsChanged'>,
  ): RunState =>
    withWeights(state, checkpointId, ({ weights }) => ({
      ...(weights ?? { digest: expected, files: null, bytes: null, fingerprint: null, digestedAt: null }),
      changed: { expected, found, at },
    })),
};
