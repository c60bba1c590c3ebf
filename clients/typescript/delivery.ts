/**
 * Brings queued reports to Interlock, in order, one attempt each; the first that fails ends it until its delay is over.
 *
 * Refused for good is what the same bytes can never change; anything else waits, also what may be put right outside (a
 * token that is being replaced, a run that is not registered yet). A connection that fails has no delay of its own: the
 * heartbeat that follows fails as well, and after an outage reports must go before the compute that needs them.
 */
import type { CheckpointQueue } from './checkpoint-queue.ts';
import { type InterlockClient, reportRetryAfterMaxMs } from './client.ts';
import { InterlockClientError } from './errors.ts';
import type { GuardEvent } from './guard-types.ts';

const refusedForGood = [400, 409, 413, 415, 422];
const offline = ['unreachable', 'timed-out'];
const delayMaxMs = 60_000;

export interface DeliveryOptions {
  client: Pick<InterlockClient, 'sendCheckpoint'>;
  queue: CheckpointQueue;
  monotonicMs: () => number;
  emit: (event: GuardEvent) => void;
  /** Counts for nothing: another one is due. */
  onRefused: () => void;
}

export class Delivery {
  readonly #options: DeliveryOptions;
  #failures = 0;
  #notBeforeMs = 0;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** Answers how long what is left should wait; null where nothing is left. Never rejects. */
  async deliver(signal: AbortSignal): Promise<number | null> {
    const { queue, monotonicMs } = this.#options;
    try {
      const pending = queue.pending();
      if (pending.length === 0) return null;
      const waitMs = this.#notBeforeMs - monotonicMs();
      if (waitMs > 0) return waitMs;
      for (const name of pending) {
        if (!(await this.#send(name, signal))) return Math.max(0, this.#notBeforeMs - monotonicMs());
      }
      this.#failures = 0;
      return null;
    } catch {
      return this.#failed(null); // the disk's doing; what it holds is tried again
    }
  }

  /** Whether the next may be sent. */
  async #send(name: string, signal: AbortSignal): Promise<boolean> {
    const { client, queue, emit, onRefused } = this.#options;
    const body = queue.read(name);
    if (body === null) return true;
    try {
      const { disposition } = await client.sendCheckpoint(body, signal);
      queue.done(name);
      emit({ kind: 'checkpoint-delivered', file: name, disposition });
      return true;
    } catch (error) {
      const known = error instanceof InterlockClientError ? error : null;
      const code = known?.code ?? 'unexpected';
      if (known?.status !== undefined && refusedForGood.includes(known.status)) {
        queue.reject(name, code);
        onRefused();
        emit({ kind: 'checkpoint-refused', file: name, code });
        return true;
      }
      this.#failed(known);
      if (!signal.aborted) emit({ kind: 'checkpoint-waits', file: name, code });
      return false;
    }
  }

  #failed(error: InterlockClientError | null): number {
    if (error !== null && offline.includes(error.code)) {
      this.#notBeforeMs = 0;
      return 0;
    }
    this.#failures += 1;
    const ownMs = Math.min(delayMaxMs, 200 * 2 ** Math.min(this.#failures, 12));
    const askedMs = Math.min((error?.retryAfterS ?? 0) * 1000, reportRetryAfterMaxMs);
    const delayMs = Math.max(ownMs, askedMs);
    this.#notBeforeMs = this.#options.monotonicMs() + delayMs;
    return delayMs;
  }
}
