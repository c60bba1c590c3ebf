/**
 * Invariants of DESIGN.md recomputed from a run's events alone, by other means than the domain's: doubles for
 * compute, an own level map, plain maps of what was reported. A checker knows the policy, never the state.
 */
import type { LevelRule, Policy } from '../../src/domain/policy/schema.ts';
import type { RunEvent, RunEventData } from '../../src/domain/run/events.ts';
import type { PermitTerms } from '../../src/domain/run/permit.ts';
import type { Terms } from '../../src/domain/run/proposal-documents.ts';
import type { StoredReading } from '../../src/domain/run/reading-documents.ts';
import { CLOSE, estimate, isPooled, LEVEL_CLOSE, ms, thresholdOf, upper } from './arithmetic.ts';
import { EstimateCheckers } from './estimate-checkers.ts';
import { ForecastCheckers } from './forecast-checkers.ts';
import { ProtocolCheckers } from './protocol-checkers.ts';
import { QuarantineCheckers } from './quarantine-checkers.ts';
import { RiskCheckers } from './risk-checkers.ts';
import { SchedulingCheckers } from './scheduling-checkers.ts';
import { ShadowCheckers } from './shadows.ts';
import { StageCheckers } from './stage-checkers.ts';
import { TierChecker } from './tier-checkers.ts';

/** What a broken invariant of DESIGN.md is reported as, by whichever checker. */
export class Violation extends Error {
  readonly invariant: number;

  constructor(invariant: number, message: string) {
    super(`invariant ${invariant}: ${message}`);
    this.name = 'Violation';
    this.invariant = invariant;
  }
}

/** What stands after the events so far, by the checkers' own fold. */
export interface Standing {
  readonly ceiling: number;
  readonly halted: string | null;
  readonly holds: number;
  readonly finished: boolean;
  readonly epoch: number;
  readonly high: number;
  /** null of a run that is armed. */
  readonly shadowUntilMs: number | null;
}

interface Evaluated {
  readonly checkpointId: string;
  readonly evaluation: string;
  readonly variant: string;
  /** Asked of a checkpoint that was cleared without it: required for nothing. */
  readonly isBeside: boolean;
  conclusive: boolean;
}

interface Known {
  readonly compute: number;
  due: boolean;
  deadlineMs: number | null;
  /** Findings of the latest assessment that are inconclusive and waived, by evaluation/variant. */
  excused: Set<string>;
  verdict: string | null;
}

interface OpenProposal {
  readonly kind: RunEventData<'ProposalOpened'>['kind'];
  readonly digest: string;
  readonly haltId: string | null;
  voided: boolean;
  executed: boolean;
  vetoed: boolean;
  /** Latest decision per person. */
  readonly latest: Map<string, { decision: string; group: string }>;
}

export class RunCheckers {
  readonly #policy: Policy;
  readonly #evaluations = new Map<string, Evaluated>();
  readonly #purposes = new Map<string, string>();
  readonly #checkpoints = new Map<string, Known>();
  readonly #proposals = new Map<string, OpenProposal>();
  readonly #holds = new Set<string>();
  readonly #memberships: ReadonlyMap<string, readonly string[]>;
  readonly #estimates: EstimateCheckers;
  readonly #forecasts: ForecastCheckers;
  readonly #risks: RiskCheckers;
  readonly #tiers: TierChecker;
  readonly #quarantine: QuarantineCheckers;
  readonly #shadow: ShadowCheckers;
  readonly #scheduling: SchedulingCheckers;
  readonly #protocols: ProtocolCheckers;
  readonly #stages: StageCheckers;
  #ceiling = 0;
  #clearedCompute: number | null = null;
  #clearedAtMs = 0;
  #firstCeiling = 0;
  #high = 0;
  #waiver: Terms | null = null;
  /** It starts from weights that nobody knows or answers for, and nobody has signed for them either. */
  #unknownParent = false;
  #halted: string | null = null;
  #confirmed = false;
  #stoppedAckMs: number | null = null;
  #finished = false;
  #observedTargets = new Set<string>();
  readonly #stopped = new Map<string, number>();
  /** What orchestrators said in this halt was belied: from then on silence has to prove it. */
  #isDoubted = false;
  #epoch = 0;
  readonly #haltIds = new Set<string>();
  readonly #names = new Set<string>();

  constructor(policy: Policy, memberships: ReadonlyMap<string, readonly string[]>) {
    this.#policy = policy;
    this.#memberships = memberships;
    const broken = (invariant: number, message: string): never => {
      throw new Violation(invariant, message);
    };
    this.#estimates = new EstimateCheckers(policy, broken);
    this.#forecasts = new ForecastCheckers(broken);
    this.#risks = new RiskCheckers(policy, broken);
    this.#tiers = new TierChecker(policy, (what) => broken(2, what));
    this.#quarantine = new QuarantineCheckers(broken);
    this.#shadow = new ShadowCheckers(broken);
    this.#scheduling = new SchedulingCheckers(policy, broken);
    this.#protocols = new ProtocolCheckers(policy, broken);
    this.#stages = new StageCheckers(policy, broken);
  }

  get standing(): Standing {
    return {
      ceiling: this.#ceiling,
      halted: this.#halted,
      holds: this.#holds.size,
      finished: this.#finished,
      epoch: this.#epoch,
      high: this.#high,
      shadowUntilMs: this.#shadow.untilMs,
    };
  }

  /** Takes one decision's events; throws with the invariant that they break. */
  take(events: readonly RunEvent[], nowMs: number): void {
    const tripping: string[] = [];
    for (const event of events) {
      this.#once(event);
      this.#estimates.take(event);
      this.#risks.take(event);
      this.#quarantine.take(event);
      this.#shadow.take(event);
      this.#scheduling.take(event);
      this.#protocols.take(event);
      this.#stages.take(event, this.#shadow.untilMs !== null);
      const trip = this.#one(event, nowMs);
      if (trip !== null) tripping.push(trip);
    }
    this.#forecasts.take(events);
    this.#shadow.decided(this.#halted !== null);
    const isExcused = this.#shadow.untilMs !== null;
    const isHalted = this.#halted !== null;
    if (tripping.length > 0 && this.#halted === null && !isExcused) {
      const invariant = tripping.every((each) => each.startsWith('the veto')) ? 4 : 3;
      throw new Violation(invariant, `${tripping.join(', ')} and no halt`);
    }
    this.#scheduling.decided(isHalted);
    this.#stages.decided(isHalted);
    this.#protocols.decided({ isHalted, holds: this.#holds.size, isFinished: this.#finished, isExcused });
  }

  /** What the permit says after the decision, and what is outstanding. `ticked`: time had its say. */
  after(
    permit: PermitTerms,
    work: readonly { kind: string; notBeforeMs: number }[],
    nowMs: number,
    progress: number | null,
    ticked: boolean,
  ): void {
    this.#shadow.after(nowMs, permit.granted || this.#finished, ticked);
    if (permit.granted) this.#origin();
    const stands = this.#halted !== null || this.#holds.size > 0 || this.#finished;
    if (permit.granted === stands) {
      throw new Violation(4, `granted ${permit.granted}, while something stands against it: ${stands}`);
    }
    if (permit.granted && Math.abs(Number(permit.ceiling) / this.#ceiling - 1) > CLOSE) {
      throw new Violation(2, `the permit's ceiling is ${permit.ceiling}, earned is ${this.#ceiling}`);
    }
    if (this.#halted !== null && !this.#confirmed) {
      const alive = work.some(({ kind }) => kind === 'halt-step' || kind === 'observe' || kind === 'tick');
      if (!alive) throw new Violation(5, 'an unconfirmed halt with nothing outstanding');
    }
    if (permit.granted && ticked) this.missing(nowMs, progress);
    const past = ticked && this.#halted === null ? this.pastClosing(nowMs) : null;
    if (past !== null) throw new Violation(8, `${past} closes in after its time`);
  }

  /** A hold that closes in although its time has come. */
  pastClosing(nowMs: number): string | null {
    return this.#scheduling.pastClosing(nowMs);
  }

  /** Invariant 8: a granted permit although something is missing. `isFresh`: what the calendar says is news. */
  missing(
    nowMs: number,
    progress: number | null,
    isNews: (checkpointId: string) => boolean = () => false,
    isFresh = false,
  ): void {
    if (this.#shadow.untilMs !== null) return;
    this.#origin();
    for (const [evaluationId, { checkpointId, evaluation, variant, ...known }] of this.#evaluations) {
      const { isBeside, conclusive } = known;
      const checkpoint = this.#checkpoints.get(checkpointId);
      const required = this.#policy.evaluations.find(({ id }) => id === evaluation)?.required ?? true;
      const late = checkpoint?.deadlineMs != null && nowMs >= checkpoint.deadlineMs;
      const excused = checkpoint?.excused.has(`${evaluation}/${variant}`) ?? false;
      // Of a checkpoint that was not due its tripwires alone may have been asked for: it clears nothing.
      const isUnasked = checkpoint?.due === false && this.#tiers.isDeferred(evaluationId);
      const isMissing = required && !isBeside && !isUnasked && !this.#tiers.isNotNeeded(evaluationId);
      if (isMissing && late && !conclusive && !excused && !isNews(checkpointId)) {
        throw new Violation(8, `${evaluationId} (${evaluation}) is missing past its deadline`);
      }
    }
    const high = Math.max(this.#high, progress ?? 0);
    if (high > this.#ceiling * (1 + CLOSE)) throw new Violation(8, `overrun ${high} > ${this.#ceiling}`);
    const due = this.#dueCompute();
    const reported = [...this.#checkpoints.values()].some(
      (each) =>
        each.due &&
        each.compute > (this.#clearedCompute ?? 0) &&
        (this.#clearedCompute === null || each.compute >= due * (1 - CLOSE)),
    );
    const waiver = this.#waiver;
    const covers = waiver !== null && nowMs < Date.parse(waiver.expires) && high <= Number(waiver.ceiling);
    const excused = covers && waiver.waives.includes('overdue////');
    if (high >= due * (1 + CLOSE) && !reported && !excused) {
      throw new Violation(8, `overdue at ${high}, due at ${due}`);
    }
    const awaited = excused ? null : this.#stages.missing(nowMs, high, isFresh);
    if (awaited !== null) throw new Violation(8, `a permit although ${awaited}`);
  }

  #origin(): void {
    if (!this.#unknownParent || this.#shadow.untilMs !== null) return;
    throw new Violation(8, 'a permit for a run that starts from weights which nobody knows');
  }

  /** Invariant 7, by the names that facts go by: each is recorded once. */
  #once(event: RunEvent): void {
    const key = nameOf(event);
    if (key === null) return;
    if (this.#names.has(key)) throw new Violation(7, `recorded twice: ${key}`);
    this.#names.add(key);
  }

  #dueCompute(): number {
    if (this.#clearedCompute === null) return this.#firstCeiling;
    const { due } = this.#risks;
    return due === null ? this.#clearedCompute * this.#policy.cadence.ratio : Math.min(due, this.#ceiling);
  }

  /** Returns a description where the event alone obliges a halt. */
  #one(event: RunEvent, nowMs: number): string | null {
    switch (event.kind) {
      case 'RunRegistered':
        this.#ceiling = Number(event.data.ceiling);
        this.#firstCeiling = this.#ceiling;
        this.#high = Number(event.data.initialCompute ?? 0);
        this.#unknownParent = startsUnknown(event.data);
        this.#observedTargets = new Set(
          event.data.targets
            .filter(({ confirmation }) => confirmation === 'observed')
            .map(({ targetId }) => targetId),
        );
        return null;
      case 'CheckpointReported':
        if (this.#checkpoints.has(event.data.checkpointId)) {
          throw new Violation(7, 'the same checkpoint was recorded twice');
        }
        this.#high = Math.max(this.#high, Number(event.data.effectiveCompute));
        this.#checkpoints.set(event.data.checkpointId, {
          compute: Number(event.data.effectiveCompute),
          due: event.data.due,
          deadlineMs: event.data.deadlineAt === null ? null : Date.parse(event.data.deadlineAt),
          excused: new Set(),
          verdict: null,
        });
        this.#tiers.reported(event.data);
        for (const { evaluationId, evaluation, variant } of event.data.evaluations) {
          const { checkpointId } = event.data;
          this.#asks({ evaluationId, checkpointId, evaluation, variant, isBeside: false });
        }
        return null;
      case 'SuccessionBegun':
        for (const each of event.data.lastCleared?.evaluations ?? []) {
          this.#asks({ ...each, checkpointId: event.data.lastCleared?.checkpointId ?? '', isBeside: true });
        }
        return null;
      case 'TripwireCleared':
        this.#tiers.cleared(event.data);
        return null;
      case 'EvaluationsReleased':
        this.#tiers.released(event.data);
        return null;
      case 'CheckpointMadeDue': {
        this.#tiers.released(event.data);
        const known = this.#checkpoints.get(event.data.checkpointId);
        if (known === undefined) throw new Error('an unknown checkpoint was made due');
        known.due = true;
        known.deadlineMs = Date.parse(event.data.deadlineAt);
        return null;
      }
      case 'ParentFound':
        this.#unknownParent = false;
        return null;
      case 'ProgressNoted':
        this.#high = Math.max(this.#high, Number(event.data.effectiveCompute));
        return null;
      case 'EvaluationRequeued':
        this.#purposes.set(`${event.data.evaluationId}/${event.data.attempt}`, event.data.purpose);
        return null;
      case 'EvaluationReturned':
        if (event.data.purpose !== undefined) {
          const { evaluationId, attempt, purpose } = event.data;
          this.#purposes.set(`${evaluationId}/${attempt + 1}`, purpose);
        }
        return null;
      case 'EvaluationReported': {
        const known = this.#evaluations.get(event.data.evaluationId);
        if (known === undefined) throw new Error('a result of an unknown evaluation');
        if (event.data.reading.conclusive) known.conclusive = true;
        this.#tiers.result(event.data.evaluationId, event.data.reading);
        const topUp = this.#purposes.get(`${event.data.evaluationId}/${event.data.attempt}`) === 'top-up';
        return topUp ? null : this.#trips(known, event.data.reading, nowMs);
      }
      case 'ArchivedResultReported': {
        const known = this.#evaluations.get(event.data.evaluationId);
        return known === undefined ? null : this.#trips(known, event.data.reading, nowMs);
      }
      case 'EvaluationAttemptFailed': {
        const known = this.#evaluations.get(event.data.evaluationId);
        return known === undefined ? null : this.#trips(known, event.data.reading, nowMs);
      }
      case 'CheckpointAssessed':
        this.#assessed(event.data);
        return null;
      case 'HoldPlaced':
        this.#holds.add(event.data.holdId);
        return null;
      case 'HoldLifted':
        if (!this.#holds.delete(event.data.holdId)) throw new Error('a hold was lifted that did not stand');
        return null;
      case 'HaltOrdered':
        if (this.#halted !== null) throw new Violation(4, 'a second halt on a halted run');
        if (this.#haltIds.has(event.data.haltId)) throw new Error('a halt id was used twice');
        if (event.data.epoch <= this.#epoch) throw new Error('the epoch did not rise with the halt');
        this.#haltIds.add(event.data.haltId);
        this.#epoch = event.data.epoch;
        this.#halted = event.data.haltId;
        this.#isDoubted = false;
        this.#rearm();
        return null;
      case 'HaltReopened':
        this.#rearm();
        if (event.data.doubts === true) this.#isDoubted = true;
        return null;
      case 'StopWithdrawn':
        for (const targetId of event.data.targetIds) this.#stopped.delete(targetId);
        if (event.data.targetIds.length > 0) this.#isDoubted = true;
        if (event.data.acknowledged) this.#stoppedAckMs = null;
        return null;

      case 'HaltCauseAdded':
        return null;
      case 'HaltAcknowledged':
        if (event.data.state === 'stopped') this.#stoppedAckMs = nowMs;
        return null;
      case 'TargetStopObserved':
        this.#stopped.set(event.data.targetId, nowMs);
        return null;
      case 'HaltConfirmed':
        this.#confirm(nowMs);
        return null;
      case 'ProposalOpened':
        this.#proposals.set(event.data.proposalId, {
          kind: event.data.kind,
          digest: event.data.digest,
          haltId: event.data.haltId,
          voided: false,
          executed: false,
          vetoed: false,
          latest: new Map(),
        });
        return null;
      case 'ProposalVoided': {
        const proposal = this.#proposals.get(event.data.proposalId);
        if (proposal !== undefined) proposal.voided = true;
        return null;
      }
      case 'SignOffRecorded': {
        const { by, group, decision, digest, proposalId } = event.data;
        const proposal = this.#proposals.get(proposalId);
        if (proposal === undefined || proposal.voided) throw new Error('a sign-off on no open proposal');
        if (digest !== proposal.digest) throw new Error('a sign-off for another digest was recorded');
        if (this.#memberships.get(by)?.includes(group) !== true) throw new Error(`${by} signed for ${group}`);
        proposal.latest.set(by, { decision, group });
        if (decision === 'veto' && !proposal.executed) proposal.vetoed = true;
        const isVetoed = decision === 'veto' && proposal.executed && proposal.kind !== 'scoped-resume';
        return isVetoed ? `the veto of the ${proposal.kind} ${proposalId}` : null;
      }
      case 'RunResumed':
        this.#resumed(event.data);
        return null;
      case 'QuarantineReleased':
        this.#executes(event.data.proposalId, event.data.haltId, 'release');
        return null;
      case 'ScopedWorkGranted':
        this.#executes(event.data.proposalId, event.data.haltId, 'scoped-resume');
        return null;
      case 'RunFinished':
        this.#finished = true;
        this.#ceiling = Number(event.data.ceiling);
        return null;
      default:
        return null;
    }
  }

  #asks({ evaluationId, ...asked }: Omit<Evaluated, 'conclusive'> & { evaluationId: string }): void {
    this.#evaluations.set(evaluationId, { ...asked, conclusive: false });
  }

  #rearm(): void {
    this.#confirmed = false;
    this.#stoppedAckMs = null;
    this.#stopped.clear();
  }

  #confirm(nowMs: number): void {
    if (this.#halted === null) throw new Error('a confirmed halt that was not ordered');
    if (this.#observedTargets.size > 0) {
      const all = [...this.#observedTargets].every((targetId) => this.#stopped.has(targetId));
      if (!all) throw new Violation(5, 'confirmed although a target was not seen to stop');
      const silentMs = nowMs - Math.max(...this.#stopped.values());
      if (this.#isDoubted && silentMs < ms(this.#policy.permit.heartbeatInterval)) {
        throw new Violation(5, 'confirmed by a word that was belied before, without silence after it');
      }
    } else if (
      this.#stoppedAckMs === null ||
      nowMs - this.#stoppedAckMs < ms(this.#policy.permit.heartbeatInterval)
    ) {
      throw new Violation(5, "confirmed without the trainer's word and silence");
    }
    this.#confirmed = true;
  }

  #assessed(data: Extract<RunEvent, { kind: 'CheckpointAssessed' }>['data']): void {
    const checkpoint = this.#checkpoints.get(data.checkpointId);
    if (checkpoint === undefined) throw new Error('an assessment of an unknown checkpoint');
    const safe = this.#risks.earned(data.checkpointId);
    const inconclusive = data.findings.filter(({ kind, waived }) => kind === 'inconclusive' && waived);
    checkpoint.excused = new Set(inconclusive.map(({ evaluation }) => evaluation ?? ''));
    checkpoint.verdict = data.verdict;
    this.#risks.assessed(data, Number(data.ceiling));
    if (data.verdict !== 'proceed') {
      if (data.ceiling !== null) throw new Violation(2, 'a verdict other than proceed earned a ceiling');
      return;
    }
    if (data.clears === false) {
      if (data.ceiling !== null)
        throw new Violation(2, 'tripwires that were only asked for earned a ceiling');
      return;
    }
    for (const [id, { checkpointId, evaluation, variant, isBeside, conclusive }] of this.#evaluations) {
      if (isBeside || this.#tiers.isNotNeeded(id)) continue;
      const required = this.#policy.evaluations.find(({ id }) => id === evaluation)?.required ?? true;
      const excused = checkpoint.excused.has(`${evaluation}/${variant}`);
      if (checkpointId === data.checkpointId && required && !conclusive && !excused) {
        const late = checkpoint.deadlineMs !== null && Date.parse(data.at) >= checkpoint.deadlineMs;
        const what = `${checkpointId} proceeds without evidence of ${evaluation}/${variant}`;
        throw new Violation(late ? 8 : 2, what);
      }
    }
    const { ratio, grace } = this.#policy.cadence;
    const earned = safe ?? ratio * (1 + grace) * checkpoint.compute;
    const ceiling = Number(data.ceiling);
    if (ceiling > Math.max(earned, this.#ceiling) * (1 + CLOSE)) {
      throw new Violation(2, `${data.checkpointId} earned ${earned}, and got ${ceiling}`);
    }
    this.#ceiling = ceiling;
    if (this.#clearedCompute === null || checkpoint.compute > this.#clearedCompute) {
      this.#clearedCompute = checkpoint.compute;
      this.#clearedAtMs = Date.parse(data.at);
    }
  }

  /** What people signed, and all of them. These policies have one set of signers for every kind. */
  #executes(proposalId: string, haltId: string | null, kind: OpenProposal['kind']): void {
    const proposal = this.#proposals.get(proposalId);
    if (proposal?.kind !== kind) throw new Violation(4, `${kind} without a proposal of it`);
    if (proposal.voided || proposal.vetoed || proposal.executed) {
      throw new Violation(4, `${kind} by a proposal that was voided, vetoed or spent`);
    }
    if (proposal.haltId !== haltId || haltId !== this.#halted) {
      throw new Violation(4, `${kind} of another halt than the one that stands`);
    }
    const approving = [...proposal.latest.values()].filter(({ decision }) => decision === 'approve');
    const groups = new Set(approving.map(({ group }) => group));
    if (!this.#policy.governance.resume.approvals.every((group) => groups.has(group))) {
      throw new Violation(4, `${kind} without every approval`);
    }
    proposal.executed = true;
  }

  #resumed({ proposalId, haltId, terms, epoch }: RunEventData<'RunResumed'>): void {
    this.#executes(proposalId, haltId, 'resume');
    if (epoch <= this.#epoch) throw new Error('the epoch did not rise with the resume');
    this.#epoch = epoch;
    this.#halted = null;
    this.#unknownParent = false;
    this.#holds.clear();
    this.#ceiling = Number(terms.ceiling);
    this.#waiver = terms;
  }

  /** Invariant 3, for evidence whose level is its own: no pool, no top-up. */
  #trips(
    { checkpointId, evaluation, variant }: Evaluated,
    reading: StoredReading | null,
    nowMs: number,
  ): string | null {
    const spec = this.#policy.evaluations.find(({ id }) => id === evaluation);
    if (spec === undefined || reading === null || reading.score === null) return null;
    if (spec.stage !== 'pre-mitigation') return null;
    if (isPooled(spec, variant)) return null;
    const compute = this.#checkpoints.get(checkpointId)?.compute ?? 0;
    const waiver =
      this.#waiver !== null &&
      nowMs < Date.parse(this.#waiver.expires) &&
      compute <= Number(this.#waiver.ceiling) * (1 + CLOSE)
        ? (this.#waiver.levels[spec.category] ?? 0)
        : 0;
    const own = estimate(reading.score, spec);
    const limit = reading.conclusive ? upper({ ...reading, score: reading.score }, spec, this.#policy) : own;
    const rule = this.#policy.rules.find((each): each is LevelRule => {
      if (each.kind !== 'level' || each.stage !== 'pre-mitigation') return false;
      if (!each.then.includes('halt') && !each.then.includes('quarantine')) return false;
      const observed = each.basis === 'upper' ? limit : own;
      return observed >= thresholdOf(each.atLeast) + LEVEL_CLOSE && observed > waiver + LEVEL_CLOSE;
    });
    // Further samples may lower an upper limit, and never an estimate.
    const isSure = rule !== undefined && own >= thresholdOf(rule.atLeast) + LEVEL_CLOSE;
    if (isSure) this.#shadow.trips(checkpointId, reading.conclusive);
    return rule === undefined
      ? null
      : `${evaluation} of ${checkpointId} at level ${own} (${limit}) under ${rule.id}`;
  }

  get summary(): string {
    return `cleared ${this.#clearedCompute} at ${this.#clearedAtMs}, ceiling ${this.#ceiling}, holds ${this.#holds.size}, halt ${this.#halted}`;
  }
}

function startsUnknown({
  initialCompute,
  parents,
  ancestry,
  vouched,
}: RunEventData<'RunRegistered'>): boolean {
  if (vouched !== undefined || (initialCompute === null && parents.length === 0)) return false;
  const known = new Set((ancestry?.known ?? []).map(({ stated }) => stated));
  return known.size === 0 || parents.some((parent) => !known.has(parent));
}

function nameOf(event: RunEvent): string | null {
  const { kind } = event;
  switch (kind) {
    case 'RunRegistered':
      return `${kind} ${event.data.runId}`;
    case 'EvaluationAttemptFailed': {
      const { evaluationId, attempt, reading } = event.data;
      // Given up first, and then its word came after all: the score of a failure is recorded too, because it may trip.
      const what = reading?.score == null ? kind : `${kind} with a score`;
      return `${what} ${evaluationId}/${attempt}`;
    }
    case 'EvaluationStarted':
    case 'EvaluationRequeued':
      return `${kind} ${event.data.evaluationId}/${event.data.attempt}`;
    case 'EvaluationReported':
    case 'ArchivedResultReported':
      return `result ${event.data.evaluationId}/${event.data.attempt}`;
    case 'HaltStepTaken': {
      const { haltId, targetId, round, step, attempt } = event.data;
      return `${kind} ${haltId} ${targetId} ${round} ${step} ${attempt}`;
    }
    case 'AlertAttempted':
      return `${kind} ${event.data.alertId} ${event.data.channel} ${event.data.attempt}`;
    case 'ProposalOpened':
      return `${kind} ${event.data.proposalId}`;
    case 'EstimateGiven':
      return `${kind} ${event.data.estimateId}`;
    case 'RunResumed':
      return `${kind} ${event.data.proposalId}`;
    default:
      return null;
  }
}
