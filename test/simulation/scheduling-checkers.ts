/**
 * What an evaluation may use and who carries it out, recomputed from the events: budgets, replicas, further samples while a level
 * is not ruled out, and that nobody sleeps on a hold for which nothing is on its way.
 */
import type { Evaluation, Policy } from '../../src/domain/policy/schema.ts';
import type { RunEvent, RunEventData } from '../../src/domain/run/events.ts';
import { ms } from './arithmetic.ts';

/** Beside those of DESIGN.md: no evaluation uses more than its policy grants. */
export const WITHIN_BUDGET = 13;
const MISSING = 8;

type Broken = (invariant: number, message: string) => never;
type Asked = RunEventData<'CheckpointReported'>['evaluations'];

interface Attempt {
  isTopUp: boolean;
  /** Handed back with its worker or cancelled: what comes in its place is the same again. */
  drewNone: boolean;
  startedMs: number | null;
  isOver: boolean;
  n: number;
}

interface Tracked {
  readonly spec: Evaluation;
  readonly checkpointId: string;
  /** The n-th is attempt n + 1. */
  readonly attempts: Attempt[];
  readonly replicas: Set<number>;
  spentMs: number;
  firstTopUpMs: number | null;
  isConclusive: boolean;
  /** An attempt of it ended before anybody had begun it: whose turn it was is not known. */
  hasSkipped: boolean;
}

interface Closing {
  readonly checkpointId: string;
  readonly untilMs: number;
}

const CLOSING_ATTEMPTS = 5;
const CLOSING_WITHIN = '6h';

export class SchedulingCheckers {
  readonly #policy: Policy;
  readonly #broken: Broken;
  readonly #evaluations = new Map<string, Tracked>();
  readonly #closing = new Map<string, Closing>();
  readonly #changed = new Set<string>();
  /** Of one decision: holds that close in from now on, those that did, and whom people were paged for. */
  readonly #quiet = new Set<string>();
  readonly #woken = new Set<string>();
  readonly #paged = new Set<string>();

  constructor(policy: Policy, broken: Broken) {
    this.#policy = policy;
    this.#broken = broken;
  }

  take({ kind, data }: RunEvent): void {
    switch (kind) {
      case 'CheckpointReported':
        this.#asked(data.checkpointId, data.evaluations);
        return;
      case 'SuccessionBegun':
        if (data.lastCleared !== null)
          this.#asked(data.lastCleared.checkpointId, data.lastCleared.evaluations);
        return;
      case 'EvaluationStarted':
        this.#started(data);
        return;
      case 'EvaluationReturned':
        this.#ends(data.evaluationId, data.attempt, data.at);
        this.#handedBack(data);
        return;
      case 'EvaluationReported':
        this.#ends(data.evaluationId, data.attempt, data.at, data.reading.n ?? 0);
        if (data.reading.conclusive) this.#of(data.evaluationId).isConclusive = true;
        this.#follows(data);
        return;
      case 'EvaluationAttemptFailed':
        this.#ends(data.evaluationId, data.attempt, data.at, data.reading?.n ?? 0);
        this.#follows(data);
        return;
      case 'EvaluationRequeued':
        this.#queues(data.evaluationId, data.purpose === 'top-up', data.at);
        return;
      case 'EvaluationsCancelled':
        for (const id of data.evaluationIds) {
          const known = this.#of(id);
          known.hasSkipped = true;
          this.#ends(id, known.attempts.length, data.at);
          this.#drawsNone(known, known.attempts.length);
        }
        return;
      case 'WeightsChanged':
        this.#changed.add(data.checkpointId);
        return;
      case 'HoldPlaced':
        this.#placed(data);
        return;
      case 'ClosingInEnded':
        if (!this.#closing.delete(data.holdId)) this.#broken(MISSING, `${data.holdId} did not close in`);
        this.#woken.add(data.holdId);
        return;
      case 'HoldLifted':
        this.#closing.delete(data.holdId);
        return;
      case 'RunResumed':
        this.#closing.clear();
        return;
      case 'AlertRaised':
        this.#paged.add(data.dedupKey);
        return;
      default:
        return;
    }
  }

  #of(evaluationId: string): Tracked {
    return this.#evaluations.get(evaluationId) ?? this.#broken(MISSING, `there is no ${evaluationId}`);
  }

  #asked(checkpointId: string, asked: readonly Pick<Asked[number], 'evaluationId' | 'evaluation'>[]): void {
    for (const { evaluationId, evaluation } of asked) {
      const spec = this.#policy.evaluations.find(({ id }) => id === evaluation);
      if (spec === undefined) continue;
      this.#evaluations.set(evaluationId, {
        spec,
        checkpointId,
        attempts: [{ isTopUp: false, drewNone: false, startedMs: null, isOver: false, n: 0 }],
        replicas: new Set(),
        spentMs: 0,
        firstTopUpMs: null,
        isConclusive: false,
        hasSkipped: false,
      });
    }
  }

  // --- budgets -------------------------------------------------------------------------------------------

  #started({ evaluationId, attempt, deadlineAt, replica = 0, at }: RunEventData<'EvaluationStarted'>): void {
    const known = this.#of(evaluationId);
    const { replicas = [], budget } = known.spec;
    if (replica > replicas.length) this.#broken(MISSING, `${evaluationId} has no replica ${replica}`);
    known.replicas.add(replica);
    const current = known.attempts[attempt - 1];
    if (current === undefined) {
      this.#broken(WITHIN_BUDGET, `attempt ${attempt} of ${evaluationId} begins, and nothing asked for it`);
    } else current.startedMs = Date.parse(at);
    const givenMs = Date.parse(deadlineAt) - Date.parse(at);
    if (budget?.wallTime !== undefined && givenMs > Math.max(0, ms(budget.wallTime) - known.spentMs)) {
      const spent = `${known.spentMs} ms of ${budget.wallTime} are spent`;
      this.#broken(WITHIN_BUDGET, `attempt ${attempt} of ${evaluationId} is given ${givenMs} ms; ${spent}`);
    }
  }

  #ends(evaluationId: string, attempt: number, at: string, n: number | null = null): void {
    const known = this.#of(evaluationId);
    const current = known.attempts[attempt - 1];
    if (current === undefined) return;
    if (current.startedMs === null) known.hasSkipped = true;
    else if (!current.isOver) {
      known.spentMs += Math.max(0, Date.parse(at) - current.startedMs);
    }
    current.isOver = true;
    if (n !== null) current.n = n;
  }

  #queues(evaluationId: string, isTopUp: boolean, at: string): void {
    const known = this.#of(evaluationId);
    const { spec, attempts } = known;
    const { budget } = spec;
    const samples = attempts.reduce((sum, { n }) => sum + n, 0);
    const next = `attempt ${attempts.length + 1} of ${evaluationId} (${spec.id})`;
    if (budget?.attempts !== undefined && attempts.length >= budget.attempts) {
      this.#broken(WITHIN_BUDGET, `${next} is asked for, of ${budget.attempts}`);
    }
    if (budget?.samples !== undefined && samples >= budget.samples) {
      this.#broken(WITHIN_BUDGET, `${next} is asked for after ${samples} samples of ${budget.samples}`);
    }
    if (budget?.wallTime !== undefined && known.spentMs >= ms(budget.wallTime)) {
      this.#broken(WITHIN_BUDGET, `${next} is asked for after ${known.spentMs} ms of ${budget.wallTime}`);
    }
    if (isTopUp) this.#closesIn(known, samples, at, next);
    attempts.push({ isTopUp, drewNone: false, startedMs: null, isOver: false, n: 0 });
  }

  /** Further samples, within what the policy lets it draw by itself. */
  #closesIn(known: Tracked, samples: number, at: string, next: string): void {
    const { closingIn, topUps } = known.spec;
    const used = known.attempts.filter((each) => each.isTopUp).length;
    known.firstTopUpMs ??= Date.parse(at);
    if (used >= (closingIn === undefined ? topUps : (closingIn.attempts ?? CLOSING_ATTEMPTS))) {
      this.#broken(WITHIN_BUDGET, `${next} draws samples again, after ${used} times`);
    }
    if (known.attempts.at(-1)?.drewNone === true) return;
    if (closingIn?.samples !== undefined && samples >= closingIn.samples) {
      this.#broken(WITHIN_BUDGET, `${next} draws samples beyond ${closingIn.samples}`);
    }
    if (closingIn !== undefined && Date.parse(at) >= untilMs(known) && used > 0) {
      this.#broken(WITHIN_BUDGET, `${next} draws samples after ${closingIn.within ?? CLOSING_WITHIN}`);
    }
  }

  /** What cannot be carried out by one is tried by every other before it is given up. */
  #follows({
    evaluationId,
    attempt,
    nextAttemptAt,
    exhausted,
    at,
  }: Pick<
    RunEventData<'EvaluationAttemptFailed'>,
    'evaluationId' | 'attempt' | 'nextAttemptAt' | 'exhausted' | 'at'
  >): void {
    const known = this.#of(evaluationId);
    if (nextAttemptAt !== null) {
      this.#queues(evaluationId, false, at);
      return;
    }
    const { spec, replicas, attempts, checkpointId } = known;
    const isGivenUp = attempt === attempts.length && exhausted === undefined;
    if (!isGivenUp || known.isConclusive || known.hasSkipped || this.#changed.has(checkpointId)) return;
    for (let i = 0; i <= (spec.replicas ?? []).length; i += 1) {
      if (!replicas.has(i))
        this.#broken(MISSING, `${evaluationId} is given up without a try of replica ${i}`);
    }
  }

  #drawsNone({ attempts }: Tracked, attempt: number): void {
    const current = attempts[attempt - 1];
    if (current === undefined) return;
    current.isTopUp = false;
    current.drewNone = true;
  }

  /** One that is handed back costs no sample: what comes in its place is that sample. */
  #handedBack({ evaluationId, attempt, exhausted, at, purpose }: RunEventData<'EvaluationReturned'>): void {
    const known = this.#of(evaluationId);
    this.#drawsNone(known, attempt);
    if (exhausted === undefined) this.#queues(evaluationId, purpose === 'top-up', at);
  }

  // --- closing in ----------------------------------------------------------------------------------------

  #placed({ holdId, key, findings, closingIn }: RunEventData<'HoldPlaced'>): void {
    if (closingIn === undefined) return;
    const checkpointId = key.replace(/^checkpoint:/, '');
    const until = Date.parse(closingIn.until);
    const limits = this.#topped(checkpointId).map(untilMs);
    if (!limits.some((limit) => until <= limit)) {
      this.#broken(MISSING, `${holdId} closes in until ${closingIn.until}, longer than any evaluation may`);
    }
    if (findings.some(({ kind, basis }) => kind !== 'level' || basis !== 'upper')) {
      this.#broken(MISSING, `${holdId} closes in although something else holds the run`);
    }
    this.#closing.set(holdId, { checkpointId, untilMs: until });
    this.#quiet.add(holdId);
  }

  #topped(checkpointId: string): Tracked[] {
    return [...this.#evaluations.values()].filter(
      (each) => each.checkpointId === checkpointId && each.firstTopUpMs !== null,
    );
  }

  /** After one decision. */
  decided(isHalted: boolean): void {
    for (const holdId of this.#quiet) {
      if (this.#closing.has(holdId) && this.#paged.has(holdId)) {
        this.#broken(MISSING, `people are woken for ${holdId}, which closes in`);
      }
    }
    for (const holdId of this.#woken) {
      if (this.#policy.alerts.length > 0 && !this.#paged.has(holdId)) {
        this.#broken(MISSING, `nobody is woken for ${holdId}, which closes in no more`);
      }
    }
    for (const set of [this.#quiet, this.#woken, this.#paged]) set.clear();
    if (isHalted) return;
    for (const [holdId, { checkpointId }] of this.#closing) {
      const isOnItsWay = this.#topped(checkpointId).some(({ attempts }) => attempts.at(-1)?.isOver === false);
      if (!isOnItsWay) this.#broken(MISSING, `people sleep on ${holdId}, and no sample is on its way`);
    }
  }

  /** A hold that goes on closing in after its time. */
  pastClosing(nowMs: number): string | null {
    return [...this.#closing].find(([, each]) => nowMs >= each.untilMs)?.[0] ?? null;
  }
}

const untilMs = ({ spec: { closingIn }, firstTopUpMs }: Tracked): number =>
  closingIn === undefined || firstTopUpMs === null
    ? Number.NEGATIVE_INFINITY
    : firstTopUpMs + ms(closingIn.within ?? CLOSING_WITHIN);
