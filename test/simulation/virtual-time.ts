/**
 * Virtual time: one scheduler owns every timer and every completion of I/O, so a seed always tells the same story.
 *
 * Between two events all microtasks run to their end (a microtask asks for the next tick, and Node runs ticks only
 * when no microtask is left). A process that has crashed is never answered again: its timers do not fire and its
 * I/O does not complete, so whatever it awaited it awaits for ever. That makes "a crash at any await" real.
 */
import type { Timer, Timers } from '../../src/timers.ts';

interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class Scheduler {
  /** True time, which nobody in the simulation sees. */
  nowMs: number;
  events = 0;
  readonly #heap: Entry[] = [];
  #order = 0;
  #failure: { error: unknown } | null = null;

  constructor(startMs: number) {
    this.nowMs = startMs;
  }

  after(delayMs: number, run: () => void): void {
    const entry = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order, run };
    this.#order += 1;
    this.#push(entry);
  }

  /** Ends the simulation with what a checker found, wherever it was called from. */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  /** Resolves when virtual time has reached `untilMs`, or when `enough` says so. */
  run(untilMs: number, enough: () => boolean = () => false): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        const next = this.#heap[0];
        if (this.#failure !== null) {
          reject(this.#failure.error);
          return;
        }
        if (next === undefined || next.atMs > untilMs || enough()) {
          if (next === undefined || next.atMs > untilMs) this.nowMs = Math.max(this.nowMs, untilMs);
          resolve();
          return;
        }
        this.#pop();
        this.nowMs = next.atMs;
        this.events += 1;
        try {
          next.run();
        } catch (error) {
          this.fail(error);
        }
        queueMicrotask(again);
      };
      const again = (): void => process.nextTick(step);
      again();
    });
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || before(parent, entry)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let i = 0;
    for (;;) {
      const left = heap[2 * i + 1];
      const right = heap[2 * i + 2];
      if (left === undefined) break;
      const child = right !== undefined && before(right, left) ? right : left;
      if (before(last, child)) break;
      heap[i] = child;
      i = child === left ? 2 * i + 1 : 2 * i + 2;
    }
    heap[i] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** One process of somebody: its timers die with it, and its wall clock may be wrong. */
export class SimulatedProcess {
  alive = true;
  /** Added to true time by its wall clock. */
  skewMs = 0;
  /** The last jump of its clock, and what the clock said before. */
  #jumped: { readonly atMs: number; readonly skewMs: number } | null = null;
  readonly timers: Timers;
  readonly #scheduler: Scheduler;
  readonly #set = new Set<number>();
  #next = 1;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
    const startedMs = scheduler.nowMs;
    this.timers = {
      set: (run, ms): Timer => {
        const simulated = this.#next;
        this.#next += 1;
        this.#set.add(simulated);
        scheduler.after(ms, () => {
          if (this.alive && this.#set.delete(simulated)) run();
        });
        return { simulated };
      },
      clear: (timer) => {
        if (timer !== undefined && 'simulated' in timer) this.#set.delete(timer.simulated);
      },
      monotonicMs: () => scheduler.nowMs - startedMs,
    };
  }

  readonly clock = (): Date => new Date(this.#scheduler.nowMs + this.skewMs);

  /** Its wall clock is set while it runs. */
  jump(skewMs: number): void {
    this.#jumped = { atMs: this.#scheduler.nowMs, skewMs: this.skewMs };
    this.skewMs = skewMs;
  }

  /** The least that its clock said within that time: what began before a jump has looked at the clock before it. */
  leastClockMs(withinMs: number): number {
    const { nowMs } = this.#scheduler;
    const jumped = this.#jumped;
    const isRecent = jumped !== null && nowMs - jumped.atMs <= withinMs;
    return nowMs + Math.min(this.skewMs, isRecent ? jumped.skewMs : this.skewMs);
  }

  crash(): void {
    this.alive = false;
    this.#set.clear();
  }

  /** Runs it later, if the process still lives. */
  after(ms: number, run: () => void): void {
    this.#scheduler.after(ms, () => {
      if (this.alive) run();
    });
  }

  /** A promise that never settles once the process is gone. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve);
    });
  }
}
