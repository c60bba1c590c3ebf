/**
 * Compound rules: several levels that together count as a graver one, such as two evaluations at High as Critical.
 *
 * What follows is the rule's own `then`, and whatever the policy's `level` rules would make of the level that it counts as:
 * so "counts as Critical" goes on meaning what Critical means where those rules are changed. No level is written into the
 * scorecard: nothing was measured at it.
 * Counts what is in so far, as every rule here: the second High is not kept waiting for a third evaluation.
 */
import { type Clause, type CompoundRule, type Consequence, levelAt, type Policy } from '../policy/schema.ts';
import type { Basis } from './assess.ts';
import type { Finding } from './finding-documents.ts';
import { armsOf } from './scorecard.ts';
import type { Scorecard } from './scorecard-documents.ts';
import type { CheckpointState } from './state.ts';

interface Counted {
  readonly name: string;
  readonly category: string;
  readonly level: number;
}

/** What one finding is about: the things counted together, and the category where it is one alone. */
interface Group {
  readonly category: string | null;
  readonly reached: readonly Counted[];
}

export function compoundFindings(
  rule: CompoundRule,
  { checkpoint, scorecard, policy }: Pick<Basis, 'checkpoint' | 'scorecard' | 'policy'>,
): Finding[] {
  return groupsOf(rule, checkpoint, scorecard, policy)
    .filter(({ reached }) => reached.length >= rule.count)
    .map(({ category, reached }) => ({
      rule: rule.id,
      kind: 'compound',
      category,
      stage: rule.stage,
      // Names what was counted, so that a waiver of these is none of one more.
      evaluation: reached.map(({ name }) => name).join('+'),
      checkpointId: null,
      observed: reached.length,
      threshold: rule.count,
      basis: rule.basis,
      then: consequencesOf(rule, reached, policy),
      explanation: explanationOf(rule, category, reached, scorecard),
      waived: false,
    }));
}

function groupsOf(
  rule: CompoundRule,
  checkpoint: CheckpointState,
  scorecard: Scorecard,
  policy: Policy,
): Group[] {
  const isCovered = (category: string): boolean => rule.categories?.includes(category) ?? true;
  const categories = categoriesOf(rule, scorecard).filter(({ category }) => isCovered(category));
  const evaluations = evaluationsOf(rule, checkpoint, policy).filter(({ category }) => isCovered(category));
  const threshold = rule.atLeast === undefined ? Number.POSITIVE_INFINITY : levelAt(rule.atLeast);
  const reached = (all: readonly Counted[]): Counted[] => all.filter(({ level }) => level >= threshold);
  if (rule.of === 'categories') return [{ category: null, reached: reached(categories) }];
  if (rule.of === 'evaluations') {
    return scorecard.categories.map(({ id }) => ({
      category: id,
      reached: reached(evaluations.filter(({ category }) => category === id)),
    }));
  }
  const found = rule.of.flatMap((clause) => meets(clause, evaluations, categories) ?? []);
  const [first] = found;
  const isOfOne = found.every(({ category }) => category === first?.category);
  return [{ category: isOfOne ? (first?.category ?? null) : null, reached: found }];
}

function meets(
  { evaluation, category, atLeast }: Clause,
  evaluations: readonly Counted[],
  categories: readonly Counted[],
): Counted | null {
  const found =
    evaluation === undefined
      ? categories.find(({ name }) => name === category)
      : evaluations.find(({ name }) => name === evaluation);
  return found !== undefined && found.level >= levelAt(atLeast) ? found : null;
}

function categoriesOf({ stage, basis }: CompoundRule, { categories }: Scorecard): Counted[] {
  return categories.flatMap(({ id, stages }) => {
    const level = stages[stage]?.[basis] ?? null;
    return level === null ? [] : [{ name: id, category: id, level }];
  });
}

/** The highest of its variants; in the policy's order. */
function evaluationsOf(
  { stage, basis }: CompoundRule,
  { evaluations }: CheckpointState,
  policy: Policy,
): Counted[] {
  const arms = armsOf(evaluations, policy);
  return policy.evaluations
    .filter((spec) => spec.stage === stage)
    .flatMap(({ id, category }) => {
      const levels = arms.filter(({ evaluation }) => evaluation === id).flatMap((arm) => arm.levels);
      return levels.length === 0
        ? []
        : [{ name: id, category, level: Math.max(...levels.map((each) => each[basis])) }];
    });
}

/** A level counted by estimates stands for an upper limit there too; one counted by upper limits for no estimate. */
export function consequencesOf(
  { then, countsAs, stage, basis }: CompoundRule,
  reached: readonly Pick<Counted, 'category'>[],
  policy: Policy,
): Consequence[] {
  if (countsAs === undefined) return [...then];
  const level = levelAt(countsAs);
  const asLevel = policy.rules.flatMap((rule) =>
    rule.kind === 'level' &&
    rule.stage === stage &&
    (rule.basis === 'upper' || basis === 'estimate') &&
    levelAt(rule.atLeast) <= level &&
    (rule.categories === undefined || reached.some(({ category }) => rule.categories?.includes(category)))
      ? rule.then
      : [],
  );
  return [...new Set([...then, ...asLevel])];
}

function explanationOf(
  { stage, count, basis, countsAs }: CompoundRule,
  category: string | null,
  reached: readonly Counted[],
  { categories }: Scorecard,
): string {
  const title = categories.find(({ id }) => id === category)?.title;
  const listed = reached.map(({ name, level }) => `${name} ${level.toFixed(2)}`).join(', ');
  const counts = countsAs === undefined ? '' : `, which counts as ${levelAt(countsAs).toFixed(2)}`;
  return `${title === undefined ? '' : `${title} `}${stage}: ${listed} (${basis}): ${reached.length} together, ${count} suffice${counts}`;
}
