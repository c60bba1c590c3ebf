/**
 * Evaluations that wait for a label which no worker has: said in the ledger and to people, once for each checkpoint and label.
 *
 * Nothing is decided by it: at the deadline of the scorecard what never ran is inconclusive, like everything that is missing. It is
 * there so that people hear of it while there is time to start a worker.
 */
import type { Evaluation } from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { isHandedOver } from './attempts.ts';
import { type Context, type Decision, iso, isoAfter, reached } from './context.ts';
import { currentAttempt, specOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { idOf } from './ids.ts';
import type { CheckpointState, EvaluationState, RunState } from './state.ts';

export interface NoteUnstaffed {
  readonly type: 'NoteUnstaffed';
  /** What the workers that are alive have, each by itself. */
  readonly workers: readonly (readonly string[])[];
}

/** A worker that is started anew needs a moment. */
const PATIENCE_MS = 120_000;

const isMissing = (label: string, { workers }: Pick<NoteUnstaffed, 'workers'>): boolean =>
  !workers.some((labels) => labels.includes(label));

/** The labels for which an attempt waits in vain; where each is had and no worker has all of them, all of them. */
function missingFor(evaluation: EvaluationState, command: NoteUnstaffed, { policy, now }: Context): string[] {
  const { state, attempt, notBefore } = currentAttempt(evaluation);
  const spec = specOf(policy, evaluation.evaluation);
  const needed = isHandedOver(evaluation, attempt, spec) ? [] : (spec.resources ?? []);
  if (state !== 'queued' || needed.length === 0 || !reached(now, isoAfter(notBefore, PATIENCE_MS))) return [];
  if (command.workers.some((labels) => needed.every((label) => labels.includes(label)))) return [];
  const missing = needed.filter((label) => isMissing(label, command));
  return missing.length > 0 ? missing : [...needed];
}

export function noteUnstaffed(state: RunState, command: NoteUnstaffed, context: Context): Decision {
  const events: RunEvent[] = [];
  for (const checkpoint of state.checkpoints) {
    const { checkpointId, deadlineAt } = checkpoint;
    const waiting = checkpoint.evaluations.map((each) => ({
      each,
      missing: missingFor(each, command, context),
    }));
    const labels = [...new Set(waiting.flatMap(({ missing }) => missing))].sort();
    const fresh = labels.filter((label) => checkpoint.unstaffed?.includes(label) !== true);
    if (fresh.length === 0) continue;
    const names = waiting.filter(({ missing }) => missing.some((label) => fresh.includes(label)));
    const summary = `${state.runId} at ${checkpointId}: no worker with label ${fresh.join(', ')} has been seen, and ${names.map(({ each }) => each.evaluation).join(', ')} must be in by ${deadlineAt}`;
    events.push(
      {
        kind: 'EvaluationsUnstaffed',
        data: {
          checkpointId,
          evaluationIds: names.map(({ each }) => each.evaluationId),
          labels: fresh,
          at: iso(context.now),
        },
      },
      ...raiseAlert(
        state,
        context,
        {
          kind: 'notice',
          severity: 'error',
          dedupKey: idOf('alert', context.digest, state.runId, 'unstaffed', checkpointId, fresh.join('.')),
          summary,
          details: {
            checkpointId,
            labels: fresh.join(', '),
            next: 'start a worker: interlock serve --roles worker --labels ...',
          },
        },
        events.filter(({ kind }) => kind === 'AlertRaised').length,
      ),
    );
  }
  return events;
}

/** What a reader is told of an attempt that waits; null where it waits its turn. */
export function waitsInVain(
  { unstaffed = [] }: Pick<CheckpointState, 'unstaffed'>,
  evaluation: EvaluationState,
  spec: Evaluation,
): string | null {
  const { state, attempt } = currentAttempt(evaluation);
  if (unstaffed.length === 0 || state !== 'queued' || isHandedOver(evaluation, attempt, spec)) return null;
  const missing = (spec.resources ?? []).filter((label) => unstaffed.includes(label)).sort();
  if (missing.length === 0) return null;
  return `no worker with label ${missing.join(', ')} has been seen`;
}

export const unstaffedEvolvers = {
  EvaluationsUnstaffed: (state: RunState, data: RunEventData<'EvaluationsUnstaffed'>): RunState => ({
    ...state,
    checkpoints: state.checkpoints.map((checkpoint) =>
      checkpoint.checkpointId === data.checkpointId
        ? { ...checkpoint, unstaffed: [...(checkpoint.unstaffed ?? []), ...data.labels] }
        : checkpoint,
    ),
  }),
};
