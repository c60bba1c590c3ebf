/**
 * The acting half: what is outstanding gets done.
 *
 * Three roads, one set of handlers, never the same item twice at a time in this process:
 * - the fast path: what a commit made due at once for a halt runs here immediately, all targets in parallel;
 * - the queue: everything else, offered after each commit;
 * - the reconciler: whatever the ledger still calls outstanding, at start and every interval, whether the
 *   queue lives or not. It also hands back the work of instances that are gone.
 */

import type { WorkItem as DueItem } from '../domain/run/outstanding.ts';
import { outstanding } from '../domain/run/outstanding.ts';
import type { RunState } from '../domain/run/state.ts';
import { faultPoint } from '../fault-points.ts';
import type { Instances } from '../ledger/instances.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { exclusive } from '../queue/exclusive.ts';
import type { LabelCapacity, LabelSlots } from '../queue/labels.ts';
import type { QueueLogger } from '../queue/log.ts';
import { createReconciler, type Reconciler } from '../queue/reconciler.ts';
import type { WorkHandlers, WorkItem, WorkQueue } from '../queue/work-queue.ts';
import { recordSpan, tracingOn } from '../telemetry/tracing.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';
import { describeHome, hasEnded } from './instance-home.ts';
import { startConsuming } from './queue-start.ts';
import type { Commit, LoadedRun, RunService } from './run-service.ts';
import type { RunningEvaluations } from './running-evaluations.ts';
import { type Thread, threadOfItem } from './stories.ts';

export interface WorkerOptions {
  readonly runs: RunService;
  readonly ledger: Ledger;
  readonly instances: Instances;
  readonly instance: string;
  readonly running: RunningEvaluations;
  readonly handlers: WorkHandlers;
  /** Shared with the handlers: a halt that was committed here need not be loaded before its first steps. */
  readonly committed?: WeakMap<WorkItem, LoadedRun>;
  readonly queue: WorkQueue;
  /** False on a process that only serves the API: it still takes the first steps of the halts it orders. */
  readonly isWorker: boolean;
  readonly isScheduler: boolean;
  /** Labelled work that this process takes; none unless set. */
  readonly labels?: WorkerLabels;
  readonly clock: () => Date;
  readonly logger: QueueLogger;
  readonly reconcileIntervalMs?: number;
  readonly lostAfterMs?: number;
  readonly timers?: Timers;
  /** Where this process runs, and whether one that runs elsewhere can be seen to have ended. */
  readonly home?: { describe(): string; hasEnded(detail: string): boolean };
}

export interface WorkerLabels {
  readonly slots: LabelSlots;
  readonly capacity: LabelCapacity;
  /** A remote worker: it takes what its labels name, and nothing else. */
  readonly only: boolean;
}

export interface Worker {
  start(): Promise<void>;
  /** Stops taking work, hands back what is unfinished; bounded. */
  stop(): Promise<void>;
  readonly reconciler: Reconciler;
}

const RECONCILE_INTERVAL_MS = 2_000;
const LOST_AFTER_MS = 10_000;
/** All of them, as a rule: what waits longest must not hide what came after it. */
const DUE_STREAMS_MAX = 50_000;
const LOADED_AT_ONCE = 250;
/** Steps of a halt that fall due this soon are kept on a timer here, so that they need no queue. */
const TIMER_HORIZON_MS = 60_000;
const STOP_GRACE_MS = 5_000;
/** A halt is dialled first: offering the rest to the queue at once took it a quarter of its time. */
const AFTER_HALT_MS = 10;

const OFFERS_TOLD_MAX = 10_000;

const RUN_PREFIX = 'run-';
/** Looked at this often for work that waits for a label in vain. */
const UNSTAFFED_EVERY_MS = 15_000;

export function createWorker(options: WorkerOptions): Worker {
  const { runs, ledger, instances, instance, running, queue, clock, logger } = options;
  const { timers = realTimers, home: homes = { describe: () => describeHome(), hasEnded } } = options;
  const handlers = exclusive(options.handlers, timers);
  const pending = new Map<string, Timer>();
  const waiting = new Set<Timer>();
  const direct = new Set<Promise<void>>();
  const stopping = new AbortController();
  /** Aborted before `stopping`: the queue hands its work back first. */
  const closing = new AbortController();
  const home = homes.describe();
  const { labels } = options;
  const ownLabels = options.isWorker ? Object.keys(labels?.capacity ?? {}).sort() : [];
  let life: Timer | undefined;
  let unstaffedAtMs = Number.NEGATIVE_INFINITY;

  /** Which story each item belongs to, for tracing alone: the queue carries nothing of it. */
  const threads = new WeakMap<WorkItem, Thread>();
  const offersTold = new Set<string>();
  /** What was outstanding after a commit is what was outstanding before the next one. */
  const outstandingOf = new WeakMap<RunState, readonly DueItem[]>();
  const threaded = (state: RunState) => (due: DueItem) => {
    const item = mutable(due);
    const thread = threadOfItem(state, item);
    if (thread !== null) threads.set(item, thread);
    return item;
  };

  function runNow(item: WorkItem): void {
    if (stopping.signal.aborted) return;
    const work = handlers[item.kind](item, stopping.signal)
      .catch((error: unknown) => {
        logger.warn(
          { err: error, kind: item.kind, runId: item.runId },
          'a halt step could not be done here; it comes again',
        );
      })
      .finally(() => direct.delete(work));
    direct.add(work);
  }

  function runAt(item: WorkItem, delayMs: number): void {
    const key = `${item.kind}/${item.key}`;
    if (pending.has(key)) return;
    const fire = (): void => {
      pending.delete(key);
      runNow(item);
    };
    pending.set(key, timers.set(fire, delayMs, { unref: true }));
  }

  /** Halts never wait for a queue. */
  function act({ before, items, after, policy, events }: Commit): void {
    const nowMs = clock().getTime();
    const version = events.at(-1)?.version;
    for (const event of events) {
      if (event.kind === 'EvaluationsCancelled') cancelJobs(event.data);
    }
    const earlier = before === null ? [] : (outstandingOf.get(before) ?? outstanding(before, policy));
    outstandingOf.set(after, items);
    const known = new Set(earlier.map(({ kind, key }) => `${kind}/${key}`));
    const fresh = items.filter(({ kind, key }) => !known.has(`${kind}/${key}`)).map(threaded(after));
    let isHalting = false;
    for (const item of fresh) {
      const delayMs = item.notBeforeMs - nowMs;
      // A remote worker has no hold on what trains: whoever sweeps takes the steps, within its interval.
      const urgent = labels?.only !== true && (item.kind === 'halt-step' || item.kind === 'observe');
      if (urgent && delayMs <= 0) {
        if (version !== undefined) options.committed?.set(item, { version, state: after, policy });
        runNow(item);
        isHalting ||= item.kind === 'halt-step';
      } else if ((urgent || (item.kind === 'tick' && after.halt !== null)) && delayMs <= TIMER_HORIZON_MS) {
        runAt(item, Math.max(0, delayMs));
      }
    }
    const rest = fresh.filter(({ kind }) => kind !== 'halt-step' && kind !== 'observe');
    if (rest.length > 0) offerSoon(rest, isHalting ? AFTER_HALT_MS : 0);
  }

  /** What is lost of this in a crash is found by the sweep, as everything is. */
  function offerSoon(items: readonly WorkItem[], delayMs: number): void {
    if (delayMs === 0 || stopping.signal.aborted) {
      void reconciler.kick(items);
      return;
    }
    const timer = timers.set(
      () => {
        waiting.delete(timer);
        void reconciler.kick(items);
      },
      delayMs,
      { unref: true },
    );
    waiting.add(timer);
  }

  function cancelJobs(data: Readonly<Record<string, unknown>>): void {
    const ids = data['evaluationIds'];
    if (Array.isArray(ids)) running.cancel(ids.filter((id) => typeof id === 'string'));
  }

  async function dueItems(): Promise<WorkItem[]> {
    const now = clock();
    const streams = await ledger.dueStreams(now, DUE_STREAMS_MAX);
    const items: WorkItem[] = [];
    const runIds = streams
      .filter((stream) => stream.startsWith(RUN_PREFIX))
      .map((stream) => stream.slice(RUN_PREFIX.length));
    for (let from = 0; from < runIds.length; from += LOADED_AT_ONCE) {
      const found = await Promise.all(runIds.slice(from, from + LOADED_AT_ONCE).map((id) => runs.load(id)));
      for (const loaded of found) {
        if (loaded === null) continue;
        const due = outstanding(loaded.state, loaded.policy).filter(
          ({ notBeforeMs }) => notBeforeMs <= now.getTime(),
        );
        items.push(...due.map(threaded(loaded.state)));
      }
    }
    return items;
  }

  /** Work of instances that are gone, and jobs here that have been cancelled elsewhere. */
  async function tidy(): Promise<void> {
    await instances.beat(instance, home, ownLabels);
    for (const { id: gone, detail, silent } of await instances.known(options.lostAfterMs ?? LOST_AFTER_MS)) {
      // One that was killed beside us need not be waited for: its process shows it.
      if (gone === instance || !(silent || homes.hasEnded(detail))) continue;
      for (const stream of await instances.streamsNaming(gone)) {
        if (stream.startsWith(RUN_PREFIX)) await handBack(stream.slice(RUN_PREFIX.length), gone);
      }
      faultPoint('instance.returned');
      await instances.forget(gone);
      logger.warn({ instance: gone }, 'an instance is gone; its unfinished evaluations start again');
    }
    await cancelStale();
  }

  /** Jobs here whose attempt has been cancelled elsewhere. */
  async function cancelStale(): Promise<void> {
    for (const { runId, evaluationId, attempt } of running.list()) {
      const state = (await runs.load(runId))?.state;
      const standing = state?.checkpoints
        .flatMap(({ evaluations }) => evaluations)
        .find((each) => each.evaluationId === evaluationId)
        ?.attempts.find((each) => each.attempt === attempt);
      if (state !== undefined && standing?.state !== 'running') running.cancelAttempt(evaluationId, attempt);
    }
  }

  /** A process that does not sweep is told apart from one that is gone, and hears of cancelled work, by this alone. */
  function showLife(): void {
    const again = async (): Promise<void> => {
      try {
        await instances.beat(instance, home, ownLabels);
        await cancelStale();
      } catch (error) {
        logger.warn({ err: error }, 'this worker could not say that it is alive; trying again');
      }
      if (!closing.signal.aborted) showLife();
    };
    life = timers.set(() => void again(), options.reconcileIntervalMs ?? RECONCILE_INTERVAL_MS, {
      unref: true,
    });
  }

  /** People hear of work that waits for a label which nobody has while there is time to start a worker. */
  async function noteUnstaffed(items: readonly WorkItem[]): Promise<void> {
    const labelled = new Set(items.flatMap(({ runId, labels = [] }) => (labels.length > 0 ? [runId] : [])));
    const nowMs = clock().getTime();
    if (labelled.size === 0 || Math.abs(nowMs - unstaffedAtMs) < UNSTAFFED_EVERY_MS) return;
    unstaffedAtMs = nowMs;
    const alive = await instances.known(options.lostAfterMs ?? LOST_AFTER_MS);
    const workers = alive.flatMap(({ silent, labels }) =>
      silent || labels.length === 0 ? [] : [[...labels]],
    );
    for (const runId of labelled) {
      await runs.execute(runId, { type: 'NoteUnstaffed', workers }, { actor: 'interlock' });
    }
  }

  async function handBack(runId: string, gone: string): Promise<void> {
    const loaded = await runs.load(runId);
    const lost = (loaded?.state.checkpoints ?? [])
      .flatMap(({ evaluations }) => evaluations)
      .flatMap(({ evaluationId, attempts }) =>
        attempts
          .filter(({ state, instance: owner }) => state === 'running' && owner === gone)
          .map(({ attempt }) => ({ evaluationId, attempt })),
      );
    for (const { evaluationId, attempt } of lost) {
      await runs.execute(
        runId,
        { type: 'ReturnAttempt', evaluationId, attempt, instance: gone, reason: 'instance-lost' },
        { actor: 'interlock' },
      );
    }
  }

  /**
   * A due step of a halt is not offered: the queue may have it already, locked by a process that was killed, and
   * would take it for done. What is not queued runs here.
   */
  async function offer(items: readonly WorkItem[]): ReturnType<WorkQueue['enqueue']> {
    const halts = items.filter(({ kind }) => kind === 'halt-step');
    const startTime = new Date();
    const { queued, failed } = await queue.enqueue(items.filter(({ kind }) => kind !== 'halt-step'));
    tellOffer(items, failed, startTime);
    return { queued, failed: [...halts, ...failed] };
  }

  /** The first offer here alone: sweeps offer the same again for as long as it waits. */
  function tellOffer(items: readonly WorkItem[], failed: readonly WorkItem[], startTime: Date): void {
    if (!tracingOn()) return;
    if (offersTold.size > OFFERS_TOLD_MAX) offersTold.clear();
    for (const item of items) {
      const thread = threads.get(item);
      const key = `${item.kind}/${item.key}`;
      if (thread === undefined || item.kind === 'halt-step' || offersTold.has(key)) continue;
      offersTold.add(key);
      recordSpan(
        'work.enqueue',
        {
          'interlock.run.id': item.runId,
          'interlock.kind': item.kind,
          'interlock.outcome': failed.includes(item) ? 'not-queued' : 'queued',
        },
        { ...thread, kind: 'producer', startTime, endTime: new Date() },
      );
    }
  }

  const reconciler = createReconciler({
    intervalMs: options.reconcileIntervalMs ?? RECONCILE_INTERVAL_MS,
    sweep: async () => {
      await tidy();
      const due = await dueItems();
      await noteUnstaffed(due);
      return due;
    },
    queue: { enqueue: offer },
    runDirect: handlers,
    direct: (item) => directly(item, labels),
    logger,
    clock: { now: () => clock().getTime() },
    timers,
  });

  // From the first request on: what is committed before the workers run is found by the first sweep.
  runs.onCommit(act);

  return {
    reconciler,
    async start() {
      await instances.beat(instance, home, ownLabels);
      if (!options.isScheduler) showLife();
      // First, so that what is outstanding is done even where the queue keeps us waiting.
      if (options.isScheduler) reconciler.start();
      if (options.isWorker) {
        await startConsuming({ queue, handlers, logger, timers, stopping: closing.signal });
      }
    },
    async stop() {
      closing.abort();
      timers.clear(life);
      for (const timer of pending.values()) timers.clear(timer);
      pending.clear();
      for (const timer of waiting) timers.clear(timer);
      waiting.clear();
      await reconciler.stop();
      await queue.close();
      stopping.abort();
      await bounded(Promise.allSettled([...direct]), STOP_GRACE_MS, timers);
      // What could not be handed back must still be found: then this instance counts as lost, not as gone.
      const left = await instances.streamsNaming(instance).catch(() => null);
      if (left?.length === 0) await instances.forget(instance).catch(() => undefined);
    },
  };
}

/** Whether this process may do an item where the queue does not take it; `null`: somebody else has to. */
export function directly(
  { kind, labels: needed = [] }: Pick<WorkItem, 'kind' | 'labels'>,
  own: WorkerLabels | undefined,
): (() => void) | null {
  // A remote worker has what its labels name, and neither channels nor orchestrators: the sweep of others does the rest.
  if (kind !== 'evaluate' || needed.length === 0) return own?.only === true ? null : () => undefined;
  return own?.slots.tryTake(needed) ?? null;
}

/** The domain's items are read-only; the queue's are plain records. */
function mutable({ kind, key, runId, notBeforeMs, ids, priority, labels }: DueItem): WorkItem {
  return {
    kind,
    key,
    runId,
    notBeforeMs,
    ids: { ...ids },
    ...(priority === undefined ? {} : { priority }),
    ...(labels === undefined ? {} : { labels: [...labels] }),
  };
}

async function bounded(work: Promise<unknown>, ms: number, timers: Timers): Promise<void> {
  let timer: Timer | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = timers.set(resolve, ms);
  });
  await Promise.race([work, limit]);
  timers.clear(timer);
}
