/**
 * Which weights a trainer has to keep, and until when.
 *
 * Kept is what is being evaluated, what a halt or hold is about, and what a quarantined run could go back to. The instant is
 * a promise that is renewed with every answer: whoever hears nothing more keeps what it was last told until then, and
 * deletes nothing that was never named. Pure; the trainer's clients carry it out.
 */
import { durationMs } from '../duration.ts';
import type { Policy } from '../policy/schema.ts';
import { executorFor } from './attempts.ts';
import { iso } from './context.ts';
import { currentAttempt, isPending, specOf } from './evaluation.ts';
import type { CheckpointState, RunState } from './state.ts';

/** What people decide about, or could go back to: renewed for as long as it is so. */
export const RETAIN_MS = 7 * 86_400_000;

/** Checkpoint to instant, in the order of the reports; those that may be deleted are not in it. */
export function retained(state: RunState, policy: Policy, now: Date): ReadonlyMap<string, string> {
  const until = new Map<string, number>();
  const keep = (checkpointId: string, ms: number): void => {
    until.set(checkpointId, Math.max(until.get(checkpointId) ?? 0, ms));
  };
  const renewedMs = now.getTime() + RETAIN_MS;
  for (const checkpoint of state.checkpoints) {
    const { checkpointId, closed } = checkpoint;
    const awaitedMs = awaitedUntilMs(checkpoint, policy, now);
    if (awaitedMs !== null) keep(checkpointId, awaitedMs);
    const isDoubted = closed !== null && closed.verdict !== 'proceed';
    if (isDoubted || state.halt !== null) keep(checkpointId, renewedMs);
  }
  for (const checkpointId of revertPoints(state)) keep(checkpointId, renewedMs);
  return new Map([...until].map(([checkpointId, ms]) => [checkpointId, iso(new Date(ms))]));
}

/** Null where nothing about it is still to come. */
function awaitedUntilMs(
  { closed, deadlineAt, evaluations }: CheckpointState,
  policy: Policy,
  now: Date,
): number | null {
  const pending = evaluations.filter(isPending).map((evaluation) => {
    const { attempt, deadlineAt: attemptDeadline, notBefore } = currentAttempt(evaluation);
    if (attemptDeadline !== null) return Date.parse(attemptDeadline);
    const { timeout } = executorFor(evaluation, attempt, specOf(policy, evaluation.evaluation));
    return Math.max(now.getTime(), Date.parse(notBefore)) + durationMs(timeout);
  });
  if (closed !== null && pending.length === 0) return null;
  return Math.max(Date.parse(deadlineAt), ...pending);
}

function revertPoints({ lastCleared, cleared = [], halt }: RunState): string[] {
  const newest = cleared.at(-1);
  const revert = halt?.quarantine?.revert ?? null;
  return [lastCleared, newest ?? null, revert].flatMap((each) => (each === null ? [] : [each.checkpointId]));
}
