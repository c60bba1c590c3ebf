/**
 * What a forecast finding says: the figures, the bounds, what they rest on, the facts that drove them, and what would have
 * to be true for it not to fire.
 *
 * Built from what was sealed alone. A forecast that was sealed without reasons is told as it was then: replay compares the
 * words too.
 */
import { type Compute, flopText, timesText } from '../compute.ts';
import { poolWithin } from '../forecast/experts.ts';
import { levelText } from '../levels.ts';
import { type ForecastRule, levelAt } from '../policy/schema.ts';
import { percent, type Ruling, weighed } from './expert-findings.ts';
import type { SealedForecast } from './forecast-documents.ts';
import type { EstimateRound } from './state.ts';

export interface Told {
  readonly rule: ForecastRule;
  readonly title: string;
  readonly forecast: SealedForecast | undefined;
  readonly horizonCompute: Compute | undefined;
  /** Of the checkpoint. */
  readonly effectiveCompute: Compute;
  readonly ruling: Ruling;
  readonly model: Ruling | null;
  readonly pool: EstimateRound['pool'];
  /** Experts it takes to lower the model's word. */
  readonly quorum: number;
}

export function forecastExplanation(told: Told): string {
  const { rule, title, forecast, horizonCompute, effectiveCompute, ruling, model, pool } = told;
  const level = levelAt(rule.atLeast);
  const word = weighed(ruling, model, pool);
  const chance = `with probability ${percent(ruling.p)}, the limit is ${percent(rule.probability)}`;
  if (forecast?.reasons === undefined) {
    return `${title} ${rule.stage}: forecast to reach ${level.toFixed(2)} by ${horizonCompute} FLOP ${chance} (${word})`;
  }
  const within = `within ${timesText(forecast.horizonCompute, effectiveCompute)} the compute (${flopText(forecast.horizonCompute)})`;
  const reasons = forecast.reasons.find(
    (each) => each.level === level && each.probability === rule.probability,
  );
  return [
    `${title} ${rule.stage}: forecast to reach ${levelText(level)} ${within} ${chance} (${word}${bounds(forecast, level)})`,
    ...(reasons === undefined ? [] : [reasons.facts.join('; ')]),
    notToFire(told, reasons?.unless),
  ]
    .filter((sentence) => sentence !== '')
    .join('. ');
}

/** Whatever the evaluations have in common. */
function bounds({ exceedance }: SealedForecast, level: number): string {
  const { greatest, sum } = exceedance.find((each) => each.level === level) ?? {};
  if (greatest === undefined || sum === undefined || greatest === sum) return '';
  return `; at least ${percent(greatest)}, the greatest of its evaluations, and at most ${percent(sum)}, their sum`;
}

function notToFire(
  { rule: { probability }, ruling, model, pool, quorum }: Told,
  unless: string | undefined,
): string {
  const ofModel = model !== null && model.p >= probability ? (unless ?? '') : '';
  if (pool === null) return ofModel;
  if (ruling.basis === 'pool' && model !== null) {
    const most = percent(poolWithin(probability, model.p));
    return `It would be under the limit with ${quorum} or more experts who together say less than ${most}`;
  }
  const ofExperts =
    pool.p >= probability ? `The experts' own ${percent(pool.p)} would have to be under the limit` : '';
  return [ofModel, ofExperts].filter((sentence) => sentence !== '').join('. ');
}
