/**
 * What a limit of risk comes to: the steps of a run on which nothing is happening, and of one that rises, under
 * `cadence.risk` and `riskBudget` by the served forecasting method. For `policy check`.
 *
 * Every evaluation before mitigation stands at the same level and is measured without noise; each checkpoint is made where it
 * is due and cleared. What stops at a level is left out: only the risk is looked at.
 */
import { type Compute, log2Compute } from '../compute.ts';
import { categoryTail, type EvaluationHistory } from '../forecast/category-forecast.ts';
import { type Choice, chooseCeiling } from '../forecast/risk-ceiling.ts';
import { servedMethod } from '../forecast/served-method.ts';
import { scoreOfLevel } from '../levels.ts';
import { scoreSpecOf } from '../run/scorecard.ts';
import { roundedShare } from '../statistics/rounded.ts';
import { type CadenceRisk, type Evaluation, isControl, levelAt, type Policy, variantsOf } from './schema.ts';

/** Levels that a doubling adds, and where they begin: low, and for the one that rises up to just below High. */
const KINDS = {
  flat: { start: 1.3, perDoubling: 0 },
  rising: { start: 1.3, perDoubling: 0.3 },
} as const;
export type RiskStepsKind = keyof typeof KINDS;
const LEVEL_MAX = 2.9;
const STEPS_MAX = 12;

export interface RiskStep {
  readonly effectiveCompute: Compute;
  readonly level: number;
  /** The ceiling, and the next due point, as multiples of the compute cleared. */
  readonly ceilingRatio: number;
  readonly dueRatio: number;
  readonly p: number;
  /** At the longest step. */
  readonly pFull: number;
  readonly spent: number;
  /** Over the limit or the budget even at the shortest step. */
  readonly isOver: boolean;
}

export interface RiskSteps {
  readonly kind: RiskStepsKind;
  readonly steps: readonly RiskStep[];
}

/** Null where the policy limits no risk. */
export function riskSteps(policy: Policy): RiskSteps[] | null {
  const { risk } = policy.cadence;
  if (risk === undefined) return null;
  return (['flat', 'rising'] as const).map((kind) => ({ kind, steps: [...stepsOf(kind, policy, risk)] }));
}

function* stepsOf(kind: RiskStepsKind, policy: Policy, limit: CadenceRisk): Generator<RiskStep> {
  const { start, perDoubling } = KINDS[kind];
  const { firstCheckpointBy } = policy.cadence;
  const points: { log2Compute: number; level: number }[] = [];
  let at = firstCheckpointBy;
  let spent = 0;
  for (let i = 0; i < STEPS_MAX; i += 1) {
    const doublings = log2Compute(at) - log2Compute(firstCheckpointBy);
    const level = start + perDoubling * doublings;
    if (level > LEVEL_MAX) return;
    points.push({ log2Compute: log2Compute(at), level });
    const budgetLeft =
      policy.riskBudget === undefined ? null : Math.max(0, roundedShare(policy.riskBudget - spent));
    const choice = chosen(at, points, policy, limit, budgetLeft);
    spent = roundedShare(spent + choice.chosen.p);
    yield stepOf(at, level, choice, spent, limit, budgetLeft);
    if (budgetLeft !== null && choice.chosen.p > budgetLeft) return;
    at = choice.dueCompute;
  }
}

function chosen(
  cleared: Compute,
  points: readonly { log2Compute: number; level: number }[],
  policy: Policy,
  limit: CadenceRisk,
  budgetLeft: number | null,
): Choice {
  const risks = policy.categories.map(({ id: category }) => ({
    category,
    ...categoryTail(servedMethod, historiesOf(category, points, policy), levelAt(limit.level)),
  }));
  return chooseCeiling(cleared, { ...policy.cadence, minRatio: limit.minRatio }, risks, {
    probability: limit.probability,
    budgetLeft,
    referenceUpTo: limit.reference?.upTo ?? null,
  });
}

function historiesOf(
  category: string,
  points: readonly { log2Compute: number; level: number }[],
  { evaluations }: Policy,
): EvaluationHistory[] {
  const isMeasured = (spec: Evaluation): boolean =>
    spec.category === category && spec.stage === 'pre-mitigation' && !isControl(spec);
  return evaluations.filter(isMeasured).flatMap((spec) =>
    variantsOf(spec).map(({ id }) => {
      const map = scoreSpecOf(spec);
      return {
        name: `${spec.id}/${id}`,
        kind: spec.score.kind,
        map,
        elicitationMargin: spec.elicitationMargin,
        points: points.map(({ log2Compute: at, level }) => ({
          log2Compute: at,
          score: scoreOfLevel(level, map),
          stderr: null,
          n: spec.score.minSamples,
        })),
      };
    }),
  );
}

function stepOf(
  at: Compute,
  level: number,
  { chosen: { compute, p }, full, dueCompute }: Choice,
  spent: number,
  { probability }: CadenceRisk,
  budgetLeft: number | null,
): RiskStep {
  const ratio = (value: Compute): number => Number((Number(value) / Number(at)).toFixed(4));
  return {
    effectiveCompute: at,
    level: Number(level.toFixed(2)),
    ceilingRatio: ratio(compute),
    dueRatio: ratio(dueCompute),
    p,
    pFull: full.p,
    spent,
    isOver: p > probability || (budgetLeft !== null && p > budgetLeft),
  };
}
