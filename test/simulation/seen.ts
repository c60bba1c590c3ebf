/**
 * What outsiders saw, held against the ledger at the moment they saw it.
 *
 * An answer of 2xx is checked when the instance gives it: its event must be in the ledger then, whether or not the
 * answer ever arrives. Permits are checked when their number is taken. Nothing here reads the service's state.
 */
import type { Compute } from '../../src/domain/compute.ts';
import { parseRunEvent, type RunEvent } from '../../src/domain/run/events.ts';
import { resultDigest } from '../../src/service/evaluation-work.ts';
import { CLOSE, ms } from './arithmetic.ts';
import type { ExpertCommand } from './experts.ts';
import type { Answer } from './instance.ts';
import { INTRUDER } from './people.ts';
import { MEMBERSHIPS } from './policy-parts.ts';
import { RunCheckers, Violation } from './run-checkers.ts';
import { WITHIN_BUDGET } from './scheduling-checkers.ts';
import { NOTHING_IS_DONE } from './shadows.ts';
import type { Committed, Reserved, Witness } from './store.ts';
import type { SimulatedProcess } from './virtual-time.ts';
import type { World } from './world.ts';

export interface Delivery {
  readonly instance: string;
  readonly atMs: number;
  readonly clockMs: number;
  /** Failures of the store that anybody had met by then. */
  readonly storeFailures: number;
  /** The side columns' high-water marks when the request came in, by run. */
  readonly high: ReadonlyMap<string, number>;
  readonly ledgerSize: number;
}

interface Signed {
  readonly ceiling: number;
  readonly fromMs: number;
  readonly untilMs: number;
  /** Until then neither its ceiling nor its end stops the run. */
  readonly shadowUntilMs: number;
}

interface Job {
  readonly evaluationId: string;
  readonly instance: string;
  readonly signal: AbortSignal;
}

/** Requests take seconds where writes are slow; only what was long known counts against a permit. */
const KNOWN_LONG_MS = 30_000;
/** A heartbeat before that may have been sent before the stop, as far as anybody can tell. */
const LATE_MS = 10_000;
/** What is done at once is done by then, also where the answer of the store takes its time. */
const SOON_MS = 4_000;

export class Seen implements Witness {
  readonly #world: World;
  readonly runs = new Map<string, RunCheckers>();
  readonly events = new Map<string, RunEvent[]>();
  readonly counts = new Map<string, number>();
  readonly jobs = new Set<Job>();
  readonly #checkpoints = new Map<string, string>();
  readonly #results = new Map<string, string>();
  readonly #signOffs = new Set<string>();
  readonly #estimates = new Set<string>();
  /** Findings of outsiders and breakthroughs, by their ids. */
  readonly #told = new Set<string>();
  readonly #attempted = new Set<string>();
  readonly #causes = new Set<string>();
  readonly #acks = new Set<string>();
  readonly #rationales = new Set<string>();
  readonly #digests = new Map<string, string>();
  readonly #executed = new Set<string>();
  readonly #isolated = new Set<string>();
  readonly #said = new Map<string, unknown[]>();
  readonly #nonces = new Map<string, number>();
  readonly #permits = new Map<string, Signed[]>();
  readonly #steps = new Map<string, number>();
  readonly #observed = new Map<string, number>();
  readonly #orderedAt = new Map<string, number>();
  /** Since when a run that runs is taken to have stopped. */
  readonly #falselyStopped = new Map<string, number>();
  /** When a checkpoint got into the ledger, by the world's time. */
  readonly #reportedMs = new Map<string, number>();
  /** When something last moved what a run is next due by, by the world's time. */
  readonly #movedMs = new Map<string, number>();
  readonly #actions = new Map<string, string>();
  readonly paged = new Set<string>();
  permitsReserved = 0;

  constructor(world: World) {
    this.#world = world;
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  #broken(invariant: number, message: string): void {
    this.#world.scheduler.fail(new Violation(invariant, message));
  }

  checkersOf(runId: string): RunCheckers {
    const known = this.runs.get(runId);
    if (known !== undefined) return known;
    const made = new RunCheckers(this.#world.policyOf(runId), MEMBERSHIPS);
    this.runs.set(runId, made);
    return made;
  }

  // --- the ledger ----------------------------------------------------------------------------------------

  committed(commit: Committed): void {
    const { stream, actor } = commit;
    if (!stream.startsWith('run-')) return;
    const runId = stream.slice('run-'.length);
    if (actor === INTRUDER) this.#broken(1, `a refused message of ${INTRUDER} moved run ${runId}`);
    const events = commit.events.map(({ kind, data }) => parseRunEvent(kind, data));
    const [first] = events;
    if (first === undefined) return;
    const known = this.events.get(runId) ?? [];
    known.push(...events);
    this.events.set(runId, known);
    for (const event of events) this.#note(runId, event);
    for (const event of events) this.#takenByRight(commit.instance, event);
    const nowMs = Date.parse(first.data.at);
    try {
      this.checkersOf(runId).take(events, nowMs);
    } catch (error) {
      this.#world.scheduler.fail(error);
    }
    this.#world.committed(runId, commit, events);
    this.#soon(runId, commit, events);
  }

  #note(runId: string, event: RunEvent): void {
    this.count(event.kind);
    switch (event.kind) {
      case 'CheckpointReported':
        this.#checkpoints.set(`${runId} ${event.data.checkpointId}`, event.data.effectiveCompute);
        this.#reportedMs.set(`${runId} ${event.data.checkpointId}`, this.#world.scheduler.nowMs);
        return;
      case 'EvaluationReported':
      case 'ArchivedResultReported':
        this.#results.set(`${event.data.evaluationId}/${event.data.attempt}`, event.data.resultDigest);
        this.#fitsWhatWasSaid(event.data);
        return;
      case 'RunRegistered':
      case 'TrainingStageNoted':
      case 'CheckpointAssessed':
        this.#movedMs.set(runId, this.#world.scheduler.nowMs);
        return;
      case 'OutsideFindingReported':
        this.#told.add(`${runId} ${event.data.findingId}`);
        return;
      case 'BreakthroughDeclared':
        this.#movedMs.set(runId, this.#world.scheduler.nowMs);
        this.#told.add(`${runId} ${event.data.breakthroughId}`);
        return;
      case 'SignOffRecorded': {
        const { proposalId, by, decision } = event.data;
        this.#signOffs.add(`${proposalId} ${by} ${decision}`);
        if (decision === 'veto' && this.#executed.has(proposalId)) this.count('vetoes after a resume');
        if (!this.#attempted.has(`${proposalId} ${by} ${decision}`)) {
          this.#broken(4, `${by} never signed ${decision} on ${proposalId}`);
        }
        return;
      }
      case 'HaltOrdered':
      case 'HaltCauseAdded':
        if (event.kind === 'HaltOrdered') this.#orderedAt.set(runId, this.#world.scheduler.nowMs);
        // Raised to a quarantine, it begins anew: nothing counts as stopped.
        if (this.#actions.get(runId) !== event.data.action) this.#falselyStopped.delete(runId);
        this.#actions.set(runId, event.data.action);
        if (event.data.cause.kind === 'person') this.#causes.add(`${runId} ${event.data.cause.reason}`);
        return;
      case 'HaltAcknowledged':
        this.#acks.add(`${event.data.haltId} ${event.data.state}`);
        return;
      case 'TargetStopObserved':
        if (!this.#observed.has(`${runId} ${event.data.targetId}`)) {
          this.#broken(5, `target ${event.data.targetId} of ${runId} was never seen to stop`);
        }
        return;
      case 'HaltConfirmed':
        if (!this.#world.trainerOf(runId).isRunning) return;
        this.count('confirmed while it runs');
        this.#falselyStopped.set(runId, this.#world.scheduler.nowMs);
        return;
      case 'HaltReopened':
        this.#falselyStopped.delete(runId);
        return;
      case 'ProposalOpened':
        this.#rationales.add(`${runId} ${event.data.rationale}`);
        this.#digests.set(event.data.proposalId, event.data.digest);
        return;
      case 'EstimateGiven':
        this.#estimates.add(`${event.data.roundId} ${event.data.by} ${event.data.rationale}`);
        return;
      case 'IsolationStepConfirmed': {
        const { haltId, step, by } = event.data;
        if (by === 'call-out' && !this.#isolated.has(`${haltId} ${step}`)) {
          this.#broken(5, `${step} of ${haltId} was never said to be done`);
        }
        return;
      }
      case 'QuarantineReleased':
      case 'ScopedWorkGranted':
        this.#executed.add(event.data.proposalId);
        return;
      case 'RunResumed':
        this.#executed.add(event.data.proposalId);
        this.#orderedAt.delete(runId);
        this.#falselyStopped.delete(runId);
        return;
      default:
        return;
    }
  }

  /** What needs a label is begun where it is had, or by whoever carries it out elsewhere. */
  #takenByRight(instance: string, event: RunEvent): void {
    if (event.kind !== 'EvaluationStarted') return;
    const { evaluationId, replica = 0 } = event.data;
    const spec = this.#world.specOfEvaluation(evaluationId);
    const executor = [spec?.executor, ...(spec?.replicas ?? [])][replica];
    const needed = spec?.resources ?? [];
    if (executor?.kind !== 'command' || this.#world.hasLabels(instance, needed)) return;
    this.#broken(WITHIN_BUDGET, `${instance} began ${evaluationId} without the labels ${needed}`);
  }

  /** Invariant 8: what is conclusive is what an evaluator soundly said, and nothing else. */
  #fitsWhatWasSaid(
    data: Extract<RunEvent, { kind: 'EvaluationReported' | 'ArchivedResultReported' }>['data'],
  ): void {
    const { evaluationId, attempt, reading } = data;
    const said = this.#said.get(`${evaluationId}/${attempt}`) ?? [];
    const spec = this.#world.specOfEvaluation(evaluationId);
    if (spec === null || !reading.conclusive) return;
    const fits = said.some((each) => this.#world.sound(each, spec) === reading.score);
    if (!fits)
      this.#broken(
        8,
        `${evaluationId}/${attempt} counts as conclusive at ${reading.score}; nobody soundly said so`,
      );
  }

  // --- soon after a commit -------------------------------------------------------------------------------

  /** Halts take the fast path: who commits one takes the first step of every target, and stops its jobs. */
  #soon(runId: string, { instance }: Committed, events: readonly RunEvent[]): void {
    const world = this.#world;
    const owner = world.instanceOf(instance);
    if (owner === null) return;
    const skew = owner.process.skewMs;
    const failures = world.storeFailures;
    const calm = (): boolean =>
      owner.process.alive &&
      owner.process.skewMs === skew &&
      world.storeFailures === failures &&
      !owner.stopping;
    for (const event of events) {
      if (event.kind === 'HaltOrdered') {
        const { haltId } = event.data;
        const targets = world.urgentTargets(runId);
        const cause = event.data.cause.kind;
        world.scheduler.after(SOON_MS, () => {
          for (const { targetId, step } of targets) {
            const over = this.#orderedAt.get(runId) === undefined;
            if (!calm() || over || this.#steps.has(`${haltId} ${targetId} ${step}`)) continue;
            this.#broken(
              cause === 'person' ? 9 : 5,
              `${instance} ordered ${haltId} and did not take ${step} of ${targetId} at once`,
            );
          }
        });
      }
      if (event.kind === 'EvaluationsCancelled') {
        const ids = event.data.evaluationIds;
        const jobs = [...this.jobs].filter(
          (job) => job.instance === instance && ids.includes(job.evaluationId),
        );
        world.scheduler.after(SOON_MS, () => {
          for (const job of jobs) {
            const { evaluationId, signal } = job;
            if (calm() && !signal.aborted && this.jobs.has(job))
              this.#broken(9, `the job of ${evaluationId} runs on after the button`);
          }
        });
      }
    }
  }

  // --- permits -------------------------------------------------------------------------------------------

  nonce(nonce: string): void {
    this.#nonces.set(nonce, this.#world.scheduler.nowMs);
  }

  reserved({ runId, clockMs }: Reserved): void {
    this.permitsReserved += 1;
    const checkers = this.checkersOf(runId);
    const { halted, holds, finished } = checkers.standing;
    if (halted !== null || holds > 0 || finished) {
      const why = halted ?? (finished ? 'finished' : 'on hold');
      this.#broken(4, `a permit of ${runId} was numbered while it is ${why}`);
    }
    try {
      // By a clock that runs ahead a deadline may have passed before whoever issues could know of the checkpoint.
      const sinceMs = this.#world.scheduler.nowMs - KNOWN_LONG_MS;
      const isNews = (checkpointId: string): boolean =>
        (this.#reportedMs.get(`${runId} ${checkpointId}`) ?? 0) > sinceMs;
      const isFresh = (this.#movedMs.get(runId) ?? 0) > sinceMs;
      checkers.missing(clockMs - KNOWN_LONG_MS, null, isNews, isFresh);
    } catch (error) {
      this.#world.scheduler.fail(error);
    }
  }

  /** A permit that was signed, whoever gets it. */
  permit(claims: {
    sub: string;
    ceiling: string;
    nonce: string | null;
    iat: number;
    exp: number;
    shadowUntil?: number | undefined;
  }): void {
    const { sub: runId, ceiling, nonce, iat, exp, shadowUntil = 0 } = claims;
    const { standing } = this.checkersOf(runId);
    const earned = standing.ceiling;
    // Between number and signature a veto may have lowered what stands; the number was checked when it was taken.
    if (standing.halted === null && Number(ceiling) > earned * (1 + CLOSE)) {
      this.#broken(2, `a permit of ${runId} up to ${ceiling}; earned is ${earned}`);
    }
    const ttl = ms(this.#world.policyOf(runId).permit.ttl);
    if ((exp - iat) * 1000 > Math.max(1000, ttl))
      this.#broken(2, `a permit of ${runId} lives ${exp - iat} s`);
    const fromMs = nonce === null ? undefined : this.#nonces.get(nonce);
    if (fromMs === undefined) return;
    const all = this.#permits.get(runId) ?? [];
    const shadowUntilMs = shadowUntil * 1000;
    all.push({ ceiling: Number(ceiling), fromMs, untilMs: fromMs + ttl, shadowUntilMs });
    this.#permits.set(runId, all);
  }

  /** Invariant 5: a stop that is confirmed was one, or life takes it back as soon as it shows. */
  beaten(runId: string, _effectiveCompute: Compute, advanced: boolean): void {
    this.count('heartbeats');
    const sinceMs = this.#falselyStopped.get(runId);
    const world = this.#world;
    if (sinceMs === undefined || !advanced || world.scheduler.nowMs < sinceMs + LATE_MS) return;
    // Whoever took the heartbeat may not have lived, or not have been let, to do what follows from it.
    const calm = (): string => `${world.storeFailures} ${world.ends} ${world.clockJumpMs}`;
    const before = calm();
    world.scheduler.after(KNOWN_LONG_MS, () => {
      if (this.#falselyStopped.get(runId) !== sinceMs || calm() !== before) return;
      this.#broken(
        5,
        `${runId} stated more compute after its stop was confirmed, and it still counts as stopped`,
      );
    });
  }

  heartbeat(runId: string, stated: Compute, { status, body }: Answer, delivery: Delivery): void {
    if (status !== 200 || typeof body !== 'object' || body === null) return;
    const { permit, directive } = Object.fromEntries(Object.entries(body));
    const { standing } = this.checkersOf(runId);
    const { action, order } = Object.fromEntries(Object.entries(directive ?? {}));
    if (typeof permit === 'string') {
      if (action !== 'continue') this.#broken(4, `a permit of ${runId} came with the directive ${action}`);
      const { ceiling, isShadowed } = this.#world.claimsOf(permit);
      const known = Math.max(delivery.high.get(runId) ?? 0, Number(stated));
      if (ceiling < known * (1 - CLOSE) && !isShadowed) {
        this.#broken(8, `${runId} stated ${known} and got a permit up to ${ceiling}`);
      }
    } else if (action === 'halt' || action === 'quarantine') {
      if (typeof order !== 'string') this.#broken(5, `${runId} heard ${action} without an order`);
    }
    if (standing.shadowUntilMs !== null && !standing.finished && action !== 'continue') {
      this.#broken(NOTHING_IS_DONE, `${runId} is in shadow and heard ${action}`);
    }
    const orderedMs = this.#orderedAt.get(runId);
    const longHalted = standing.halted !== null && orderedMs !== undefined && orderedMs < delivery.atMs;
    if (longHalted && action !== 'halt' && action !== 'quarantine') {
      this.#broken(4, `${runId} is halted and heard ${action}`);
    }
  }

  trained({
    runId,
    atMs,
    compute,
    honest,
    halts,
  }: {
    runId: string;
    atMs: number;
    compute: number;
    honest: boolean;
    halts: readonly string[];
  }): void {
    this.count('steps trained');
    if (!honest) return;
    if (halts.length > 0) this.#broken(4, `the guard of ${runId} let it train under ${halts.join(', ')}`);
    const permits = this.#permits.get(runId) ?? [];
    // Counted from when the permit was issued, by a clock that may have jumped.
    const shadowSlackMs = this.#world.clockJumpMs + 4_000;
    const inShadow = permits.some(
      ({ fromMs, shadowUntilMs }) => fromMs <= atMs && atMs < shadowUntilMs + shadowSlackMs,
    );
    const covered =
      inShadow ||
      permits.some(
        ({ ceiling, fromMs, untilMs }) =>
          compute <= ceiling * (1 + CLOSE) && fromMs <= atMs && atMs <= untilMs + 1,
      );
    if (!covered) this.#broken(2, `${runId} trained to ${compute} without a permit for it`);
    const orderedMs = this.#orderedAt.get(runId);
    const ttl = ms(this.#world.policyOf(runId).permit.ttl);
    // A permit that was signed just before the order may have answered a nonce of just before that.
    // In shadow only the order itself stops it, whenever that arrives.
    if (orderedMs !== undefined && atMs > orderedMs + ttl + 1000 && !inShadow) {
      this.#broken(4, `${runId} trained ${atMs - orderedMs} ms after its halt`);
    }
  }

  // --- answers -------------------------------------------------------------------------------------------

  checkpoint(runId: string, checkpointId: string, compute: Compute, { status, body }: Answer): void {
    const recorded = this.#checkpoints.get(`${runId} ${checkpointId}`);
    if (status < 300 && (recorded === undefined || Number(recorded) !== Number(compute))) {
      this.#broken(
        1,
        `checkpoint ${checkpointId} at ${compute} was acknowledged and is recorded as ${recorded}`,
      );
    }
    if (status === 409 && recorded !== undefined && Number(recorded) === Number(compute)) {
      this.#broken(7, `the same checkpoint ${checkpointId} again was refused: ${String(body)}`);
    }
  }

  contradicted(what: string, { status }: Answer): void {
    this.count('contradictions');
    if (status < 300) this.#broken(7, `${what} was acknowledged with other content`);
  }

  said(evaluationId: string, attempt: number, said: unknown): void {
    const key = `${evaluationId}/${attempt}`;
    this.#said.set(key, [...(this.#said.get(key) ?? []), said]);
  }

  result(evaluationId: string, attempt: number, said: unknown, { status, body }: Answer): void {
    const recorded = this.#results.get(`${evaluationId}/${attempt}`);
    const digest = resultDigest(said);
    if (status < 300 && recorded === undefined) {
      this.#broken(1, `the result of ${evaluationId}/${attempt} was acknowledged and is not recorded`);
    } else if (status < 300 && recorded !== digest) {
      this.#broken(7, `two results of ${evaluationId}/${attempt} were acknowledged`);
    }
    if (status === 409 && recorded === digest) {
      this.#broken(7, `the same result of ${evaluationId}/${attempt} again was refused: ${String(body)}`);
    }
    if (status === 422 && recorded === digest)
      this.#broken(1, `${evaluationId}/${attempt} was refused and recorded`);
  }

  /** Of an evaluation that an outside party carries out; the house has no say in it. */
  impersonated(evaluationId: string, { status }: Answer): void {
    this.count('impersonations');
    if (status < 300) this.#broken(1, `somebody else than the party reported ${evaluationId}`);
  }

  found(runId: string, findingId: string, { status }: Answer): void {
    if (status < 300 && !this.#told.has(`${runId} ${findingId}`)) {
      this.#broken(1, `the finding ${findingId} about ${runId} was acknowledged and is not recorded`);
    }
  }

  declared(runId: string, breakthroughId: string, { status }: Answer): void {
    if (status < 300 && !this.#told.has(`${runId} ${breakthroughId}`)) {
      this.#broken(1, `the breakthrough ${breakthroughId} of ${runId} was acknowledged and is not recorded`);
    }
  }

  acknowledged(runId: string, haltId: string, state: string, _by: string, { status }: Answer): void {
    if (status >= 300) return;
    const said = this.#acks.has(`${haltId} ${state}`) || this.#acks.has(`${haltId} stopped`);
    if (!said)
      this.#broken(1, `${runId}: the word "${state}" on ${haltId} was acknowledged and is not recorded`);
  }

  pressed(runId: string, who: string, reason: string, { status, body }: Answer, delivery: Delivery): void {
    if (status === 503 && this.#world.storeFailures > delivery.storeFailures) return;
    // Somebody was faster than the registration: there is nothing to halt yet.
    if (status === 404 && (this.events.get(runId) ?? []).length === 0) return;
    if (status >= 300)
      this.#broken(9, `${who} pressed the button on ${runId} and heard ${status} ${String(body)}`);
    else if (!this.#causes.has(`${runId} ${reason}`)) {
      this.#broken(9, `${who} pressed the button on ${runId}; it is not recorded`);
    }
  }

  proposed(runId: string, rationale: string, { status }: Answer): void {
    if (status < 300 && !this.#rationales.has(`${runId} ${rationale}`)) {
      this.#broken(1, `a proposal for ${runId} was acknowledged and is not recorded`);
    }
  }

  /** A call-out answered that it is done. */
  isolated(haltId: string, step: string): void {
    this.#isolated.add(`${haltId} ${step}`);
  }

  signing(proposalId: string, who: string, decision: string): void {
    this.#attempted.add(`${proposalId} ${who} ${decision}`);
  }

  signed(
    {
      proposalId,
      who,
      decision,
      group,
    }: { runId: string; proposalId: string; who: string; decision: string; group: string },
    { status, body }: Answer,
  ): void {
    const recorded = this.#signOffs.has(`${proposalId} ${who} ${decision}`);
    if (status < 300 && !recorded)
      this.#broken(1, `${who}'s ${decision} of ${proposalId} was acknowledged and is not recorded`);
    const isMember = MEMBERSHIPS.get(who)?.includes(group) === true;
    if (status < 300 && !isMember) this.#broken(4, `${who} signed for ${group}`);
    if (decision !== 'veto' || status < 400 || status === 503) return;
    if (this.#executed.has(proposalId)) {
      this.#broken(4, `${who}'s veto of the executed ${proposalId} was refused: ${String(body)}`);
    }
    this.count('vetoes refused');
  }

  consulted(command: ExpertCommand, { status }: Answer): void {
    if (command.type !== 'GiveEstimate' || status >= 300) return;
    const { roundId, by, rationale } = command;
    if (!this.#estimates.has(`${roundId} ${by} ${rationale}`)) {
      this.#broken(1, `${by}'s estimate in ${roundId} was acknowledged and is not recorded`);
    }
  }

  finished(runId: string, { status }: Answer): void {
    const { finished } = this.checkersOf(runId).standing;
    if (status < 300 && !finished)
      this.#broken(1, `the end of ${runId} was acknowledged and is not recorded`);
  }

  intruded({ status }: Answer): void {
    this.count('intrusions');
    if (status < 300) this.#broken(1, `an intruder was answered ${status}`);
  }

  digestOf(proposalId: string): string {
    return this.#digests.get(proposalId) ?? '';
  }

  // --- outside -------------------------------------------------------------------------------------------

  /** A child that runs; answers what is called when it has ended. */
  job(evaluationId: string, instance: string, signal: AbortSignal): () => void {
    const job = { evaluationId, instance, signal };
    this.jobs.add(job);
    return () => void this.jobs.delete(job);
  }

  step(_runId: string, haltId: string, targetId: string, step: string, _process: SimulatedProcess): void {
    const key = `${haltId} ${targetId} ${step}`;
    this.#steps.set(key, (this.#steps.get(key) ?? 0) + 1);
    this.count('halt steps sent');
  }

  stepsOf(haltId: string, targetId: string, step: string): number {
    return this.#steps.get(`${haltId} ${targetId} ${step}`) ?? 0;
  }

  observedStopped(runId: string, targetId: string): void {
    this.#observed.set(`${runId} ${targetId}`, this.#world.scheduler.nowMs);
  }

  page(_alertId: string, _channel: string): void {
    this.count('pages sent');
  }

  isPaged(alertId: string, channel: string): void {
    this.paged.add(`${alertId} ${channel}`);
  }
}
