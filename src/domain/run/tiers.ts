/**
 * The two tiers at a checkpoint: which evaluations wait for its tripwires, and what comes of them.
 *
 * Deferred are the full evaluations of a due checkpoint that its tripwires may clear alone, and those of a checkpoint that was
 * not due and was sent for its tripwires alone. Released, they are queued like any other; not needed, they are shown as
 * such under the reference, never as passed. Whatever speaks against clearing releases them: a tripwire at or above the level,
 * inconclusive or late, also one that turns worse after it cleared.
 * A checkpoint with deferred evaluations clears nothing: the permit's ceiling stays until the suite, or the reference, speaks.
 */
import { compareCompute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { levelsOf } from '../levels.ts';
import type { Policy } from '../policy/schema.ts';
import {
  clearsBelow,
  clearsWithinMs,
  isTripwire,
  type TripwireClears,
  tripwireClears,
} from '../policy/tier-schema.ts';
import { tripwireJump } from '../policy/trigger-schema.ts';
import { type Context, iso, isoAfter, reached } from './context.ts';
import { currentAttempt, specOf, statusOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { overtake } from './forecast-state.ts';
import { jobsStoppedBecause } from './quarantine.ts';
import { confidenceZ, scorecardOf, scoreSpecOf } from './scorecard.ts';
import type { Evidence } from './scorecard-documents.ts';
import type { Attempt, CheckpointState, EvaluationState, RunState } from './state.ts';

export const hasTripwires = ({ evaluations }: Policy): boolean => evaluations.some(isTripwire);

const inState = ({ evaluations }: CheckpointState, state: Attempt['state']): EvaluationState[] =>
  evaluations.filter((each) => currentAttempt(each).state === state);

const idsOf = (evaluations: readonly EvaluationState[]): string[] =>
  evaluations.map(({ evaluationId }) => evaluationId);

/** Of a checkpoint that was not due: its tripwires alone were asked for, and it clears nothing. */
export const isTripwireOnly = (checkpoint: CheckpointState): boolean =>
  !checkpoint.due && inState(checkpoint, 'deferred').length > 0;

type Standing = 'awaited' | 'clear' | RunEventData<'EvaluationsReleased'>['reason'];

/** What the tripwires of a checkpoint come to, by the upper level and not by the estimate. */
export function tripwireStanding(
  checkpoint: CheckpointState,
  policy: Policy,
  clears: TripwireClears,
): Standing {
  const level = clearsBelow(clears);
  const { categories } = scorecardOf(checkpoint, policy);
  const stages = categories.flatMap((category) => Object.values(category.stages));
  const rows = stages.flatMap(({ evidence }) => evidence).filter((row) => isTripwireRow(row, policy));
  // Pooled seeds stand in their stage's level alone.
  const uppers = [...rows.map(({ upper }) => upper), ...stages.map(({ upper }) => upper)];
  if (uppers.some((upper) => upper !== null && upper >= level)) return 'tripwire-not-below';
  if (rows.some(({ status }) => status === 'inconclusive')) return 'tripwire-inconclusive';
  // A benign control has no level.
  const complete = rows.every(
    ({ status, upper, control }) => status === 'completed' && (upper !== null || control === true),
  );
  const measured = categories.every(
    ({ stages: { 'pre-mitigation': before } }) => (before?.upper ?? null) !== null,
  );
  return complete && measured ? 'clear' : 'awaited';
}

const isTripwireRow = ({ evaluation }: Pick<Evidence, 'evaluation'>, policy: Policy): boolean =>
  isTripwire(specOf(policy, evaluation));

/** Releases or clears, one checkpoint at a time. */
export function settleTiers(state: RunState, context: Context): RunEvent[] {
  const { policy, now } = context;
  if (policy.evaluations.every((spec) => !isTripwire(spec))) return [];
  if (jobsStoppedBecause(state, policy) !== null) return [];
  for (const checkpoint of state.checkpoints) {
    const event = checkpoint.due ? settled(checkpoint, policy, now) : madeDue(state, checkpoint, policy, now);
    if (event !== null) return [event];
  }
  return [];
}

function settled(checkpoint: CheckpointState, policy: Policy, now: Date): RunEvent | null {
  const deferred = inState(checkpoint, 'deferred');
  const notNeeded = inState(checkpoint, 'not-needed');
  if (deferred.length === 0 && notNeeded.length === 0) return null;
  const clears = tripwireClears(policy, checkpoint.effectiveCompute);
  const standing = clears === null ? 'tripwire-not-below' : tripwireStanding(checkpoint, policy, clears);
  if (standing === 'clear' && clears !== null) {
    return deferred.length === 0 ? null : cleared(checkpoint, deferred, policy, clears, now);
  }
  if (standing !== 'awaited' && standing !== 'clear') {
    return released(checkpoint, [...deferred, ...notNeeded], standing, now);
  }
  // What has cleared it stands while a tripwire is only asked for again.
  const late = clears !== null && reached(now, lateAt(checkpoint, clears));
  return late && deferred.length > 0 ? released(checkpoint, deferred, 'tripwire-late', now) : null;
}

const lateAt = ({ reportedAt }: CheckpointState, clears: TripwireClears): string =>
  isoAfter(reportedAt, clearsWithinMs(clears));

/** When a tick may release what waits for tripwires; null where nothing waits. */
export function tripwireLateAt(checkpoint: CheckpointState, policy: Policy): string | null {
  if (!checkpoint.due || inState(checkpoint, 'deferred').length === 0) return null;
  const clears = tripwireClears(policy, checkpoint.effectiveCompute);
  return clears === null ? null : lateAt(checkpoint, clears);
}

function cleared(
  checkpoint: CheckpointState,
  deferred: readonly EvaluationState[],
  policy: Policy,
  clears: TripwireClears,
  now: Date,
): RunEvent {
  const { belowCompute, reference } = clears;
  const uppers = scorecardOf(checkpoint, policy).categories.flatMap(({ stages }) =>
    Object.values(stages).flatMap(({ upper }) => upper ?? []),
  );
  return {
    kind: 'TripwireCleared',
    data: {
      checkpointId: checkpoint.checkpointId,
      evaluationIds: idsOf(deferred),
      upper: Math.max(...uppers),
      belowLevel: clearsBelow(clears),
      ...(belowCompute === undefined ? {} : { belowCompute }),
      reference: reference.evidence,
      at: iso(now),
    },
  };
}

function released(
  { checkpointId }: CheckpointState,
  evaluations: readonly EvaluationState[],
  reason: RunEventData<'EvaluationsReleased'>['reason'],
  now: Date,
): RunEvent {
  return {
    kind: 'EvaluationsReleased',
    data: { checkpointId, evaluationIds: idsOf(evaluations), reason, at: iso(now) },
  };
}

/** Its tripwires alone were asked for, and one of them has risen too far: the suite is due for these very weights. */
function madeDue(state: RunState, checkpoint: CheckpointState, policy: Policy, now: Date): RunEvent | null {
  const deferred = inState(checkpoint, 'deferred');
  if (deferred.length === 0) return null;
  const jump = jumpOf(state, checkpoint, policy);
  if (jump === null) return null;
  return {
    kind: 'CheckpointMadeDue',
    data: {
      checkpointId: checkpoint.checkpointId,
      reason: 'tripwire-jump',
      evaluationIds: idsOf(deferred),
      ...jump,
      deadlineAt: isoAfter(now, durationMs(policy.cadence.scorecardDeadline)),
      at: iso(now),
    },
  };
}

type Jump = Pick<RunEventData<'CheckpointMadeDue'>, 'evaluation' | 'observed' | 'threshold' | 'since'>;

/** Of one tripwire against itself at the checkpoint before. */
function jumpOf({ series }: RunState, checkpoint: CheckpointState, policy: Policy): Jump | null {
  const threshold = tripwireJump(policy.cadence);
  for (const { evaluation, variant, evaluationId } of checkpoint.evaluations) {
    const spec = specOf(policy, evaluation);
    const row = evidenceOf(checkpoint, policy).find((each) => each.evaluationId === evaluationId);
    if (!isTripwire(spec) || row?.estimate == null) continue;
    const before = series
      .find((each) => each.evaluation === evaluation && each.variant === variant)
      ?.points.findLast(
        ({ checkpointId, effectiveCompute }) =>
          checkpointId !== checkpoint.checkpointId &&
          compareCompute(effectiveCompute, checkpoint.effectiveCompute) < 0,
      );
    if (before === undefined) continue;
    const { estimate } = levelsOf(before, scoreSpecOf(spec), confidenceZ(policy, spec));
    const observed = Math.round((row.estimate - estimate) * 1e6) / 1e6;
    if (observed > threshold) {
      return { evaluation: `${evaluation}/${variant}`, observed, threshold, since: before.checkpointId };
    }
  }
  return null;
}

const evidenceOf = (checkpoint: CheckpointState, policy: Policy): Evidence[] =>
  scorecardOf(checkpoint, policy).categories.flatMap(({ stages }) =>
    Object.values(stages).flatMap(({ evidence }) => evidence),
  );

/** Nothing but its tripwires, where they may clear it alone or were all that was asked for. */
export function isDeferred(
  spec: Policy['evaluations'][number],
  { due, tripwiresOnly, effectiveCompute }: Wanted,
  policy: Policy,
): boolean {
  if (isTripwire(spec) || !hasTripwires(policy)) return false;
  return due ? tripwireClears(policy, effectiveCompute) !== null : tripwiresOnly;
}

interface Wanted {
  readonly due: boolean;
  readonly tripwiresOnly: boolean;
  readonly effectiveCompute: CheckpointState['effectiveCompute'];
}

/** Does a recorded clearing follow from the evidence before it? For replay. */
export function clearingProblem(
  state: RunState,
  data: RunEventData<'TripwireCleared'>,
  { policy }: Pick<Context, 'policy'>,
): string | null {
  const checkpoint = state.checkpoints.find(({ checkpointId }) => checkpointId === data.checkpointId);
  if (checkpoint === undefined) return 'no such checkpoint was open';
  const clears = tripwireClears(policy, checkpoint.effectiveCompute);
  if (clears === null) return 'the policy lets no tripwire clear it alone';
  const standing = tripwireStanding(checkpoint, policy, clears);
  if (standing !== 'clear') return `its tripwires do not clear it (${standing})`;
  const named = checkpoint.evaluations.filter(({ evaluationId }) =>
    data.evaluationIds.includes(evaluationId),
  );
  const all = named.every(
    (each) => !isTripwire(specOf(policy, each.evaluation)) && statusOf(each) === 'deferred',
  );
  return all && named.length === data.evaluationIds.length
    ? null
    : 'it names what did not wait for tripwires';
}

// --- state ---------------------------------------------------------------------------------------------

function withAttempts(
  state: RunState,
  { checkpointId, evaluationIds }: { checkpointId: string; evaluationIds: readonly string[] },
  change: Partial<Attempt>,
  more: Partial<CheckpointState> = {},
): RunState {
  const moved = (evaluation: EvaluationState): EvaluationState => ({
    ...evaluation,
    attempts: evaluation.attempts.map((each) =>
      each === currentAttempt(evaluation) ? { ...each, ...change } : each,
    ),
  });
  return {
    ...state,
    checkpoints: state.checkpoints.map((checkpoint) =>
      checkpoint.checkpointId === checkpointId
        ? {
            ...checkpoint,
            ...more,
            evaluations: checkpoint.evaluations.map((each) =>
              evaluationIds.includes(each.evaluationId) ? moved(each) : each,
            ),
          }
        : checkpoint,
    ),
  };
}

export const tierEvolvers = {
  EvaluationsReleased: (state: RunState, data: RunEventData<'EvaluationsReleased'>): RunState =>
    withAttempts(state, data, { state: 'queued', notBefore: data.at, reason: null }),
  TripwireCleared: (state: RunState, data: RunEventData<'TripwireCleared'>): RunState =>
    withAttempts(state, data, {
      state: 'not-needed',
      reason: `not needed: tripwire cleared under reference ${data.reference}`,
    }),
  CheckpointMadeDue: (state: RunState, data: RunEventData<'CheckpointMadeDue'>): RunState => {
    const { deadlineAt, at } = data;
    const next = withAttempts(state, data, { state: 'queued', notBefore: at }, { due: true, deadlineAt });
    const made = next.checkpoints.find(({ checkpointId }) => checkpointId === data.checkpointId);
    return made === undefined ? next : overtake(next, made);
  },
};
