/**
 * The worker of one queue, and its replacement when it no longer consumes.
 *
 * BullMQ keeps a failed first connection for good, and a worker can go deaf without an error; so a worker
 * is a thing to be thrown away. The running jobs are kept here, beside it, to be aborted from outside.
 */
import type { Broker, Processor, WorkerPort } from './broker.ts';
import { attempt, withDeadline } from './deadline.ts';
import type { QueueLogger } from './log.ts';
import { lockDurationMs, type QueueSpec, stalledIntervalMs } from './queues.ts';
import type { HandlerRun } from './run-handler.ts';
import { giveBack } from './run-job.ts';

const READY_DEADLINE_MS = 10_000;
const CLOSE_SPARE_MS = 3_000;

export interface WorkerSlot {
  /** Opens a worker and waits until it is ready; throws when it is not, leaving none behind. */
  open(): Promise<void>;
  /** Replaces the worker; the old one's jobs go back. Does not throw. */
  recreate(): Promise<void>;
  /** No new jobs while held; running ones go on. */
  hold(): Promise<void>;
  release(): Promise<void>;
  /** Whether every slot is taken: a busy worker is alive, and cannot take a canary. */
  busy(): boolean;
  close(): Promise<void>;
}

export interface WorkerSlotOptions {
  broker: Broker;
  spec: QueueSpec;
  processor: Processor;
  running: Map<string, HandlerRun>;
  logger: QueueLogger;
}

interface OpenWorker {
  port: WorkerPort;
  /** From the moment it is to go: it may still fetch, and must not run what it fetches. */
  retired: boolean;
}

export function createWorkerSlot({
  broker,
  spec,
  processor,
  running,
  logger,
}: WorkerSlotOptions): WorkerSlot {
  let worker: OpenWorker | undefined;
  let held = false;
  let closed = false;

  async function open(): Promise<void> {
    const opened: OpenWorker = { port: openPort(() => opened.retired), retired: false };
    worker = opened;
    try {
      await withDeadline(`the worker of ${spec.name}`, opened.port.ready, READY_DEADLINE_MS);
    } catch (error) {
      opened.retired = true;
      if (worker === opened) worker = undefined;
      await attempt(`closing the worker of ${spec.name}`, opened.port.close);
      throw error;
    }
  }

  function openPort(isRetired: () => boolean): WorkerPort {
    return broker.openWorker(
      spec.name,
      async (job, token, signal) => {
        // BullMQ lets a fetch that was under way through its pause: work just given back would come
        // straight back to us, and nobody would abort it.
        if (isRetired() || held) return giveBack(job, token);
        return processor(job, token, signal);
      },
      {
        concurrency: spec.concurrency,
        lockDurationMs: lockDurationMs(spec.timeoutMs),
        stalledIntervalMs: stalledIntervalMs(spec.timeoutMs),
        onLockLost: (jobIds) => {
          for (const jobId of jobIds) running.get(jobId)?.abort('queue.lock-lost');
        },
      },
    );
  }

  /** Stop fetching first, then abort: a freed slot must not take the next job. */
  async function retire(): Promise<void> {
    const retiring = worker;
    worker = undefined;
    if (retiring === undefined) return;
    retiring.retired = true;
    await attempt(`pausing the worker of ${spec.name}`, retiring.port.pause);
    const runs = [...running.values()];
    for (const run of runs) run.abort('queue.closing');
    // Bounded: a run that does not heed its signal gives up its slot after the grace.
    await Promise.allSettled(runs.map(({ done }) => done));
    const failed = await attempt(`closing the worker of ${spec.name}`, retiring.port.close, CLOSE_SPARE_MS);
    if (failed !== undefined)
      logger.warn({ queue: spec.name }, 'a worker did not close in time and was left');
  }

  return {
    open,
    async recreate() {
      if (closed) return;
      logger.warn({ queue: spec.name }, 'a worker no longer consumes: replacing it');
      await retire();
      if (closed) return;
      await attempt(`opening the worker of ${spec.name}`, open, READY_DEADLINE_MS + CLOSE_SPARE_MS);
      if (held && worker !== undefined) await attempt(`holding ${spec.name}`, worker.port.pause);
    },
    async hold() {
      held = true;
      if (worker !== undefined) await attempt(`holding ${spec.name}`, worker.port.pause);
    },
    async release() {
      held = false;
      if (worker !== undefined) await attempt(`releasing ${spec.name}`, worker.port.resume);
    },
    busy: () => running.size >= spec.concurrency,
    async close() {
      closed = true;
      await retire();
    },
  };
}
