/**
 * One handler under a signal and a timeout, from the queue or directly from the reconciler.
 *
 * The signal is aborted once, for the first cause. A handler that has not ended a grace later loses its
 * slot: `done` rejects and the handler is left to itself.
 */
import { realTimers, type Timer, type Timers } from '../timers.ts';
import { abortGraceMs } from './queues.ts';
import type { WorkHandler, WorkItem } from './work-queue.ts';

/** Every error text that BullMQ ever sees from us. */
export type JobFaultCode =
  | 'queue.handler-failed'
  | 'queue.timed-out'
  | 'queue.lock-lost'
  | 'queue.closing'
  | 'queue.payload-unreadable';

export type AbortCause = Extract<JobFaultCode, 'queue.timed-out' | 'queue.lock-lost' | 'queue.closing'>;

export class JobFault extends Error {
  readonly code: JobFaultCode;

  constructor(code: JobFaultCode) {
    super(code);
    this.name = 'JobFault';
    this.code = code;
  }
}

export interface HandlerRun {
  /** The handler's own end, or a rejection once the grace after an abort has passed. */
  done: Promise<void>;
  abort(cause: AbortCause): void;
  cause(): AbortCause | undefined;
}

export function runHandler(
  handler: WorkHandler,
  item: WorkItem,
  timeoutMs: number,
  timers: Timers = realTimers,
): HandlerRun {
  const controller = new AbortController();
  let cause: AbortCause | undefined;
  let ended = false;
  let giveUp: (reason: JobFault) => void = () => {};
  let graceTimer: Timer | undefined;
  const abandoned = new Promise<never>((_resolve, reject) => {
    giveUp = reject;
  });

  const abort = (reason: AbortCause) => {
    if (ended || cause !== undefined) return;
    cause = reason;
    const fault = new JobFault(reason);
    graceTimer = timers.set(() => giveUp(fault), abortGraceMs(timeoutMs));
    controller.abort(fault);
  };
  const timer = timers.set(() => abort('queue.timed-out'), timeoutMs);

  const run = async () => {
    try {
      // Called here, so that a handler that throws before its first await rejects like any other.
      await Promise.race([handler(item, controller.signal), abandoned]);
    } finally {
      ended = true;
      timers.clear(timer);
      timers.clear(graceTimer);
    }
  };
  return { done: run(), abort, cause: () => cause };
}
