/** What a press is answered with: the same document as the service's, as far as a button without a ledger knows it. */
import type { HaltCause } from '../domain/run/halt-documents.ts';
import type { Desk, Pressed } from './desk.ts';
import type { Delivery, Order, Sender } from './sender.ts';

/** Long enough for a target that is well to answer, short enough for whoever waits. */
export const FIRST_ATTEMPTS_MS = 500;

export interface PressAnswer {
  /** 507: the halts are being sent, and the press could not be written down. */
  readonly status: 202 | 507;
  readonly body: {
    readonly pressId: string;
    readonly recordedIn: 'spool' | 'memory';
    readonly knowledgeAt: string | null;
    readonly halts: HaltAnswer[];
    readonly failed: { runId: string; reason: string }[];
  };
}

export interface HaltAnswer extends Pick<Order, 'haltId' | 'runId' | 'action' | 'epoch' | 'orderedAt'> {
  readonly causes: HaltCause[];
  readonly state: 'open';
  readonly acknowledged: { readonly receivedAt: null; readonly stoppedAt: null };
  readonly confirmedAt: null;
  readonly clearedAt: null;
  readonly round: number;
  readonly escalations: number;
  readonly deliveries: Delivery[];
}

export async function answerTo(pressed: Pressed, sender: Sender, now: Date): Promise<PressAnswer> {
  const { press, orders, durable, knowledgeAt, isUnknown } = pressed;
  await sender.attempted(orders, FIRST_ATTEMPTS_MS);
  const { by, group, reason, scope } = press;
  const halts = orders.map(
    ({ runId, haltId, action, epoch, orderedAt }): HaltAnswer => ({
      haltId,
      runId,
      action,
      epoch,
      orderedAt,
      causes: [{ kind: 'person', by, group, reason }],
      state: 'open',
      acknowledged: { receivedAt: null, stoppedAt: null },
      confirmedAt: null,
      clearedAt: null,
      round: 1,
      escalations: 0,
      deliveries: sender.deliveries(runId, haltId),
    }),
  );
  const unknown = isUnknown && scope.kind === 'run' ? [scope.runId] : [];
  return {
    status: durable ? 202 : 507,
    body: {
      pressId: press.pressId,
      recordedIn: durable ? 'spool' : 'memory',
      knowledgeAt: knowledgeAt?.toISOString() ?? null,
      halts,
      failed: unknown.map((runId) => ({
        runId,
        reason: `this button does not know the run (${ageOf(knowledgeAt, now)}): nothing was sent; the service halts it if it knows it`,
      })),
    },
  };
}

export function ageOf(knowledgeAt: Date | null, now: Date): string {
  if (knowledgeAt === null) return 'it has no book of runs';
  const seconds = Math.max(0, Math.round((now.getTime() - knowledgeAt.getTime()) / 1000));
  if (seconds < 120) return `its book is ${seconds} s old`;
  if (seconds < 7_200) return `its book is ${Math.round(seconds / 60)} min old`;
  return `its book is ${Math.round(seconds / 3_600)} h old`;
}

/** What the button would do, for whoever may know. */
export function standing(desk: Desk, now: Date) {
  const { asOf, damaged } = desk.knowledge();
  return {
    knowledgeAt: asOf?.toISOString() ?? null,
    ageMs: asOf === null ? null : Math.max(0, now.getTime() - asOf.getTime()),
    damagedLines: damaged,
    pendingPresses: desk.pending().length,
    undurablePresses: desk.undurable.length,
    runs: desk.reach().map(({ runId, title, halt, targets }) => ({
      runId,
      title,
      halted: halt !== null,
      targets: targets.map(({ targetId, kind }) => ({ targetId, kind })),
    })),
  };
}
