/**
 * Scoped resume: evaluation and alignment work goes on with a run's weights while its training stays halted.
 *
 * It grants permits of another kind, which name the work and are no permit to train: every trainer refuses them. The run's
 * own evaluation jobs, where the halt had stopped them, start again. Nothing is waived and no epoch rises.
 * Fails toward stopping: it ends by its expiry, by a veto, with a quarantine, and when somebody presses the red button
 * again (halt-state.ts); with it the evaluation jobs end once more.
 */
import { type Context, iso, reached } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { cancelJobs } from './halt.ts';
import { withExecuted } from './proposal-state.ts';
import { isQuarantined, jobsStoppedBecause } from './quarantine.ts';
import type { RunState } from './state.ts';

export type WorkTerms =
  /** `expires`: null where nothing stands against the run, and work needs no leave of its own. */
  | { readonly granted: true; readonly expires: string | null; readonly haltId: string | null }
  | { readonly granted: false; readonly reason: 'halted' | 'quarantined' };

/** Whether evaluation and alignment work may go on. A hold stops training alone. */
export function workTerms(state: RunState, now: Date): WorkTerms {
  const { halt } = state;
  if (halt === null) return { granted: true, expires: null, haltId: null };
  if (isQuarantined(state)) return { granted: false, reason: 'quarantined' };
  const { scoped } = halt;
  if (scoped === undefined || reached(now, scoped.expires)) return { granted: false, reason: 'halted' };
  return { granted: true, expires: scoped.expires, haltId: halt.haltId };
}

export function endScopedWork(state: RunState, context: Context): RunEvent[] {
  const { halt } = state;
  if (halt?.scoped === undefined) return [];
  return reached(context.now, halt.scoped.expires) ? scopedWorkEnded(state, 'expired', context) : [];
}

export function scopedWorkEnded(
  state: RunState,
  reason: RunEventData<'ScopedWorkEnded'>['reason'],
  context: Context,
): RunEvent[] {
  const { halt } = state;
  if (halt?.scoped === undefined) return [];
  const { haltId } = halt;
  return [
    { kind: 'ScopedWorkEnded', data: { haltId, reason, at: iso(context.now) } },
    ...cancelJobs(state, context, 'scope-ended'),
  ];
}

/** A quarantined model is not run, and under some policies no halted one is. */
export function stopJobs(state: RunState, context: Context): RunEvent[] {
  if (jobsStoppedBecause(state, context.policy) === null) return [];
  return cancelJobs(state, context, isQuarantined(state) ? 'quarantine' : 'halt');
}

export const scopedWorkEvolvers = {
  ScopedWorkGranted: (state: RunState, data: RunEventData<'ScopedWorkGranted'>): RunState => {
    const { haltId, proposalId, terms, at } = data;
    if (state.halt?.haltId !== haltId) return state;
    const scoped = { proposalId, expires: terms.expires, at };
    return { ...withExecuted(state, proposalId), halt: { ...state.halt, scoped } };
  },
  ScopedWorkEnded: (state: RunState, { haltId }: RunEventData<'ScopedWorkEnded'>): RunState => {
    if (state.halt?.haltId !== haltId) return state;
    const { scoped: _ended, ...halt } = state.halt;
    return { ...state, halt };
  },
};
