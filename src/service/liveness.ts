/**
 * Can this process still make progress? Liveness: where it says no, only a restart helps.
 *
 * That it answers at all shows that the event loop turns. What else must turn is watched here: the ledger's writer
 * and the reconciler. Both bound each of their steps, so either being at one step for so long is a fault of ours.
 * A database or a queue that is away is no reason: a restart would not bring it back (that is readiness).
 */
export interface LivenessSources {
  /** How long the ledger's writer has been at what it is at; 0 where it rests. */
  readonly writerBusyMs: () => number;
  /** Since a sweep of the reconciler last ended, well or badly; null where none runs here. */
  readonly sinceSweepMs: () => number | null;
}

export type Liveness = { readonly alive: true } | { readonly alive: false; readonly stuck: string };

/** Several times what any bounded step takes. */
const STUCK_MS = 90_000;

export function liveness({ writerBusyMs, sinceSweepMs }: LivenessSources): Liveness {
  if (writerBusyMs() > STUCK_MS) return { alive: false, stuck: 'the writer of the ledger' };
  if ((sinceSweepMs() ?? 0) > STUCK_MS) return { alive: false, stuck: 'the reconciler' };
  return { alive: true };
}
