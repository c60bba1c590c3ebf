/**
 * What a training loop calls: the permit guard with a queue of checkpoint reports on disk, and an orderly end.
 *
 * `step` returns once a step may run and raises `Halted` when a halt is in force, after the last checkpoint is saved and
 * Interlock has been told. `checkpoint` returns when the report is on disk; heartbeats carry it from there, before the
 * compute that it belongs to. The same contract, and the same files, as the Python client's `PermitGuard`.
 *
 * Which way it fails: without a permit it waits; a hook that fails or hangs does not keep a halted run alive.
 *
 * Known gap: all of it runs on the program's one thread. Each step yields to the heartbeats once; a step that computes
 * for longer than its permit lives runs to its end first, and a hook that never yields is ended by the orchestrator.
 */
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { CheckpointQueue } from './checkpoint-queue.ts';
import { type CheckpointReport, type InterlockClient, reportBody } from './client.ts';
import { atMost, toDecimal } from './decimal.ts';
import { Delivery } from './delivery.ts';
import { EndingDeadline, Halted, PauseOutlasted } from './ending.ts';
import { PermitGuard } from './guard.ts';
import { guardFileName, type ReceivedHalt } from './guard-state.ts';
import type { GuardEvent, GuardVerdict, PermitGuardOptions } from './guard-types.ts';

type Compute = number | bigint | string;
type Stop = Extract<GuardVerdict, { verdict: 'stop' }>;

export interface TrainingGuardOptions extends Omit<PermitGuardOptions, 'client' | 'deliver' | 'stateFile'> {
  client: Pick<InterlockClient, 'heartbeat' | 'acknowledgeHalt' | 'jwks' | 'sendCheckpoint'>;
  /** Called once when a halt ends the training, for a last checkpoint; not where this process has trained nothing. */
  onHalt?: (halted: Halted) => void | Promise<void>;
  /** From the decision to end on, the process has so long for everything, and is then ended. */
  finalCheckpointMs?: number;
  /** The longest pause; without it a pause has no end. */
  maxPauseMs?: number;
  /** Whether heartbeats begin at once; a seam for tests. */
  start?: boolean;
  onPause?: (reason: string) => void;
}

const flushLookMs = 200;

export class TrainingGuard {
  readonly #options: TrainingGuardOptions;
  readonly #guard: PermitGuard;
  readonly #queue: CheckpointQueue;
  readonly #ending: EndingDeadline;
  /** A step that is being taken: its compute counts as spent when the next is asked for. */
  #granted: { compute: string; step: number | undefined } | null = null;
  #checkpointAt: string | null = null;
  #trained = false;
  #closed = false;

  private constructor(options: TrainingGuardOptions, guard: PermitGuard, queue: CheckpointQueue) {
    this.#options = options;
    this.#guard = guard;
    this.#queue = queue;
    this.#ending = new EndingDeadline(options.finalCheckpointMs ?? 120_000, () => {
      tellQuietly(options.onEvent, { kind: 'ending-overran' });
    });
  }

  /** As `PermitGuard.open`, and the heartbeats begin. */
  static async open(options: TrainingGuardOptions): Promise<TrainingGuard> {
    const { client, stateDirectory, runId, onEvent } = options;
    const queue = new CheckpointQueue(join(stateDirectory, `${guardFileName(runId)}.queue`));
    let opened: TrainingGuard | null = null;
    const delivery = new Delivery({
      client,
      queue,
      monotonicMs: options.monotonicMs ?? (() => performance.now()),
      emit: (event) => tellQuietly(onEvent, event),
      onRefused: () => {
        if (opened !== null) opened.#checkpointAt = null;
      },
    });
    const deliver = (signal: AbortSignal) => delivery.deliver(signal);
    const guard = await PermitGuard.open({ ...options, deliver });
    opened = new TrainingGuard(options, guard, queue);
    // Left on disk by a process before: nobody has answered for them.
    for (const checkpointId of queue.checkpointIds()) guard.expectAnswerFor(checkpointId);
    if (options.start !== false) guard.start();
    return opened;
  }

  /**
   * Returns once the step that brings the run to `effectiveCompute` may be taken; throws `Halted`.
   * Asking for a step says that the one before was taken: its compute goes out with the next heartbeat.
   */
  async step(effectiveCompute: Compute, step?: number): Promise<void> {
    const stop = await this.decide(effectiveCompute, step);
    if (stop !== null) await this.end(stop);
  }

  /** As `step`, for loops that have something to do before they end: the halt's verdict, to be handed to `end`. */
  async decide(effectiveCompute: Compute, step?: number): Promise<Stop | null> {
    const compute = toDecimal(effectiveCompute);
    const { maxPauseMs, onPause } = this.#options;
    this.#spend(compute);
    // Heartbeats and halts get their turn, also where no step ever waits.
    await turn();
    const verdict = await this.#guard.wait(compute, {
      ...(maxPauseMs === undefined ? {} : { timeoutMs: maxPauseMs }),
      ...(onPause === undefined ? {} : { onPause }),
    });
    if (verdict.verdict === 'stop') {
      this.#ending.begin();
      return verdict;
    }
    if (verdict.verdict === 'pause') {
      await this.close();
      throw new PauseOutlasted(verdict.reason);
    }
    this.#granted = { compute, step };
    this.#trained = true;
    return null;
  }

  /** What is known now, without asking anyone. */
  mayTrain(effectiveCompute: Compute): GuardVerdict {
    return this.#guard.mayTrain(effectiveCompute);
  }

  /** The compute really spent, for loops that do not call `step`. */
  report(effectiveCompute: Compute, step?: number): void {
    this.#granted = null;
    this.#trained = true;
    this.#guard.report(effectiveCompute, step);
  }

  /**
   * The training stage from here on (`rl`, `fine-tuning`), said with heartbeats and checkpoints: another one is due a checkpoint.
   * Say it after each start, and again as a stated compute grows: the guard does not remember it.
   */
  enterStage(name: string, compute?: Compute): void {
    this.#guard.enterStage({ name, ...(compute === undefined ? {} : { compute }) });
  }

  /** On disk when it returns; sent in order with the heartbeats until Interlock has it. */
  checkpoint(report: Omit<CheckpointReport, 'runId'>): void {
    const { trainingStage } = this.#guard;
    const stated = trainingStage === null ? report : { trainingStage, ...report };
    this.#queue.put(reportBody({ ...stated, runId: this.#options.runId }));
    this.#guard.expectAnswerFor(report.checkpointId);
    this.#checkpointAt = toDecimal(report.effectiveCompute);
    this.#guard.hurry();
  }

  /** Whether Interlock wants a checkpoint by now, as far as the last heartbeat knew, and none was made since. */
  checkpointDue(effectiveCompute: Compute): boolean {
    const due = this.#guard.nextCheckpointAt;
    if (due === null || (this.#checkpointAt !== null && atMost(due, this.#checkpointAt))) return false;
    return atMost(due, toDecimal(effectiveCompute));
  }

  /** Checkpoints that Interlock still needs: do not delete them. */
  get retain(): readonly string[] {
    return this.#guard.retain;
  }

  /** Of each of them, until when at least (RFC 3339), as the last answer said. */
  get retainUntil(): Readonly<Record<string, string>> {
    return this.#guard.retainUntil;
  }

  /** Ask before you delete a checkpoint: true only where Interlock knows of it and does not need it. */
  canDelete(checkpointId: string): boolean {
    return this.#guard.canDelete(checkpointId);
  }

  /** The checkpoint to go back to, where Interlock named one. */
  get resumeFrom(): string | null {
    return this.#guard.resumeFrom;
  }

  get halts(): readonly ReceivedHalt[] {
    return this.#guard.halts;
  }

  /** For `listenForHalts`. */
  get permitGuard(): PermitGuard {
    return this.#guard;
  }

  /** Ends the training for a halt: the hook, the acknowledgement, `Halted`. Never returns. */
  async end({ halt }: Stop): Promise<never> {
    const halted = new Halted(halt);
    const { onHalt, onEvent } = this.#options;
    this.#ending.begin();
    this.#spend();
    if (onHalt !== undefined && this.#trained) {
      try {
        await onHalt(halted);
      } catch (error) {
        const kind = error instanceof Error ? error.name : 'unexpected';
        tellQuietly(onEvent, { kind: 'on-halt-failed', error: kind });
      }
      this.#trained = false;
    }
    await this.acknowledgeStopped();
    await this.#shut();
    this.#ending.over();
    throw halted;
  }

  /**
   * Tells Interlock that training has stopped, for every halt in force, and gives the permit back. Bounded; never
   * rejects. First everything that was trained: compute that Interlock hears of after "stopped" reads as a run that
   * moves again, and reopens the halt.
   */
  async acknowledgeStopped(): Promise<void> {
    await this.leave();
    await this.#guard.tellStopped();
  }

  /** Gives the permit back: this process trains no more, and another of the run may begin at once. */
  async leave(): Promise<void> {
    this.#spend();
    await this.#guard.leave();
  }

  /** Waits until no checkpoint is left on disk; false if some are when the time is over. */
  async flush(timeoutMs: number): Promise<boolean> {
    const giveUpAtMs = performance.now() + timeoutMs;
    this.#guard.hurry();
    while (this.#queue.pending().length > 0) {
      const leftMs = giveUpAtMs - performance.now();
      if (leftMs <= 0) return false;
      await this.#guard.change(Math.min(flushLookMs, leftMs));
    }
    return true;
  }

  /** Leaves, and ends the heartbeats. Checkpoints still on disk are sent at the next start. */
  async close(): Promise<void> {
    if (!this.#closed && this.halts.length === 0) await this.leave();
    await this.#shut();
  }

  async #shut(): Promise<void> {
    this.#closed = true;
    await this.#guard.close();
  }

  /** The step last granted was taken, unless the same is asked for again. */
  #spend(asked?: string): void {
    if (this.#granted === null || this.#granted.compute === asked) return;
    const { compute, step } = this.#granted;
    this.#granted = null;
    this.#guard.report(compute, step);
  }
}

/** A listener that throws must neither stop a delivery nor hide a halt. */
function tellQuietly(onEvent: ((event: GuardEvent) => void) | undefined, event: GuardEvent): void {
  try {
    onEvent?.(event);
  } catch {
    // It was told.
  }
}
