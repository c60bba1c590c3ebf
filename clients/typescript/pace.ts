/** When the next heartbeat goes out. Pure: the guard has the clock and the timers. */

/** The longest that `Retry-After` is obeyed; with a permit in hand no more than a third of what is left of it. */
const retryAfterMaxMs = 30_000;

export interface Pace {
  heartbeatIntervalMs: number;
  impatientIntervalMs: number;
  /** The whole life of the permit in hand; null without one. */
  permitLifetimeMs: number | null;
  /** Training waits, or the last heartbeat failed. */
  isImpatient: boolean;
  /** Until what waits on disk may go; null where nothing waits. */
  deliverInMs: number | null;
  /** Until Interlock wants to be asked again. */
  notBeforeMs: number;
}

export function intervalMs(pace: Pace): number {
  return Math.max(ownIntervalMs(pace), pace.notBeforeMs);
}

function ownIntervalMs({
  heartbeatIntervalMs,
  permitLifetimeMs,
  isImpatient,
  deliverInMs,
  ...pace
}: Pace): number {
  const impatientMs = Math.min(heartbeatIntervalMs, pace.impatientIntervalMs);
  if (permitLifetimeMs === null || isImpatient) return impatientMs;
  const calmMs = Math.min(heartbeatIntervalMs, permitLifetimeMs / 3);
  return deliverInMs === null ? calmMs : Math.min(calmMs, Math.max(impatientMs, deliverInMs));
}

/** Whoever answers may ask for peace, and not for so long that the permit in hand runs out meanwhile. */
export function peaceMs(retryAfterS: number | null, permitLeftMs: number | null): number {
  const maxMs =
    permitLeftMs !== null && permitLeftMs > 0 ? Math.min(retryAfterMaxMs, permitLeftMs / 3) : retryAfterMaxMs;
  return Math.min((retryAfterS ?? 0) * 1000, maxMs);
}
