/**
 * The permit guard: the piece inside the trainer that decides, offline, whether the next step may run.
 *
 * A step may run only under a permit that is signed, is for this run, answers a nonce this process sent,
 * is no older (epoch, then sequence) than any seen, has time left and covers the compute of the step.
 * Time left is counted on the monotonic clock from the moment the nonce was sent; the wall clock is a
 * second fence, so setting it back gains nothing and setting it forward stops early.
 *
 * A signed halt beats any permit, from whatever channel, and sticks: it is on disk before the run stops
 * and before anyone is told that it was received. It ends only when a newer permit lists it as cleared. An order
 * signed by a revoked key stops too, but does not stick: it lasts until Interlock, asked afresh, says otherwise.
 *
 * One process at a time: each has an instance name, which its heartbeats carry and which Interlock gives permits
 * to. A process that finds the memory of one that is gone says so, and need not wait for the other's permit to end.
 *
 * A permit of a run in shadow says until when: before that neither its end nor its ceiling stops a step, a signed halt
 * still does. From then on it is a permit like any other, whether or not Interlock can be asked.
 *
 * Which way it fails: silence lets the permit run out and training pauses; a blip shorter than the
 * permit's remaining life changes nothing. A halt directive without a valid order pauses, as it cannot
 * be told from a forgery; it does not stick. Nothing here throws into the training loop.
 *
 * Known gap: a machine that sleeps may stop its monotonic clock too; the wall clock then catches it.
 */
import { randomBytes } from 'node:crypto';
import { Acknowledgements } from './acknowledgements.ts';
import { type HeartbeatMessage, statedStage, type TrainingStage } from './client.ts';
import { atMost, toDecimal } from './decimal.ts';
import { InterlockClientError } from './errors.ts';
import { type GuardMemory, type GuardStateFile, guardStateFile, type ReceivedHalt } from './guard-state.ts';
import type {
  GuardDirective,
  GuardEvent,
  GuardVerdict,
  OrderOutcome,
  PermitGuardOptions,
} from './guard-types.ts';
import { predecessorOf, thisProcess } from './holder.ts';
import { intervalMs, peaceMs } from './pace.ts';
import { createTokenVerifier, type HaltOrder, type Permit, type TokenVerifier } from './tokens.ts';
import { TrustedKeys } from './trusted-keys.ts';

interface HeldPermit {
  permit: Permit;
  expiresAtMonotonicMs: number;
  shadowUntilMonotonicMs: number | null;
}

/** Key sets are asked for when Interlock says that theirs changed, and this often in any case. */
const keySetAgeMaxMs = 300_000;
const clearedHaltsMax = 4_096;
const haltsStatedMax = 32;
const keySetAgainMs = 250;

export class PermitGuard {
  readonly #options: PermitGuardOptions;
  readonly #verifier: TokenVerifier;
  readonly #keys: TrustedKeys;
  readonly #file: GuardStateFile;
  readonly #instance: string;
  readonly #monotonicMs: () => number;
  readonly #wallClock: () => Date;
  readonly #after: (ms: number, run: () => void) => () => void;
  readonly #closing = new AbortController();
  readonly #waiters = new Set<() => void>();
  readonly #acknowledgements: Acknowledgements;
  #memory: GuardMemory;
  #held: HeldPermit | null = null;
  #pausedBecause: string | null = null;
  /** Said with each heartbeat until a permit shows that it was heard. */
  #supersedes: string | null;
  #unsaved = false;
  /** An order of a revoked key came at this time: only a permit asked for after it lets the run go on. */
  #suspectAtMonotonicMs: number | null = null;
  #keysAskedAtMonotonicMs: number;
  #left = false;
  // The contract takes no zero: a run that has not begun states the least that it could have spent.
  #progress: { effectiveCompute: string; step?: number } = { effectiveCompute: '1' };
  #trainingStage: TrainingStage | null = null;
  #next: {
    checkpointAt: string | null;
    /** Null until Interlock has answered. */
    retain: readonly string[] | null;
    retainUntil: Readonly<Record<string, string>>;
    resumeFrom: string | null;
  } = {
    checkpointAt: null,
    retain: null,
    retainUntil: {},
    resumeFrom: null,
  };
  /** Reported here, and not yet answered for: whether Interlock needs them is not known. */
  readonly #unheard = new Set<string>();
  #lastBeatFailed = false;
  /** Until then Interlock does not want to be asked. */
  #notBeforeMonotonicMs = 0;
  /** What waits to be delivered may go at this time; null where nothing waits. */
  #deliverAtMonotonicMs: number | null = null;
  #hurried = false;
  #lastAction: GuardDirective | null = null;
  #beating: Promise<void> | null = null;
  #callOff: (() => void) | null = null;
  #started = false;

  private constructor(
    options: PermitGuardOptions,
    parts: {
      verifier: TokenVerifier;
      keys: TrustedKeys;
      file: GuardStateFile;
      memory: GuardMemory;
      supersedes: string | null;
    },
  ) {
    this.#options = options;
    this.#verifier = parts.verifier;
    this.#keys = parts.keys;
    this.#file = parts.file;
    this.#memory = parts.memory;
    this.#instance = parts.memory.holder?.instance ?? '';
    this.#supersedes = parts.supersedes;
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
    this.#wallClock = options.wallClock ?? (() => new Date());
    this.#after = options.after ?? byTimer;
    this.#keysAskedAtMonotonicMs = this.#monotonicMs();
    this.#acknowledgements = new Acknowledgements({
      client: options.client,
      emit: (event) => this.#emit(event),
      after: this.#after,
      signal: this.#closing.signal,
    });
  }

  /**
   * Reads the memory and the keys. Throws where either cannot be had, for without them nothing may train, and where
   * another process that is alive uses the same memory.
   */
  static async open(options: PermitGuardOptions): Promise<PermitGuard> {
    const { runId, issuer, jwks } = options;
    const file = options.stateFile ?? guardStateFile(options.stateDirectory, runId);
    const remembered = file.load();
    const holder = thisProcess(options.instance);
    const gone = predecessorOf(remembered.holder, holder, file.path);
    // One that came and went unheard leaves its own predecessor: that is the one whose permit Interlock still counts.
    const supersedes = options.supersedes ?? (gone === null ? null : (remembered.supersedes ?? gone));
    const keys =
      jwks === undefined && remembered.keys !== undefined && remembered.keys.length > 0
        ? await TrustedKeys.recall(remembered.keys)
        : await TrustedKeys.pin(jwks ?? (await firstKeySet(options)));
    keys.revokeRemembered(remembered.keys ?? []);
    const verifier = await createTokenVerifier({
      runId,
      jwks,
      keys,
      ...(issuer === undefined ? {} : { issuer }),
    });
    const { supersedes: _, ...kept } = remembered;
    const memory: GuardMemory = {
      ...kept,
      keys: keys.remembered(),
      holder,
      ...(supersedes === null ? {} : { supersedes }),
    };
    file.save(memory);
    return new PermitGuard(options, { verifier, keys, file, memory, supersedes });
  }

  /** Starts the heartbeat loop; the first beat goes out at once. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    void this.beat();
  }

  /** What is known now, without asking anyone: may a step run that brings the run to `compute`? */
  mayTrain(compute: number | bigint | string): GuardVerdict {
    const [halt] = this.#memory.halts;
    if (halt !== undefined) return { verdict: 'stop', reason: `${halt.action} ordered`, halt };
    if (this.#suspectAtMonotonicMs !== null) {
      return { verdict: 'pause', reason: 'an order signed by a revoked key; waiting for a fresh permit' };
    }
    if (this.#pausedBecause !== null) return { verdict: 'pause', reason: this.#pausedBecause };
    if (this.#held === null) return { verdict: 'pause', reason: 'no permit' };
    if (this.#isShadowed(this.#held)) return { verdict: 'go' };
    if (!(this.#remainingMs(this.#held) > 0)) return { verdict: 'pause', reason: 'permit expired' };
    if (!atMost(toDecimal(compute), this.#held.permit.ceiling)) {
      return { verdict: 'pause', reason: 'ceiling reached' };
    }
    return { verdict: 'go' };
  }

  /**
   * Waits until the step to `compute` may run, or a halt is in force; the pause's verdict where `timeoutMs` is over
   * before. `onPause` hears each new reason for waiting. Throws only when the guard is closed or `signal` aborts.
   */
  async wait(
    compute: number | bigint | string,
    options: { onPause?: (reason: string) => void; signal?: AbortSignal; timeoutMs?: number } = {},
  ): Promise<GuardVerdict> {
    const giveUpAtMonotonicMs = this.#monotonicMs() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
    let told: string | null = null;
    for (;;) {
      const verdict = this.mayTrain(compute);
      if (verdict.verdict !== 'pause') return verdict;
      if (verdict.reason !== told) {
        told = verdict.reason;
        options.onPause?.(verdict.reason);
        this.hurry(); // a permit may be ready that we have not asked for
      }
      const leftMs = giveUpAtMonotonicMs - this.#monotonicMs();
      if (!(leftMs > 0)) return verdict;
      await this.change(leftMs, options.signal);
    }
  }

  /** The next heartbeat goes out now, or as soon as Interlock wants to be asked. */
  hurry(): void {
    if (this.#beating !== null) this.#hurried = true;
    else this.#schedule(Math.max(0, this.#notBeforeMonotonicMs - this.#monotonicMs()));
  }

  /** The compute really spent, for the next heartbeat. Never ahead of what was trained. */
  report(compute: number | bigint | string, step?: number): void {
    this.#progress = { effectiveCompute: toDecimal(compute), ...(step === undefined ? {} : { step }) };
  }

  /** Said with each heartbeat from here on. */
  enterStage(stage: TrainingStage): void {
    const isAnother = this.#trainingStage?.name !== stage.name;
    this.#trainingStage = statedStage(stage);
    if (isAnother) this.hurry();
  }

  get trainingStage(): TrainingStage | null {
    return this.#trainingStage;
  }

  /** One heartbeat now; concurrent calls share it. Never rejects. */
  beat(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => {
      this.#beating = null;
      this.#wake();
      if (this.#hurried) this.hurry();
      else if (this.#started) this.#schedule(this.#intervalMs());
      this.#hurried = false;
    });
    return this.#beating;
  }

  /** Takes a signed halt order from any channel; resolves after it is on disk. Never rejects. */
  async receiveOrder(order: string, via: ReceivedHalt['via']): Promise<OrderOutcome> {
    const verified = await this.#verifier.haltOrder(order);
    if (!verified.ok) {
      this.#emit({ kind: 'order-refused', reason: verified.reason, via });
      return 'refused';
    }
    const { haltId, action } = verified.value;
    // A replayed old order must not stop a run that was resumed: the permit that cleared it says so.
    if (this.#memory.clearedHalts.includes(haltId)) return 'cleared';
    const known = this.#memory.halts.find((each) => each.haltId === haltId);
    const raised = known !== undefined && known.action === 'halt' && action === 'quarantine';
    if (known !== undefined && !raised) return this.#saved() ? 'known' : 'not-saved';
    if (verified.value.suspect) {
      this.#suspectAtMonotonicMs = this.#monotonicMs();
      this.#emit({ kind: 'halt-suspect', haltId });
      this.#schedule(0);
      return 'suspect';
    }
    const halt = this.#record(verified.value, order, via);
    const saved = this.#saved();
    this.#emit({ kind: raised ? 'halt-raised' : 'halt-received', halt });
    if (!saved) this.#emit({ kind: 'halt-not-saved', haltId });
    this.#wake();
    if (!raised) this.#acknowledgements.tell(haltId, 'received');
    if (!saved) return 'not-saved';
    return raised ? 'raised' : 'halted';
  }

  /** In force from here on, in memory. */
  #record({ haltId, action, epoch }: HaltOrder, order: string, via: ReceivedHalt['via']): ReceivedHalt {
    const receivedAt = this.#wallClock().toISOString();
    const halt = { haltId, action, epoch, via, receivedAt, order };
    const others = this.#memory.halts.filter((each) => each.haltId !== haltId);
    this.#memory = {
      ...this.#memory,
      epoch: Math.max(this.#memory.epoch, epoch),
      halts: [...others, halt],
    };
    this.#unsaved = true;
    return halt;
  }

  /** Brings what is only in memory to disk. A full disk must not keep a run going: the halt stands all the same. */
  #saved(): boolean {
    if (!this.#unsaved) return true;
    try {
      this.#file.save(this.#memory);
      this.#unsaved = false;
    } catch {
      return false; // tried again at every heartbeat and every repetition of the order
    }
    return true;
  }

  /** Tells Interlock that training has stopped, for every halt in force. Bounded; never rejects. */
  async acknowledgeStopped(): Promise<void> {
    // First everything that was trained: compute that Interlock hears of after "stopped" reads as a run
    // that moves again, and reopens the halt. A beat under way may carry an older figure, hence the second.
    await this.#beating;
    await this.beat();
    await this.tellStopped();
  }

  /** The acknowledgements alone, where Interlock has heard of all that was trained. Bounded; never rejects. */
  async tellStopped(): Promise<void> {
    await this.#acknowledgements.settled();
    for (const { haltId } of this.#memory.halts) this.#acknowledgements.tell(haltId, 'stopped');
    await this.#acknowledgements.settled();
  }

  /**
   * Gives the permit back: this process trains no more, and another of the run may begin at once. Bounded; never
   * rejects. Without it the next one waits until the permit has run out, unless it finds this one's memory.
   */
  async leave(): Promise<void> {
    this.#left = true;
    this.#held = null;
    this.#wake();
    await this.#beating;
    await this.beat();
  }

  get halts(): readonly ReceivedHalt[] {
    return this.#memory.halts;
  }

  get instance(): string {
    return this.#instance;
  }

  /** The compute at which Interlock wants the next checkpoint, as far as the last heartbeat knew. */
  get nextCheckpointAt(): string | null {
    return this.#next.checkpointAt;
  }

  /** Checkpoints that Interlock still needs: do not delete them. */
  get retain(): readonly string[] {
    return this.#next.retain ?? [];
  }

  /** Of each of them, until when at least (RFC 3339), as the last answer said. */
  get retainUntil(): Readonly<Record<string, string>> {
    return this.#next.retainUntil;
  }

  /** Whether the weights may be deleted: only where an answer that knew of the checkpoint did not ask to keep it. */
  canDelete(checkpointId: string): boolean {
    const { retain } = this.#next;
    return retain !== null && !retain.includes(checkpointId) && !this.#unheard.has(checkpointId);
  }

  /** Reported by this process, or left on disk before: kept until Interlock has it and has answered a heartbeat after that. */
  expectAnswerFor(checkpointId: string): void {
    this.#unheard.add(checkpointId);
  }

  /** The checkpoint to go back to, where Interlock named one. */
  get resumeFrom(): string | null {
    return this.#next.resumeFrom;
  }

  /** Stops the loop and aborts what is under way; waiting steps reject. */
  async close(): Promise<void> {
    this.#started = false;
    this.#callOff?.();
    this.#closing.abort();
    this.#wake();
    await this.#beating;
    await this.#acknowledgements.settled();
  }

  async #beat(): Promise<void> {
    const nonce = this.#options.nonce?.() ?? randomBytes(16).toString('base64url');
    try {
      this.#saved();
      // Before the checkpoints go: whatever this compute needs is among them.
      const beat = { ...this.#progress, nonce, ...this.#standing() };
      const waiting = [...this.#unheard];
      const deliverInMs = (await this.#options.deliver?.(this.#closing.signal)) ?? null;
      const sentAtMonotonicMs = this.#monotonicMs();
      this.#deliverAtMonotonicMs = deliverInMs === null ? null : sentAtMonotonicMs + deliverInMs;
      const reply = await this.#options.client.heartbeat(this.#options.runId, beat, this.#closing.signal);
      this.#lastBeatFailed = false;
      this.#next = {
        checkpointAt: reply.nextCheckpointAt,
        retain: reply.retain,
        retainUntil: reply.retainUntil ?? {},
        resumeFrom: reply.directive.resumeFrom ?? this.#next.resumeFrom,
      };
      if (deliverInMs === null) for (const checkpointId of waiting) this.#unheard.delete(checkpointId);
      // Before anything signed is judged: it may be signed by a key that this brings, or takes away.
      await this.#refreshKeys(reply.keySet ?? null);
      const { action, reason, order } = reply.directive;
      if (action !== this.#lastAction) this.#emit({ kind: 'directive', action, reason });
      this.#lastAction = action;
      if (action === 'halt' || action === 'quarantine') {
        const outcome = order === null ? 'refused' : await this.receiveOrder(order, 'heartbeat');
        if (outcome === 'refused' || outcome === 'cleared' || outcome === 'suspect') {
          this.#pausedBecause = `${action} directive without a valid order`;
        }
        return;
      }
      if (reply.permit !== null && !this.#left) {
        await this.#acceptPermit(reply.permit, nonce, sentAtMonotonicMs);
      }
      this.#pausedBecause = action === 'pause' ? (reason ?? 'held') : null;
      this.#heed(reply.retryAfterS ?? null);
    } catch (error) {
      this.#lastBeatFailed = true;
      this.#heed(error instanceof InterlockClientError ? (error.retryAfterS ?? null) : null);
      if (this.#closing.signal.aborted) return;
      this.#emit({
        kind: 'heartbeat-failed',
        code: error instanceof InterlockClientError ? error.code : 'unexpected',
      });
    }
  }

  /** What Interlock must know of this process beside its progress. */
  #standing(): Omit<HeartbeatMessage, 'effectiveCompute' | 'step' | 'nonce'> {
    const halts = this.#memory.halts.slice(-haltsStatedMax).map(({ haltId }) => haltId);
    return {
      instance: this.#instance,
      ...(this.#trainingStage === null ? {} : { trainingStage: this.#trainingStage }),
      ...(this.#supersedes === null ? {} : { supersedes: this.#supersedes }),
      ...(halts.length === 0 ? {} : { halts }),
      ...(this.#left ? { leaving: true } : {}),
    };
  }

  /**
   * Asks for the key set where Interlock says that it is another, or it was not asked for in a while. What it brings is
   * believed only where a believed key has signed for it. Failing is no reason to stop: the next heartbeat tries again.
   */
  async #refreshKeys(keySet: string | null): Promise<void> {
    const nowMs = this.#monotonicMs();
    const isAnother = keySet !== null && keySet !== this.#memory.keySet;
    if (!isAnother && nowMs - this.#keysAskedAtMonotonicMs < keySetAgeMaxMs) return;
    try {
      const { added, revoked } = await this.#keys.learn(
        await this.#options.client.jwks(this.#closing.signal),
      );
      this.#keysAskedAtMonotonicMs = nowMs;
      this.#memory = {
        ...this.#memory,
        keys: this.#keys.remembered(),
        ...(keySet === null ? {} : { keySet }),
      };
      this.#unsaved = true;
      this.#saved();
      if (added.length > 0 || revoked.length > 0) this.#emit({ kind: 'keys-learned', added, revoked });
    } catch (error) {
      const code = error instanceof InterlockClientError ? error.code : 'unexpected';
      if (!this.#closing.signal.aborted) this.#emit({ kind: 'keys-not-learned', code });
    }
    // The permit in hand is worth no more than the key that signed it.
    const kid = this.#held?.permit.kid;
    if (kid !== undefined && this.#keys.get(kid)?.known.revokedAtS !== null) {
      this.#held = null;
      this.#emit({ kind: 'permit-dropped', reason: 'revoked-key' });
    }
  }

  async #acceptPermit(token: string, nonce: string, sentAtMonotonicMs: number): Promise<void> {
    const verified = await this.#verifier.permit(token, this.#wallClock());
    const reason = verified.ok ? this.#staleness(verified.value, nonce) : verified.reason;
    if (!verified.ok || reason !== null) {
      this.#emit({ kind: 'permit-refused', reason: reason ?? 'claims' });
      return;
    }
    const permit = verified.value;
    const { epoch, seq, ceiling, clearedHalts } = permit;
    const cleared = this.#memory.halts.filter(({ haltId }) => clearedHalts.includes(haltId));
    const { supersedes: _, ...kept } = this.#memory;
    const memory = {
      ...kept,
      epoch,
      seq,
      // A permit lists the newest; what was cleared once stays so.
      clearedHalts: [...new Set([...this.#memory.clearedHalts, ...clearedHalts])].slice(-clearedHaltsMax),
      halts: this.#memory.halts.filter((halt) => !cleared.includes(halt)),
    };
    try {
      this.#file.save(memory);
    } catch {
      this.#emit({ kind: 'permit-refused', reason: 'not-saved' });
      return;
    }
    this.#memory = memory;
    this.#unsaved = false;
    this.#supersedes = null;
    if (this.#suspectAtMonotonicMs !== null && sentAtMonotonicMs > this.#suspectAtMonotonicMs) {
      this.#suspectAtMonotonicMs = null;
    }
    const lifetimeMs = (permit.expiresAtS - permit.issuedAtS) * 1000;
    const { shadowUntilS } = permit;
    const told = this.#held?.permit.shadowUntilS ?? null;
    this.#held = {
      permit,
      expiresAtMonotonicMs: sentAtMonotonicMs + lifetimeMs,
      shadowUntilMonotonicMs:
        shadowUntilS === null ? null : sentAtMonotonicMs + (shadowUntilS - permit.issuedAtS) * 1000,
    };
    if (shadowUntilS !== told) {
      const until = shadowUntilS === null ? null : new Date(shadowUntilS * 1000).toISOString();
      this.#emit({ kind: 'shadow', until });
    }
    for (const { haltId } of cleared) this.#emit({ kind: 'halt-cleared', haltId });
    this.#emit({ kind: 'permit', epoch, seq, ceiling, remainingMs: this.#remainingMs(this.#held) });
  }

  /** Why a permit with a good signature is still not the newest word; null if it is. */
  #staleness(permit: Permit, nonce: string): 'nonce' | 'older-epoch' | 'older-seq' | null {
    if (permit.nonce !== nonce) return 'nonce';
    if (permit.epoch < this.#memory.epoch) return 'older-epoch';
    if (permit.epoch === this.#memory.epoch && permit.seq < this.#memory.seq) return 'older-seq';
    return null;
  }

  #remainingMs({ permit, expiresAtMonotonicMs }: HeldPermit): number {
    const byMonotonicMs = expiresAtMonotonicMs - this.#monotonicMs();
    const byWallMs = permit.expiresAtS * 1000 - this.#wallClock().getTime();
    return Math.min(byMonotonicMs, byWallMs);
  }

  /** By both clocks, as a permit's life. */
  #isShadowed({ permit, shadowUntilMonotonicMs }: HeldPermit): boolean {
    if (permit.shadowUntilS === null || shadowUntilMonotonicMs === null) return false;
    const byWall = this.#wallClock().getTime() < permit.shadowUntilS * 1000;
    return byWall && this.#monotonicMs() < shadowUntilMonotonicMs;
  }

  #heed(retryAfterS: number | null): void {
    const leftMs = this.#held === null ? null : this.#remainingMs(this.#held);
    this.#notBeforeMonotonicMs = this.#monotonicMs() + peaceMs(retryAfterS, leftMs);
  }

  #intervalMs(): number {
    const { heartbeatIntervalMs = 30_000, impatientIntervalMs = 500 } = this.#options;
    const nowMs = this.#monotonicMs();
    const permit = this.#held?.permit;
    return intervalMs({
      heartbeatIntervalMs,
      impatientIntervalMs,
      permitLifetimeMs: permit === undefined ? null : (permit.expiresAtS - permit.issuedAtS) * 1000,
      isImpatient: this.#lastBeatFailed || this.#waiters.size > 0,
      deliverInMs: this.#deliverAtMonotonicMs === null ? null : this.#deliverAtMonotonicMs - nowMs,
      notBeforeMs: this.#notBeforeMonotonicMs - nowMs,
    });
  }

  #schedule(ms: number): void {
    if (!this.#started) return;
    this.#callOff?.();
    this.#callOff = this.#after(ms, () => void this.beat());
  }

  /** Resolves at the next beat or halt, or when `maxMs` is over; rejects on close or abort. */
  change(maxMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const callOff = Number.isFinite(maxMs) ? this.#after(maxMs, () => settle()) : () => undefined;
      const settle = (): void => {
        callOff();
        this.#waiters.delete(settle);
        signal?.removeEventListener('abort', settle);
        if (signal?.aborted === true || this.#closing.signal.aborted) {
          reject(
            new InterlockClientError('waiting for a permit was given up', {
              code: 'gave-up',
              retryable: false,
            }),
          );
        } else resolve();
      };
      if (signal?.aborted === true || this.#closing.signal.aborted) return settle();
      this.#waiters.add(settle);
      signal?.addEventListener('abort', settle, { once: true });
    });
  }

  #wake(): void {
    for (const settle of [...this.#waiters]) settle();
  }

  #emit(event: GuardEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch {
      // A listener that throws must neither stop a heartbeat nor hide a halt.
    }
  }
}

/** Only a run's first start needs it, when many start at once and the service may be slow to answer. */
async function firstKeySet({
  client,
  patienceMs = 60_000,
  ...options
}: PermitGuardOptions): Promise<unknown> {
  const monotonicMs = options.monotonicMs ?? (() => performance.now());
  const giveUpAtMs = monotonicMs() + patienceMs;
  for (;;) {
    try {
      return await client.jwks();
    } catch (error) {
      const passing = error instanceof InterlockClientError && error.retryable;
      if (!passing || monotonicMs() >= giveUpAtMs) throw error;
    }
    await new Promise<void>((resolve) => (options.after ?? byTimer)(keySetAgainMs, resolve));
  }
}

function byTimer(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}
