/**
 * A training run of a simulation: weights that really grow, and a trainer with the real permit guard in it.
 *
 * Honest trainers do what the guard says. Others lie: they state less compute than they spent, train on whatever
 * the guard says, say "stopped" and go on, or come back without their memory. What they really did is kept for the
 * checkers, who believe nobody.
 */
import type { HeartbeatReply, InterlockClient } from '../../clients/typescript/client.ts';
import { InterlockClientError } from '../../clients/typescript/errors.ts';
import { PermitGuard } from '../../clients/typescript/guard.ts';
import type { GuardMemory } from '../../clients/typescript/guard-state.ts';
import type { Random } from './random.ts';
import { SimulatedProcess } from './virtual-time.ts';
import type { World } from './world.ts';

export type Temper = 'honest' | 'understates' | 'ignores-halts' | 'feigns-stop' | 'forgets';

const RETRY_MS = 7_000;
/** A story is short: what comes after so many is more of the same. */
const CHECKPOINTS_MAX = 5;

export class Trainer {
  readonly runId: string;
  readonly temper: Temper;
  readonly identity: string;
  process: SimulatedProcess;
  /** What has really been spent. */
  compute: number;
  guard: PermitGuard | null = null;
  nextCheckpointAt: number;
  finished = false;
  /** It told Interlock that it stopped, for these halts. */
  readonly saidStopped = new Set<string>();
  readonly replies: HeartbeatReply[] = [];
  readonly orders: string[] = [];
  readonly #world: World;
  readonly #random: Random;
  readonly #growth: number;
  readonly #stepMs: number;
  readonly #heartbeatMs: number;
  #memory: GuardMemory;
  #checkpoints = 0;
  #reportedAt = 0;
  #reportedFor = 0;
  #reporting: object | null = null;
  #nonces = 0;
  #acknowledging = false;
  #ending = false;

  constructor(
    world: World,
    options: {
      runId: string;
      temper: Temper;
      identity: string;
      compute: number;
      firstAt: number;
      random: Random;
    },
  ) {
    const { runId, temper, identity, compute, firstAt, random } = options;
    this.#world = world;
    this.runId = runId;
    this.temper = temper;
    this.identity = identity;
    this.compute = compute;
    this.nextCheckpointAt = firstAt;
    this.#random = random;
    this.#growth = random.between(1.08, 1.25);
    this.#stepMs = random.pick([15_000, 25_000]);
    this.#heartbeatMs = temper === 'honest' ? random.pick([20_000, 40_000]) : 60_000;
    this.#memory = { runId, epoch: 0, seq: 0, halts: [], clearedHalts: [] };
    this.process = new SimulatedProcess(world.scheduler);
    this.process.alive = false;
  }

  /** It exists: what an orchestrator sees. */
  get isRunning(): boolean {
    return this.process.alive;
  }

  start(): void {
    const { scheduler, faults } = this.#world;
    this.process = new SimulatedProcess(scheduler);
    const { process } = this;
    process.skewMs = faults.hit('clock-skew', 0.3) ? faults.of('clock-skew').below(60_000) - 30_000 : 0;
    if (this.temper === 'forgets') {
      this.#memory = { runId: this.runId, epoch: 0, seq: 0, halts: [], clearedHalts: [] };
    }
    this.guard = null;
    this.#acknowledging = false;
    this.#ending = false;
    this.#reporting = null;
    void this.#open(process);
  }

  /** Killed, crashed, or ended by its orchestrator. */
  end(): void {
    this.process.crash();
    this.guard = null;
  }

  async #open(process: SimulatedProcess): Promise<void> {
    const guard = await PermitGuard.open({
      client: this.#client(process),
      runId: this.runId,
      stateDirectory: '',
      stateFile: {
        path: '',
        load: () => this.#memory,
        save: (memory) => {
          this.#memory = memory;
        },
      },
      jwks: this.#world.jwks(),
      heartbeatIntervalMs: this.#heartbeatMs,
      impatientIntervalMs: 20_000,
      monotonicMs: () => process.timers.monotonicMs(),
      wallClock: process.clock,
      after: (ms, run) => {
        const timer = process.timers.set(run, ms);
        return () => process.timers.clear(timer);
      },
      nonce: () => {
        this.#nonces += 1;
        const nonce = `${this.runId}-n${this.#nonces}`;
        this.#world.seen.nonce(nonce);
        return nonce;
      },
      onEvent: (event) => {
        if (event.kind === 'permit') this.#world.seen.count(`guard: permit`);
        else if (event.kind === 'permit-refused') this.#world.seen.count(`guard: refused ${event.reason}`);
        else if (event.kind !== 'directive') this.#world.seen.count(`guard: ${event.kind}`);
      },
    });
    if (!process.alive) return;
    this.guard = guard;
    if (this.compute > 0) guard.report(round(this.#stated()));
    guard.start();
    this.#loop(process);
  }

  /** By the orchestrator's webhook. */
  async receive(order: string): Promise<'taken' | 'refused'> {
    const { guard } = this;
    if (guard === null) return 'refused';
    const outcome = await guard.receiveOrder(order, 'webhook');
    return outcome === 'refused' ? 'refused' : 'taken';
  }

  #client(process: SimulatedProcess): Pick<InterlockClient, 'heartbeat' | 'acknowledgeHalt' | 'jwks'> {
    const { faults } = this.#world;
    return {
      jwks: async () => this.#world.jwks(),
      heartbeat: async (_runId, beat) => {
        if (faults.hit('old-permit-replayed', 0.03) && this.replies.length > 1) {
          return faults.of('old-permit-replayed').pick(this.replies);
        }
        const reply = await this.#world.people.beats(this, process, beat);
        if (reply === null) throw unreachable();
        this.replies.push(reply);
        if (this.replies.length > 12) this.replies.shift();
        if (reply.directive.order !== null) this.orders.push(reply.directive.order);
        if (reply.nextCheckpointAt !== null) this.nextCheckpointAt = Number(reply.nextCheckpointAt);
        return reply;
      },
      acknowledgeHalt: async (haltId, state) => {
        if (state === 'stopped') this.saidStopped.add(haltId);
        const answered = await this.#world.people.acknowledges(this, process, haltId, state);
        if (!answered) throw unreachable();
      },
    };
  }

  #loop(process: SimulatedProcess): void {
    process.after(this.#stepMs * this.#random.between(0.9, 1.1), () => {
      if (this.finished) return;
      this.#step(process);
      this.#loop(process);
    });
  }

  #step(process: SimulatedProcess): void {
    const { guard } = this;
    if (guard === null) return;
    const target = this.#target();
    const verdict = guard.mayTrain(round(target));
    const obeys = this.temper === 'honest' || this.temper === 'understates' || this.temper === 'forgets';
    if (verdict.verdict === 'go' || !obeys) {
      this.#world.seen.trained({
        runId: this.runId,
        atMs: this.#world.scheduler.nowMs,
        compute: target,
        honest: this.temper === 'honest',
        halts: guard.halts.map(({ haltId }) => haltId),
      });
      this.compute = target;
      guard.report(round(this.#stated()));
    }
    if (verdict.verdict === 'stop' && !this.#acknowledging && this.temper !== 'ignores-halts') {
      this.#acknowledging = true;
      process.after(this.#random.between(500, 20_000), () => {
        void guard.acknowledgeStopped().then(() => {
          this.#acknowledging = false;
        });
      });
    }
    if (this.#reporting !== null) return;
    if (this.#checkpoints >= CHECKPOINTS_MAX) this.#ends(process);
    else if (this.#isDue() || this.#random.chance(0.02) || this.#world.features?.reportsMore() === true) {
      this.#report(process);
    }
  }

  /** An honest run is declared finished once its last checkpoint is cleared; others just go on. */
  #ends(process: SimulatedProcess): void {
    if (this.temper !== 'honest' || this.nextCheckpointAt <= this.#reportedAt * 1.001 || this.#ending) return;
    this.#ending = true;
    void this.#world.people.finishes(this, process).then((done) => {
      this.#ending = false;
      if (!done) return;
      this.finished = true;
      this.end();
    });
  }

  /** Once for each due point, and once more a ratio beyond the last that was reported. */
  #isDue(): boolean {
    const stated = this.#stated();
    const due = this.nextCheckpointAt;
    if (stated < due * (1 - 1e-12)) return false;
    return due !== this.#reportedFor || stated >= this.#reportedAt * this.#world.policy.cadence.ratio;
  }

  /** Up to the next checkpoint exactly, then on while it is evaluated. */
  #target(): number {
    const next = this.compute * this.#growth;
    const stop = this.nextCheckpointAt;
    return this.compute < stop && next > stop ? stop : next;
  }

  #stated(): number {
    return this.temper === 'understates' ? this.compute * 0.7 : this.compute;
  }

  #report(process: SimulatedProcess): void {
    const compute = this.#stated();
    if (compute <= this.#reportedAt * 1.001) return;
    if (this.#isDue()) this.#reportedFor = this.nextCheckpointAt;
    this.#checkpoints += 1;
    const evaluate = this.#random.chance(0.2);
    const checkpointId = `c${this.#checkpoints}`;
    const beside = this.#world.features?.reported(this, checkpointId, compute) ?? {};
    const reporting = { checkpointId, compute, evaluate, beside };
    this.#reporting = reporting;
    const tries = async (attempt: number): Promise<void> => {
      const done = await this.#world.people.reports(this, process, reporting, attempt);
      if (done || attempt > 40) {
        this.#reportedAt = compute;
        this.#reporting = null;
      } else process.after(RETRY_MS, () => void tries(attempt + 1));
    };
    void tries(1);
  }
}

/** As people print compute: few digits, so that the ledger's decimal and the double are the same number. */
export function round(compute: number): string {
  return compute.toPrecision(12);
}

function unreachable(): InterlockClientError {
  return new InterlockClientError('Interlock is unreachable', { code: 'unreachable', retryable: true });
}
