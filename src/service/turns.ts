/**
 * One at a time per run, in this process: commands that would only conflict with one another wait instead. Evidence
 * and what stops a run go before whatever else waits: a halt is not to stand behind eight notes that an evaluation
 * was handed over, each with a commit of its own.
 *
 * An economy, never the correctness argument: the expected version decides. So patience is short, and whoever has
 * waited that long goes anyway; a command that hangs on a database that is away holds nobody up, least of all a halt.
 */
import { realTimers, type Timer, type Timers } from '../timers.ts';

const PATIENCE_MS = 1_000;

export interface TurnOptions {
  readonly urgent?: boolean | undefined;
}

export type InTurn = <T>(key: string, work: () => Promise<T>, options?: TurnOptions) => Promise<T>;

interface Waiting {
  readonly isUrgent: boolean;
  readonly timer: Timer;
  readonly go: () => void;
}

interface Line {
  /** Whose end lets the next one go. One that was overtaken by somebody's impatience lets nobody go. */
  latest: symbol;
  readonly waiting: Waiting[];
}

export function createTurns(patienceMs = PATIENCE_MS, timers: Timers = realTimers): InTurn {
  const lines = new Map<string, Line>();

  function turnIn({ waiting }: Line, isUrgent: boolean): Promise<void> {
    return new Promise((go) => {
      const timer = timers.set(() => {
        waiting.splice(waiting.indexOf(mine), 1);
        go();
      }, patienceMs);
      const mine: Waiting = { isUrgent, timer, go };
      const firstOrdinary = isUrgent ? waiting.findIndex((other) => !other.isUrgent) : -1;
      waiting.splice(firstOrdinary === -1 ? waiting.length : firstOrdinary, 0, mine);
    });
  }

  function letNextGo(key: string, line: Line): void {
    const next = line.waiting.shift();
    if (next === undefined) {
      lines.delete(key);
      return;
    }
    timers.clear(next.timer);
    next.go();
  }

  return async (key, work, { urgent = false } = {}) => {
    const mine = Symbol(key);
    let line = lines.get(key);
    if (line === undefined) {
      line = { latest: mine, waiting: [] };
      lines.set(key, line);
    } else await turnIn(line, urgent);
    line.latest = mine;
    try {
      return await work();
    } finally {
      if (line.latest === mine) letNextGo(key, line);
    }
  };
}
