/**
 * What must hold before this process may take work: the store answers, is set up so that jobs do not vanish,
 * wakes workers, shares our idea of the time, and carries a real job from add to handler.
 *
 * The clock check protects others: BullMQ writes lock and stall times from each client's clock, and one
 * replica an hour ahead stops the recovery of stalled jobs for all of them.
 */
import type { Broker } from './broker.ts';
import { withDeadline } from './deadline.ts';
import { errorFacts } from './log.ts';
import type { QueueCheck } from './work-queue.ts';

export const CLOCK_OFFSET_MAX_MS = 2_000;

const CHECK_DEADLINE_MS = 6_000;

export type Verdict = Omit<QueueCheck, 'name'>;

/** Runs one check under a deadline; what throws or hangs is a failed check. */
export async function runCheck(name: string, check: () => Promise<Verdict>): Promise<QueueCheck> {
  try {
    return { name, ...(await withDeadline(`the check ${name}`, check, CHECK_DEADLINE_MS)) };
  } catch (error) {
    const { message, code, error: kind } = errorFacts(error);
    return {
      name,
      ok: false,
      detail: message ?? `the queue's store answered with an error (${code ?? kind})`,
    };
  }
}

/** Half of the round trip is uncertainty, and is taken in our favour: a slow store is not a wrong clock. */
export async function checkClock(broker: Broker, now: () => number): Promise<Verdict> {
  const startedMs = performance.now();
  const before = now();
  const server = await broker.serverTimeMs();
  const uncertaintyMs = (performance.now() - startedMs) / 2;
  const offsetMs = before + uncertaintyMs - server;
  const ok = Math.abs(offsetMs) - uncertaintyMs <= CLOCK_OFFSET_MAX_MS;
  const side = offsetMs >= 0 ? 'ahead of' : 'behind';
  const found = `this host's clock is ${Math.round(Math.abs(offsetMs))} ms ${side} the store's`;
  return {
    ok,
    detail: ok
      ? found
      : `${found}; at most ${CLOCK_OFFSET_MAX_MS} ms is accepted: set both clocks right (NTP)`,
  };
}
