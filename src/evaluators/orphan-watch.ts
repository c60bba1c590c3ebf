/**
 * Looks again and again for evaluations whose Interlock was killed beside this one.
 *
 * A sweep at start finds what an earlier process left; where two share a data directory, the one that lives on is the
 * only one that can end what the other left. One sweep at a time; a failing one is told and tried again.
 */
import { realTimers, type Timer, type Timers } from '../timers.ts';
import type { Containment } from './containment.ts';
import { type Sweep, sweepOrphans } from './job-records.ts';

const EVERY_MS = 5_000;

export interface OrphanWatchOptions {
  readonly jobsDirectory: string;
  readonly containment: Pick<Containment, 'groupsOf'>;
  /** Called where a sweep ended something. */
  readonly onSwept: (sweep: Sweep) => void;
  readonly onFailure: (error: unknown) => void;
  readonly everyMs?: number;
  readonly timers?: Timers;
}

/** Answers how to stop it, which waits for a sweep that is under way. */
export function watchOrphans(options: OrphanWatchOptions): () => Promise<void> {
  const { everyMs = EVERY_MS, timers = realTimers } = options;
  let timer: Timer | undefined;
  let sweeping: Promise<void> = Promise.resolve();
  let stopped = false;

  const next = (): void => {
    if (!stopped) timer = timers.set(() => (sweeping = sweep()), everyMs, { unref: true });
  };
  async function sweep(): Promise<void> {
    try {
      const swept = await sweepOrphans(options.jobsDirectory, options.containment);
      if (swept.orphans > swept.survived) options.onSwept(swept);
    } catch (error) {
      options.onFailure(error);
    }
    next();
  }

  next();
  return async () => {
    stopped = true;
    timers.clear(timer);
    await sweeping;
  };
}
