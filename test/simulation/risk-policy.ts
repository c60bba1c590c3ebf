/** Limits of risk in generated policies. A third of all seeds have one, drawn from a stream of its own. */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { mix } from './faults.ts';
import { createRandom, type Random } from './random.ts';

/** Chosen so that no regression from before there were limits has one: each goes on telling the story that failed. */
const STREAM = 7_011;
const SHARE = 1 / 3;

export function riskLimitOf(seed: number): Random | null {
  const random = createRandom(mix(seed, STREAM));
  return random.chance(SHARE) ? random : null;
}

export interface RiskLimit {
  readonly cadence: JsonObject;
  readonly more: JsonObject;
}

/** Nothing where the cadence leaves no room for a shorter step. */
export function riskPolicy(
  random: Random,
  { ratio, grace }: { readonly ratio: number; readonly grace: number },
  approvals: readonly string[],
): RiskLimit {
  const shortest = 1.03 * (1 + grace);
  const budgeted = random.chance(0.5);
  const probability = random.pick([0.001, 0.01, 0.05, 0.2]);
  const minRatio = Number((shortest + random.between(0, 0.5) * (ratio - shortest)).toFixed(4));
  const whenMostlyPrior = random.pick(['ignore', 'alert', 'alert', 'hold', 'halt']);
  const level = random.pick<string | number>(['critical', 'critical', 'high', 3.5]);
  const reference = {
    evidence: 'a smaller run',
    approvedBy: [...approvals],
    upTo: random.pick([1e22, 1e23]),
  };
  const referred = random.chance(0.25) ? { reference } : {};
  if (shortest >= ratio) return { cadence: {}, more: {} };
  return {
    cadence: { risk: { level, probability, minRatio, whenMostlyPrior, ...referred } },
    more: budgeted ? { riskBudget: Math.max(probability, random.pick([0.02, 0.3])) } : {},
  };
}
