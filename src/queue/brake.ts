/**
 * Keeps a BullMQ worker from spinning, and from waiting blindly, when its store misbehaves.
 *
 * BullMQ retries a failed fetch at once unless the error looks like "connection refused": a dropped schema,
 * a server that is starting up or a full Redis would turn each worker into a busy loop. And its PostgreSQL
 * wait is bounded by an hour, so one lost NOTIFY next to a far delayed job would hide an urgent one that long.
 */
import type { IQueueBackend } from 'bullmq';
import { BLIND_WAIT_MAX_S } from './broker.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

export interface BrakeOptions {
  /** Called with each failed fetch, before the pause; may mend the cause. Must not throw. */
  onFailure: (error: unknown) => Promise<void>;
  /** Ends a pause at once. */
  closing: AbortSignal;
}

export function brake<B extends IQueueBackend>(backend: B, { onFailure, closing }: BrakeOptions): B {
  const fetchNext = backend.moveToActive.bind(backend);
  let failures = 0;
  Object.defineProperty(backend, 'maximumBlockTimeout', { get: () => BLIND_WAIT_MAX_S });
  backend.moveToActive = async (token, name) => {
    try {
      const next = await fetchNext(token, name);
      failures = 0;
      return next;
    } catch (error) {
      await onFailure(error);
      await pause(Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS), closing);
      failures += 1;
      throw error;
    }
  };
  return backend;
}

function pause(durationMs: number, closing: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (closing.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      closing.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, durationMs);
    closing.addEventListener('abort', end);
  });
}
