import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { exclusive } from '../../src/queue/exclusive.ts';
import { createReconciler, type ReconcilerOptions } from '../../src/queue/reconciler.ts';
import type { WorkHandler, WorkHandlers, WorkItem, WorkKind } from '../../src/queue/work-queue.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };
const item = (kind: WorkKind, key: string, notBeforeMs = 0): WorkItem => ({
  kind,
  key,
  runId: 'run-1',
  notBeforeMs,
  ids: {},
});
const handlers = (handler: WorkHandler): WorkHandlers => ({
  evaluate: handler,
  dispatch: handler,
  'halt-step': handler,
  observe: handler,
  isolate: handler,
  alert: handler,
  tick: handler,
});

/** A handler whose runs end when the test says so. */
function manual() {
  const runs: { item: WorkItem; signal: AbortSignal; end: () => void; fail: (error: unknown) => void }[] = [];
  const handler: WorkHandler = (work, signal) =>
    new Promise((end, fail) => {
      runs.push({ item: work, signal, end, fail });
    });
  return { runs, handler, keys: () => runs.map((run) => run.item.key) };
}

function bench(options: Partial<ReconcilerOptions> = {}) {
  const outstanding: WorkItem[] = [];
  const offered: string[][] = [];
  let accepting = true;
  const work = manual();
  const reconciler = createReconciler({
    intervalMs: 5_000,
    sweep: async () => [...outstanding],
    queue: {
      enqueue: async (items) => {
        if (items.length > 0) offered.push(items.map(({ key }) => key));
        return accepting ? { queued: items.length, failed: [] } : { queued: 0, failed: [...items] };
      },
    },
    runDirect: handlers(work.handler),
    logger: log,
    ...options,
  });
  return {
    ...work,
    reconciler,
    outstanding,
    offered,
    /** Also past the grace of runs that the test left unended. */
    stop: () => Promise.all([reconciler.stop(), vi.advanceTimersByTimeAsync(60_000)]),
    accept: (value: boolean) => {
      accepting = value;
    },
  };
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
});
afterEach(() => {
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);

describe('the reconciler', () => {
  it('offers what is outstanding on start and at every interval, until it no longer is', async () => {
    const b = bench();
    b.outstanding.push(item('tick', 'a'));
    b.reconciler.start();
    await settle();
    expect(b.offered).toEqual([['a']]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(b.offered).toEqual([['a'], ['a']]);
    b.outstanding.length = 0;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(b.offered.length).toBe(2);
    expect(b.runs).toEqual([]);
    expect(b.reconciler.counters.sweeps).toBe(4);
    await b.stop();
  });

  it('knows when it last swept', async () => {
    const b = bench();
    expect(b.reconciler.lastSweepAt).toBeNull();
    b.reconciler.start();
    await settle();
    expect(b.reconciler.lastSweepAt).toEqual(new Date(1_000_000));
    await b.stop();
  });

  it('runs here what the queue refuses, each key once at a time', async () => {
    const b = bench();
    b.accept(false);
    b.outstanding.push(item('halt-step', 'h'), item('tick', 't'));
    b.reconciler.start();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(b.keys().sort()).toEqual(['h', 't']);
    b.runs[0]?.end();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(b.keys().length).toBe(3);
    await b.stop();
  });

  it('evaluates one at a time, and lets no evaluation hold up a halt', async () => {
    const b = bench();
    b.accept(false);
    b.outstanding.push(item('evaluate', 'e1'), item('evaluate', 'e2'), item('halt-step', 'h'));
    b.reconciler.start();
    await settle();
    expect(b.keys().sort()).toEqual(['e1', 'h']);
    b.runs.find((run) => run.item.key === 'e1')?.end();
    await settle();
    expect(b.keys()).toContain('e2');
    await b.stop();
  });

  it('bounds direct runs per kind', async () => {
    const b = bench({ concurrency: { alert: 2 } });
    b.accept(false);
    for (let n = 0; n < 5; n += 1) b.outstanding.push(item('alert', `a${n}`));
    b.reconciler.start();
    await settle();
    expect(b.keys()).toEqual(['a0', 'a1']);
    b.runs[0]?.fail(new Error('no'));
    await settle();
    expect(b.keys()).toEqual(['a0', 'a1', 'a2']);
    expect(b.reconciler.counters.directFailures).toBe(1);
    await b.stop();
  });

  it('lets go of waiting work that the queue has taken meanwhile', async () => {
    const b = bench();
    b.accept(false);
    b.outstanding.push(item('evaluate', 'e1'), item('evaluate', 'e2'));
    b.reconciler.start();
    await settle();
    b.accept(true);
    await vi.advanceTimersByTimeAsync(5_000);
    b.runs[0]?.end();
    await settle();
    expect(b.keys()).toEqual(['e1']);
    await b.stop();
  });

  it('offers new work at once on a kick, and runs it here when refused', async () => {
    const b = bench();
    await b.reconciler.kick([item('evaluate', 'e')]);
    expect(b.offered).toEqual([['e']]);
    expect(b.runs).toEqual([]);
    b.accept(false);
    await b.reconciler.kick([item('halt-step', 'h'), item('halt-step', 'later', 1_000_001)]);
    await settle();
    expect(b.keys()).toEqual(['h']);
    await b.stop();
  });

  it('runs here what the queue accepted and did not do, but leaves evaluations alone', async () => {
    const b = bench();
    b.outstanding.push(item('halt-step', 'h'), item('evaluate', 'e'));
    b.reconciler.start();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(b.keys()).toEqual([]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(b.keys()).toEqual(['h']);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(b.keys()).not.toContain('e');
    expect(b.reconciler.counters.overdue).toBeGreaterThan(0);
    await b.stop();
  });

  it('sweeps at every interval, also where a sweep of little takes most of one', async () => {
    const begunMs: number[] = [];
    const b = bench({
      sweep: async () => {
        begunMs.push(Date.now());
        await new Promise((answer) => setTimeout(answer, 3_000));
        return [item('tick', 'a')];
      },
    });
    b.reconciler.start();
    await vi.advanceTimersByTimeAsync(16_000);
    expect(begunMs.map((ms) => ms - 1_000_000)).toEqual([0, 5_000, 10_000, 15_000]);
    await b.stop();
  });

  it('rests in proportion where a sweep takes long because it finds much', async () => {
    const begunMs: number[] = [];
    const b = bench({
      sweep: async () => {
        begunMs.push(Date.now());
        await new Promise((answer) => setTimeout(answer, 4_000));
        return Array.from({ length: 2_000 }, (_, i) => item('tick', `t${i}`));
      },
    });
    b.reconciler.start();
    await vi.advanceTimersByTimeAsync(13_000);
    expect(begunMs.map((ms) => ms - 1_000_000)).toEqual([0, 12_000]);
    await b.stop();
  });

  it('offers again within a second what a wiped queue refused, and then at its interval', async () => {
    const b = bench();
    b.accept(false);
    b.outstanding.push(item('evaluate', 'a'), item('evaluate', 'b'));
    b.reconciler.start();
    await settle();
    expect(b.offered.length).toBe(1);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(b.offered.length).toBe(2);
    await vi.advanceTimersByTimeAsync(4_900);
    expect(b.offered.length).toBe(2);
    await b.stop();
  });

  const many = () => Array.from({ length: 1_000 }, (_, i) => item('evaluate', `e${i}`));

  it('does not ask the queue again for a while to take a thousand evaluations that it took', async () => {
    const b = bench();
    b.outstanding.push(...many(), item('tick', 't'));
    b.reconciler.start();
    await vi.advanceTimersByTimeAsync(16_000);
    expect(b.offered.map(({ length }) => length)).toEqual([1_001, 1, 1_001, 1]);
    await b.stop();
  });

  it('asks again within a second about all of them where the queue refuses something', async () => {
    const b = bench();
    b.outstanding.push(...many());
    b.reconciler.start();
    await settle();
    b.accept(false);
    b.outstanding.push(item('evaluate', 'late'));
    await vi.advanceTimersByTimeAsync(5_000);
    b.accept(true);
    await vi.advanceTimersByTimeAsync(1_000);
    // The refused one runs here by now.
    expect(b.offered.map(({ length }) => length)).toEqual([1_000, 1, 1_000]);
    await b.stop();
  });

  it('survives a failing sweep and tries again within a second', async () => {
    let failing = true;
    const sweep = vi.fn(async () => {
      if (failing) throw new Error('the database is away');
      return [];
    });
    const b = bench({ sweep });
    b.reconciler.start();
    await settle();
    expect(b.reconciler.counters.sweepFailures).toBe(1);
    failing = false;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(b.reconciler.counters.sweeps).toBe(1);
    await b.stop();
  });

  it('gives up on a sweep that never answers, and tells it so', async () => {
    const signals: AbortSignal[] = [];
    const b = bench({
      sweep: (signal) => {
        signals.push(signal);
        return new Promise(() => {});
      },
    });
    b.reconciler.start();
    await vi.advanceTimersByTimeAsync(31_000);
    expect(signals.length).toBe(2);
    expect(signals[0]?.aborted).toBe(true);
    await b.stop();
  });

  it('aborts direct work that runs past its timeout and frees the slot', async () => {
    const b = bench({ timeouts: { evaluate: 1_000 } });
    b.accept(false);
    b.outstanding.push(item('evaluate', 'deaf'), item('evaluate', 'next'));
    b.reconciler.start();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(b.runs[0]?.signal.aborted).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(b.keys()).toEqual(['deaf', 'next']);
    await b.stop();
  });

  it('aborts direct work on stop, waits for it, and does nothing afterwards', async () => {
    const b = bench();
    b.accept(false);
    b.outstanding.push(item('tick', 't'));
    b.reconciler.start();
    await settle();
    const stopped = b.reconciler.stop();
    expect(b.runs[0]?.signal.aborted).toBe(true);
    b.runs[0]?.end();
    await stopped;
    await b.reconciler.kick([item('tick', 'late')]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(b.keys()).toEqual(['t']);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('exclusive handlers', () => {
  it('run the same key once at a time, across callers, and other keys freely', async () => {
    const { runs, handler, keys } = manual();
    const both = exclusive(handlers(handler));
    const { signal } = new AbortController();
    const first = both.tick(item('tick', 'a'), signal);
    await both.tick(item('tick', 'a'), signal);
    const other = both.tick(item('tick', 'b'), signal);
    const kind = both.alert(item('alert', 'a'), signal);
    expect(keys()).toEqual(['a', 'b', 'a']);
    for (const run of runs) run.end();
    await Promise.all([first, other, kind]);
    const again = both.tick(item('tick', 'a'), signal);
    expect(keys().length).toBe(4);
    runs[3]?.fail(new Error('no'));
    await expect(again).rejects.toThrow('no');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('do not let a handler that ignores its signal keep its key for ever', async () => {
    const { handler, keys } = manual();
    const both = exclusive(handlers(handler));
    const controller = new AbortController();
    void both['halt-step'](item('halt-step', 'h'), controller.signal);
    controller.abort();
    await vi.advanceTimersByTimeAsync(29_999);
    await both['halt-step'](item('halt-step', 'h'), controller.signal);
    expect(keys().length).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    void both['halt-step'](item('halt-step', 'h'), controller.signal);
    expect(keys().length).toBe(2);
  });
});
