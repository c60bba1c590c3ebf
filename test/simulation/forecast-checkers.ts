/**
 * Scores of forecasts recomputed from a run's events alone: which forecast stood when the evaluations of what it is
 * about were queued, by which checkpoint it is scored, the losses by formulas of our own; and that no forecast in time
 * goes without a score once its checkpoint is closed on complete evidence.
 */
import type { RunEvent, RunEventData } from '../../src/domain/run/events.ts';
import type { SealedForecast } from '../../src/domain/run/forecast-documents.ts';
import { TRACKED_CHECKPOINTS_MAX } from '../../src/domain/run/state.ts';

type Scored = RunEventData<'ForecastScored'>;

interface Sealed {
  readonly checkpointId: string;
  readonly forecast: SealedForecast;
  readonly late: boolean;
  readonly dueBeyond: string[];
  score: Scored | null;
}

interface Reported {
  readonly checkpointId: string;
  readonly compute: number;
  due: boolean;
  cleared: boolean;
}

const LOSS_CLOSE = 1e-9;
/** Quantiles are rounded to four decimals. */
const BOUND_CLOSE = 6e-5;

export class ForecastCheckers {
  readonly #broken: (invariant: number, message: string) => never;
  readonly #reported = new Map<string, Reported>();
  /** By the checkpoint that sealed it and what it forecasts: the last one in time, or the first one late. */
  readonly #sealed = new Map<string, Sealed>();

  constructor(broken: (invariant: number, message: string) => never) {
    this.#broken = broken;
  }

  /** One decision's events. */
  take(events: readonly RunEvent[]): void {
    for (const event of events) {
      switch (event.kind) {
        case 'CheckpointReported':
          this.#checkpoint(event.data);
          break;
        case 'CheckpointMadeDue':
          this.#comesDue(event.data.checkpointId);
          break;
        case 'ForecastSealed':
          this.#seal(event.data);
          break;
        case 'ForecastScored':
          this.#score(event.data);
          break;
        default:
          break;
      }
    }
    // After all of them: a score comes behind the verdict.
    for (const event of events) if (event.kind === 'CheckpointAssessed') this.#assessed(event.data);
  }

  #compute(checkpointId: string): number {
    return this.#reported.get(checkpointId)?.compute ?? this.#broken(10, `there is no ${checkpointId}`);
  }

  #checkpoint({ checkpointId, effectiveCompute, due }: RunEventData<'CheckpointReported'>): void {
    const compute = Number(effectiveCompute);
    this.#reported.set(checkpointId, { checkpointId, compute, due: false, cleared: false });
    if (due) this.#comesDue(checkpointId);
  }

  /** As it is reported, or once a tripwire jumps. */
  #comesDue(checkpointId: string): void {
    const reported = this.#reported.get(checkpointId) ?? this.#broken(10, `there is no ${checkpointId}`);
    reported.due = true;
    reported.cleared = false;
    const { compute } = reported;
    for (const each of this.#sealed.values()) {
      if (compute > this.#compute(each.checkpointId)) each.dueBeyond.push(checkpointId);
    }
  }

  #seal({ checkpointId, forecast, dueBeyond = [] }: RunEventData<'ForecastSealed'>): void {
    const own = this.#compute(checkpointId);
    const beyond = [...this.#reported.values()].filter(({ compute }) => compute > own);
    const hidden = beyond.find((each) => each.due && !each.cleared && !dueBeyond.includes(each.checkpointId));
    if (hidden !== undefined) this.#broken(10, `a forecast at ${checkpointId} hides ${hidden.checkpointId}`);
    const invented = dueBeyond.find((id) => beyond.every((each) => each.checkpointId !== id));
    if (invented !== undefined) this.#broken(10, `a forecast at ${checkpointId} is not after ${invented}`);
    const name = nameOf(checkpointId, forecast);
    const late = dueBeyond.length >= forecast.checkpoints;
    if (late && this.#sealed.has(name)) return;
    this.#sealed.set(name, { checkpointId, forecast, late, dueBeyond: [...dueBeyond], score: null });
  }

  #score(score: Scored): void {
    const name = nameOf(score.checkpointId, score);
    const sealed = this.#sealed.get(name) ?? this.#broken(10, `nobody sealed ${name}`);
    const { forecast, late, dueBeyond } = sealed;
    if (dueBeyond[score.checkpoints - 1] !== score.scoredBy) {
      this.#broken(10, `${name} is about ${dueBeyond[score.checkpoints - 1]}, scored by ${score.scoredBy}`);
    }
    if (score.revision !== (sealed.score?.revision ?? 0) + 1) this.#broken(7, `${name} was scored twice`);
    if (sealed.score?.observed === score.observed && sealed.score.complete === score.complete) {
      this.#broken(7, `${name} was scored again for the same`);
    }
    const { observed } = score;
    for (const [p, stated, loss] of [
      [0.5, score.q50, score.pinball50],
      [0.95, score.q95, score.pinball95],
      [0.99, score.q99, score.pinball99],
    ] as const) {
      const bound = forecast.quantiles.find((each) => each.p === p)?.level;
      const wanted = Math.max(p * (observed - stated), (p - 1) * (observed - stated));
      if (bound !== stated || Math.abs(wanted - loss) > LOSS_CLOSE) {
        this.#broken(10, `${name} said ${bound} at ${p}, ${observed} came, and ${loss} was lost`);
      }
      const covered = p === 0.5 ? null : p === 0.95 ? score.covered95 : score.covered99;
      const near = Math.abs(observed - stated) <= BOUND_CLOSE;
      if (covered !== null && !near && covered !== observed < stated) {
        this.#broken(10, `${name}: ${observed} came under ${stated}, covered: ${covered}`);
      }
    }
    const below = Math.max(
      0,
      ...forecast.quantiles.filter(({ level }) => level < observed).map(({ p }) => p),
    );
    const above = Math.min(
      1,
      ...forecast.quantiles.filter(({ level }) => level > observed).map(({ p }) => p),
    );
    if (score.pit < below - LOSS_CLOSE || score.pit > above + LOSS_CLOSE) {
      this.#broken(10, `${name}: a PIT of ${score.pit} is not between ${below} and ${above}`);
    }
    const beyond = this.#compute(score.scoredBy) > Number(forecast.horizonCompute);
    if ((score.excluded === 'sealed-late') !== late) this.#broken(10, `${name} is late: ${late}`);
    if (score.excluded === null && (beyond || (!score.complete && score.covered95))) {
      this.#broken(10, `${name} counts, and must not`);
    }
    sealed.score = score;
  }

  #assessed({ checkpointId, verdict, scorecard }: RunEventData<'CheckpointAssessed'>): void {
    const reported = this.#reported.get(checkpointId);
    if (reported !== undefined && verdict === 'proceed') reported.cleared = true;
    const followed = new Set([...this.#sealed.values()].map((each) => each.checkpointId));
    for (const [name, { forecast, dueBeyond, score }] of this.#sealed) {
      if (dueBeyond[forecast.checkpoints - 1] !== checkpointId) continue;
      const levels = scorecard.categories.find(({ id }) => id === forecast.category)?.stages[forecast.stage];
      const estimate = levels?.estimate ?? null;
      const isIn =
        estimate !== null && levels?.complete === true && levels.evidence.some(({ required }) => required);
      if (!isIn || (score === null && followed.size > TRACKED_CHECKPOINTS_MAX)) continue;
      if (score?.observed !== estimate) {
        this.#broken(10, `${name}: ${estimate} came at ${checkpointId}, scored is ${score?.observed}`);
      }
    }
  }
}

type Kind = Pick<SealedForecast, 'category' | 'stage' | 'checkpoints'>;

const nameOf = (checkpointId: string, { category, stage, checkpoints }: Kind): string =>
  `the forecast of ${category} ${stage} at ${checkpointId}, ${checkpoints} ahead`;
