/**
 * What experts' pools do to a verdict: which probability rules a `forecast` rule, and the `estimate` rule.
 *
 * Reads sealed figures only, so that replay gives the same. A pool speaks for the checkpoint at which it was asked and
 * one checkpoint ahead; anything further is the model's alone.
 */
import { poolOfTwo } from '../forecast/experts.ts';
import {
  type EstimateRule,
  type ForecastRule,
  forecastSettings,
  levelAt,
  type Policy,
} from '../policy/schema.ts';
import { poolOf, questionsLike } from './estimate-state.ts';
import type { Finding } from './finding-documents.ts';
import type { SealedForecast } from './forecast-documents.ts';
import type { Scorecard } from './scorecard-documents.ts';
import type { CheckpointState, EstimateQuestion, EstimateRound } from './state.ts';

type Pool = NonNullable<EstimateRound['pool']>;

export interface ExpertBasis {
  readonly checkpoint: CheckpointState;
  readonly policy: Policy;
  readonly scorecard: Scorecard;
}

interface Asked {
  readonly pool: Pool;
  readonly horizonCompute: EstimateQuestion['horizonCompute'];
}

/** What experts said of exactly this; null where they were not asked, or nobody answered. */
function askedOf(
  checkpoint: CheckpointState,
  category: string,
  { stage, atLeast }: Pick<ForecastRule, 'stage' | 'atLeast'>,
): Asked | null {
  const question = questionsLike(checkpoint, { category, stage, level: levelAt(atLeast) }).at(-1);
  const pool = question === undefined ? null : poolOf(question);
  return question === undefined || pool === null ? null : { pool, horizonCompute: question.horizonCompute };
}

/** The same, where the policy has a forecast rule heed it. */
export function heededBy(
  rule: ForecastRule,
  { checkpoint, policy }: ExpertBasis,
  category: string,
): Asked | null {
  const isHeeded = rule.checkpoints === 1 && forecastSettings(policy).experts !== 'ignore';
  return isHeeded ? askedOf(checkpoint, category, rule) : null;
}

export interface Ruling {
  readonly p: number;
  /** The forecast's own basis where the model rules, else `experts` or `pool`. */
  readonly basis: SealedForecast['basis'] | 'experts' | 'pool';
}

/** The model's word, the experts' word, or both, as the policy says; null where neither is there. */
export function rulingOf(
  rule: ForecastRule,
  model: Ruling | null,
  pool: Pool | null,
  policy: Policy,
): Ruling | null {
  const { experts: choice, quorum } = forecastSettings(policy);
  if (pool === null) return model;
  const experts: Ruling = { p: pool.p, basis: 'experts' };
  if (model === null) return experts;
  if (choice === 'pool' && (pool.p >= model.p || pool.n >= quorum)) {
    return { p: poolOfTwo(model.p, pool.p), basis: 'pool' };
  }
  // A model that has seen next to nothing does not hush experts who have: their consequences are the rule's own.
  const outweighed = model.basis === 'mostly-prior' && experts.p >= rule.probability;
  return outweighed || experts.p > model.p ? experts : model;
}

export const percent = (p: number): string =>
  p > 0 && p < 0.001 ? 'under 0.1 %' : `${(100 * p).toFixed(1)} %`;

/** Which word ruled, and what it was weighed against. */
export function weighed({ basis }: Ruling, model: Ruling | null, pool: Pool | null): string {
  if (pool === null) return basis;
  const experts = `experts ${percent(pool.p)} (${pool.n})`;
  return `${basis}: ${experts}, ${model === null ? 'no forecast yet' : `model ${percent(model.p)}`}`;
}

export function estimateFindings(rule: EstimateRule, basis: ExpertBasis): Finding[] {
  const threshold = levelAt(rule.atLeast);
  return basis.scorecard.categories.flatMap(({ id, title }) => {
    const pool = askedOf(basis.checkpoint, id, rule)?.pool;
    const applies = rule.categories === undefined || rule.categories.includes(id);
    if (!applies || pool === undefined || pool.p < rule.probability) return [];
    return [
      {
        rule: rule.id,
        kind: 'estimate' as const,
        category: id,
        stage: rule.stage,
        evaluation: null,
        checkpointId: null,
        observed: pool.p,
        threshold: rule.probability,
        basis: 'experts',
        then: rule.then,
        explanation: `${title} ${rule.stage}: ${pool.n === 1 ? '1 expert gives' : `${pool.n} experts give`} ${percent(pool.p)} for reaching ${threshold.toFixed(2)} before the next checkpoint, the limit is ${percent(rule.probability)}`,
        waived: false,
      },
    ];
  });
}
