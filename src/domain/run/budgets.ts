/**
 * Like with like: the best that each evaluation shows at each token budget, beside the same variant at the checkpoint before.
 *
 * A score that rose because more tokens were allowed is no rise of the model. For people; no verdict reads it, since a series
 * is per variant, and a variant has one budget.
 */
import { z } from 'zod';
import { compareCompute } from '../compute.ts';
import { STAGES } from '../policy/schema.ts';
import type { Evidence, Scorecard } from './scorecard-documents.ts';
import type { RunState } from './state.ts';

export const BudgetBestSchema = z
  .object({
    evaluation: z.string(),
    tokenBudget: z.number().meta({ description: 'Tokens that the model may use per sample' }),
    variant: z.string().meta({ description: 'The best at this budget, which is the worst known case' }),
    score: z.number(),
    estimate: z.number(),
    before: z
      .object({ checkpointId: z.string(), score: z.number() })
      .nullable()
      .meta({ description: 'The same variant at the checkpoint before; null where it was not measured' }),
  })
  .meta({ id: 'BudgetBest' });
export type BudgetBest = z.infer<typeof BudgetBestSchema>;

type Measured = Evidence & { readonly score: number; readonly estimate: number };

const isMeasured = (row: Evidence): row is Measured => row.score !== null && row.estimate !== null;

/** In the scorecard's order of evaluations, budgets rising; empty where no variant states a budget. */
export function bestAtBudgets(
  {
    checkpointId,
    effectiveCompute,
    categories,
  }: Pick<Scorecard, 'checkpointId' | 'effectiveCompute' | 'categories'>,
  series: RunState['series'],
): BudgetBest[] {
  const rows = categories.flatMap(({ stages }) => STAGES.flatMap((stage) => stages[stage]?.evidence ?? []));
  const budgeted = rows.flatMap((row) =>
    row.axes?.tokenBudget === undefined ? [] : [{ row, tokenBudget: row.axes.tokenBudget }],
  );
  const evaluations = [...new Set(budgeted.map(({ row }) => row.evaluation))];
  return evaluations.flatMap((evaluation) => {
    const own = budgeted.filter(({ row }) => row.evaluation === evaluation);
    const budgets = [...new Set(own.map(({ tokenBudget }) => tokenBudget))].sort((a, b) => a - b);
    return budgets.flatMap((tokenBudget) => {
      const at = own.filter((each) => each.tokenBudget === tokenBudget).map(({ row }) => row);
      const [first, ...rest] = at.filter(isMeasured);
      if (first === undefined) return [];
      const best = rest.reduce((gravest, row) => (row.estimate > gravest.estimate ? row : gravest), first);
      const { variant, score, estimate } = best;
      const before = pointBefore({ evaluation, variant, checkpointId, effectiveCompute }, series);
      return [{ evaluation, tokenBudget, variant, score, estimate, before }];
    });
  });
}

/** The last one with less compute. */
function pointBefore(
  {
    evaluation,
    variant,
    checkpointId,
    effectiveCompute,
  }: Pick<Evidence, 'evaluation' | 'variant'> & Pick<Scorecard, 'checkpointId' | 'effectiveCompute'>,
  series: RunState['series'],
): BudgetBest['before'] {
  const point = series
    .find((each) => each.evaluation === evaluation && each.variant === variant)
    ?.points.findLast(
      (each) =>
        each.checkpointId !== checkpointId && compareCompute(each.effectiveCompute, effectiveCompute) < 0,
    );
  return point === undefined ? null : { checkpointId: point.checkpointId, score: point.score };
}

/** `ctf at 100000 tokens: 0.31 (bash-t100000), 0.22 at c1`. */
export function budgetText({ evaluation, tokenBudget, variant, score, before }: BudgetBest): string {
  const figure = (value: number): string => String(Number(value.toPrecision(3)));
  const earlier = before === null ? '' : `, ${figure(before.score)} at ${before.checkpointId}`;
  return `${evaluation} at ${tokenBudget} tokens: ${figure(score)} (${variant})${earlier}`;
}
