/** What happened when, from the order to the confirmed stop: the current round of a halt, from the ledger alone. */
import type { HaltMoment } from './halt-documents.ts';
import type { Halt } from './state.ts';

export function haltTimeline(
  halt: Pick<
    Halt,
    | 'orderedAt'
    | 'round'
    | 'roundAt'
    | 'directive'
    | 'targets'
    | 'receivedAt'
    | 'stoppedAckAt'
    | 'confirmedAt'
  >,
): HaltMoment[] {
  const { orderedAt, round, roundAt, directive, targets, receivedAt, stoppedAckAt, confirmedAt } = halt;
  const moments: HaltMoment[] = [];
  const add = (
    what: HaltMoment['what'],
    at: string | null | undefined,
    where: { readonly targetId?: string; readonly step?: string } = {},
  ): void => {
    if (at == null) return;
    const { targetId = null, step = null } = where;
    moments.push({ what, targetId, step, at, afterMs: Date.parse(at) - Date.parse(orderedAt) });
  };
  add('ordered', orderedAt);
  if (round > 1) add('halted-again', roundAt);
  add('directive-given', directive?.at);
  for (const { targetId, steps, stoppedAt } of targets) {
    for (const { step, firstAt, acceptedAt } of steps) {
      // Told once, by its giving above.
      if (step === 'directive') continue;
      if (firstAt !== acceptedAt) add('step-taken', firstAt, { targetId, step });
      add('step-accepted', acceptedAt, { targetId, step });
    }
    add('seen-stopped', stoppedAt, { targetId });
  }
  add('received', receivedAt);
  add('said-stopped', stoppedAckAt);
  add('confirmed', confirmedAt);
  return moments.sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
}

/** Without its time. */
export function momentText({ what, targetId, step }: HaltMoment): string {
  switch (what) {
    case 'ordered':
      return 'ordered';
    case 'halted-again':
      return 'halted again';
    case 'directive-given':
      return 'told by heartbeat';
    case 'step-taken':
      return `${targetId ?? ''} ${step ?? ''} tried`;
    case 'step-accepted':
      return `${targetId ?? ''} ${step ?? ''} accepted`;
    case 'received':
      return 'trainer: received';
    case 'said-stopped':
      return 'trainer: stopped';
    case 'seen-stopped':
      return `${targetId ?? ''} seen stopped`;
    case 'confirmed':
      return 'confirmed';
    default:
      return what satisfies never;
  }
}
