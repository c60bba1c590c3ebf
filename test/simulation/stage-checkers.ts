/**
 * What makes a checkpoint due beside the run's whole compute, recomputed from the events in plain doubles: another training stage,
 * the doubling of its own compute, a declared breakthrough, the calendar, a jump in a tripwire.
 */
import type { Evaluation, Policy } from '../../src/domain/policy/schema.ts';
import type { RunEvent, RunEventData, StatedStage } from '../../src/domain/run/events.ts';
import { CLOSE, estimate, LEVEL_CLOSE, ms } from './arithmetic.ts';

type Broken = (invariant: number, message: string) => never;
type Reported = RunEventData<'CheckpointReported'>;

const MISSING = 8;
/** Of the compute before it a stage may train before its first checkpoint no longer speaks for it. */
const FIRST_SHARE = 0.01;
const TRIPWIRE_JUMP = 0.5;

interface Stage {
  readonly name: string;
  readonly ordinal: number;
  /** null: it is one of the whole run. */
  readonly before: number | null;
  stated: number | null;
  isSeen: boolean;
  readonly seenByMs: number;
  cleared: { own: number | null } | null;
}

interface Placed {
  readonly compute: number;
  due: boolean;
  /** The stage that it is of, and what it stated of it. */
  readonly stage: number | null;
  readonly stated: number | null;
}

interface Tripwire {
  readonly spec: Evaluation;
  readonly variant: string;
  readonly checkpointId: string;
  readonly levels: number[];
}

export class StageCheckers {
  readonly #policy: Policy;
  readonly #broken: Broken;
  readonly #checkpoints = new Map<string, Placed>();
  readonly #breakthroughs = new Map<string, number>();
  readonly #tripwires = new Map<string, Tripwire>();
  /** Of the last scorecard of each checkpoint, by evaluation and variant. */
  readonly #scores = new Map<string, Map<string, number>>();
  #stage: Stage | null = null;
  #stages = 0;
  #initial: number | null = null;
  #registeredMs = 0;
  #cleared: { readonly compute: number; readonly atMs: number } | null = null;
  #jumped: string | null = null;

  constructor(policy: Policy, broken: Broken) {
    this.#policy = policy;
    this.#broken = broken;
  }

  take({ kind, data }: RunEvent, isShadowed: boolean): void {
    switch (kind) {
      case 'RunRegistered':
        this.#initial = data.initialCompute === null ? null : Number(data.initialCompute);
        this.#registeredMs = Date.parse(data.at);
        return;
      case 'TrainingStageNoted':
        this.#enter(data.stage, Number(data.effectiveCompute), false, Date.parse(data.seenBy));
        return;
      case 'BreakthroughDeclared':
        this.#breakthroughs.set(data.breakthroughId, Date.parse(data.dueBy));
        return;
      case 'CheckpointReported':
        this.#reported(data, isShadowed);
        return;
      case 'CheckpointMadeDue': {
        const placed = this.#checkpoints.get(data.checkpointId);
        if (placed !== undefined) placed.due = true;
        if (this.#jumped === data.checkpointId) this.#jumped = null;
        return;
      }
      case 'EvaluationReported':
        this.#read(data);
        return;
      case 'CheckpointAssessed':
        this.#assessed(data);
        return;
      default:
        return;
    }
  }

  /** After one decision. */
  decided(isHalted: boolean): void {
    const jumped = this.#jumped;
    this.#jumped = null;
    if (jumped !== null && !isHalted) {
      this.#broken(MISSING, `a tripwire of ${jumped} jumped, and the suite is not due`);
    }
  }

  // --- training stages -----------------------------------------------------------------------------------

  #isChange({ name }: StatedStage): boolean {
    if (this.#stage !== null) return this.#stage.name !== name;
    return this.#cleared !== null || [...this.#checkpoints.values()].some(({ due }) => due);
  }

  #enter({ name, compute }: StatedStage, total: number, isSeen: boolean, seenByMs: number): void {
    const stated = compute === undefined ? null : Number(compute);
    const known = this.#stage;
    if (known?.name === name) {
      known.stated = greater(known.stated, stated);
      known.isSeen ||= isSeen;
      return;
    }
    const change = this.#isChange({ name });
    const before = above(total, stated ?? 0);
    this.#stages += 1;
    this.#stage = {
      name,
      ordinal: this.#stages,
      before: change || this.#initial !== null ? before : null,
      stated,
      isSeen: isSeen || !change,
      seenByMs,
      cleared: null,
    };
  }

  #own({ before }: Stage, total: number, stated: number | null): number | null {
    return greater(before === null ? total : above(total, before), stated);
  }

  #due({ name, before, cleared }: Stage): number | null {
    const { cadence } = this.#policy;
    const terms = cadence.trainingStages?.[name];
    const share = before === null ? null : FIRST_SHARE * before;
    const first = terms?.firstCheckpointBy === undefined ? share : Number(terms.firstCheckpointBy);
    const own = cleared?.own ?? null;
    if (own === null) return first;
    return greater(first, own * (terms?.ratio ?? cadence.ratio));
  }

  // --- checkpoints ---------------------------------------------------------------------------------------

  #reported(data: Reported, isShadowed: boolean): void {
    const { checkpointId, effectiveCompute, due, trainingStage, evaluations } = data;
    const compute = Number(effectiveCompute);
    if (!due) {
      const why = this.#whyDue(compute, trainingStage);
      if (why !== null) this.#broken(MISSING, `${checkpointId} is not due in spite of ${why}`);
    }
    if (due) this.#breakthroughs.clear();
    const known = this.#stage;
    const stated = trainingStage ?? (known === null ? null : { name: known.name });
    if (stated !== null) this.#enter(stated, compute, due, Number.POSITIVE_INFINITY);
    const placed = {
      compute,
      due,
      stage: this.#stage?.ordinal ?? null,
      stated: trainingStage?.compute === undefined ? null : Number(trainingStage.compute),
    };
    if (data.deadlineAt !== null) this.#checkpoints.set(checkpointId, placed);
    if (due && isShadowed) this.#clearStage(placed);
    if (due) return;
    for (const { evaluationId, evaluation, variant } of evaluations) {
      const spec = this.#policy.evaluations.find(({ id }) => id === evaluation);
      const isAlone = evaluations.some(({ deferred }) => deferred === true);
      if (spec?.tier !== 'tripwire' || !isAlone) continue;
      this.#tripwires.set(evaluationId, { spec, variant, checkpointId, levels: [] });
    }
  }

  #whyDue(compute: number, stated: StatedStage | undefined): string | null {
    if (stated !== undefined && this.#isChange(stated)) return `the stage ${stated.name}`;
    if (this.#stage?.isSeen === false) return `the stage ${this.#stage.name}`;
    const [breakthrough] = this.#breakthroughs.keys();
    if (breakthrough !== undefined) return `the breakthrough ${breakthrough}`;
    if (this.#stage === null) return null;
    const own = this.#own(
      this.#stage,
      compute,
      stated?.compute === undefined ? null : Number(stated.compute),
    );
    const due = this.#due(this.#stage);
    return own !== null && due !== null && own >= due * (1 + CLOSE) ? `${own} of its stage's own` : null;
  }

  #clearStage(placed: Placed): void {
    const stage = this.#stage;
    if (stage === null || placed.stage !== stage.ordinal) return;
    const own = this.#own(stage, placed.compute, placed.stated);
    const before = stage.cleared?.own ?? null;
    if (stage.cleared !== null && (own === null || (before !== null && own <= before))) return;
    stage.cleared = { own };
  }

  #assessed(data: RunEventData<'CheckpointAssessed'>): void {
    const { checkpointId, verdict, clears, scorecard, at } = data;
    const scores = new Map<string, number>();
    for (const { stages } of scorecard.categories) {
      for (const { evidence } of Object.values(stages).filter((each) => each !== undefined)) {
        for (const { evaluation, variant, status, score } of evidence) {
          if (status === 'completed' && score !== null) scores.set(`${evaluation}/${variant}`, score);
        }
      }
    }
    const known = this.#scores.get(checkpointId) ?? new Map<string, number>();
    for (const [name, score] of scores) known.set(name, score);
    this.#scores.set(checkpointId, known);
    const placed = this.#checkpoints.get(checkpointId);
    if (placed === undefined || verdict !== 'proceed' || clears === false) return;
    this.#clearStage(placed);
    if (this.#cleared === null || placed.compute > this.#cleared.compute) {
      this.#cleared = { compute: placed.compute, atMs: Date.parse(at) };
    }
  }

  /** Of one tripwire against itself at the checkpoint before. */
  #read({ evaluationId, reading }: RunEventData<'EvaluationReported'>): void {
    const tripwire = this.#tripwires.get(evaluationId);
    if (tripwire === undefined || reading.score === null) return;
    const { spec, variant, checkpointId, levels } = tripwire;
    levels.push(estimate(reading.score, spec));
    const placed = this.#checkpoints.get(checkpointId);
    if (placed === undefined || placed.due) return;
    let nearest: { compute: number; score: number } | null = null;
    for (const [id, scores] of this.#scores) {
      const compute = this.#checkpoints.get(id)?.compute ?? Number.POSITIVE_INFINITY;
      const score = scores.get(`${spec.id}/${variant}`);
      if (id === checkpointId || score === undefined || compute >= placed.compute) continue;
      if (nearest === null || compute > nearest.compute) nearest = { compute, score };
    }
    if (nearest === null) return;
    const rise = Math.max(...levels) - estimate(nearest.score, spec);
    const most = this.#policy.cadence.triggers?.tripwireJump ?? TRIPWIRE_JUMP;
    if (rise > most + LEVEL_CLOSE) this.#jumped = checkpointId;
  }

  // --- permits -------------------------------------------------------------------------------------------

  /** Why a permit is one too many; null where nothing is missing. `isFresh`: time may have passed before anybody could know. */
  missing(nowMs: number, high: number, isFresh: boolean): string | null {
    const stage = this.#stage;
    if (!isFresh) {
      const awaited = [...this.#breakthroughs.values()];
      if (stage?.isSeen === false) awaited.push(stage.seenByMs);
      if (awaited.some((dueMs) => nowMs >= dueMs)) return 'no due checkpoint came after what was declared';
      const { maxInterval, trainingStages = {} } = this.#policy.cadence;
      const own = stage === null ? undefined : trainingStages[stage.name]?.maxInterval;
      const intervalMs = Math.min(ms(maxInterval), own === undefined ? Number.POSITIVE_INFINITY : ms(own));
      const isPending = [...this.#checkpoints.values()].some(
        ({ due, compute }) => due && compute > (this.#cleared?.compute ?? 0),
      );
      const fromMs = this.#cleared?.atMs ?? this.#registeredMs;
      if (!isPending && nowMs >= fromMs + intervalMs) return 'no checkpoint came by the calendar';
    }
    return stage === null ? null : this.#overdue(stage, high);
  }

  #overdue(stage: Stage, high: number): string | null {
    const due = this.#due(stage);
    const own = this.#own(stage, high, stage.stated);
    if (due === null || own === null || own < due * (1 + CLOSE)) return null;
    const speaks = [...this.#checkpoints.values()].some((each) => {
      if (!each.due || each.stage !== stage.ordinal) return false;
      if (stage.cleared === null) return true;
      const its = this.#own(stage, each.compute, each.stated);
      return its !== null && its >= due * (1 - CLOSE);
    });
    const limit = due * (1 + this.#policy.cadence.grace);
    if (speaks && own <= limit * (1 + CLOSE)) return null;
    return `the stage ${stage.name} has trained ${own} by itself, due at ${due}`;
  }
}

function greater(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}

/** null: nothing is left. */
function above(total: number, before: number): number | null {
  return total > before * (1 + 1e-14) ? total - before : null;
}
