/**
 * What time it is: the database's clock, carried on by this process's monotonic one between two looks.
 *
 * Every replica decides deadlines, permits and retries by the same time, and setting the clock of this machine forward
 * or back moves none of them. A look takes half its round trip as its error. While the database is away the monotonic
 * clock goes on alone; after a machine was suspended it is behind until the next look, which errs towards permits
 * that end sooner.
 * Not here: timers (a wait is a wait), and BullMQ, which takes this machine's clock: hence the queue's clock check.
 */
import type { Timer, Timers } from '../timers.ts';

export interface DatabaseClock {
  now(): Date;
  /** Looks at once; rejects when the database does not answer. */
  look(): Promise<void>;
  stop(): void;
}

export interface DatabaseClockDeps {
  /** The database's clock, Unix milliseconds. */
  readonly ask: () => Promise<number>;
  readonly timers: Timers;
  /** This machine's clock, to say when it is wrong. */
  readonly local?: () => number;
  readonly logger: { warn(fields: object, message: string): void };
  readonly intervalMs?: number;
}

const INTERVAL_MS = 5_000;
/** A look that took longer says too little about when it was answered. */
const ROUND_TRIP_MAX_MS = 1_000;
const LOCAL_OFF_MS = 2_000;

/** Resolves after the first look. */
export async function createDatabaseClock(deps: DatabaseClockDeps): Promise<DatabaseClock> {
  const { ask, timers, logger, intervalMs = INTERVAL_MS, local = () => Date.now() } = deps;
  let base: { readonly timeMs: number; readonly atMs: number } | null = null;
  let timer: Timer | undefined;
  let stopped = false;
  let localIsOff = false;

  async function look(): Promise<void> {
    const askedMs = timers.monotonicMs();
    const answered = await ask();
    const atMs = timers.monotonicMs();
    if (base !== null && atMs - askedMs > ROUND_TRIP_MAX_MS) return;
    base = { timeMs: answered + (atMs - askedMs) / 2, atMs };
    const offMs = Math.round(local() - base.timeMs);
    const isOff = Math.abs(offMs) > LOCAL_OFF_MS;
    if (isOff && !localIsOff) logger.warn({ offMs }, "this machine's clock differs from the database's");
    localIsOff = isOff;
  }

  function schedule(): void {
    if (stopped) return;
    timer = timers.set(
      () => {
        // Away for now: the monotonic clock goes on.
        void look()
          .catch(() => undefined)
          .finally(schedule);
      },
      intervalMs,
      { unref: true },
    );
  }

  await look();
  schedule();
  return {
    look,
    now() {
      const { timeMs, atMs } = base ?? { timeMs: local(), atMs: timers.monotonicMs() };
      return new Date(Math.floor(timeMs + (timers.monotonicMs() - atMs)));
    },
    stop() {
      stopped = true;
      timers.clear(timer);
    },
  };
}
