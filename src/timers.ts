/**
 * Time as the shell sees it: waiting, and the monotonic clock.
 *
 * An argument with the real thing as its default, so that the simulation can own every wait of an instance: a timer
 * of an instance that crashed never fires. What time of day it is comes in as a `clock` beside this.
 */
export interface Timers {
  set(run: () => void, ms: number, options?: { unref: boolean }): Timer;
  clear(timer: Timer | undefined): void;
  /** Milliseconds that only ever grow. */
  monotonicMs(): number;
}

/** What `set` gave, and only `clear` takes. */
export type Timer = NodeJS.Timeout | { readonly simulated: number };

export const realTimers: Timers = {
  set(run, ms, options) {
    const timer = setTimeout(run, ms);
    if (options?.unref === true) timer.unref();
    return timer;
  },
  clear(timer) {
    if (timer !== undefined && !('simulated' in timer)) clearTimeout(timer);
  },
  monotonicMs: () => performance.now(),
};

/** Ends early, and without a fault, where the signal does. */
export function pause(ms: number, signal: AbortSignal, timers: Timers = realTimers): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timers.clear(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = timers.set(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
