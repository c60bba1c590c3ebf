/**
 * The reconciler: the truth's hand. Whatever is outstanding gets done, with the queue or without it.
 *
 * On start and every interval it asks `sweep` for all due work and offers it to the queue (adding is
 * idempotent). What the queue refuses runs here and now, with bounded concurrency, evaluations one at a
 * time. Work that the queue has accepted but that stays outstanding too long (a deaf worker, a job still
 * locked by a dead process) runs here as well: accepted is not done.
 *
 * Guarantee: no key twice at a time among the direct runs; give the queue and this the same `exclusive`
 * handlers to extend that to the whole process. A failing sweep is logged and tried again.
 * Not here: what is outstanding and when it is due (domain and ledger).
 */

import { faultPoint } from '../fault-points.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';
import { attempt, withDeadline } from './deadline.ts';
import { workKey } from './exclusive.ts';
import { createFaultLog, errorFacts, type QueueLogger } from './log.ts';
import { abortGraceMs, QUEUES, WORK_KINDS } from './queues.ts';
import { type HandlerRun, runHandler } from './run-handler.ts';
import type { WorkHandlers, WorkItem, WorkKind, WorkQueue } from './work-queue.ts';

export interface ReconcilerCounters {
  sweeps: number;
  sweepFailures: number;
  /** Items that sweeps and kicks brought. */
  offered: number;
  queued: number;
  /** Offers the queue refused or did not answer in time. */
  refused: number;
  /** Items that stayed outstanding although the queue had accepted them. */
  overdue: number;
  directRuns: number;
  directFailures: number;
}

export interface ReconcilerOptions {
  intervalMs: number;
  /** Every item that is due and outstanding, from the ledger. */
  sweep: (signal: AbortSignal) => Promise<WorkItem[]>;
  queue: Pick<WorkQueue, 'enqueue'>;
  runDirect: WorkHandlers;
  /** Leave to run an item in this process, given back once it is done; null: not here, or not now. Always unless set. */
  direct?: (item: WorkItem) => (() => void) | null;
  /** Direct runs at once, per kind. */
  concurrency?: Partial<Record<WorkKind, number>>;
  timeouts?: Partial<Record<WorkKind, number>>;
  /** How long an accepted item may stay outstanding before it runs here; a kind without a figure never does. */
  overdueMs?: Partial<Record<WorkKind, number>>;
  logger: QueueLogger;
  clock?: { now(): number };
  timers?: Timers;
}

export interface SweepFound {
  /** Due items by kind. */
  readonly due: Readonly<Record<WorkKind, number>>;
  /** Of these, what the queue did not take, first steps of halts apart: those never wait for a queue. */
  readonly notQueued: number;
}

export interface Reconciler {
  /** First sweep at once, then every interval. */
  start(): void;
  /** New work after a commit: offered at once. Never throws; resolves when offered, not when done. */
  kick(items: readonly WorkItem[]): Promise<void>;
  /** A sweep now, or the one under way; resolves when its items have been offered. */
  sweepNow(): Promise<void>;
  /** Aborts direct runs and waits for them, bounded. */
  stop(): Promise<void>;
  readonly lastSweepAt: Date | null;
  /** Since a sweep last ended, well or badly, or since the start; null while it is not started or is stopped. */
  sinceSweepMs(): number | null;
  /** What the last sweep that succeeded found; null before the first. */
  readonly lastSweep: SweepFound | null;
  readonly counters: Readonly<ReconcilerCounters>;
}

const DIRECT_CONCURRENCY: Readonly<Record<WorkKind, number>> = {
  'halt-step': 16,
  observe: 8,
  isolate: 4,
  tick: 8,
  alert: 8,
  dispatch: 8,
  evaluate: 1,
};

// Long runs are no sign of trouble for an evaluation; its lease in the ledger says when it is lost.
const OVERDUE_MS: Readonly<Partial<Record<WorkKind, number>>> = {
  'halt-step': 10_000,
  observe: 45_000,
  isolate: 45_000,
  tick: 45_000,
  alert: 45_000,
};

/**
 * Of these there may be thousands for minutes, because evaluations take long: where there are many, what the queue took a
 * moment ago it is not asked to take again. A queue that lost them refuses others, or is asked after this time.
 */
const MANY_KINDS: ReadonlySet<WorkKind> = new Set(['evaluate', 'dispatch']);
const OFFER_AGAIN_MS = 10_000;

const SWEEP_DEADLINE_MS = 30_000;
const RETRY_MS = 1_000;
/** A sweep with this many items takes its time because of them; one with fewer was kept waiting, and is not to blame. */
const MANY_ITEMS = 1_000;
const REST_PER_SWEEP = 2;
const REST_MAX_MS = 10_000;
/** Between two sweeps at least this share of the interval. */
const PAUSE_SHARE = 0.25;

export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { intervalMs, queue, runDirect, logger, timers = realTimers } = options;
  const now = () => options.clock?.now() ?? Date.now();
  const faults = createFaultLog(logger, now);
  const overdueMs = options.overdueMs ?? OVERDUE_MS;
  const timeoutMs = (kind: WorkKind) => options.timeouts?.[kind] ?? QUEUES[kind].timeoutMs;
  const concurrency = (kind: WorkKind) => options.concurrency?.[kind] ?? DIRECT_CONCURRENCY[kind];

  const stopping = new AbortController();
  const counters: ReconcilerCounters = {
    sweeps: 0,
    sweepFailures: 0,
    offered: 0,
    queued: 0,
    refused: 0,
    overdue: 0,
    directRuns: 0,
    directFailures: 0,
  };
  const waiting = new Map<string, WorkItem>();
  const running = new Map<string, { kind: WorkKind; run: HandlerRun }>();
  /** When an item was first seen due, by key, for as long as sweeps keep bringing it. */
  let outstandingSinceMs = new Map<string, number>();
  /** When the queue took an item, by key, of the kinds of which there may be many. */
  let takenAtMs = new Map<string, number>();
  let lastSweepAt: Date | null = null;
  let lastSweep: SweepFound | null = null;
  let attemptEndedMs: number | null = null;
  let sweeping: Promise<boolean> | undefined;
  /** For the sweep under way, which is to end with the reconciler. */
  let endSweep = (): void => undefined;
  let timer: Timer | undefined;
  let started = false;

  async function offer(items: readonly WorkItem[]): Promise<WorkItem[]> {
    const fresh = items.filter((item) => !running.has(workKey(item)));
    counters.offered += fresh.length;
    const { queued, failed } = await queue.enqueue(fresh);
    counters.queued += queued;
    counters.refused += failed.length;
    if (failed.length > 0) takenAtMs.clear();
    else for (const item of fresh) if (MANY_KINDS.has(item.kind)) takenAtMs.set(workKey(item), now());
    return failed;
  }

  /** All that is due; where that is much, without what the queue took lately, which is what is remembered. */
  function toOffer(due: readonly WorkItem[]): readonly WorkItem[] {
    const areMany = due.length >= MANY_ITEMS;
    const atMs = now();
    const lately = new Map<string, number>();
    const items: WorkItem[] = [];
    for (const item of due) {
      const key = workKey(item);
      const takenMs = takenAtMs.get(key);
      // One that lies ahead is of before the clock was set back.
      const wasTaken = takenMs !== undefined && takenMs <= atMs && atMs - takenMs < OFFER_AGAIN_MS;
      if (wasTaken) lately.set(key, takenMs);
      if (!wasTaken || !areMany) items.push(item);
    }
    takenAtMs = lately;
    return items;
  }

  function runHere(items: readonly WorkItem[]): void {
    if (stopping.signal.aborted) return;
    for (const item of items) {
      const key = workKey(item);
      // Not yet due: the next sweep after its time brings it.
      if (item.notBeforeMs > now() || running.has(key)) continue;
      waiting.set(key, item);
    }
    pump();
  }

  function pump(): void {
    if (stopping.signal.aborted) return;
    for (const kind of WORK_KINDS) {
      let free = concurrency(kind) - [...running.values()].filter((entry) => entry.kind === kind).length;
      for (const [key, item] of inOrder(kind)) {
        if (free <= 0) break;
        const done = options.direct === undefined ? () => undefined : options.direct(item);
        if (done === null) continue;
        waiting.delete(key);
        free -= 1;
        void direct(key, item).finally(done);
      }
    }
  }

  /** As the queue would take them. */
  function inOrder(kind: WorkKind): [string, WorkItem][] {
    const all = [...waiting].filter(([, item]) => item.kind === kind);
    return kind === 'evaluate'
      ? all.sort(([, a], [, b]) => (a.priority ?? 0) - (b.priority ?? 0) || a.notBeforeMs - b.notBeforeMs)
      : all;
  }

  async function direct(key: string, item: WorkItem): Promise<void> {
    counters.directRuns += 1;
    const run = runHandler(runDirect[item.kind], item, timeoutMs(item.kind), timers);
    running.set(key, { kind: item.kind, run });
    try {
      await run.done;
    } catch (error) {
      counters.directFailures += 1;
      const facts = { kind: item.kind, key: item.key, runId: item.runId, cause: run.cause() };
      logger.warn({ ...facts, ...errorFacts(error) }, 'direct work failed; the domain decides on a retry');
    } finally {
      running.delete(key);
      pump();
    }
  }

  /** Answers whether the sweep succeeded. */
  async function sweepOnce(): Promise<boolean> {
    const sweep = new AbortController();
    endSweep = () => sweep.abort();
    const before = [...waiting.keys()];
    try {
      const due = await withDeadline(
        'the sweep',
        () => options.sweep(sweep.signal),
        SWEEP_DEADLINE_MS,
        timers,
      );
      if (stopping.signal.aborted) return true;
      if (due.length > 0) faultPoint('reconcile.swept');
      const late = overdue(due);
      const refused = await offer(toOffer(due));
      // What an earlier round left waiting and this sweep no longer brings is done, or the queue has it.
      for (const key of before) waiting.delete(key);
      runHere([...refused, ...late]);
      counters.sweeps += 1;
      lastSweep = found(due, refused);
      lastSweepAt = new Date(now());
      return true;
    } catch (error) {
      sweep.abort();
      counters.sweepFailures += 1;
      if (!stopping.signal.aborted) faults.warn('reconciler', error, 'the sweep failed; trying again');
      return false;
    }
  }

  function overdue(due: readonly WorkItem[]): WorkItem[] {
    const atMs = now();
    const since = new Map<string, number>();
    const late: WorkItem[] = [];
    for (const item of due) {
      if (item.notBeforeMs > atMs) continue;
      const key = workKey(item);
      const firstMs = Math.min(outstandingSinceMs.get(key) ?? atMs, atMs);
      since.set(key, firstMs);
      const limitMs = overdueMs[item.kind];
      if (limitMs === undefined || atMs - firstMs < limitMs || running.has(key)) continue;
      late.push(item);
      since.set(key, atMs);
    }
    outstandingSinceMs = since;
    counters.overdue += late.length;
    if (late.length > 0) {
      logger.warn(
        { items: late.length },
        'accepted work stays undone: the queue is not consumed; running it here',
      );
    }
    return late;
  }

  function sweepNow(): Promise<boolean> {
    sweeping ??= sweepOnce().finally(() => {
      attemptEndedMs = performance.now();
      sweeping = undefined;
    });
    return sweeping;
  }

  let refusing = false;

  async function loop(): Promise<void> {
    const begunMs = now();
    const ok = await sweepNow();
    if (stopping.signal.aborted) return;
    timer = timers.set(() => void loop(), pauseMs(ok, Math.max(0, now() - begunMs)));
  }

  /** The interval counts from one beginning to the next: forgotten work waits for one of them, however long a sweep takes. */
  function pauseMs(ok: boolean, tookMs: number): number {
    const soonMs = Math.min(intervalMs, RETRY_MS);
    if (!ok) return soonMs;
    const items =
      lastSweep === null ? 0 : Object.values(lastSweep.due).reduce((sum, count) => sum + count, 0);
    // With ten thousand items waiting a sweep takes seconds: it must not become all that is done.
    const restMs = items < MANY_ITEMS ? 0 : Math.min(REST_PER_SWEEP * tookMs, REST_MAX_MS);
    const wasRefusing = refusing;
    refusing = (lastSweep?.notQueued ?? 0) > 0;
    // A queue that was wiped refuses for as long as it takes to build it again; one that is away goes on refusing.
    if (refusing && !wasRefusing) return Math.max(soonMs, restMs);
    return Math.max(intervalMs - tookMs, intervalMs * PAUSE_SHARE, restMs);
  }

  return {
    start() {
      if (started || stopping.signal.aborted) return;
      started = true;
      attemptEndedMs = performance.now();
      void loop();
    },
    async kick(items) {
      if (stopping.signal.aborted || items.length === 0) return;
      runHere(await offer(items));
    },
    async sweepNow() {
      if (!stopping.signal.aborted) await sweepNow();
    },
    async stop() {
      stopping.abort();
      endSweep();
      timers.clear(timer);
      waiting.clear();
      const runs = [...running.values()];
      for (const { run } of runs) run.abort('queue.closing');
      const graceMs = Math.max(0, ...runs.map(({ kind }) => abortGraceMs(timeoutMs(kind))));
      const ends = Promise.allSettled([...runs.map(({ run }) => run.done), sweeping]);
      const failure = await attempt('the direct runs', () => ends, graceMs + RETRY_MS, timers);
      if (failure !== undefined) faults.warn('reconciler', failure, 'direct work did not end in time');
    },
    get lastSweepAt() {
      return lastSweepAt;
    },
    sinceSweepMs() {
      if (attemptEndedMs === null || stopping.signal.aborted) return null;
      return performance.now() - attemptEndedMs;
    },
    get lastSweep() {
      return lastSweep;
    },
    counters,
  };
}

function found(due: readonly WorkItem[], refused: readonly WorkItem[]): SweepFound {
  const counts: Record<WorkKind, number> = {
    'halt-step': 0,
    observe: 0,
    isolate: 0,
    tick: 0,
    alert: 0,
    dispatch: 0,
    evaluate: 0,
  };
  for (const { kind } of due) counts[kind] += 1;
  return { due: counts, notQueued: refused.filter(({ kind }) => kind !== 'halt-step').length };
}
