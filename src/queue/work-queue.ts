/**
 * The work queue, seen from above: what may be asked of it and what it promises.
 *
 * The queue is disposable and the ledger is the truth. Losing the whole queue costs seconds, because the
 * reconciler (reconciler.ts) offers again whatever is outstanding and runs it in this process while the
 * queue refuses. So the promise is at least once, never exactly once: handlers are idempotent and fence
 * themselves with the ledger.
 *
 * Fails toward "not queued": a call that is late, refused or uncertain is reported as failed, never as done.
 * Not here: what is outstanding (domain), first steps of a halt (they do not pass through a queue).
 */
export type WorkKind = 'evaluate' | 'dispatch' | 'halt-step' | 'observe' | 'isolate' | 'alert' | 'tick';

export interface WorkItem {
  kind: WorkKind;
  /** Deterministic, e.g. `ev_x/2`: with the kind it makes the job id, so adding twice runs once. */
  key: string;
  runId: string;
  /** Unix milliseconds. A convenience for the queue only: deadlines live in the ledger. */
  notBeforeMs: number;
  ids: { [name: string]: string | number };
  /** From 1, a smaller one first among the waiting of its queue; left out: before all that have one. */
  priority?: number;
  /** Only a worker that has all of these carries it out; none unless set. */
  labels?: readonly string[];
}

/** `signal` is aborted on close, on loss of the job's lock and on timeout; the slot is freed soon after. */
export type WorkHandler = (item: WorkItem, signal: AbortSignal) => Promise<void>;

export type WorkHandlers = Record<WorkKind, WorkHandler>;

export interface QueueCheck {
  name: string;
  ok: boolean;
  /** A sentence for an operator: what was found, and what to set where it is not right. */
  detail: string;
}

/** Jobs of one kind in one state; the canaries are among them for a moment. */
export interface QueueDepth {
  kind: WorkKind;
  state: 'waiting' | 'active' | 'delayed';
  jobs: number;
}

export interface EnqueueResult {
  queued: number;
  /** Everything that may not be in the queue; offering it again is harmless. */
  failed: WorkItem[];
}

export interface WorkQueue {
  /** Never throws and never hangs: every call to the queue has a deadline, also after close. */
  enqueue(items: readonly WorkItem[]): Promise<EnqueueResult>;
  /** Starts the workers; refuses (`queue.refused`) when a check that must hold does not. */
  start(handlers: WorkHandlers): Promise<void>;
  /** For start-up and readiness; never throws. */
  checks(): Promise<readonly QueueCheck[]>;
  /** Bounded; aborts running handlers and hands their work back. Safe to call twice. */
  close(): Promise<void>;
}
