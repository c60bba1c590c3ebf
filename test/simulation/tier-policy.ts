/** Tripwires in generated policies, and what they clear alone. A quarter of all seeds has them, drawn from a stream of its own. */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { mix } from './faults.ts';
import { createRandom, type Random } from './random.ts';

/** Chosen so that no regression from before there were tiers has them: each goes on telling the story that failed. */
const STREAM = 7_021;
const SHARE = 1 / 4;

export function tiersOf(seed: number): Random | null {
  const random = createRandom(mix(seed, STREAM));
  return random.chance(SHARE) ? random : null;
}

export function tierPolicy(
  random: Random,
  categories: readonly string[],
  approvals: readonly string[],
): { readonly evaluations: JsonObject[]; readonly more: JsonObject } {
  const evaluations = categories.map((category) => ({
    id: `${category}-tripwire`,
    category,
    tier: 'tripwire',
    stage: 'pre-mitigation',
    executor: {
      ...random.pick<JsonObject>([
        { kind: 'http', mode: 'callback' },
        { kind: 'command', command: ['evaluate', '--quick'] },
      ]),
      timeout: random.pick(['20s', '40s']),
      attempts: 1 + random.below(2),
      backoff: '1s',
    },
    score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
    levels: { medium: 0.2, high: 0.5, critical: 0.8 },
  }));
  const clears = random.pick<JsonObject>([
    { belowLevel: 'medium' },
    { belowLevel: 2.5 },
    { belowCompute: 8e21, belowLevel: 2.5 },
    { belowCompute: 3e22 },
  ]);
  const tripwireClears = {
    ...clears,
    within: random.pick(['30s', '1m', '3m']),
    reference: { evidence: 'a transfer study', approvedBy: [...approvals] },
  };
  return { evaluations, more: random.chance(0.8) ? { tiers: { tripwireClears } } : {} };
}
