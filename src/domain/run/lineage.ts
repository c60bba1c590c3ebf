/**
 * Lineage: a halt latches the runs that descend from the halted one.
 *
 * A run names its parents at registration, as a run's id or as `run/checkpoint`; anything else names weights that
 * Interlock does not know. Each descendant gets a halt of its own, delivered to its own targets, that ends by its own
 * governed resume: waiving a risk in the weights of one run waives nothing in what was made of them. A halt of the
 * parent latches a descendant once; whoever resumed the descendant has signed for that halt.
 *
 * Not promised: a run that is registered without its parents has none. What is stated is believed.
 */
import type { Context, Decision } from './context.ts';
import type { HaltAction, HaltCause } from './events.ts';
import { haltEvents } from './halt.ts';
import type { RunState } from './state.ts';

const RUN_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

export interface LatchLineage {
  readonly type: 'LatchLineage';
  readonly ancestor: string;
  readonly haltId: string;
  readonly action: HaltAction;
  readonly reason: string;
}

/** The runs that a run says it descends from; never itself. */
export function parentRuns({ parents, runId }: Pick<RunState, 'parents' | 'runId'>): string[] {
  const named = parents.map((parent) => parent.split('/', 1)[0] ?? '');
  return [...new Set(named)].filter((id) => RUN_ID.test(id) && id !== runId);
}

/** The halt of `ancestor` that this run is still to be latched by, or null. */
export function inheritedHalt(
  state: RunState,
  ancestor: Pick<RunState, 'runId' | 'halt'>,
): NonNullable<RunState['halt']> | null {
  const { halt } = ancestor;
  if (halt === null || !parentRuns(state).includes(ancestor.runId)) return null;
  return state.inherited?.includes(halt.haltId) === true ? null : halt;
}

export function latchLineage(state: RunState, command: LatchLineage, context: Context): Decision {
  const { ancestor, haltId, action, reason } = command;
  if (state.inherited?.includes(haltId) === true) return [];
  const cause: HaltCause = { kind: 'lineage', runId: ancestor, haltId, reason };
  return haltEvents(state, context, cause, action);
}

const INHERITED_KEPT = 64;

/** Remembered with the halt that it became, so that the same halt does not come back after a resume. */
export function withInherited(state: RunState, cause: HaltCause): RunState {
  if (cause.kind !== 'lineage') return state;
  const known = (state.inherited ?? []).filter((id) => id !== cause.haltId);
  return { ...state, inherited: [...known, cause.haltId].slice(-INHERITED_KEPT) };
}
