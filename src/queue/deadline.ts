/**
 * A deadline on every call to the queue's store.
 *
 * BullMQ calls can stay pending without end (Redis down, PostgreSQL backend after close), so nothing here
 * awaits one bare. When the deadline passes the call is abandoned, not cancelled: it may still take effect,
 * which is harmless because adding is idempotent.
 */
import { InterlockError } from '../errors.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';

export const CALL_DEADLINE_MS = 2_000;

export async function withDeadline<T>(
  what: string,
  call: () => Promise<T>,
  timeoutMs: number = CALL_DEADLINE_MS,
  timers: Timers = realTimers,
): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = timers.set(() => {
      reject(
        new InterlockError(`${what} did not answer within ${timeoutMs} ms`, {
          code: 'queue.deadline',
          retryable: true,
        }),
      );
    }, timeoutMs);
  });
  try {
    // An abandoned call's rejection is handled by the race, so it never surfaces as unhandled.
    return await Promise.race([call(), late]);
  } finally {
    timers.clear(timer);
  }
}

/** Resolves when the call settled either way or the deadline passed; says what went wrong instead of throwing. */
export async function attempt(
  what: string,
  call: () => Promise<unknown>,
  timeoutMs: number = CALL_DEADLINE_MS,
  timers: Timers = realTimers,
): Promise<unknown> {
  try {
    await withDeadline(what, call, timeoutMs, timers);
    return undefined;
  } catch (error) {
    return error ?? new Error(`${what} failed`);
  }
}
