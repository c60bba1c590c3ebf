/**
 * A run's recorded evidence folded under another policy: the same results at the same times, judged by the domain's
 * own reactions (seal, close, hold, lift) under that policy's rules, levels, deadlines and cadence.
 *
 * Nothing here judges: `assess`, `haltingFindings`, `closeCheckpoints` and their siblings do. What is left out of the
 * record are the consequences of the old policy: its verdicts, holds, halts, permits and sealed forecasts.
 * Stopped for good is a run that a person halted, or with a halting finding, or one on hold that reports more compute all the same; a hold that
 * evidence lifts first is passed over. From the stop on, cadence is not judged: a stopped run passes no ceiling.
 */
import { compareCompute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import type { Policy } from '../policy/schema.ts';
import { lateFindings } from './archived.ts';
import { assess } from './assess.ts';
import { nextDueAt, whyDue } from './cadence.ts';
import { closeCheckpoints, sealForecasts } from './checkpoint.ts';
import { type Context, isoAfter } from './context.ts';
import { specOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { evolve } from './evolve.ts';
import type { Finding } from './finding-documents.ts';
import { scoreForecasts } from './forecast-scores.ts';
import { explain, haltingFindings } from './halt.ts';
import { liftHolds, placeHolds } from './holds.ts';
import type { Digest } from './ids.ts';
import type { StoredReading } from './reading-documents.ts';
import { firstCeiling, registered } from './registration.ts';
import type { CheckpointState, RunState } from './state.ts';
import { clearingProblem } from './tiers.ts';
import { type CarriedOver, carriedOver, rejudged } from './what-if-evidence.ts';
import { distinct, nothingYet, type Outcome, type Standing, type Stop } from './what-if-outcome.ts';
import { READS } from './what-if-reads.ts';

export interface OtherPolicy {
  readonly pinned: Policy;
  readonly policy: Policy;
  readonly policyDigest: string;
  /** Resumes were granted under the run's own policy: they hold for it alone. */
  readonly isSame: boolean;
  readonly digest: Digest;
  /** `pass-over` asks the question as if the other policy knew only the evaluations that were run. */
  readonly missing: 'hold' | 'pass-over';
}

/** `not-due`: evaluated then, and not asked for by this policy; `recorded`: taken as it came, behind the stop. */
export type Asked = 'due' | 'requested' | 'not-due' | 'recorded' | 'unevaluated';

export interface Folded extends Standing {
  readonly reported: RunEventData<'CheckpointReported'>;
  readonly asked: Asked;
  readonly afterStop: boolean;
  readonly carried: CarriedOver;
}

export interface Fold {
  readonly checkpoints: ReadonlyMap<string, Folded>;
  readonly stop: Stop | null;
  readonly methods: ReadonlySet<string>;
}

export function foldUnder(events: readonly RunEvent[], other: OtherPolicy): Fold {
  const [first, ...rest] = events;
  if (first?.kind !== 'RunRegistered') throw new RangeError('a run begins with RunRegistered');
  const fold = new FoldUnder(first.data, other);
  for (const event of rest) fold.apply(event);
  return fold.end();
}

class FoldUnder {
  readonly #other: OtherPolicy;
  #state: RunState;
  #nowMs: number;
  #unasked: readonly CheckpointState[] = [];
  /** Closed ones that the state dropped: late evidence calls them back. */
  readonly #evicted = new Map<string, CheckpointState>();
  readonly #checkpoints = new Map<string, Folded>();
  /** Of evaluations, by the ids of what was run. */
  readonly #names = new Map<string, string>();
  readonly #methods = new Set<string>();
  #current: string | null = null;
  #stop: Stop | null = null;

  constructor(data: RunEventData<'RunRegistered'>, other: OtherPolicy) {
    this.#other = other;
    const { policy, policyDigest } = other;
    const start = registered(data).lineage?.start ?? data.initialCompute;
    const ceiling = firstCeiling(start, { policy });
    // The question is what would have stopped it: as if it had been armed.
    const { shadow: _, ...armed } = data;
    this.#state = registered({ ...armed, policy: policyDigest, policyName: policy.policy, ceiling });
    this.#nowMs = Date.parse(data.at);
  }

  get #context(): Context {
    const { policy, digest } = this.#other;
    return { now: new Date(this.#nowMs), policy, digest, progress: null };
  }

  apply(event: RunEvent): void {
    this.#passTime(Date.parse(event.data.at));
    if (READS[event.kind] === 'left') return;
    this.#take(event);
    this.#react();
  }

  end(): Fold {
    const [hold] = this.#state.holds;
    if (hold !== undefined) this.#stopAtHold(hold);
    return { checkpoints: this.#checkpoints, stop: this.#stop, methods: this.#methods };
  }

  // --- events ------------------------------------------------------------------------------------------

  #take(event: RunEvent): void {
    switch (event.kind) {
      case 'CheckpointReported':
        this.#report(event.data);
        return;
      case 'EvaluationReported':
        this.#carry({ kind: event.kind, data: { ...event.data, reading: this.#read(event.data) } });
        return;
      case 'EvaluationAttemptFailed': {
        const { data } = event;
        const reading = data.reading === null ? null : this.#read({ ...data, reading: data.reading });
        this.#carry({ kind: event.kind, data: { ...data, reading } });
        return;
      }
      case 'TripwireCleared':
        this.#tripwireCleared(event);
        return;
      case 'ArchivedResultReported':
        this.#takeLate(event.data);
        return;
      case 'HaltOrdered':
      case 'HaltCauseAdded':
      case 'WouldHaveHalted':
        if (event.data.cause.kind !== 'rule') {
          this.#stopAt('halt', this.#current, [], { explanation: explain(event.data.cause) });
        }
        return;
      case 'SuccessionBegun':
      case 'SuccessionEnded':
        if (this.#other.isSame) this.#carry(event);
        return;
      case 'RunResumed':
        if (this.#other.isSame) this.#resume(event);
        return;
      default:
        this.#carry(event);
    }
  }

  #carry(event: RunEvent): void {
    for (const [checkpointId, checkpoint] of this.#evicted) {
      if (concerns(event, checkpoint)) this.#callBack(checkpointId, checkpoint);
    }
    this.#unasked = evolve({ ...this.#state, checkpoints: [...this.#unasked] }, event).checkpoints;
    this.#evolve(event);
  }

  /** What was not needed under one policy was never run: under one that needs it, it is missing. */
  #tripwireCleared(event: Extract<RunEvent, { kind: 'TripwireCleared' }>): void {
    if (clearingProblem(this.#state, event.data, this.#other) === null) {
      this.#carry(event);
      return;
    }
    const { checkpointId, evaluationIds, at } = event.data;
    const data = { checkpointId, evaluationIds, reason: 'tripwire-not-below' as const, at };
    this.#carry({ kind: 'EvaluationsReleased', data });
  }

  /** What people had to end, evidence had not. */
  #resume(event: RunEvent): void {
    const [hold] = this.#state.holds;
    if (hold !== undefined) this.#stopAtHold(hold);
    this.#carry(event);
  }

  #evolve(event: RunEvent): void {
    const before = this.#state;
    this.#state = evolve(before, event);
    if (event.kind !== 'CheckpointAssessed') return;
    const { checkpointId, verdict, findings } = event.data;
    // Said here, because it may be dropped from the state by this very event.
    this.#found(checkpointId, { verdict, findings });
    const kept = new Set(this.#state.checkpoints.map(({ checkpointId }) => checkpointId));
    for (const checkpoint of before.checkpoints) {
      if (!kept.has(checkpoint.checkpointId)) this.#evicted.set(checkpoint.checkpointId, checkpoint);
    }
  }

  /** Among the others in the order in which they were reported: the newest is told by its place. */
  #callBack(checkpointId: string, checkpoint: CheckpointState): void {
    this.#evicted.delete(checkpointId);
    const order = [...this.#checkpoints.keys()];
    const checkpoints = [...this.#state.checkpoints, checkpoint].sort(
      (a, b) => order.indexOf(a.checkpointId) - order.indexOf(b.checkpointId),
    );
    this.#state = { ...this.#state, checkpoints };
  }

  #report(data: RunEventData<'CheckpointReported'>): void {
    const { computeHigh, holds } = this.#state;
    const isProgress = computeHigh === null || compareCompute(data.effectiveCompute, computeHigh) > 0;
    const standing = holds.find(({ key }) => key !== 'overdue');
    if (standing !== undefined && isProgress) this.#stopAtHold(standing);
    const { pinned, policy, missing: treatment } = this.#other;
    const afterStop = this.#stop !== null;
    const why = afterStop ? null : whyDue(this.#state, data, this.#context);
    const asked = askedOf(data, why !== null, afterStop);
    const all = carriedOver(data, pinned, policy);
    const passedOver = new Set(
      treatment === 'hold' ? [] : all.missing.map(({ evaluationId }) => evaluationId),
    );
    const carried = {
      ...all,
      evaluations: all.evaluations.filter(({ evaluationId }) => !passedOver.has(evaluationId)),
    };
    const isEvaluated = asked !== 'unevaluated';
    this.#checkpoints.set(data.checkpointId, { reported: data, asked, afterStop, carried, ...nothingYet() });
    this.#current = data.checkpointId;
    for (const { evaluationId, evaluation } of data.evaluations) this.#names.set(evaluationId, evaluation);

    const reported: RunEvent = {
      kind: 'CheckpointReported',
      data: {
        ...data,
        due: why !== null || (asked === 'recorded' && data.due),
        evaluations: isEvaluated ? [...carried.evaluations] : [],
        deadlineAt: isEvaluated ? isoAfter(data.at, durationMs(policy.cadence.scorecardDeadline)) : null,
      },
    };
    if (asked === 'not-due') {
      const beside = evolve({ ...this.#state, checkpoints: [...this.#unasked] }, reported);
      this.#unasked = beside.checkpoints;
      this.#state = { ...this.#state, computeHigh: beside.computeHigh };
    } else {
      this.#evolve(reported);
    }
    if (isEvaluated && treatment === 'hold') {
      for (const { evaluationId, why: reason } of carried.missing) {
        const absent = { evaluationId, attempt: 1, reason, detail: null, reading: null, nextAttemptAt: null };
        this.#carry({ kind: 'EvaluationAttemptFailed', data: { ...absent, at: data.at } });
      }
    }
  }

  /** Under the other policy's samples and scale. */
  #read({ evaluationId, reading }: { evaluationId: string; reading: StoredReading }): StoredReading {
    const evaluation = this.#names.get(evaluationId);
    return evaluation === undefined ? reading : this.#rejudged(evaluation, reading);
  }

  #rejudged(evaluation: string, reading: StoredReading): StoredReading {
    const { pinned, policy, isSame } = this.#other;
    const spec = policy.evaluations.find(({ id }) => id === evaluation);
    return isSame || spec === undefined ? reading : rejudged(reading, specOf(pinned, evaluation), spec);
  }

  /** Judged alone, as then: see archived.ts. */
  #takeLate(data: RunEventData<'ArchivedResultReported'>): void {
    const { checkpointId, variant, evaluation, reading } = data;
    const folded = this.#checkpoints.get(checkpointId);
    const isCarried = folded?.carried.evaluations.some((each) => each.evaluationId === data.evaluationId);
    if (folded === undefined || isCarried !== true) return;
    const { policy } = this.#other;
    const read = this.#rejudged(evaluation, reading);
    this.#halted(
      checkpointId,
      lateFindings(policy, specOf(policy, evaluation), read, { checkpointId, variant }),
    );
  }

  // --- judging -----------------------------------------------------------------------------------------

  /** Deadlines that lie between two events fall at their own time, in order. */
  #passTime(untilMs: number): void {
    for (;;) {
      const nextMs = Math.min(...this.#deadlines().filter((ms) => ms > this.#nowMs));
      if (!(nextMs <= untilMs)) break;
      this.#nowMs = nextMs;
      this.#react();
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  #deadlines(): number[] {
    const { checkpoints, holds, waiver } = this.#state;
    const open = checkpoints.filter(({ closed }) => closed === null);
    const own = [...open.map(({ deadlineAt }) => deadlineAt), ...(waiver === null ? [] : [waiver.expires])];
    const cadence =
      this.#stop === null
        ? [...holds.map(({ deadlineAt }) => deadlineAt), nextDueAt(this.#state, this.#other)]
        : [];
    return [...own, ...cadence].map((instant) => Date.parse(instant));
  }

  #react(): void {
    for (;;) {
      this.#noteHalts();
      const event = this.#next();
      if (event === undefined) break;
      this.#step(event);
    }
    for (let sealed = this.#sealUnasked(); sealed; ) sealed = this.#sealUnasked();
    for (const checkpoint of [...this.#state.checkpoints, ...this.#unasked]) {
      const { policy } = this.#other;
      const { verdict, findings, complete } = assess(this.#state, checkpoint, policy, this.#context.now);
      const said = verdict === 'proceed' && !complete && checkpoint.closed === null ? null : verdict;
      this.#found(checkpoint.checkpointId, { verdict: said, findings: [...findings] });
    }
  }

  #found(checkpointId: string, evidence: Outcome): void {
    const folded = this.#checkpoints.get(checkpointId);
    if (folded !== undefined) folded.evidence = evidence;
  }

  #next(): RunEvent | undefined {
    const reactions =
      this.#stop === null
        ? [scoreForecasts, sealForecasts, closeCheckpoints, liftHolds, placeHolds]
        : [scoreForecasts, sealForecasts, closeCheckpoints];
    for (const reaction of reactions) {
      const [event] = reaction(this.#state, this.#context);
      if (event !== undefined) return event;
    }
    return undefined;
  }

  #step(event: RunEvent): void {
    if (event.kind === 'ForecastSealed') this.#methods.add(event.data.forecast.method);
    if (event.kind === 'HoldPlaced' && !event.data.key.startsWith('checkpoint:')) {
      this.#addRunWide(this.#current, event.data.findings);
    }
    if (event.kind === 'HoldLifted') this.#lifted(event.data.holdId);
    this.#evolve(event);
  }

  /** A hold of the run that evidence lifts did not stop it for good. */
  #lifted(holdId: string): void {
    const hold = this.#state.holds.find((each) => each.holdId === holdId);
    if (hold === undefined || hold.key.startsWith('checkpoint:')) return;
    const rules = new Set(hold.findings.map(({ rule }) => rule));
    for (const folded of this.#checkpoints.values()) {
      folded.runWide = folded.runWide.filter(({ rule }) => !rules.has(rule));
    }
  }

  #sealUnasked(): boolean {
    const beside = { ...this.#state, checkpoints: [...this.#unasked] };
    const [event] = sealForecasts(beside, this.#context);
    if (event === undefined) return false;
    this.#unasked = evolve(beside, event).checkpoints;
    return true;
  }

  #noteHalts(): void {
    for (const { checkpointId, findings } of haltingFindings(this.#state, this.#context)) {
      if (checkpointId === null) this.#runHalted(findings);
      else this.#halted(checkpointId, findings);
    }
  }

  #runHalted(findings: readonly Finding[]): void {
    if (this.#stop !== null) return;
    // A hold that nobody lifted stopped the run when it was placed.
    const expired = new Set(
      findings.map(({ kind, evaluation }) => (kind === 'hold-deadline' ? evaluation : null)),
    );
    const hold = this.#state.holds.find(({ holdId }) => expired.has(holdId));
    if (hold !== undefined) this.#stopAtHold(hold);
    const others = findings.filter(({ kind }) => kind !== 'hold-deadline');
    this.#addRunWide(this.#current, others);
    if (others.length > 0) this.#stopAt('halt', this.#current, others);
  }

  #halted(checkpointId: string, findings: readonly Finding[]): void {
    const folded = this.#checkpoints.get(checkpointId);
    if (folded === undefined || findings.length === 0) return;
    folded.halting = distinct([...folded.halting, ...findings]);
    this.#stopAt('halt', checkpointId, findings);
  }

  #addRunWide(checkpointId: string | null, findings: readonly Finding[]): void {
    const folded = checkpointId === null ? undefined : this.#checkpoints.get(checkpointId);
    if (folded !== undefined) folded.runWide = distinct([...folded.runWide, ...findings]);
  }

  #stopAtHold({ key, findings, placedAt }: RunState['holds'][number]): void {
    const own = key.startsWith('checkpoint:') ? key.slice('checkpoint:'.length) : null;
    this.#stopAt('hold', own ?? this.#current, findings, { at: placedAt });
  }

  #stopAt(
    verdict: Stop['verdict'],
    checkpointId: string | null,
    findings: readonly Finding[],
    {
      at = new Date(this.#nowMs).toISOString(),
      explanation = findings.map((each) => each.explanation).join('; '),
    }: { readonly at?: string; readonly explanation?: string } = {},
  ): void {
    const reported = checkpointId === null ? undefined : this.#checkpoints.get(checkpointId)?.reported;
    this.#stop ??= {
      verdict,
      at,
      checkpointId,
      effectiveCompute: reported?.effectiveCompute ?? null,
      findings: [...findings],
      explanation,
    };
  }
}

function askedOf(
  { deadlineAt, reason }: RunEventData<'CheckpointReported'>,
  isDue: boolean,
  afterStop: boolean,
): Asked {
  const wasEvaluated = deadlineAt !== null;
  if (afterStop) return wasEvaluated ? 'recorded' : 'unevaluated';
  if (isDue) return 'due';
  if (!wasEvaluated) return 'unevaluated';
  return reason === 'requested' ? 'requested' : 'not-due';
}

function concerns(event: RunEvent, { checkpointId, evaluations }: CheckpointState): boolean {
  const { data } = event;
  if ('evaluationId' in data)
    return evaluations.some(({ evaluationId }) => evaluationId === data.evaluationId);
  return 'checkpointId' in data && data.checkpointId === checkpointId;
}
