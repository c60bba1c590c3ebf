/**
 * Labelled work: an evaluation that needs a `gpu` waits in a queue of its own, which only workers with that label consume.
 *
 * One queue per set of labels, so that work which nobody here may do is never taken and given back. A worker with several labels
 * consumes the queue of every set that it has all of; how many of a label run at once is counted over all of them.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** How many of each run at once in this process. */
export type LabelCapacity = Readonly<Record<string, number>>;

const SET_MAX = 3;
const LOOK_AGAIN_MS = 100;
const PATIENCE_MS = 2_000;

/** Dots, which no label holds: different sets never share a name. */
export function labelledQueueName(base: string, labels: readonly string[]): string {
  return labels.length === 0 ? base : [base, ...sortedSet(labels)].join('.');
}

const sortedSet = (labels: readonly string[]): string[] => [...new Set(labels)].sort();

/** Every set of labels whose work somebody with these may do, the smallest first. */
export function labelSets(own: readonly string[]): string[][] {
  const all: string[][] = [[]];
  for (const label of sortedSet(own)) all.push(...all.map((set) => [...set, label]));
  return all.filter(({ length }) => length > 0 && length <= SET_MAX).sort((a, b) => a.length - b.length);
}

export function hasLabels(own: LabelCapacity, needed: readonly string[] = []): boolean {
  return needed.every((label) => (own[label] ?? 0) > 0);
}

export interface LabelSlots {
  /** Takes one of each, or null where one of them is not free soon. Give it back once. */
  take(labels: readonly string[], signal?: AbortSignal): Promise<(() => void) | null>;
  /** At once or not at all. */
  tryTake(labels: readonly string[]): (() => void) | null;
}

export function createLabelSlots(capacity: LabelCapacity, patienceMs = PATIENCE_MS): LabelSlots {
  const used = new Map<string, number>();
  function tryTake(labels: readonly string[]): (() => void) | null {
    const needed = sortedSet(labels);
    if (needed.some((label) => (used.get(label) ?? 0) >= (capacity[label] ?? 0))) return null;
    for (const label of needed) used.set(label, (used.get(label) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      for (const label of needed) used.set(label, (used.get(label) ?? 1) - 1);
    };
  }
  return {
    tryTake,
    async take(labels, signal) {
      const untilMs = performance.now() + patienceMs;
      for (;;) {
        const taken = tryTake(labels);
        if (taken !== null || performance.now() >= untilMs || signal?.aborted === true) return taken;
        await delay(LOOK_AGAIN_MS);
      }
    },
  };
}
