/**
 * In which order evaluations are carried out: what may trip first, first.
 *
 * Due before wished for; tripwires before the suite; categories by how near they were, or are forecast to be, to the level that halts,
 * one that was never measured before all; required before optional; then the order of the policy.
 * A smaller number goes first. Nothing depends on it but when evidence comes.
 */
import { LEVEL_STARTS } from '../levels.ts';
import { levelAt, type Policy } from '../policy/schema.ts';
import { isTripwire } from '../policy/tier-schema.ts';
import { specOf } from './evaluation.ts';
import type { CheckpointState, EvaluationState, RunState } from './state.ts';

/** Steps of a sixteenth of a level, up to the whole scale. */
const DISTANCES = 64;
const STEP = 1 / 16;
const ORDER = 256;

/** From 1: to the queue 0 means none. */
export const PRIORITY_MAX = 2 * 2 * 2 * DISTANCES * ORDER;

export function priorityOf(
  state: Pick<RunState, 'history' | 'checkpoints'>,
  { due }: Pick<CheckpointState, 'due'>,
  { evaluation, attempts }: EvaluationState,
  policy: Policy,
): number {
  const spec = specOf(policy, evaluation);
  // Further samples are drawn of what is nearest of all.
  const isClosingIn = attempts.at(-1)?.purpose === 'top-up';
  const digits: [number, number][] = [
    [due || isClosingIn ? 0 : 1, 2],
    [isTripwire(spec) || isClosingIn ? 0 : 1, 2],
    [distanceSteps(distanceOf(state, spec.category, policy)), DISTANCES],
    [spec.required ? 0 : 1, 2],
    [Math.min(policy.evaluations.indexOf(spec), ORDER - 1), ORDER],
  ];
  return 1 + digits.reduce((rank, [digit, base]) => rank * base + digit, 0);
}

const distanceSteps = (distance: number): number =>
  Math.min(DISTANCES - 1, Math.max(0, Math.floor(distance / STEP)));

/** How far a category was from the nearest level that halts, by its estimate or what its history forecasts; 0 where nothing is known of it. */
function distanceOf(
  { history, checkpoints }: Pick<RunState, 'history' | 'checkpoints'>,
  category: string,
  policy: Policy,
): number {
  const threshold = haltsAt(policy, category);
  const measured = history.findLast(({ levels }) => levels.some(isOf(category)))?.levels.find(isOf(category));
  if (measured === undefined) return 0;
  const forecast = checkpoints
    .flatMap(({ forecasts }) => forecasts)
    .findLast((each) => isOf(category)(each) && each.checkpoints === 1 && each.basis !== 'mostly-prior');
  const upper = forecast?.quantiles.find(({ p }) => p === 0.95)?.level ?? measured.estimate;
  return threshold - Math.max(measured.estimate, upper);
}

const isOf =
  (category: string) =>
  (each: { readonly category: string; readonly stage: string }): boolean =>
    each.category === category && each.stage === 'pre-mitigation';

const thresholds = new WeakMap<Policy, Map<string, number>>();

function haltsAt(policy: Policy, category: string): number {
  const known = thresholds.get(policy) ?? new Map<string, number>();
  thresholds.set(policy, known);
  const found = known.get(category) ?? lowestHalting(policy, category);
  known.set(category, found);
  return found;
}

function lowestHalting({ rules }: Policy, category: string): number {
  const levels = rules.flatMap((rule) =>
    rule.kind === 'level' &&
    rule.stage === 'pre-mitigation' &&
    (rule.categories === undefined || rule.categories.includes(category)) &&
    (rule.then.includes('halt') || rule.then.includes('quarantine'))
      ? [levelAt(rule.atLeast)]
      : [],
  );
  return Math.min(LEVEL_STARTS.critical, ...levels);
}
