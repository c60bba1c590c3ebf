/**
 * Shadow: the first time of a deployment, in which everything about a run is decided and recorded and nothing is done.
 *
 * A run that is registered while the deployment is in shadow carries until when in its first event; no later
 * configuration lengthens it. While it lasts, what rules find and what befalls relatives gives `WouldHave...`: no halt,
 * no hold, no page, and permits go on. Evidence is gathered, forecast and judged as ever, and only a verdict `proceed`
 * clears a checkpoint: a shadow excuses, it does not vouch.
 * Ends by itself, armed: at its time, by an operator's word, or with a press of the red button. What stands against the
 * run by then acts in the same decision.
 */
import { raiseAlert } from './alerts.ts';
import { type Context, type Decision, iso, reached } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { haltEvents } from './halt.ts';
import { shadowOf } from './shadow-state.ts';
import type { RunState } from './state.ts';

export interface ArmRun {
  readonly type: 'ArmRun';
  readonly by: string;
}

export function armRun(state: RunState, { by }: ArmRun, context: Context): Decision {
  return shadowOf(state) === null ? [] : ended(state, 'armed', by, context);
}

/** Before all other reactions: what follows is decided of a run that is armed. */
export function endShadow(state: RunState, context: Context): RunEvent[] {
  const shadow = shadowOf(state);
  if (shadow === null || !reached(context.now, shadow.until)) return [];
  return ended(state, 'time', null, context);
}

function ended(
  state: RunState,
  reason: RunEventData<'ShadowEnded'>['reason'],
  by: string | null,
  context: Context,
): RunEvent[] {
  const { runId, shadow, finishedAt } = state;
  const counts = {
    wouldHaveHalted: String(shadow?.halts ?? 0),
    wouldHaveHeld: String(shadow?.heldTimes ?? 0),
  };
  const end: RunEvent = { kind: 'ShadowEnded', data: { reason, by, at: iso(context.now) } };
  if (finishedAt !== null) return [end];
  return [
    end,
    ...raiseAlert(state, context, {
      kind: 'notice',
      severity: 'warning',
      dedupKey: `${runId}-armed`,
      summary: `${runId} is armed: its shadow has ended, and what stands against it acts from now on`,
      details: { ...counts, ...(by === null ? {} : { by }) },
    }),
  ];
}

/** Once it is armed: what nothing else in the state shows any more. */
export function orderKept(state: RunState, context: Context): RunEvent[] {
  const { shadow } = state;
  const [owed] = shadow === undefined || shadow.ended === null ? [] : shadow.kept;
  return owed === undefined ? [] : haltEvents(state, context, owed.cause, owed.action);
}

export interface ShadowTold {
  readonly until: string;
  readonly endedAt: string | null;
  readonly endedBecause: RunEventData<'ShadowEnded'>['reason'] | null;
  readonly wouldHaveHalted: number;
  readonly wouldHaveHeld: number;
  readonly first: NonNullable<RunState['shadow']>['first'];
}

/** For those who read; null of a run that was armed from the start. */
export function toldOfShadow({ shadow }: Pick<RunState, 'shadow'>): ShadowTold | null {
  if (shadow === undefined) return null;
  const { until, ended: end, halts, heldTimes, first } = shadow;
  return {
    until,
    endedAt: end?.at ?? null,
    endedBecause: end?.reason ?? null,
    wouldHaveHalted: halts,
    wouldHaveHeld: heldTimes,
    first,
  };
}
