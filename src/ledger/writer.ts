/**
 * Group commit: appends that wait together are committed together, one transaction at a time per process.
 *
 * A transaction per append is limited by fsync; a batch pays for it once. The queue is bounded in number and in
 * bytes, and what waits too long is refused: refusing early leaves the caller time to do something else.
 *
 * When the answer to COMMIT is lost the batch is settled (transaction.ts) before anybody is answered and before
 * anything else is written. Guarantee: never recorded twice; reported as failed though it landed only if the
 * database stayed out of reach until `settleTimeoutMs` had passed.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pool } from 'pg';
import { InterlockError } from '../errors.ts';
import type { PreparedAppend } from './append.ts';
import { databaseFault, faultFields, unavailable } from './connection.ts';
import type { AppendResult, LedgerLimits, LedgerLogger, RecordedEvent } from './ledger.ts';
import type { Plan } from './plan.ts';
import type { StateCache } from './state-cache.ts';
import { attempt, settle } from './transaction.ts';

interface Waiting {
  append: PreparedAppend;
  resolve: (result: AppendResult) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

const FIRST_PAUSE_MS = 20;
const PAUSE_MAX_MS = 500;

export class GroupCommitWriter {
  readonly #pool: Pool;
  readonly #logger: LedgerLogger;
  readonly #limits: LedgerLimits;
  readonly #states: StateCache;
  readonly #listeners = new Set<(events: RecordedEvent[]) => void>();
  readonly #queue: Waiting[] = [];
  #queuedBytes = 0;
  #running: Promise<void> | null = null;
  #closed = false;
  /** When the step under way began; null while nothing is. */
  #stepStartedMs: number | null = null;

  constructor({
    pool,
    logger,
    limits,
    states,
  }: {
    pool: Pool;
    logger: LedgerLogger;
    limits: LedgerLimits;
    states: StateCache;
  }) {
    this.#states = states;
    this.#pool = pool;
    this.#logger = logger;
    this.#limits = limits;
  }

  submit(append: PreparedAppend): Promise<AppendResult> {
    const { queueMax, queueBytesMax, queueTimeoutMs } = this.#limits;
    if (this.#closed) return Promise.reject(unavailable('the ledger is closed'));
    if (this.#queue.length >= queueMax || this.#queuedBytes + append.bytes > queueBytesMax) {
      return Promise.reject(
        new InterlockError('too many appends are waiting for the ledger', {
          code: 'ledger.overloaded',
          retryable: true,
        }),
      );
    }
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        append,
        resolve,
        reject,
        timer: setTimeout(() => {
          // Still in the queue, so certainly not written.
          this.#queue.splice(this.#queue.indexOf(waiting), 1);
          this.#queuedBytes -= append.bytes;
          reject(unavailable(`the append was not begun within ${queueTimeoutMs} ms`));
        }, queueTimeoutMs),
      };
      this.#queue.push(waiting);
      this.#queuedBytes += append.bytes;
      this.#running ??= this.#drain();
    });
  }

  onAppended(listener: (events: RecordedEvent[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** How long the batch under way, or one append of a batch that is tried one by one, has taken so far. */
  busyMs(): number {
    return this.#stepStartedMs === null ? 0 : performance.now() - this.#stepStartedMs;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #drain(): Promise<void> {
    // Whoever appends in the same turn of the event loop travels in the first batch.
    await Promise.resolve();
    while (this.#queue.length > 0) await this.#commit(this.#takeBatch());
    this.#running = null;
    this.#stepStartedMs = null;
  }

  #takeBatch(): Waiting[] {
    const { batchMax, batchBytesMax } = this.#limits;
    let bytes = 0;
    let count = 0;
    for (const { append } of this.#queue) {
      bytes += append.bytes;
      if (count >= batchMax || (count > 0 && bytes > batchBytesMax)) break;
      count += 1;
    }
    const batch = this.#queue.splice(0, count);
    for (const { append, timer } of batch) {
      clearTimeout(timer);
      this.#queuedBytes -= append.bytes;
    }
    return batch;
  }

  /** Answers everybody in the batch, and never throws. */
  async #commit(batch: readonly Waiting[]): Promise<void> {
    this.#stepStartedMs = performance.now();
    try {
      const { results, events } = await this.#record(batch.map(({ append }) => append));
      for (const [index, { resolve, reject }] of batch.entries()) {
        const result = results[index];
        if (result === undefined) reject(new Error('an append was not answered'));
        else resolve(result);
      }
      this.#announce(events.map(({ event }) => event));
    } catch (error) {
      if (batch.length > 1 && error instanceof InterlockError && error.code === 'ledger.failed') {
        // One of them is at fault and nothing was written: alone, it fails alone.
        this.#logger.warn(
          { appends: batch.length, ...faultFields(error.cause) },
          'a ledger batch was refused; trying one by one',
        );
        for (const one of batch) await this.#commit([one]);
        return;
      }
      const fault = databaseFault(error);
      this.#logger.warn(
        { appends: batch.length, ...faultFields(fault.cause ?? fault) },
        'a ledger batch was not recorded',
      );
      for (const { reject } of batch) reject(fault);
    }
  }

  async #record(appends: readonly PreparedAppend[]): Promise<Plan> {
    const { statementTimeoutMs, retryTimeoutMs } = this.#limits;
    const until = performance.now() + retryTimeoutMs;
    const tag = randomUUID();
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS)) {
      const tried = await attempt(this.#pool, appends, statementTimeoutMs, tag);
      if (tried.fate === 'done') return this.#remember(tried.plan, tag);
      if (tried.fate === 'unknown') {
        this.#logger.warn(faultFields(tried.error), 'the answer to a ledger commit was lost; looking for it');
        if ((await this.#settle(tried.plan)) === 'landed') return this.#remember(tried.plan, tag);
      }
      if (tried.fate === 'undone' && tried.ownFault) throw databaseFault(tried.error);
      if (performance.now() + pauseMs > until) throw unavailable('the ledger cannot be reached', tried.error);
      await delay(pauseMs);
    }
  }

  /** What was just written need not be read again, as long as the head still carries our tag. */
  #remember(plan: Plan, tag: string): Plan {
    for (const { stream, snapshot } of plan.streams) {
      if (snapshot === null) continue;
      this.#states.set(stream, { tag, state: snapshot.state }, snapshot.stateJson.length);
    }
    return plan;
  }

  async #settle(plan: Plan): Promise<'landed' | 'not-landed'> {
    const { statementTimeoutMs, settleTimeoutMs } = this.#limits;
    const until = performance.now() + settleTimeoutMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS)) {
      const left = Math.ceil(until - performance.now());
      try {
        return await settle(this.#pool, plan, Math.max(1, Math.min(statementTimeoutMs, left)));
      } catch (error) {
        if (performance.now() + pauseMs > until) {
          throw unavailable('the ledger went away during a commit: whether it landed is not known', error);
        }
      }
      await delay(pauseMs);
    }
  }

  #announce(events: RecordedEvent[]): void {
    if (events.length === 0) return;
    for (const listener of this.#listeners) {
      try {
        listener(events);
      } catch (error) {
        this.#logger.warn({ err: error }, 'a listener to the ledger failed; the events are recorded');
      }
    }
  }
}
