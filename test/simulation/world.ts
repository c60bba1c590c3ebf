/**
 * One world of a simulation: a store, a queue, one to three Interlocks, trainers, evaluators, orchestrators and
 * people, all in virtual time and all drawn by one seed. First everything fails; then it heals, and what is due must
 * get done.
 */
import { z } from 'zod';
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import type { Evaluation, Policy } from '../../src/domain/policy/schema.ts';
import type { RunEvent } from '../../src/domain/run/events.ts';
import type { LadderStep, RunTarget } from '../../src/domain/run/halt-documents.ts';
import { defaultLadder } from '../../src/orchestrators/ladders.ts';
import type { LabelCapacity } from '../../src/queue/labels.ts';
import { createTokenSigner, type TokenSigner } from '../../src/signing/tokens.ts';
import { soundScore } from './arithmetic.ts';
import { expertsOf } from './experts.ts';
import { type Fault, Faults, mix } from './faults.ts';
import { featuresOf } from './feature-policy.ts';
import { Features } from './features.ts';
import { generatedPolicy } from './generated-policy.ts';
import { type Answer, Interlock } from './instance.ts';
import {
  type Capability,
  createChannel,
  createEvaluators,
  createIsolator,
  createOrchestrator,
  drawCapability,
} from './outside.ts';
import { People } from './people.ts';
import { checkProgress } from './progress-checkers.ts';
import { isolationOf } from './quarantine-policy.ts';
import { createRandom, type Random } from './random.ts';
import { BASE, relativesOf } from './relatives.ts';
import { checkReplay } from './replay-checkers.ts';
import { riskLimitOf } from './risk-policy.ts';
import { type Delivery, Seen } from './seen.ts';
import { shadowsOf } from './shadows.ts';
import { SharedQueue } from './shared-queue.ts';
import type { Signatures } from './signatures.ts';
import { type Committed, connect, Store } from './store.ts';
import { tiersOf } from './tier-policy.ts';
import { type Temper, Trainer } from './trainer.ts';
import { Scheduler, SimulatedProcess } from './virtual-time.ts';

const START_MS = Date.parse('2026-11-01T00:00:00.000Z');
const CLIENT_TIMEOUT_MS = 10_000;
const MINUTE_MS = 60_000;
const POLICY = 'generated';
const ClaimsSchema = z.object({
  ceiling: z.string(),
  seq: z.number(),
  epoch: z.number(),
  shadowUntil: z.number().optional(),
});

export interface SimulateOptions {
  readonly signatures: Signatures;
  readonly without?: ReadonlySet<Fault>;
  /** Keep the story, for whoever reads of a failure; it costs time. */
  readonly tells?: boolean;
}

interface Slot {
  current: (Interlock & { stopping: boolean }) | null;
}

interface Run {
  readonly runId: string;
  readonly targets: readonly ('webhook' | 'process')[];
  readonly trainer: Trainer;
  readonly capabilities: ReadonlyMap<string, Capability>;
}

type LiveInterlock = Interlock & { stopping: boolean };

export class World {
  readonly seed: number;
  readonly scheduler = new Scheduler(START_MS);
  readonly faults: Faults;
  readonly random: Random;
  readonly seen: Seen;
  readonly store: Store;
  readonly queue: SharedQueue;
  readonly people: People;
  readonly story: string[] = [];
  readonly runs = new Map<string, Run>();
  readonly policy: Policy;
  readonly features: Features | null;
  readonly reconcileIntervalMs: number;
  /** The largest step of any clock: healed, times that it wrote are still in the ledger. */
  clockJumpMs = 0;
  ended = false;
  /** Instances that crashed or stopped so far. */
  ends = 0;
  readonly #signatures: Signatures;
  readonly #tells: boolean;
  readonly #slots: Slot[];
  readonly #roles: { isWorker: boolean; isScheduler: boolean }[];
  readonly #signer: TokenSigner;
  readonly #relatives: Random | null;
  readonly #shadows: Random | null;
  readonly #shadowUntil: string | null;
  readonly #crashed = new Set<string>();
  readonly #labels = new Map<string, LabelCapacity>();
  readonly #feigned = new Map<string, boolean>();
  readonly #evaluations = new Map<string, string>();
  #instances = 0;
  #faulted: { error: unknown } | null = null;

  constructor(seed: number, { signatures, without = new Set(), tells = false }: SimulateOptions) {
    this.seed = seed;
    this.random = createRandom(mix(seed, 1000));
    this.faults = new Faults(seed, without);
    this.#signatures = signatures;
    signatures.real = this.random.chance(0.1);
    this.seen = new Seen(this);
    this.store = new Store(this.scheduler, this.seen, this.random.chance(0.1));
    this.queue = new SharedQueue(this.scheduler, this.faults);
    const experts = expertsOf(seed);
    this.#relatives = relativesOf(seed);
    this.#shadows = shadowsOf(seed);
    const shadowMs = this.#shadows?.pick([45_000, 150_000, 300_000, 600_000]);
    this.#shadowUntil = shadowMs === undefined ? null : new Date(START_MS + shadowMs).toISOString();
    this.people = new People(this, mix(seed, 1001), experts);
    const featured = featuresOf(seed);
    this.policy = generatedPolicy(createRandom(mix(seed, 1002)), POLICY, {
      experts,
      limited: riskLimitOf(seed),
      isolation: isolationOf(seed),
      tiered: tiersOf(seed) ?? (featured?.chance(0.3) === true ? featured : null),
      featured,
    });
    this.features = featured === null ? null : new Features(this, featured);
    this.reconcileIntervalMs = this.random.pick([8_000, 15_000, 20_000]);
    this.#tells = tells;
    const count = this.random.pick([1, 1, 2, 2, 3]);
    this.#slots = Array.from({ length: count }, () => ({ current: null }));
    // At least one does everything; others may serve the API alone, as the distributed grade allows.
    this.#roles = this.#slots.map((_, i) => ({
      isWorker: i === 0 || this.random.chance(0.4),
      isScheduler: i === 0 || this.random.chance(0.4),
    }));
    this.#signer = this.#watchedSigner();
  }

  tell(line: string): void {
    if (!this.#tells) return;
    const minutes = ((this.scheduler.nowMs - START_MS) / MINUTE_MS).toFixed(2);
    const told = `${minutes.padStart(7)} min  ${line}`;
    this.story.push(told);
  }

  get hasRelatives(): boolean {
    return this.#relatives !== null;
  }

  // --- what the others ask -------------------------------------------------------------------------------

  get storeFailures(): number {
    const { counts } = this.faults;
    const kinds = [
      'write-fails',
      'read-fails',
      'write-fails-but-lands',
      'write-slow',
      'database-outage',
    ] as const;
    return kinds.reduce((sum, kind) => sum + (counts.get(kind) ?? 0), this.store.refusals);
  }

  jwks(): unknown {
    return this.#signatures.keyring.jwks();
  }

  policyOf(_runId: string): Policy {
    return this.policy;
  }

  specOf(_runId: string, id: string): { policy: Policy; spec: Evaluation } {
    const spec = this.policy.evaluations.find((each) => each.id === id);
    if (spec === undefined) throw new RangeError(`no evaluation ${id}`);
    return { policy: this.policy, spec };
  }

  specOfEvaluation(evaluationId: string): Evaluation | null {
    const id = this.#evaluations.get(evaluationId);
    return this.policy.evaluations.find((each) => each.id === id) ?? null;
  }

  /** It waits for a label that no worker has. */
  isInVain({ resources = [], executor, replicas = [] }: Evaluation): boolean {
    if (resources.length === 0 || this.features?.isStaffed === true) return false;
    return [executor, ...replicas].some(({ kind }) => kind === 'command');
  }

  /** Of an instance that runs, or that did. */
  hasLabels(instance: string, labels: readonly string[]): boolean {
    const own = this.#labels.get(instance) ?? {};
    return labels.every((label) => (own[label] ?? 0) > 0);
  }

  sound(result: unknown, spec: Evaluation): number | null {
    return soundScore(result, spec);
  }

  capabilityOf(runId: string, category: string): Capability {
    const known = this.runs.get(runId)?.capabilities.get(category);
    if (known === undefined) throw new RangeError(`no run ${runId}`);
    return known;
  }

  trainerOf(runId: string): Trainer {
    const run = this.runs.get(runId);
    if (run === undefined) throw new RangeError(`no run ${runId}`);
    return run.trainer;
  }

  runTargets(kinds: readonly ('webhook' | 'process')[]): RunTarget[] {
    return kinds.map((kind, i) => {
      const config: JsonObject = kind === 'webhook' ? { url: 'http://trainer/' } : { pid: 4242 };
      return {
        targetId: `t${i + 1}`,
        kind,
        config,
        ladder: this.#ladderOf(kind),
        confirmation: kind === 'webhook' ? ('acknowledged' as const) : ('observed' as const),
      };
    });
  }

  /** For a share of the seeds with everything that a ladder may state; by no draw. */
  #ladderOf(kind: 'webhook' | 'process'): LadderStep[] {
    const usual = defaultLadder(kind);
    if (this.seed % 4 !== 0) return usual;
    const own = { retryMs: [1_000], resendMs: [] };
    const [first, ...harder] = usual.map((rung, i) =>
      i === 0 ? { ...rung, until: 'acknowledged' as const, withinMs: 8_000 } : rung,
    );
    const directive = { step: 'directive', afterMs: 0, ...own };
    const page = { step: 'page', afterMs: 45_000, ...own };
    return first === undefined ? usual : [directive, first, ...harder, page];
  }

  targetKind(runId: string, targetId: string): 'webhook' | 'process' {
    return this.runs.get(runId)?.targets[Number(targetId.slice(1)) - 1] ?? 'webhook';
  }

  /** First steps that are due with the order. */
  urgentTargets(runId: string): { targetId: string; step: string }[] {
    return (this.runs.get(runId)?.targets ?? []).map((kind, i) => ({
      targetId: `t${i + 1}`,
      step: defaultLadder(kind)[0]?.step ?? '',
    }));
  }

  /** Drawn once for each halt: an orchestrator that names another job does so whenever it is asked. */
  feignsStop(runId: string): boolean {
    if (this.faults.healed) return false;
    const haltId = this.seen.checkersOf(runId).standing.halted ?? '';
    const known = this.#feigned.get(haltId);
    if (known !== undefined) return known;
    const feigned = this.faults.hit('orchestrator-feigns-stop', 0.25);
    this.#feigned.set(haltId, feigned);
    return feigned;
  }

  claimsOf(token: string): { ceiling: number; isShadowed: boolean } {
    const [, payload = ''] = token.split('.');
    const claims = ClaimsSchema.parse(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')));
    return { ceiling: Number(claims.ceiling), isShadowed: claims.shadowUntil !== undefined };
  }

  instanceOf(id: string): LiveInterlock | null {
    return this.#slots.find(({ current }) => current?.id === id)?.current ?? null;
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.scheduler.after(ms, resolve);
    });
  }

  #watchedSigner(): TokenSigner {
    const { keyring, signature } = this.#signatures;
    const signer = createTokenSigner({ keyring, signature, issuer: 'interlock' });
    return {
      signPermit: (claims) => {
        this.seen.permit(claims);
        return signer.signPermit(claims);
      },
      signWorkPermit: (claims) => signer.signWorkPermit(claims),
      signHaltOrder: (claims) => signer.signHaltOrder(claims),
      signHead: (claims) => signer.signHead(claims),
    };
  }

  // --- the network ---------------------------------------------------------------------------------------

  /** A request to any instance; null where no answer came. `check` hears every answer that an instance gave. */
  request(
    from: SimulatedProcess | null,
    handle: (instance: Interlock) => Promise<Answer>,
    check: (answer: Answer, delivery: Delivery) => void = () => undefined,
  ): Promise<Answer | null> {
    const { faults, scheduler } = this;
    return new Promise((resolve) => {
      const settle = (answer: Answer | null): void => {
        if (from === null || from.alive) resolve(answer);
      };
      scheduler.after(CLIENT_TIMEOUT_MS, () => settle(null));
      const delayMs = faults.hit('request-delayed', 0.03) ? faults.of('request-delayed').below(90_000) : 0;
      if (!faults.hit('request-dropped', 0.03)) {
        scheduler.after(2 + this.random.below(20) + delayMs, () => this.#deliver(handle, check, settle));
      }
      if (faults.hit('request-repeated', 0.03)) {
        const later = faults.of('request-repeated').below(60_000);
        scheduler.after(2 + later, () => this.#deliver(handle, check, settle));
      }
    });
  }

  #deliver(
    handle: (instance: Interlock) => Promise<Answer>,
    check: (answer: Answer, delivery: Delivery) => void,
    settle: (answer: Answer | null) => void,
  ): void {
    if (this.ended) return;
    const alive = this.#slots.flatMap(({ current }) => (current === null ? [] : [current]));
    if (alive.length === 0) {
      this.scheduler.after(5, () => settle(null));
      return;
    }
    const instance = this.random.pick(alive);
    const delivery: Delivery = {
      instance: instance.id,
      atMs: this.scheduler.nowMs,
      clockMs: instance.process.clock().getTime(),
      storeFailures: this.storeFailures,
      high: new Map([...this.store.progress].map(([runId, { high }]) => [runId, Number(high ?? 0)] as const)),
      ledgerSize: this.store.events.length,
    };
    void handle(instance).then((answer) => {
      if (!instance.process.alive || this.ended) return;
      this.seen.count(`answered ${answer.status}`);
      // Told at the end, so that a checker who sees more of it speaks first.
      if (answer.status === 500) this.#faulted ??= { error: answer.body };
      try {
        check(answer, delivery);
      } catch (error) {
        this.scheduler.fail(error);
      }
      if (!this.faults.hit('answer-lost', 0.03))
        this.scheduler.after(2 + this.random.below(10), () => settle(answer));
    });
  }

  // --- instances -----------------------------------------------------------------------------------------

  #boot(i: number): void {
    const slot = this.#slots[i];
    const roles = this.#roles[i];
    if (slot === undefined || roles === undefined || slot.current !== null || this.ended) return;
    const { scheduler, faults, store } = this;
    this.#instances += 1;
    const id = `i${this.#instances}`;
    const process = new SimulatedProcess(scheduler);
    // What the worker's own check lets pass.
    process.skewMs = faults.hit('clock-skew', 0.5) ? faults.of('clock-skew').below(4_000) - 2_000 : 0;
    const connection = connect({
      store,
      scheduler,
      process,
      instance: id,
      faults,
      random: this.random,
      onCrash: () => this.#crash(i, 'in the middle of a call'),
    });
    const capacity = this.features?.labelsOf(i) ?? {};
    this.#labels.set(id, capacity);
    const channels = new Map(['oncall', 'chat'].map((name) => [name, createChannel(this, name)]));
    const interlock = new Interlock({
      id,
      process,
      connection,
      queue: this.queue.connect(process, capacity),
      policies: [this.policy],
      defaultPolicy: POLICY,
      signer: this.#signer,
      evaluators: (instance) => createEvaluators(this, process, instance),
      orchestratorOf: ({ state }, targetId) => createOrchestrator(this, process, state.runId, targetId),
      isolatorOf: ({ step }, of) => createIsolator(this, of, step),
      channels,
      ...roles,
      reconcileIntervalMs: this.reconcileIntervalMs,
      lostAfterMs: 3 * this.reconcileIntervalMs + 5_000,
      hasRelatives: this.hasRelatives,
      weightsOf: (runs) => this.features?.look(runs) ?? null,
      capacity,
      shadowUntil: this.#shadowUntil,
      hasEnded: (detail) => this.#crashed.has(detail) && (id.length + detail.length) % 2 === 0,
      onError: (message, fields) => this.#gotUp(message, fields),
    });
    const live = Object.assign(interlock, { stopping: false });
    slot.current = live;
    if (faults.hit('crash-at-await', 0.4)) {
      const draw = faults.of('crash-at-await');
      connection.crashAt(1 + draw.below(400), draw.chance(0.5));
    }
    live.worker.start().catch(() => {
      // The database is away at the start: the process ends, and somebody starts it again.
      if (process.alive) this.#crash(i, 'while starting');
    });
    this.tell(`${id} starts`);
  }

  #crash(i: number, how: string, awayMs = 2_000 + this.random.below(90_000)): void {
    const slot = this.#slots[i];
    const victim = slot?.current ?? null;
    if (slot === undefined || victim === null) return;
    this.ends += 1;
    this.tell(`${victim.id} crashes ${how}`);
    victim.process.crash();
    this.#crashed.add(victim.id);
    this.queue.release(victim.process);
    slot.current = null;
    this.scheduler.after(awayMs, () => this.#boot(i));
  }

  /** SIGTERM: what a worker hands back must be found by the others. */
  #stop(i: number): void {
    const slot = this.#slots[i];
    const victim = slot?.current ?? null;
    if (slot === undefined || victim === null) return;
    this.ends += 1;
    this.tell(`${victim.id} stops`);
    victim.stopping = true;
    const gone = (): void => {
      if (slot.current !== victim) return;
      victim.process.crash();
      this.#crashed.add(victim.id);
      slot.current = null;
      this.scheduler.after(1_000 + this.random.below(30_000), () => this.#boot(i));
    };
    victim.worker.stop().then(gone, gone);
  }

  #gotUp(message: string, fields: object): void {
    this.seen.count(`log error: ${message}`);
    if ('err' in fields && fields.err instanceof Error) {
      this.tell(`log error: ${message}: ${fields.err.message}`);
      this.scheduler.fail(fields.err);
    }
  }

  // --- the story -----------------------------------------------------------------------------------------

  committed(runId: string, { instance }: Committed, events: readonly RunEvent[]): void {
    for (const event of events) {
      if (event.kind === 'CheckpointReported') {
        for (const each of event.data.evaluations) this.#evaluations.set(each.evaluationId, each.evaluation);
      }
      if (event.kind === 'SuccessionBegun') {
        for (const each of event.data.lastCleared?.evaluations ?? []) {
          this.#evaluations.set(each.evaluationId, each.evaluation);
        }
      }
      this.#narrate(runId, instance, event);
      if (!this.faults.healed) this.people.hears(runId, event);
      if (event.kind === 'RunResumed') this.#restarts(runId);
    }
  }

  #restarts(runId: string): void {
    const run = this.runs.get(runId);
    this.scheduler.after(10_000 + this.random.below(30_000), () => {
      if (run !== undefined && !run.trainer.isRunning && !run.trainer.finished) run.trainer.start();
    });
  }

  #narrate(runId: string, instance: string, event: RunEvent): void {
    const told = TOLD[event.kind];
    if (told === undefined || !this.#tells) return;
    const data: object = event.data;
    const fields = Object.entries(data)
      .filter(([name]) => told.includes(name))
      .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`);
    this.tell(`${runId} [${instance}] ${event.kind} ${fields.join(', ').slice(0, 300)}`);
  }

  async #register(): Promise<void> {
    const drawn = this.random.pick([1, 1, 1, 1, 1, 2]);
    const count = this.#relatives === null ? drawn : 2;
    const tempers: readonly Temper[] = ['understates', 'ignores-halts', 'feigns-stop', 'forgets'];
    for (let n = 1; n <= count; n += 1) {
      const random = createRandom(mix(this.seed, 2000 + n));
      const runId = `r${n}`;
      const lie = tempers.find((temper) => {
        const fault = LIES[temper];
        return fault !== undefined && this.faults.hit(fault, 0.15);
      });
      const temper = lie ?? 'honest';
      const first = Number(this.policy.cadence.firstCheckpointBy);
      const initial = random.chance(0.15) ? first * random.pick([0.5, 3]) : null;
      const targets = random.pick<('webhook' | 'process')[]>([
        ['webhook'],
        ['webhook'],
        ['process'],
        ['webhook', 'process'],
      ]);
      const trainer = new Trainer(this, {
        runId,
        temper,
        identity: 'trainer',
        compute: initial ?? first * random.between(0.3, 0.9),
        firstAt: initial === null ? first : initial,
        random,
      });
      const categories = this.policy.categories.map(({ id }) => [id, drawCapability(random)] as const);
      this.runs.set(runId, { runId, targets, trainer, capabilities: new Map(categories) });
      const from =
        this.#relatives === null ? {} : { parents: [BASE], isVouched: this.#relatives.chance(0.8) };
      const tries = async (attempt: number): Promise<void> => {
        const done = await this.people.register(runId, targets, initial, POLICY, from);
        if (done) {
          this.tell(`${runId} is registered: ${targets.join(' and ')}, a trainer that is ${temper}`);
          this.seen.count('registered');
          this.features?.happens(runId, trainer);
          trainer.start();
        } else if (attempt < 60) this.scheduler.after(5_000, () => void tries(attempt + 1));
      };
      this.scheduler.after(500 + random.below(20_000) * (n - 1), () => void tries(1));
    }
  }

  /** Something happens to the machines every half minute or so. */
  #weather(): void {
    if (this.ended || this.faults.healed) return;
    const { faults, scheduler } = this;
    this.#slots.forEach((slot, i) => {
      if (faults.hit('crash', 0.03)) this.#crash(i, 'at once');
      // The one that certainly works and schedules; whoever serves the API alone goes on.
      if (i === 0 && faults.hit('workers-away', 0.08)) {
        this.#crash(i, 'and stays away', 60_000 + faults.of('workers-away').below(240_000));
      }
      if (faults.hit('graceful-stop', 0.02)) this.#stop(i);
      if (slot.current !== null && faults.hit('crash-at-await', 0.1)) {
        const draw = faults.of('crash-at-await');
        slot.current.connection.crashAt(1 + draw.below(60), draw.chance(0.5));
      }
      if (slot.current !== null && faults.hit('clock-jump', 0.03)) {
        const draw = faults.of('clock-jump');
        const jump = draw.pick([-1, 1]) * draw.pick([30_000, 120_000, 600_000]);
        this.clockJumpMs = Math.max(this.clockJumpMs, Math.abs(jump));
        slot.current.process.jump(jump);
        this.tell(`the clock of ${slot.current.id} is now ${jump} ms off`);
      }
    });
    if (faults.hit('queue-wiped', 0.05)) {
      this.tell('the queue is wiped');
      this.queue.wipe();
    }
    if (!this.store.away && faults.hit('database-outage', 0.03)) {
      this.tell('the database is away');
      this.store.away = true;
      scheduler.after(5_000 + faults.of('database-outage').below(120_000), () => {
        this.store.away = false;
        this.tell('the database is back');
      });
    }
    for (const { runId, trainer } of this.runs.values()) {
      if (trainer.isRunning && faults.hit('trainer-crashes', 0.03)) {
        this.tell(`the trainer of ${runId} crashes`);
        trainer.end();
        scheduler.after(3_000 + faults.of('trainer-crashes').below(60_000), () => {
          if (!trainer.isRunning && !trainer.finished) trainer.start();
        });
      }
      if (faults.hit('trainer-clock-jump', 0.03)) {
        const draw = faults.of('trainer-clock-jump');
        trainer.process.skewMs += draw.pick([-1, 1]) * draw.pick([60_000, 3_600_000]);
      }
      if (trainer.isRunning && trainer.orders.length > 0 && faults.hit('old-order-replayed', 0.08)) {
        void trainer.receive(faults.of('old-order-replayed').pick(trainer.orders));
      }
      if (this.random.chance(0.35)) void this.people.wanders(runId);
      this.features?.happens(runId, trainer);
      if (this.#shadows?.chance(0.04) === true) void this.people.arms(runId);
    }
    scheduler.after(12_000 + this.random.below(15_000), () => this.#weather());
  }

  /** From here on everything works, and nobody does anything new. */
  #heal(): void {
    this.faults.healed = true;
    this.store.away = false;
    this.queue.wipe();
    this.tell('everything heals; the queue is empty');
    this.#slots.forEach((slot, i) => {
      if (slot.current !== null) slot.current.process.skewMs = 0;
      this.#boot(i);
    });
    for (const { trainer } of this.runs.values()) {
      trainer.process.skewMs = 0;
    }
  }

  async simulate(): Promise<void> {
    this.#slots.forEach((_, i) => {
      this.scheduler.after(this.random.below(3_000), () => this.#boot(i));
    });
    await this.#register();
    this.scheduler.after(20_000, () => this.#weather());
    const chaosMs = this.random.between(3.5, 6.5) * MINUTE_MS;
    await this.scheduler.run(START_MS + chaosMs);
    this.#heal();
    await checkProgress(this);
    this.ended = true;
    checkReplay(this);
    if (this.#faulted !== null) throw this.#faulted.error;
  }
}

const LIES: Readonly<Partial<Record<Temper, Fault>>> = {
  understates: 'trainer-understates',
  'ignores-halts': 'trainer-ignores-halts',
  'feigns-stop': 'trainer-feigns-stop',
  forgets: 'trainer-forgets',
};

/** Which facts the story tells, and which of their fields. */
const TOLD: Readonly<Partial<Record<RunEvent['kind'], readonly string[]>>> = {
  CheckpointReported: ['checkpointId', 'effectiveCompute', 'reason', 'trainingStage'],
  ProgressNoted: ['effectiveCompute'],
  TrainingStageNoted: ['stage', 'effectiveCompute', 'seenBy'],
  BreakthroughDeclared: ['breakthroughId', 'dueBy'],
  WeightsDigested: ['checkpointId'],
  WeightsChanged: ['checkpointId'],
  EvaluationsReleased: ['checkpointId', 'evaluationIds', 'reason'],
  TripwireCleared: ['checkpointId', 'evaluationIds'],
  CheckpointMadeDue: ['checkpointId', 'evaluation', 'observed'],
  EvaluationsUnstaffed: ['checkpointId', 'evaluationIds'],
  EvaluationRequeued: ['evaluationId', 'attempt', 'purpose'],
  SuccessionBegun: ['evaluation', 'succeeds', 'checkpointId', 'lastCleared'],
  SuccessionEnded: ['evaluation', 'succeeds', 'checkpoints'],
  ClosingInEnded: ['holdId', 'reason'],
  OutsideEvaluatorGranted: ['party', 'checkpoints', 'expiresAt'],
  OutsideFindingReported: ['findingId', 'checkpointId', 'severity', 'category'],
  EvaluationStarted: ['evaluationId', 'attempt', 'instance', 'replica'],
  EvaluationReported: ['evaluationId', 'attempt', 'reading', 'late'],
  ArchivedResultReported: ['evaluationId', 'attempt', 'reading'],
  EvaluationAttemptFailed: ['evaluationId', 'attempt', 'reason', 'reading'],
  EvaluationReturned: ['evaluationId', 'attempt', 'reason'],
  EvaluationsCancelled: ['evaluationIds'],
  CheckpointAssessed: ['checkpointId', 'revision', 'verdict', 'ceiling'],
  WouldHaveHalted: ['action', 'cause'],
  WouldHaveHeld: ['holdId', 'key'],
  WouldHaveLifted: ['holdId'],
  ShadowEnded: ['reason', 'by'],
  HoldPlaced: ['holdId', 'key', 'closingIn'],
  HoldLifted: ['holdId', 'reason'],
  HaltOrdered: ['haltId', 'cause'],
  HaltCauseAdded: ['haltId', 'cause'],
  HaltStepTaken: ['haltId', 'targetId', 'step', 'attempt', 'outcome'],
  HaltAcknowledged: ['haltId', 'state'],
  TargetStopObserved: ['haltId', 'targetId'],
  HaltConfirmed: ['haltId'],
  HaltReopened: ['haltId', 'reason'],
  HaltEscalated: ['haltId', 'count'],
  ProposalOpened: ['proposalId', 'haltId'],
  ProposalVoided: ['proposalId', 'reason'],
  SignOffRecorded: ['proposalId', 'decision', 'by', 'group'],
  RunResumed: ['proposalId', 'epoch'],
  QuarantineBegun: ['haltId'],
  IsolationStepBegun: ['step', 'because'],
  IsolationStepTaken: ['step', 'attempt', 'outcome'],
  IsolationStepOverdue: ['step'],
  IsolationStepConfirmed: ['step', 'by'],
  QuarantineReleased: ['proposalId'],
  ScopedWorkGranted: ['proposalId'],
  ScopedWorkEnded: ['reason'],
  RunFinished: ['ceiling'],
};
