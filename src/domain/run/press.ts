/**
 * A press of the red button that was carried out before the ledger could know of it: entered afterwards.
 *
 * The orders went out under an id of the button's own (`orderId`), fresh for each burst of presses, because a button
 * that knows only an old copy could otherwise reuse the id of a halt that was cleared since, and trainers ignore
 * those. So: where the run is not halted, its halt takes the id that the trainers already hold; where it is, the
 * press joins the open halt as a cause and its id is cleared together with it. A press that comes here with an id
 * cleared meanwhile orders anew under another: what a person pressed is never lost.
 * Not here: that the same press is entered once only (its receipt in the ledger sees to that).
 */

import { raiseAlert } from './alerts.ts';
import { type Context, type Decision, iso } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { cancelJobs, haltEvents, hasPress } from './halt.ts';
import type { HaltAction, HaltCause } from './halt-documents.ts';
import { endedByPress } from './shadow-state.ts';
import type { RunState } from './state.ts';

export interface RecordPress {
  readonly type: 'RecordPress';
  readonly pressId: string;
  /** The halt that this press is a cause of already, as the ledger's views know it. */
  readonly causeOf?: string | null | undefined;
  /** The id under which orders of this press went out. */
  readonly orderId: string;
  /** When the first order under that id was made: signed into it, so that every repetition is the same text. */
  readonly orderedAt: string;
  readonly pressedAt: string;
  readonly action: HaltAction;
  readonly reason: string;
  readonly group: string;
  readonly by: string;
  readonly via: RunEventData<'PressRecorded'>['via'];
}

export function recordPress(state: RunState, command: RecordPress, context: Context): Decision {
  const { pressId, orderId, orderedAt, pressedAt, action, reason, group, by, via } = command;
  const cause: HaltCause = { kind: 'person', by, group, reason, pressId };
  const isCleared = state.clearedHalts.includes(orderId);
  const issued = isCleared ? undefined : { haltId: orderId, issuedAt: orderedAt };
  const halting = hasPress(state, command) ? [] : haltEvents(state, context, cause, action, issued);
  const ordered = halting.find((event) => event.kind === 'HaltOrdered');
  const haltId = ordered?.data.haltId ?? state.halt?.haltId ?? orderId;
  const recorded: RunEvent = {
    kind: 'PressRecorded',
    data: { pressId, haltId, orderId, action, by, group, via, pressedAt, at: iso(context.now) },
  };
  return [
    ...(halting.length === 0 ? [] : endedByPress(state, by, context)),
    ...halting,
    recorded,
    ...(via === 'break-glass' ? told(state, command, halting, context) : []),
    ...cancelJobs(state, context),
  ];
}

/** A printed code is for the day when nothing else works: whoever is on call should know that it was used. */
function told(
  state: RunState,
  { by, pressId, pressedAt }: RecordPress,
  before: readonly RunEvent[],
  context: Context,
): RunEvent[] {
  const raised = before.filter(({ kind }) => kind === 'AlertRaised').length;
  return raiseAlert(
    state,
    context,
    {
      kind: 'notice',
      severity: 'warning',
      dedupKey: pressId,
      summary: `a printed break-glass code of ${by} was used to press the red button for ${state.runId}`,
      details: { pressId, by, pressedAt },
    },
    raised,
  );
}

export const pressEvolvers = {
  PressRecorded: (state: RunState, { orderId }: RunEventData<'PressRecorded'>): RunState => {
    const { halt } = state;
    if (halt === null || halt.haltId === orderId || state.clearedHalts.includes(orderId)) return state;
    const orders = halt.orders ?? [];
    return orders.includes(orderId) ? state : { ...state, halt: { ...halt, orders: [...orders, orderId] } };
  },
};
