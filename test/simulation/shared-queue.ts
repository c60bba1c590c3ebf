/**
 * The work queue of a simulation, shared by every instance: it drops, repeats, delays, refuses and is wiped. Jobs
 * run under the real runHandler. A job of an instance that crashed comes back later or not at all.
 */
import { encodeJobId } from '../../src/queue/job-id.ts';
import { hasLabels, type LabelCapacity } from '../../src/queue/labels.ts';
import { resolveQueues, toPayload, WORK_KINDS } from '../../src/queue/queues.ts';
import { runHandler } from '../../src/queue/run-handler.ts';
import type { WorkHandlers, WorkItem, WorkQueue } from '../../src/queue/work-queue.ts';
import { RunningJobs } from '../support/running-jobs.ts';
import type { Faults } from './faults.ts';
import type { Scheduler, SimulatedProcess } from './virtual-time.ts';

interface Job {
  readonly item: WorkItem;
  readonly visibleMs: number;
  owner: SimulatedProcess | null;
}

interface Consumer {
  readonly process: SimulatedProcess;
  look(): void;
}

const STALLED_AFTER_MS = 20_000;

export class SharedQueue {
  readonly jobs = new Map<string, Job>();
  readonly consumers = new Set<Consumer>();
  enqueued = 0;
  readonly #scheduler: Scheduler;
  readonly #faults: Faults;

  constructor(scheduler: Scheduler, faults: Faults) {
    this.#scheduler = scheduler;
    this.#faults = faults;
  }

  wipe(): void {
    this.jobs.clear();
  }

  wake(): void {
    // In another order each time would be reordering; delays do that already.
    for (const consumer of this.consumers) if (consumer.process.alive) consumer.look();
  }

  add(item: WorkItem): void {
    this.enqueued += 1;
    if (this.#faults.hit('queue-drops', 0.05)) return;
    const id = encodeJobId(item.kind, item.key);
    const delayMs = this.#faults.hit('queue-delays', 0.1) ? this.#faults.of('queue-delays').below(60_000) : 0;
    const visibleMs = Math.max(item.notBeforeMs, this.#scheduler.nowMs) + delayMs;
    const entry = (key: string): void => {
      if (this.jobs.has(key)) return;
      this.jobs.set(key, { item, visibleMs, owner: null });
      this.#scheduler.after(Math.max(1, visibleMs - this.#scheduler.nowMs), () => this.wake());
    };
    entry(id);
    if (this.#faults.hit('queue-repeats', 0.05)) entry(`${id}/again`);
  }

  /** What a dead worker held: back after its lock, unless the queue loses it. */
  release(process: SimulatedProcess): void {
    for (const [id, job] of this.jobs) {
      if (job.owner !== process) continue;
      this.#scheduler.after(STALLED_AFTER_MS, () => {
        if (this.jobs.get(id) !== job) return;
        job.owner = null;
        this.wake();
      });
    }
  }

  connect(process: SimulatedProcess, capacity: LabelCapacity = {}): WorkQueue {
    const specs = resolveQueues({});
    const running = new RunningJobs();
    let handlers: WorkHandlers | undefined;
    let closed = false;

    const look = (): void => {
      if (handlers === undefined || closed) return;
      for (const kind of WORK_KINDS) {
        let free = specs[kind].concurrency - running.count(kind);
        for (const [id, job] of this.jobs) {
          if (free <= 0) break;
          if (job.owner !== null || job.item.kind !== kind || job.visibleMs > this.#scheduler.nowMs) continue;
          if (!hasLabels(capacity, job.item.labels)) continue;
          job.owner = process;
          free -= 1;
          work(id, job, handlers);
        }
      }
    };

    const work = (id: string, job: Job, current: WorkHandlers): void => {
      const { kind } = job.item;
      const run = runHandler(current[kind], { ...job.item }, specs[kind].timeoutMs, process.timers);
      void running.follow(id, kind, run, (handedBack) => {
        if (this.jobs.get(id) === job) {
          if (handedBack) job.owner = null;
          else this.jobs.delete(id);
        }
        process.after(1, () => this.wake());
      });
    };

    this.consumers.add({ process, look });
    return {
      enqueue: async (items) => {
        if (items.length === 0) return { queued: 0, failed: [] };
        await process.wait(1 + this.#faults.of('queue-delays').below(5));
        const failed = items.filter(
          (item) =>
            closed ||
            this.#faults.hit('queue-refuses', 0.1) ||
            !specs[item.kind].payload.safeParse(toPayload(item)).success,
        );
        const queued = items.filter((item) => !failed.includes(item));
        for (const item of queued) this.add(structuredClone(item));
        return { queued: queued.length, failed };
      },
      start: async (given) => {
        handlers = given;
        look();
      },
      checks: async () => [],
      close: async () => {
        closed = true;
        await running.close();
      },
    };
  }
}
