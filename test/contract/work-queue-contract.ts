/**
 * What every work queue promises, held by both real stores and by the in-memory fake.
 *
 * A target is one store; `create` opens a queue on it as one process would. Nothing here knows the store.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createReconciler } from '../../src/queue/reconciler.ts';
import type { WorkHandler, WorkHandlers, WorkItem, WorkKind, WorkQueue } from '../../src/queue/work-queue.ts';

export interface QueueTuning {
  concurrency?: Partial<Record<WorkKind, number>>;
  timeouts?: Partial<Record<WorkKind, number>>;
  clock?: { now(): number };
}

export interface WorkQueueTarget {
  create(tuning?: QueueTuning): WorkQueue;
  /** The store dies; `mend` brings it back with what it held. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  /** FLUSHALL, DROP SCHEMA: everything gone, the server alive. */
  wipe(): Promise<void>;
  close(): Promise<void>;
}

export const silentLogger = { debug() {}, info() {}, warn() {}, error() {} };

let serial = 0;

export function item(kind: WorkKind, extra: Partial<WorkItem> = {}): WorkItem {
  serial += 1;
  return {
    kind,
    key: `ev_${serial}/1`,
    runId: 'run-1',
    notBeforeMs: 0,
    ids: { evaluationId: `ev_${serial}`, attempt: 1 },
    ...extra,
  };
}

export function handlersFor(handler: WorkHandler): WorkHandlers {
  return {
    evaluate: handler,
    dispatch: handler,
    'halt-step': handler,
    observe: handler,
    isolate: handler,
    alert: handler,
    tick: handler,
  };
}

/** Handlers that remember what they ran. */
export function recorder(then: WorkHandler = async () => {}) {
  const ran: WorkItem[] = [];
  const handlers = handlersFor(async (work, signal) => {
    ran.push(work);
    await then(work, signal);
  });
  const times = (key: string) => ran.filter((work) => work.key === key).length;
  return { ran, handlers, times };
}

/** A handler that ends only when its signal is aborted. */
export const untilAborted: WorkHandler = (_work, signal) =>
  new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

const WITHIN = { timeout: 15_000, interval: 20 };

export function describeWorkQueue(
  name: string,
  make: () => Promise<WorkQueueTarget>,
  skipReason: string | false = false,
): void {
  const title = skipReason === false ? name : `${name} (skipped: ${skipReason})`;
  describe.skipIf(skipReason !== false)(`work queue on ${title}`, () => {
    let target: WorkQueueTarget;
    const opened: WorkQueue[] = [];
    const open = (tuning?: QueueTuning) => {
      const queue = target.create(tuning);
      opened.push(queue);
      return queue;
    };

    beforeEach(async () => {
      target = await make();
    });
    afterEach(async () => {
      await target.mend();
      await Promise.all(opened.splice(0).map((queue) => queue.close()));
      await target.close();
    });

    it('hands an item to its handler as it was given', async () => {
      const queue = open();
      const { ran, handlers } = recorder();
      await queue.start(handlers);
      const given = item('halt-step', { key: 'halt_a/step:1/é', ids: { haltId: 'halt_a', step: 1 } });
      expect(await queue.enqueue([given])).toEqual({ queued: 1, failed: [] });
      await vi.waitFor(() => expect(ran).toEqual([given]), WITHIN);
    });

    it('runs work of every kind', async () => {
      const queue = open();
      const { ran, handlers } = recorder();
      await queue.start(handlers);
      const kinds: WorkKind[] = ['evaluate', 'dispatch', 'halt-step', 'observe', 'alert', 'tick'];
      await queue.enqueue(kinds.map((kind) => item(kind)));
      await vi.waitFor(() => expect(ran.map(({ kind }) => kind).sort()).toEqual([...kinds].sort()), WITHIN);
    });

    it('takes what has a smaller priority first, whenever it came', async () => {
      const queue = open({ concurrency: { evaluate: 1 } });
      const order = [5, 1, 131_072, 3].map((priority) => item('evaluate', { priority }));
      await queue.enqueue(order);
      const { ran, handlers } = recorder();
      await queue.start(handlers);
      await vi.waitFor(() => expect(ran).toHaveLength(4), WITHIN);
      const keys = [order[1], order[3], order[0], order[2]].map((each) => each?.key);
      expect(ran.map(({ key }) => key)).toEqual(keys);
    });

    it('runs once what was added twice', async () => {
      const queue = open();
      const { ran, handlers, times } = recorder();
      const twice = item('tick');
      const other = item('tick');
      expect((await queue.enqueue([twice, twice])).failed).toEqual([]);
      expect((await queue.enqueue([twice, other])).failed).toEqual([]);
      await queue.start(handlers);
      await vi.waitFor(() => expect(ran.length).toBe(2), WITHIN);
      expect(times(twice.key)).toBe(1);
    });

    it('keeps no job: the same item runs again when it is added after it ran', async () => {
      const queue = open();
      const { handlers, times } = recorder();
      await queue.start(handlers);
      const again = item('alert');
      await queue.enqueue([again]);
      await vi.waitFor(() => expect(times(again.key)).toBe(1), WITHIN);
      await vi.waitUntil(async () => {
        await queue.enqueue([again]);
        return times(again.key) >= 2;
      }, WITHIN);
    });

    it('also runs again what failed', async () => {
      const queue = open();
      const { handlers, times } = recorder(async () => {
        throw new Error('no');
      });
      await queue.start(handlers);
      const failing = item('alert');
      await vi.waitUntil(async () => {
        await queue.enqueue([failing]);
        return times(failing.key) >= 2;
      }, WITHIN);
    });

    it('holds a delayed item back until its time', async () => {
      const queue = open();
      const startedAt = new Map<string, number>();
      const { handlers } = recorder(async (work) => {
        startedAt.set(work.key, Date.now());
      });
      await queue.start(handlers);
      const due = Date.now() + 600;
      const delayed = item('tick', { notBeforeMs: due });
      await queue.enqueue([delayed]);
      await vi.waitFor(() => expect(startedAt.has(delayed.key)).toBe(true), WITHIN);
      expect(startedAt.get(delayed.key)).toBeGreaterThanOrEqual(due - 5);
    });

    it('is not blinded to an urgent item by one far in the future', async () => {
      const queue = open();
      const { handlers, times } = recorder();
      await queue.start(handlers);
      const far = item('tick', { notBeforeMs: Date.now() + 365 * 24 * 3_600_000 });
      await queue.enqueue([far]);
      const first = item('tick');
      await queue.enqueue([first]);
      await vi.waitFor(() => expect(times(first.key)).toBe(1), WITHIN);
      const urgent = item('tick');
      const askedAt = Date.now();
      await queue.enqueue([urgent]);
      await vi.waitFor(() => expect(times(urgent.key)).toBe(1), WITHIN);
      expect(Date.now() - askedAt).toBeLessThan(2_500);
      expect(times(far.key)).toBe(0);
    });

    it('survives a handler whose error text no store can hold', async () => {
      const queue = open({ concurrency: { alert: 1 } });
      const { ran, handlers, times } = recorder(async (work) => {
        if (work.ids['bad'] === 1) throw new Error('boom \u0000 end \ud800');
      });
      await queue.start(handlers);
      const bad = item('alert', { ids: { bad: 1 } });
      const next = item('alert');
      await queue.enqueue([bad]);
      await queue.enqueue([next]);
      await vi.waitFor(() => expect(ran.map(({ key }) => key)).toEqual([bad.key, next.key]), WITHIN);
      // It failed for good, rather than lying there as active: adding it again runs it again.
      await vi.waitUntil(async () => {
        await queue.enqueue([bad]);
        return times(bad.key) >= 2;
      }, WITHIN);
    });

    it('aborts a handler that hangs past its timeout and frees its slot', async () => {
      const queue = open({ concurrency: { observe: 1 }, timeouts: { observe: 200 } });
      const signals: AbortSignal[] = [];
      const hanging = item('observe', { ids: { hang: 1 } });
      const next = item('observe');
      const { handlers, times } = recorder(async (work, signal) => {
        if (work.ids['hang'] !== 1) return;
        signals.push(signal);
        await new Promise(() => {}); // deaf to its signal
      });
      await queue.start(handlers);
      await queue.enqueue([hanging]);
      await queue.enqueue([next]);
      await vi.waitFor(() => expect(times(next.key)).toBe(1), WITHIN);
      expect(signals[0]?.aborted).toBe(true);
    });

    it('aborts running work on close and hands it to another process', async () => {
      // Free slots beside the running one: none of them may take the work that is given back.
      const first = open({ concurrency: { evaluate: 4 } });
      const started = recorder(untilAborted);
      await first.start(started.handlers);
      const work = item('evaluate');
      await first.enqueue([work]);
      await vi.waitFor(() => expect(started.times(work.key)).toBe(1), WITHIN);

      const closedIn = performance.now();
      await first.close();
      expect(performance.now() - closedIn).toBeLessThan(2_500);
      expect(started.times(work.key)).toBe(1);

      const second = open();
      const taken = recorder();
      await second.start(taken.handlers);
      await vi.waitFor(() => expect(taken.times(work.key)).toBe(1), WITHIN);
    });

    it('refuses work after close, at once, and closes twice without harm', async () => {
      const queue = open();
      await queue.start(recorder().handlers);
      await Promise.all([queue.close(), queue.close()]);
      const late = item('tick');
      expect(await queue.enqueue([late])).toEqual({ queued: 0, failed: [late] });
      expect((await queue.checks()).every(({ ok }) => ok)).toBe(false);
    });

    it('closes without ever having been started', async () => {
      const queue = open();
      await queue.enqueue([item('tick')]);
      await queue.close();
    });

    it('answers failed, in time, while the store is dead, and works again when it is back', async () => {
      const queue = open();
      const { handlers, times } = recorder();
      await queue.start(handlers);
      const before = item('tick');
      await queue.enqueue([before]);
      await vi.waitFor(() => expect(times(before.key)).toBe(1), WITHIN);

      await target.cut();
      const lost = [item('tick'), item('halt-step'), item('evaluate')];
      const askedAt = performance.now();
      const answer = await queue.enqueue(lost);
      expect(performance.now() - askedAt).toBeLessThan(3_000);
      expect(answer.queued).toBe(0);
      expect(new Set(answer.failed)).toEqual(new Set(lost));

      await target.mend();
      await vi.waitUntil(async () => (await queue.enqueue(lost)).failed.length === 0, WITHIN);
      await vi.waitFor(() => expect(lost.map(({ key }) => times(key))).toEqual([1, 1, 1]), WITHIN);
    });

    it('reports what it cannot store as failed and keeps working', async () => {
      const queue = open();
      const { handlers, times } = recorder();
      await queue.start(handlers);
      const unstorable = [
        item('tick', { key: 'nul\u0000' }),
        item('tick', { ids: { id: 'half \ud800' } }),
        item('tick', { ids: { id: Number.NaN } }),
        item('tick', { key: 'x'.repeat(10_000) }),
      ];
      const fine = item('tick');
      const answer = await queue.enqueue([...unstorable, fine]);
      expect(answer.queued).toBe(1);
      expect(new Set(answer.failed)).toEqual(new Set(unstorable));
      await vi.waitFor(() => expect(times(fine.key)).toBe(1), WITHIN);
    });

    it('loses nothing to a wiped store, given the reconciler', async () => {
      const outstanding = new Map<string, WorkItem>();
      const queue = open();
      const { handlers } = recorder(async (work) => {
        outstanding.delete(work.key);
      });
      await queue.start(handlers);
      const reconciler = createReconciler({
        intervalMs: 100,
        sweep: async () => [...outstanding.values()],
        queue,
        runDirect: handlers,
        logger: silentLogger,
      });
      reconciler.start();
      try {
        for (let round = 0; round < 3; round += 1) {
          const batch = Array.from({ length: 25 }, () => item('tick'));
          for (const work of batch) outstanding.set(work.key, work);
          const kicked = reconciler.kick(batch);
          await target.wipe();
          await kicked;
        }
        await vi.waitUntil(() => outstanding.size === 0, { timeout: 30_000, interval: 20 });
      } finally {
        await reconciler.stop();
      }
    });

    it('does the work without the store, given the reconciler', async () => {
      const queue = open();
      const { handlers, times } = recorder();
      await queue.start(handlers);
      await target.cut();
      const work = [item('halt-step'), item('evaluate')];
      const reconciler = createReconciler({
        intervalMs: 100,
        sweep: async () => work.filter(({ key }) => times(key) === 0),
        queue,
        runDirect: handlers,
        logger: silentLogger,
      });
      reconciler.start();
      try {
        await vi.waitFor(() => expect(work.map(({ key }) => times(key))).toEqual([1, 1]), WITHIN);
      } finally {
        await reconciler.stop();
      }
    });

    it('passes its checks while it works', async () => {
      const queue = open();
      const failing = async () => (await queue.checks()).filter(({ ok }) => !ok);
      expect(await failing()).toEqual([]);
      await queue.start(recorder().handlers);
      expect(await failing()).toEqual([]);
    });

    it('fails its checks while the store is dead, without throwing', async () => {
      const queue = open();
      await queue.start(recorder().handlers);
      await target.cut();
      await vi.waitUntil(async () => (await queue.checks()).some(({ ok }) => !ok), WITHIN);
    });
  });
}
