/**
 * `policy check`, warnings about what the evaluations can show: levels too near to each other, evaluations that are used up by
 * now, categories that rest on one number, and protocols that change.
 *
 * For people to weigh: a policy with any of them is usable. What they go by is at `minSamples`, as all that is published of a
 * policy beforehand.
 */
import { levelOfScore, levelText, scoreOfLevel, withMargin } from '../levels.ts';
import { SIDE_BY_SIDE } from '../run/succession.ts';
import { normalQuantile } from '../statistics/normal.ts';
import type { PolicyProblem } from './check.ts';
import { metricRange } from './scale.ts';
import { type Evaluation, isControl, type LevelRule, levelAt, levelMarks, type Policy } from './schema.ts';

/** Two levels nearer than this in skill: one ordinary doubling can pass both. A judgement. */
export const USUAL_RISE_PER_DOUBLING = 0.1;
/** Two measurements tell two scores apart by this much, one-sided. */
const CONFIDENCE = 0.95;
/** This near to the best possible score there is nothing left to see. A judgement. */
const SATURATED = 0.95;

export function measureWarnings(policy: Policy): PolicyProblem[] {
  return policy.evaluations.flatMap((spec, i) => {
    const path = `evaluations.${i}`;
    if (isControl(spec)) return sideBySide(spec, path);
    return [
      ...nearLevels(spec, path),
      ...ofReference(policy, spec, path),
      ...drawsNothing(policy, spec, path),
      ...sideBySide(spec, path),
    ];
  });
}

/** What its evaluations do not cover: blind at their n, or of a category of which a low level would rest on little. */
export function evaluationGaps({ categories, evaluations }: Policy): PolicyProblem[] {
  const before = (id: string): Evaluation[] =>
    evaluations.filter(({ category, stage }) => category === id && stage === 'pre-mitigation');
  const replaced = new Set(evaluations.flatMap(({ succeeds }) => succeeds?.evaluation ?? []));
  const ids = categories.map(({ id }) => id);
  const alone = ids.flatMap((id) => {
    const [only, ...others] = before(id).filter((spec) => !isControl(spec) && !replaced.has(spec.id));
    return only === undefined || others.length > 0 ? [] : [`${id} (${only.id})`];
  });
  const uncontrolled = ids.filter((id) => !before(id).some(isControl));
  const gap = (names: readonly string[], message: string): PolicyProblem[] =>
    names.length === 0 ? [] : [{ path: 'categories', message: `${message}: ${names.join(', ')}` }];
  return [
    ...evaluations.flatMap((spec, i) =>
      isControl(spec)
        ? []
        : [...blindSpots(spec, `evaluations.${i}`), ...outOfReach(spec, `evaluations.${i}`)],
    ),
    ...gap(alone, 'rest on a single evaluation, and what that does not see nothing sees'),
    ...gap(
      uncontrolled,
      'have no benign control, so that a low score could come of a broken harness or an unwilling model',
    ),
  ];
}

/** Pairs of levels, with the scores at which they begin; the scale's own ends are no thresholds. */
function neighbours(spec: Evaluation) {
  const { medium, high, critical } = levelMarks(spec);
  return [
    ['medium', medium, 'high', high],
    ['high', high, 'critical', critical],
  ] as const;
}

function nearLevels(spec: Evaluation, path: string): PolicyProblem[] {
  const { chance, best } = spec.score;
  return neighbours(spec).flatMap(([below, from, above, to]) => {
    const gap = Math.abs((to - from) / (best - chance));
    if (gap >= USUAL_RISE_PER_DOUBLING) return [];
    return [
      {
        path: `${path}.levels.${above}`,
        message: `lies only ${(100 * gap).toFixed(0)} % of the scale above ${below}: one doubling can pass both`,
      },
    ];
  });
}

/** What two samples of `minSamples` tell apart is more than a level is wide. */
function blindSpots(spec: Evaluation, path: string): PolicyProblem[] {
  const { kind, minSamples } = spec.score;
  if (kind !== 'proportion' || spec.score.control !== undefined) return [];
  const [low, top] = metricRange(spec);
  return neighbours(spec).flatMap(([below, from, above, to]) => {
    const share = (from - low) / (top - low);
    const noise = Math.sqrt((2 * Math.max(0, share * (1 - share))) / minSamples) * (top - low);
    const told = normalQuantile(CONFIDENCE) * noise;
    if (told <= Math.abs(to - from)) return [];
    return [
      {
        path: `${path}.score.minSamples`,
        message: `at n = ${minSamples} two measurements tell scores apart by ${told.toFixed(2)}, and ${below} and ${above} are ${Math.abs(to - from).toFixed(2)} apart: a rise of a whole level is not seen`,
      },
    ];
  });
}

function ofReference(policy: Policy, spec: Evaluation, path: string): PolicyProblem[] {
  const { reference, chance, best } = spec.score;
  if (reference === undefined) return [];
  const at = `${path}.score.reference`;
  const { model = 'the reference', date } = reference;
  const named = `${model}${date === undefined ? '' : ` (${date})`}`;
  const map = { chance, best, levels: levelMarks(spec) };
  const skill = (reference.score - chance) / (best - chance);
  const level = levelOfScore(reference.score, map);
  if (skill >= SATURATED || level >= levelAt('critical')) {
    const where =
      skill >= SATURATED ? `${(100 * skill).toFixed(0)} % of the way to the best` : levelText(level);
    return [
      {
        path: at,
        message: `saturated: ${named} scores ${reference.score}, ${where}; it cannot show a rise any more`,
      },
    ];
  }
  const next = levelOfScore(reference.score + USUAL_RISE_PER_DOUBLING * (best - chance), map);
  const reached = withMargin(next, spec.elicitationMargin);
  const halting = haltingLevel(policy, spec);
  if (halting === null || reached < halting) return [];
  const now = withMargin(level, spec.elicitationMargin);
  const already =
    now >= halting ? `is at ${levelText(now)}` : `comes to ${levelText(reached)} with one doubling more`;
  return [
    { path: at, message: `no headroom: ${named} ${already}, margin added, and ${levelText(halting)} halts` },
  ];
}

/** Further samples are asked for by a finding that an upper level is reached. */
function drawsNothing(policy: Policy, spec: Evaluation, path: string): PolicyProblem[] {
  const asks = spec.closingIn !== undefined ? 'closingIn' : spec.topUps > 0 ? 'topUps' : null;
  if (asks === null || levelRules(policy, spec).some(({ basis }) => basis === 'upper')) return [];
  const where = `${spec.category} ${spec.stage}`;
  return [
    {
      path: `${path}.${asks}`,
      message: `never draws a sample: no rule of kind level with basis: upper reads ${where}, so High that is not ruled out is passed over`,
    },
  ];
}

function levelRules({ rules }: Policy, { category, stage }: Evaluation): LevelRule[] {
  return rules
    .filter((rule): rule is LevelRule => rule.kind === 'level')
    .filter((rule) => rule.stage === stage && (rule.categories?.includes(category) ?? true));
}

/** The lowest level of the estimate that halts a run, or null. */
function haltingLevel(policy: Policy, spec: Evaluation): number | null {
  const levels = levelRules(policy, spec)
    .filter(
      ({ then, basis }) => basis === 'estimate' && (then.includes('halt') || then.includes('quarantine')),
    )
    .map(({ atLeast }) => levelAt(atLeast));
  return levels.length === 0 ? null : Math.min(...levels);
}

/** A Critical that only a perfect score reaches, less what noise takes off, is no threshold. */
function outOfReach(spec: Evaluation, path: string): PolicyProblem[] {
  const { kind, minSamples, best, chance } = spec.score;
  if (kind !== 'proportion' || spec.score.control !== undefined) return [];
  const map = { chance, best, levels: levelMarks(spec) };
  const begins = scoreOfLevel(levelAt('critical'), map, spec.elicitationMargin);
  // One sample fewer than all of them.
  const nearly = best - (best - chance) / minSamples;
  if ((begins - nearly) * Math.sign(best - chance) <= 0) return [];
  return [
    {
      path: `${path}.levels.critical`,
      message: `at n = ${minSamples} one sample that fails is below it: Critical takes a perfect score`,
    },
  ];
}

function sideBySide({ id, succeeds }: Evaluation, path: string): PolicyProblem[] {
  if (succeeds === undefined) return [];
  const { evaluation, from } = succeeds;
  const since = from === undefined ? 'the first checkpoint' : `${from} FLOP`;
  return [
    {
      path: `${path}.succeeds`,
      message: `${evaluation} is needed until ${SIDE_BY_SIDE} checkpoints from ${since} on have conclusive results of both; a policy for runs that begin after that may name ${id} alone`,
    },
  ];
}
