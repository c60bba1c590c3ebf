/**
 * One at a time per run, in this process: commands that would only conflict with one another wait instead.
 *
 * An economy, never the correctness argument: the expected version decides. So patience is short, and whoever has
 * waited that long goes anyway; a command that hangs on a database that is away holds nobody up, least of all a halt.
 */
import { realTimers, type Timer, type Timers } from '../timers.ts';

const PATIENCE_MS = 1_000;

export type InTurn = <T>(key: string, work: () => Promise<T>) => Promise<T>;

export function createTurns(patienceMs = PATIENCE_MS, timers: Timers = realTimers): InTurn {
  const last = new Map<string, Promise<void>>();

  async function after<T>(before: Promise<void>, work: () => Promise<T>): Promise<T> {
    let timer: Timer | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = timers.set(resolve, patienceMs);
    });
    await Promise.race([before, patience]);
    timers.clear(timer);
    return work();
  }

  return (key, work) => {
    const before = last.get(key);
    const mine = before === undefined ? work() : after(before, work);
    const done = mine
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        if (last.get(key) === done) last.delete(key);
      });
    last.set(key, done);
    return mine;
  };
}
