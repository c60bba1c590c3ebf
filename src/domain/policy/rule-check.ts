/** `policy check`, of `compound` and `refusal` rules: they name what there is, and something follows. */
import type { PolicyProblem } from './check.ts';
import { type CompoundRule, isControl, levelAt, type Policy, type RefusalRule } from './schema.ts';
import { rootOf } from './succeeds.ts';

type Levels = Extract<Policy['rules'][number], { kind: 'level' }>;

export function compoundProblems(policy: Policy, rule: CompoundRule, path: string): PolicyProblem[] {
  const problems: PolicyProblem[] = [];
  const add = (member: string, message: string): void => {
    problems.push({ path: `${path}.${member}`, message });
  };
  const measured = policy.evaluations.filter(
    (spec) => spec.stage === rule.stage && !isControl(spec) && covers(rule, spec.category),
  );
  const isListed = typeof rule.of !== 'string';
  if (isListed === (rule.atLeast !== undefined)) {
    add('atLeast', isListed ? 'is stated by each clause of `of`: leave it out here' : 'is required');
  }
  if (typeof rule.of !== 'string') {
    for (const [i, { evaluation, category }] of rule.of.entries()) {
      const isThere = measured.some((spec) =>
        evaluation === undefined ? spec.category === category : spec.id === evaluation,
      );
      if (!isThere) add(`of.${i}`, `${evaluation ?? category} has no level at ${rule.stage} here`);
    }
  }
  const most = countable(rule, measured, policy);
  if (rule.count > most) add('count', `must be at most ${most}: there are no more to count`);
  if (rule.then.length === 0 && !policy.rules.some((each) => each.kind === 'level' && isMeant(rule, each))) {
    add(
      rule.countsAs === undefined ? 'then' : 'countsAs',
      'nothing follows: state then, or countsAs a level that a level rule of the stage acts on',
    );
  }
  return problems;
}

const covers = ({ categories }: CompoundRule, category: string): boolean =>
  categories?.includes(category) ?? true;

/** Of a rule over evaluations, in the category that has most of them; one and what it succeeds are one. */
function countable({ of }: CompoundRule, measured: Policy['evaluations'], policy: Policy): number {
  const categories = [...new Set(measured.map(({ category }) => category))];
  if (of === 'categories') return categories.length;
  if (of !== 'evaluations') return of.length;
  const roots = categories.map(
    (id) =>
      new Set(measured.filter(({ category }) => category === id).map((spec) => rootOf(policy, spec.id))),
  );
  return Math.max(0, ...roots.map(({ size }) => size));
}

function isMeant({ countsAs, stage, basis }: CompoundRule, rule: Levels): boolean {
  return (
    countsAs !== undefined &&
    rule.stage === stage &&
    (rule.basis === 'upper' || basis === 'estimate') &&
    levelAt(rule.atLeast) <= levelAt(countsAs)
  );
}

export function refusalProblems({ evaluations }: Policy, rule: RefusalRule, path: string): PolicyProblem[] {
  return (rule.evaluations ?? []).flatMap((name) =>
    evaluations.some(({ id, stage }) => id === name && stage === rule.stage)
      ? []
      : [
          {
            path: `${path}.evaluations`,
            message: `${name} is no evaluation of this policy at ${rule.stage}`,
          },
        ],
  );
}
