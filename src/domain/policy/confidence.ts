/** How sure a category's levels have to be, shared over the evidence that could raise them (Bonferroni). */
import { sharedZ } from '../levels.ts';
import type { Category, Evaluation, Policy, Stage } from './schema.ts';

/** How many evidences share the category's confidence: variants and seeds pooled count once. */
export function evidenceCount(policy: Policy, category: string, stage: Stage): number {
  return policy.evaluations
    .filter((spec) => spec.category === category && spec.stage === stage)
    .reduce(
      (sum, spec) => sum + new Set(spec.variants.map(({ id, pool }) => pool ?? `variant ${id}`)).size,
      0,
    );
}

export function categoryOf(policy: Policy, id: string): Category {
  const category = policy.categories.find((each) => each.id === id);
  if (category === undefined) throw new RangeError(`the pinned policy has no category ${id}`);
  return category;
}

export function confidenceZ(policy: Policy, spec: Pick<Evaluation, 'category' | 'stage'>): number {
  const { confidence } = categoryOf(policy, spec.category);
  return sharedZ(confidence, evidenceCount(policy, spec.category, spec.stage));
}
