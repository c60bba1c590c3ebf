/**
 * The work queue in memory, for tests of the service and for simulation; the contract suite holds it to
 * what the real ones promise. `MemoryStore` is the server: queues on one store are processes on one queue.
 *
 * Deterministic where the caller's clock is: due work is looked for when something is added, when a slot
 * is freed, when a delay ends, and on `wake`. No stalled-job recovery, because its workers cannot die.
 */
import { encodeJobId } from '../../src/queue/job-id.ts';
import { resolveQueues, toPayload, WORK_KINDS } from '../../src/queue/queues.ts';
import { runHandler } from '../../src/queue/run-handler.ts';
import type { WorkHandlers, WorkItem, WorkKind, WorkQueue } from '../../src/queue/work-queue.ts';
import { RunningJobs } from './running-jobs.ts';

export interface MemoryStore {
  /** While false every add fails and nothing is fetched. */
  reachable: boolean;
  /** FLUSHALL. */
  wipe(): void;
  /** Looks for due work now: for a caller whose clock is its own, after moving it. */
  wake(): void;
  readonly size: number;
}

interface MemoryJob {
  item: WorkItem;
  active: boolean;
}

interface InnerStore extends MemoryStore {
  jobs: Map<string, MemoryJob>;
  workers: Set<() => void>;
}

const LOOK_AGAIN_MS = 60_000;

const stores = new WeakMap<MemoryStore, InnerStore>();

export function createMemoryStore(): MemoryStore {
  const jobs = new Map<string, MemoryJob>();
  const workers = new Set<() => void>();
  let reachable = true;
  const store: InnerStore = {
    jobs,
    workers,
    wake: () => {
      for (const look of workers) look();
    },
    get reachable() {
      return reachable;
    },
    set reachable(value) {
      reachable = value;
      if (value) store.wake();
    },
    wipe: () => jobs.clear(),
    get size() {
      return jobs.size;
    },
  };
  stores.set(store, store);
  return store;
}

/** As BullMQ does: what has no priority first, then by priority, each as it came. */
function inOrder(jobs: Map<string, MemoryJob>): [string, MemoryJob][] {
  return [...jobs].sort(([, a], [, b]) => (a.item.priority ?? 0) - (b.item.priority ?? 0));
}

export interface MemoryWorkQueueOptions {
  store?: MemoryStore;
  concurrency?: Partial<Record<WorkKind, number>>;
  timeouts?: Partial<Record<WorkKind, number>>;
  clock?: { now(): number };
}

export function createMemoryWorkQueue(options: MemoryWorkQueueOptions = {}): WorkQueue {
  const given = options.store ?? createMemoryStore();
  const store = stores.get(given);
  if (store === undefined) throw new TypeError('not a memory store');
  const specs = resolveQueues({ concurrency: options.concurrency, timeoutsMs: options.timeouts });
  const now = () => options.clock?.now() ?? Date.now();
  const running = new RunningJobs();
  let timer: NodeJS.Timeout | undefined;
  let handlers: WorkHandlers | undefined;
  let closed = false;
  let closing: Promise<void> | undefined;

  function look(): void {
    clearTimeout(timer);
    if (handlers === undefined || closed || !store?.reachable) return;
    let nextInMs = Number.POSITIVE_INFINITY;
    for (const kind of WORK_KINDS) {
      let free = specs[kind].concurrency - running.count(kind);
      for (const [id, job] of inOrder(store.jobs)) {
        if (free <= 0) break;
        if (job.active || job.item.kind !== kind) continue;
        const delayMs = job.item.notBeforeMs - now();
        if (delayMs > 0) {
          nextInMs = Math.min(nextInMs, delayMs);
          continue;
        }
        job.active = true;
        free -= 1;
        work(id, job, handlers);
      }
    }
    if (nextInMs !== Number.POSITIVE_INFINITY) timer = setTimeout(look, Math.min(nextInMs, LOOK_AGAIN_MS));
  }

  function work(id: string, job: MemoryJob, current: WorkHandlers): void {
    const { kind } = job.item;
    const run = runHandler(current[kind], structuredClone(job.item), specs[kind].timeoutMs);
    void running.follow(id, kind, run, (handedBack) => {
      // Wiped and added again meanwhile? Then the entry is another job.
      if (store?.jobs.get(id) === job) {
        if (handedBack) job.active = false;
        else store.jobs.delete(id);
      }
      store?.wake();
    });
  }

  return {
    async enqueue(items) {
      const failed: WorkItem[] = [];
      let queued = 0;
      for (const item of items) {
        const payload = specs[item.kind]?.payload.safeParse(toPayload(item));
        if (closed || !store.reachable || !payload?.success) {
          failed.push(item);
          continue;
        }
        const id = encodeJobId(item.kind, item.key);
        if (!store.jobs.has(id)) store.jobs.set(id, { item: structuredClone(item), active: false });
        queued += 1;
      }
      // After the answer, as a real queue would: the caller must not find its work half done.
      queueMicrotask(store.wake);
      return { queued, failed };
    },
    async start(given) {
      handlers = given;
      store.workers.add(look);
      look();
    },
    async checks() {
      return [
        closed
          ? { name: 'queue', ok: false, detail: 'the queue is closed' }
          : { name: 'memory-reachable', ok: store.reachable, detail: 'in memory' },
      ];
    },
    close() {
      closing ??= (async () => {
        closed = true;
        store.workers.delete(look);
        clearTimeout(timer);
        await running.close();
      })();
      return closing;
    },
  };
}
