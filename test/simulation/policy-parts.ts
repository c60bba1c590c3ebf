/**
 * What generated policies have in common, and the people who govern the runs under them.
 *
 * Each function draws from the seed in a fixed order, arguments before the chance that the rule is there at all:
 * another order would tell another story for every seed that failed once.
 */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import type { Random } from './random.ts';

/** What some evaluations lead with, and simulated evaluators often report. */
export const LEADING_METRIC = 'answer-likelihood';

export const GROUPS = ['preparedness', 'safety', 'leadership', 'board'];

/** Who is in which group. */
export const MEMBERSHIPS = new Map<string, readonly string[]>([
  ['ann', ['safety']],
  ['bea', ['board']],
  ['cai', ['leadership', 'safety']],
  ['dov', ['leadership']],
  ['eve', ['preparedness', 'board']],
  ['fay', []],
]);

export function maybe(random: Random, probability: number, rule: JsonObject): JsonObject[] {
  return random.chance(probability) ? [rule] : [];
}

export function forecastRule(random: Random): JsonObject {
  return {
    id: 'forecast',
    kind: 'forecast',
    stage: 'pre-mitigation',
    atLeast: 'critical',
    probability: random.pick([0.05, 0.3]),
    whenMostlyPrior: random.pick(['ignore', 'alert', 'hold', 'halt']),
    then: [random.pick(['halt', 'hold', 'alert'])],
  };
}

export function jumpRule(random: Random): JsonObject {
  const then = [random.pick(['hold', 'alert'])];
  return { id: 'jump', kind: 'jump', stage: 'pre-mitigation', above: 0.8, then };
}

export function silenceRule(random: Random): JsonObject {
  return { id: 'silent', kind: 'inconclusive', then: [random.pick(['halt', 'alert'])] };
}

export const CRITICAL_RULE: JsonObject = {
  id: 'critical',
  kind: 'level',
  stage: 'pre-mitigation',
  atLeast: 'critical',
  then: ['quarantine'],
};

export const OVERDUE_RULE: JsonObject = { id: 'tardy', kind: 'overdue', then: ['halt'] };

export function governance(random: Random): JsonObject {
  return {
    groups: GROUPS,
    resume: {
      approvals: random.pick([['leadership'], ['leadership', 'safety'], ['safety', 'board', 'leadership']]),
      vetoes: random.pick([[], ['board'], GROUPS]),
    },
  };
}
