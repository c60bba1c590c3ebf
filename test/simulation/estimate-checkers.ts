/**
 * Estimate rounds recomputed from a run's events alone: who answered while the round was open, what they come to
 * together, and that a pool over a limit is found by the verdict of its checkpoint and of no other.
 */
import type { Policy } from '../../src/domain/policy/schema.ts';
import type { RunEvent, RunEventData } from '../../src/domain/run/events.ts';
import { thresholdOf } from './arithmetic.ts';

/** Pools are rounded to six decimals. */
const POOL_CLOSE = 2e-6;
const EXPONENT = 1.5;

interface Round {
  readonly asked: RunEventData<'EstimateRoundOpened'>;
  closed: boolean;
  pooled: boolean;
}

export class EstimateCheckers {
  readonly #policy: Policy;
  readonly #broken: (invariant: number, message: string) => never;
  readonly #rounds = new Map<string, Round>();
  /** By question, then by expert. */
  readonly #latest = new Map<string, Map<string, number>>();
  /** By checkpoint, category, stage and level. */
  readonly #pools = new Map<string, number>();

  constructor(policy: Policy, broken: (invariant: number, message: string) => never) {
    this.#policy = policy;
    this.#broken = broken;
  }

  take(event: RunEvent): void {
    switch (event.kind) {
      case 'EstimateRoundOpened':
        this.#opened(event.data);
        break;
      case 'EstimateGiven':
        this.#given(event.data);
        break;
      case 'EstimateRoundClosed': {
        const round = this.#round(event.data.roundId);
        if (round.closed) this.#broken(7, `round ${event.data.roundId} was closed twice`);
        round.closed = true;
        break;
      }
      case 'EstimatesPooled':
        this.#pooled(event.data);
        break;
      case 'CheckpointAssessed':
        this.#assessed(event.data);
        break;
      default:
        break;
    }
  }

  #round(roundId: string): Round {
    return this.#rounds.get(roundId) ?? this.#broken(10, `there is no round ${roundId}`);
  }

  #opened(asked: RunEventData<'EstimateRoundOpened'>): void {
    if (this.#rounds.has(asked.roundId)) this.#broken(7, `round ${asked.roundId} was opened twice`);
    const first = this.#rounds.get(asked.questionId);
    if (asked.round === 2 && first?.closed !== true) this.#broken(10, 'two rounds of a question are open');
    if (Date.parse(asked.closesAt) <= Date.parse(asked.at)) this.#broken(10, 'a round that is over at once');
    this.#rounds.set(asked.roundId, { asked, closed: false, pooled: false });
  }

  #given({ roundId, by, probability, at }: RunEventData<'EstimateGiven'>): void {
    const { asked, closed } = this.#round(roundId);
    if (closed || Date.parse(at) >= Date.parse(asked.closesAt)) {
      this.#broken(10, `${by} answered in round ${roundId} after it was over`);
    }
    const latest = this.#latest.get(asked.questionId) ?? new Map<string, number>();
    latest.set(by, probability);
    this.#latest.set(asked.questionId, latest);
  }

  #pooled({ roundId, pool }: RunEventData<'EstimatesPooled'>): void {
    const round = this.#round(roundId);
    if (!round.closed || round.pooled) this.#broken(7, `round ${roundId} was pooled while open, or twice`);
    round.pooled = true;
    const { questionId, checkpointId, category, stage, level } = round.asked;
    const said = [...(this.#latest.get(questionId)?.values() ?? [])];
    const odds = said
      .map((p) => Math.min(0.999, Math.max(0.001, p)))
      .reduce((product, p) => product * (p / (1 - p)), 1);
    const mean = odds ** (1 / said.length);
    const stretched = said.length > 1 ? Math.max(mean, mean ** EXPONENT) : mean;
    const p = stretched / (1 + stretched);
    if (pool.n !== said.length || Math.abs(pool.p - p) > POOL_CLOSE) {
      this.#broken(10, `the pool of ${said.join(' ')} is ${p}, recorded is ${pool.p} of ${pool.n}`);
    }
    this.#pools.set(`${checkpointId} ${category} ${stage} ${level}`, pool.p);
  }

  #assessed({ checkpointId, findings }: RunEventData<'CheckpointAssessed'>): void {
    const { categories, rules, forecast } = this.#policy;
    for (const rule of rules) {
      const reads = rule.kind === 'estimate' || (rule.kind === 'forecast' && rule.checkpoints === 1);
      if (!reads) continue;
      for (const { id } of categories.filter((each) => rule.categories?.includes(each.id) ?? true)) {
        const name = `${checkpointId} ${id} ${rule.stage} ${thresholdOf(rule.atLeast)}`;
        const p = this.#pools.get(name);
        const found = findings.find((each) => each.rule === rule.id && each.category === id);
        const over = p !== undefined && p >= rule.probability;
        if (rule.kind === 'estimate' && over !== (found !== undefined)) {
          this.#broken(10, `experts say ${p} of ${name}, and the finding is ${found?.explanation}`);
        }
        const heeded = (forecast?.experts ?? 'graver') === 'graver';
        if (rule.kind === 'forecast' && heeded && over && found === undefined) {
          this.#broken(10, `experts say ${p} of ${name}, and no forecast rule found it`);
        }
        if (rule.kind === 'forecast' && p === undefined && ['experts', 'pool'].includes(found?.basis ?? '')) {
          this.#broken(10, `nobody was asked of ${name}, and ${found?.basis} ruled`);
        }
      }
    }
  }
}
