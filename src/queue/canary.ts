/**
 * A canary job per queue: proof that what is added is also consumed.
 *
 * A worker can go deaf without an error and still call itself running. So every few seconds a canary is
 * put at the head of the queue; one that lies there past the limit, while a slot was free to take it,
 * means the worker is dead: it is replaced, and the queue reports unhealthy until a canary comes through.
 * A canary taken by another process counts too: the queue is consumed.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { QueuePort } from './broker.ts';
import { withDeadline } from './deadline.ts';
import { JOB_RETENTION } from './queues.ts';
import type { QueueCheck } from './work-queue.ts';

export const CANARY_JOB_NAME = 'canary';

const canarySchema = z.strictObject({ canary: z.string() });

export interface CanaryOptions {
  queueName: string;
  queue: () => Promise<QueuePort>;
  limitMs: number;
  /** Monotonic milliseconds. */
  now: () => number;
  busy: () => boolean;
  /** The worker is deaf: replace it. Must not throw. */
  recreate: () => Promise<void>;
}

export interface Canary {
  /** One beat; never throws. */
  beat(): Promise<void>;
  /** Called by the worker when it meets a canary job. */
  seen(data: unknown): void;
  status(): QueueCheck;
}

export function createCanary({ queueName, queue, limitMs, now, busy, recreate }: CanaryOptions): Canary {
  let pending: { id: string; sinceMs: number } | undefined;
  let lastGoodMs = now();
  let lastFault: 'unconsumed' | 'unreachable' | undefined;

  function good(): void {
    lastGoodMs = now();
    lastFault = undefined;
  }

  async function send(): Promise<void> {
    const id = `canary/${randomUUID()}`;
    const port = await queue();
    // Known as pending before the add: the worker may meet it before the add returns.
    pending = { id, sinceMs: now() };
    await withDeadline('adding a canary', () =>
      port.add(CANARY_JOB_NAME, { canary: id }, { ...JOB_RETENTION, jobId: id, lifo: true }),
    );
  }

  async function beat(): Promise<void> {
    try {
      if (pending === undefined) return await send();
      const { id, sinceMs } = pending;
      const port = await queue();
      if (!(await withDeadline('looking for a canary', () => port.has(id)))) {
        // Taken by another process, or purged with the queue: nothing is known against the worker.
        if (pending?.id === id) pending = undefined;
        good();
        return await send();
      }
      if (pending?.id !== id) return;
      if (busy()) {
        pending.sinceMs = now();
        good();
      } else if (now() - sinceMs >= limitMs) {
        lastFault = 'unconsumed';
        pending.sinceMs = now(); // the new worker has as long as the old one had
        await recreate();
      }
    } catch {
      lastFault = 'unreachable';
    }
  }

  return {
    beat,
    seen(data) {
      const parsed = canarySchema.safeParse(data);
      if (!parsed.success || parsed.data.canary !== pending?.id) return;
      pending = undefined;
      good();
    },
    status() {
      const quietMs = now() - lastGoodMs;
      const ok = lastFault !== 'unconsumed' && quietMs < limitMs;
      const name = `canary ${queueName}`;
      if (ok) return { name, ok, detail: 'jobs are consumed' };
      const seconds = Math.round(quietMs / 1_000);
      return lastFault === 'unreachable'
        ? { name, ok, detail: `the queue has not answered for ${seconds} s` }
        : { name, ok, detail: `no job was consumed for ${seconds} s` };
    },
  };
}

/**
 * The start-up round trip: a real job through a real worker. Readiness of the connections alone proves
 * little (a pool without search_path is "ready" and cannot add).
 */
export async function roundTrip(
  queue: QueuePort,
  openWorker: (onJob: (data: unknown) => void) => { ready(): Promise<void>; close(): Promise<void> },
  timeoutMs: number,
): Promise<void> {
  const id = `canary/${randomUUID()}`;
  let arrived = () => {};
  const arrival = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const worker = openWorker((data) => {
    const parsed = canarySchema.safeParse(data);
    if (parsed.success && parsed.data.canary === id) arrived();
  });
  let poll: NodeJS.Timeout | undefined;
  try {
    await withDeadline(
      'a canary job',
      async () => {
        await worker.ready();
        await queue.add(CANARY_JOB_NAME, { canary: id }, { ...JOB_RETENTION, jobId: id, lifo: true });
        // Another process starting at the same time may take it: then it is gone.
        poll = setInterval(() => {
          queue.has(id).then(
            (there) => {
              if (!there) arrived();
            },
            () => {},
          );
        }, 250);
        await arrival;
      },
      timeoutMs,
    );
  } finally {
    clearInterval(poll);
    await withDeadline('closing the canary worker', () => worker.close()).catch(() => {});
  }
}
