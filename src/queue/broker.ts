/**
 * The seam between the work queue and the store that carries it: what BullMQ on PostgreSQL and on Redis
 * have in common, with nothing of either in its types.
 *
 * A port is opened lazily and is safe to open again: BullMQ keeps a failed first connection for good
 * (it memoizes the rejected promise), so the one above drops a port that did not become ready.
 */
import type { Job, JobsOptions } from 'bullmq';
import type { QueueCheck } from './work-queue.ts';

export interface NewJob {
  readonly name: string;
  readonly data: object;
  readonly opts: JobsOptions & { jobId: string };
}

export interface QueuePort {
  ready(): Promise<void>;
  add(name: string, data: object, options: JobsOptions & { jobId: string }): Promise<void>;
  /** All of them or, as far as the caller can tell, none; one that is there already stays as it is. */
  addAll(jobs: readonly NewJob[]): Promise<void>;
  has(jobId: string): Promise<boolean>;
  /**
   * Frees ids whose job stands nowhere that a worker looks although its record remains, as when a store lost part of
   * what it held: an add of such an id is swallowed, for good. One that a worker holds stays. Answers how many.
   */
  freeStranded(jobIds: readonly string[]): Promise<number>;
  counts(): Promise<{ waiting: number; active: number; delayed: number }>;
  close(): Promise<void>;
}

/** BullMQ names more states than an operator needs; what has a priority waits like the rest. */
export function countsOf(counts: Readonly<Record<string, number>>): Awaited<ReturnType<QueuePort['counts']>> {
  const { waiting = 0, prioritized = 0, active = 0, delayed = 0 } = counts;
  return { waiting: waiting + prioritized, active, delayed };
}

export const COUNTED_STATES = ['waiting', 'prioritized', 'active', 'delayed'] as const;

/** BullMQ counts parameters before it passes the signal; ours aborts for more reasons than BullMQ's does. */
export type Processor = (job: Job, token: string | undefined, signal?: AbortSignal) => Promise<undefined>;

export interface WorkerSettings {
  concurrency: number;
  lockDurationMs: number;
  stalledIntervalMs: number;
  onLockLost: (jobIds: readonly string[]) => void;
}

export interface WorkerPort {
  ready(): Promise<void>;
  /** Stops fetching; running jobs go on. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Waits for running jobs to return; may not settle when the store is away, so the caller bounds it. */
  close(): Promise<void>;
}

export interface Probe {
  name: string;
  /** Workers do not start while it fails. */
  run(): Promise<Omit<QueueCheck, 'name'>>;
}

export interface Broker {
  /** Connects and brings the store's schema up to date; throws when it cannot. Cheap once it has succeeded. */
  prepare(): Promise<void>;
  openQueue(name: string): QueuePort;
  openWorker(name: string, processor: Processor, settings: WorkerSettings): WorkerPort;
  probes: readonly Probe[];
  /** The store's clock, Unix milliseconds. */
  serverTimeMs(): Promise<number>;
  /** Ends every connection; forcibly where a polite end does not come in time. */
  close(): Promise<void>;
}

/** Shared by both stores so that a job stuck behind a dead worker can be recovered any number of times:
 * the domain counts attempts, and giving up here would be silence. */
export const STALLED_COUNT_MAX = 1_000;

/** Upper bound on a worker's blind wait, so that a lost wake-up costs no more than a lost job (BullMQ's own bound is an hour). */
export const BLIND_WAIT_MAX_S = 2;
