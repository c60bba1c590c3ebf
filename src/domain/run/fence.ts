/**
 * Fences: a halted run that shows life is halted again, from the first step on, and people are paged.
 *
 * Life after a stop is: compute that grows (halt.ts), a process that is new to the run (instances.ts), a target that was seen
 * stopped and runs again, and a further checkpoint. Checkpoints of before the stop may arrive late, and the first that lies
 * beyond all that was known of the run is what the trainer saved while it stopped; a second one was trained after it.
 */
import { type Compute, compareCompute, maxCompute } from '../compute.ts';
import { contradicted, reopened } from './confirmation.ts';
import type { Context, Decision } from './context.ts';
import { isOverDrill } from './drill-state.ts';
import type { RunEvent } from './events.ts';
import type { Halt, RunState } from './state.ts';

export interface RecordLife {
  readonly type: 'RecordLife';
  readonly haltId: string;
  readonly targetId: string;
  /** What the orchestrator says. */
  readonly detail: string;
}

/** A target that was seen stopped runs: started again, or never gone. */
export function recordLife(state: RunState, command: RecordLife, context: Context): Decision {
  const { halt } = state;
  const { haltId, targetId, detail } = command;
  if (halt === null || halt.haltId !== haltId) return [];
  // While no stop was seen there, the ladder is at work.
  if (halt.targets.find((each) => each.targetId === targetId)?.stoppedAt == null) return [];
  const reason = halt.confirmedAt === null ? 'still-running' : 'relaunched';
  return reopened(state, halt, reason, null, context, { targetId, detail });
}

/** Targets of a run that may come back: seen stopped while the halt stands. */
export function fencedTargets(
  state: Pick<RunState, 'halt' | 'targets' | 'finishedAt'> & { readonly drill?: RunState['drill'] },
): string[] {
  const { halt, targets } = state;
  if (halt === null || isOverDrill(state)) return [];
  const observed = new Set(
    targets.filter(({ confirmation }) => confirmation === 'observed').map(({ targetId }) => targetId),
  );
  return halt.targets
    .filter(({ targetId, stoppedAt }) => stoppedAt !== null && observed.has(targetId))
    .map(({ targetId }) => targetId);
}

/** What follows from a checkpoint that was reported although the run had stopped. */
export function lifeAfterStop(
  { halt, ...state }: RunState,
  effectiveCompute: Compute,
  context: Context,
): RunEvent[] {
  if (halt?.reported === undefined) return [];
  const { progress } = context;
  const known = progress === null ? halt.reported : maxCompute(halt.reported, progress.effectiveCompute);
  if (compareCompute(effectiveCompute, known) <= 0) return [];
  return contradicted({ ...state, halt }, halt, { reason: 'checkpoint', effectiveCompute }, context);
}

/** Of the checkpoints that were reported since the order, the furthest that lies beyond what was known before it. */
export function withReported({ halt, computeHigh }: RunState, effectiveCompute: Compute): Halt | null {
  if (halt === null) return null;
  const isBeyond = computeHigh === null || compareCompute(effectiveCompute, computeHigh) > 0;
  return isBeyond ? { ...halt, reported: effectiveCompute } : halt;
}
