/**
 * Begins to consume the queue, and does not depend on it: a service that starts while its queue is away serves, halts
 * and evaluates all the same (the reconciler runs what cannot be queued), and consumes the queue once it is there.
 *
 * A queue that would lose or hide work (a wrong eviction policy, a pooler that swallows notifications, a clock that
 * is off) is no passing fault: found at start, it ends the start, so that somebody reads why.
 */
import { InterlockError } from '../errors.ts';
import type { QueueLogger } from '../queue/log.ts';
import type { WorkHandlers, WorkQueue } from '../queue/work-queue.ts';
import type { Timer, Timers } from '../timers.ts';

export interface QueueStart {
  readonly queue: Pick<WorkQueue, 'start'>;
  readonly handlers: WorkHandlers;
  readonly logger: QueueLogger;
  readonly timers: Timers;
  /** From here on nothing is begun any more. */
  readonly stopping: AbortSignal;
  /** How long a start waits for a queue that does not answer at all. */
  readonly patienceMs?: number;
  readonly againMs?: number;
}

const PATIENCE_MS = 8_000;
const AGAIN_MS = 2_000;
const WITHOUT =
  'the queue cannot be used: work runs in this process, evaluations one at a time, until it can';

/** Resolves when the queue is consumed, or when it is clear that this has to wait. */
export async function startConsuming(options: QueueStart): Promise<void> {
  const { patienceMs = PATIENCE_MS, timers, logger } = options;
  const first = tryOnce(options);
  const late = waiting(patienceMs, options);
  const outcome = await Promise.race([first, late.over]);
  timers.clear(late.timer);
  if (outcome === 'started') return;
  if (outcome === 'late') logger.warn({ patienceMs }, WITHOUT);
  void goOn(first, options);
}

type Outcome = 'started' | 'again';

/** Throws what time will not mend. */
async function tryOnce({ queue, handlers, logger, stopping }: QueueStart): Promise<Outcome> {
  try {
    await queue.start(handlers);
    return 'started';
  } catch (error) {
    if (stopping.aborted) return 'started';
    if (!(error instanceof InterlockError && error.retryable)) throw error;
    logger.warn({ code: error.code, reason: error.message }, WITHOUT);
    return 'again';
  }
}

async function goOn(first: Promise<Outcome>, options: QueueStart): Promise<void> {
  const { againMs = AGAIN_MS, logger, stopping } = options;
  let told = '';
  for (let attempt = first; ; attempt = tryOnce(options)) {
    // Serving already: what would have ended the start is told, and people may mend it while we serve.
    const outcome = await attempt.catch((error: unknown): Outcome => {
      const reason = error instanceof Error ? error.message : 'unknown';
      // Once for each reason, not every two seconds.
      if (reason !== told) logger.error({ err: error }, 'the queue is refused');
      told = reason;
      return 'again';
    });
    if (stopping.aborted) return;
    if (outcome === 'started') {
      logger.info({}, 'the queue can be used again');
      return;
    }
    await waiting(againMs, options).over;
    if (stopping.aborted) return;
  }
}

function waiting(ms: number, { timers }: QueueStart): { over: Promise<'late'>; timer: Timer | undefined } {
  let timer: Timer | undefined;
  const over = new Promise<'late'>((resolve) => {
    timer = timers.set(() => resolve('late'), ms, { unref: true });
  });
  return { over, timer };
}
