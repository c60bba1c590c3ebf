/**
 * The risk of a permit: how far the one that clearing a checkpoint earns may reach, where the policy limits it
 * (`cadence.risk`, `riskBudget`).
 *
 * Sealed before the verdict, so that findings, ceiling and due point are read from the ledger and never from the method. The
 * choice is made anew while the checkpoint is not cleared and its evidence, or what is left of the budget, changes.
 * Only a checkpoint beyond the last that was cleared earns anything: an older one knows less, and must not reach further.
 * A ceiling in force is not taken back; the next checkpoint is due by what was chosen all the same.
 *
 * Spent is what is sealed for the ceiling that stands once a checkpoint is cleared, once for each. Nothing is given back: the
 * permit was issued. A checkpoint cleared again, after its verdict was revised, spends only what is more than before.
 * Not here: the search (forecast/risk-ceiling.ts).
 */
import { sameJson } from '../canonical-json.ts';
import { type Compute, compareCompute, flopText, onePlus, timesCompute } from '../compute.ts';
import { BASES, categoryTail, type EvaluationHistory } from '../forecast/category-forecast.ts';
import { anyOf, chooseCeiling, informed } from '../forecast/risk-ceiling.ts';
import { servedMethod } from '../forecast/served-method.ts';
import { levelText } from '../levels.ts';
import {
  type CadenceRisk,
  type Consequence,
  isControl,
  levelAt,
  type Policy,
  type Stage,
} from '../policy/schema.ts';
import { roundedShare } from '../statistics/rounded.ts';
import { type Context, iso } from './context.ts';
import { specOf } from './evaluation.ts';
import type { RunEvent } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { boundRecord } from './forecast-state.ts';
import type { PermitRisk, RiskTaken } from './risk-documents.ts';
import type { CheckpointState, RunState } from './state.ts';

const STAGE = 'pre-mitigation' satisfies Stage;

/** Whether clearing it moves the run on: beyond the last cleared, or that very one again. */
export function isAhead(
  { lastCleared }: Pick<RunState, 'lastCleared'>,
  checkpoint: CheckpointState,
): boolean {
  return (
    lastCleared === null ||
    lastCleared.checkpointId === checkpoint.checkpointId ||
    compareCompute(checkpoint.effectiveCompute, lastCleared.effectiveCompute) > 0
  );
}

/** null where the run has no budget. */
export function budgetLeft(
  { risk }: Pick<RunState, 'risk'>,
  { riskPaid = 0 }: Pick<CheckpointState, 'riskPaid'>,
  { riskBudget }: Pick<Policy, 'riskBudget'>,
): number | null {
  if (riskBudget === undefined) return null;
  return Math.max(0, roundedShare(riskBudget - (risk?.spent ?? 0) + riskPaid));
}

/** What of a checkpoint only its sealing knows (checkpoint.ts). */
export interface Evidence {
  /** What is required of these is in, or the deadline has passed. */
  readonly isReady: (evaluations: CheckpointState['evaluations']) => boolean;
  readonly historiesOf: (category: string, stage: Stage) => EvaluationHistory[];
}

/** Once every category's required evaluations are in, or the deadline has passed; and again when they change. */
export function sealRisk(
  state: RunState,
  checkpoint: CheckpointState,
  { policy, now }: Pick<Context, 'policy' | 'now'>,
  { isReady, historiesOf }: Evidence,
): RunEvent | null {
  const limit = policy.cadence.risk;
  const { checkpointId, risk: before } = checkpoint;
  const evaluations = checkpoint.evaluations.filter(({ evaluation, beside }) => {
    if (beside !== undefined) return false;
    const spec = specOf(policy, evaluation);
    return spec.stage === STAGE && !isControl(spec);
  });
  if (limit === undefined || evaluations.length === 0 || !isReady(evaluations)) return null;
  if (before !== undefined && before.method !== servedMethod.method) return null;
  const risk = choiceOf(state, checkpoint, policy, limit, historiesOf);
  if (before !== undefined && sameJson(before, risk)) return null;
  return { kind: 'PermitRiskSealed', data: { checkpointId, risk, at: iso(now) } };
}

interface Choice {
  readonly policy: Policy;
  readonly series: RunState['series'];
  readonly bounds: RunState['bounds'];
  readonly left: number | null;
  readonly risk: PermitRisk;
}

/** While nothing that it rests on changes, every decision would work out the same. By the list of what was measured. */
const known = new WeakMap<CheckpointState['evaluations'], Choice>();

function choiceOf(
  state: RunState,
  checkpoint: CheckpointState,
  policy: Policy,
  limit: CadenceRisk,
  historiesOf: Evidence['historiesOf'],
): PermitRisk {
  const { series, bounds } = state;
  const left = budgetLeft(state, checkpoint, policy);
  const last = known.get(checkpoint.evaluations);
  if (last?.policy === policy && last.series === series && last.bounds === bounds && last.left === left)
    return last.risk;
  const level = levelAt(limit.level);
  const evaluated = checkpoint.evaluations
    .map(({ evaluation }) => specOf(policy, evaluation))
    .filter((spec) => !isControl(spec));
  const measured = policy.categories.filter(({ id }) =>
    evaluated.some((spec) => spec.category === id && spec.stage === STAGE),
  );
  const choice = chooseCeiling(
    checkpoint.effectiveCompute,
    { ...policy.cadence, minRatio: limit.minRatio },
    measured.map(({ id: category }) => ({
      category,
      ...categoryTail(
        servedMethod,
        historiesOf(category, STAGE),
        level,
        boundRecord(state, { category, stage: STAGE }),
      ),
    })),
    {
      probability: limit.probability,
      budgetLeft: left,
      referenceUpTo: limit.reference?.upTo ?? null,
    },
  );
  const risk = {
    level,
    method: servedMethod.method,
    basis: standingBasis(choice.categories, limit.probability),
    probability: limit.probability,
    budgetLeft: left,
    ...choice,
    categories: [...choice.categories],
  };
  known.set(checkpoint.evaluations, { policy, series, bounds, left, risk });
  return risk;
}

type Categories = readonly Pick<PermitRisk['categories'][number], 'basis' | 'least'>[];

const atLeastStep = (categories: Categories) => categories.map(({ basis, least }) => ({ basis, p: least }));

/** What is mostly prior excuses nothing that the run's own history says by itself. */
function standingBasis(categories: Categories, probability: number): PermitRisk['basis'] {
  const speaks = informed(atLeastStep(categories)) > probability;
  const counted = speaks ? categories.filter(({ basis }) => basis !== 'mostly-prior') : categories;
  return BASES.find((basis) => counted.some((each) => each.basis === basis)) ?? 'mostly-prior';
}

// --- findings ------------------------------------------------------------------------------------------

/** From sealed figures alone. */
export function riskFindings({ risk }: Pick<CheckpointState, 'risk'>, policy: Policy): Finding[] {
  const limit = policy.cadence.risk;
  if (risk === undefined || limit === undefined) return [];
  return [...limitFindings(risk, limit, policy), ...budgetFindings(risk, policy)];
}

function limitFindings(risk: PermitRisk, limit: CadenceRisk, policy: Policy): Finding[] {
  const { least, basis, probability } = risk;
  const { whenMostlyPrior, reference, minRatio } = limit;
  const isCovered = reference !== undefined && compareCompute(least.compute, reference.upTo) <= 0;
  const observed = isCovered ? informed(atLeastStep(risk.categories)) : least.p;
  if (observed <= probability) return [];
  const isPrior = basis === 'mostly-prior';
  if (isPrior && whenMostlyPrior === 'ignore') return [];
  const then: Consequence[] = isPrior ? [whenMostlyPrior] : ['halt'];
  return [
    finding('risk', observed, probability, basis, then, [
      `even the shortest step (${minRatio} x, up to ${flopText(least.compute)}) risks ${percent(observed)} that ${reaches(risk)}, and a permit may risk ${percent(probability)}`,
      ...(isPrior ? ['with so few points that is mostly prior, so the step is the shortest'] : []),
      figures(risk, policy),
      `it would not fire if that were at most ${percent(probability)}`,
    ]),
  ];
}

/** People decide, whatever the forecast rests on. */
function budgetFindings(risk: PermitRisk, policy: Policy): Finding[] {
  const { least, budgetLeft: left, basis } = risk;
  const { riskBudget } = policy;
  if (riskBudget === undefined || left === null || least.p <= left) return [];
  return [
    finding(
      'risk-budget',
      least.p,
      left,
      basis,
      ['hold'],
      [
        `the run's risk budget is spent: ${percent(left)} of ${percent(riskBudget)} are left, and even the shortest step (up to ${flopText(least.compute)}) takes ${percent(least.p)} that ${reaches(risk)}`,
        figures(risk, policy),
        `it would not fire if that were at most ${percent(left)}; to go on takes sign-offs, for each further permit`,
      ],
    ),
  ];
}

/** Limits of risk are small: two decimals. */
const percent = (p: number): string => `${(100 * p).toFixed(2)} %`;

const reaches = ({ level }: PermitRisk): string => `some category reaches ${levelText(level)}`;

function figures({ least, basis, categories }: PermitRisk, policy: Policy): string {
  const titles = new Map(policy.categories.map(({ id, title }) => [id, title]));
  const gravest = [...categories].sort((a, b) => b.least - a.least).slice(0, 3);
  const each = gravest.map(
    ({ category, least: p, points }) =>
      `${titles.get(category) ?? category} ${percent(p)} from ${points} ${points === 1 ? 'point' : 'points'}`,
  );
  return `${each.join(', ')}; greatest ${percent(least.greatest)}, sum ${percent(least.sum)}, ${basis}`;
}

function finding(
  rule: 'risk' | 'risk-budget',
  observed: number,
  threshold: number,
  basis: PermitRisk['basis'],
  then: Consequence[],
  sentences: readonly string[],
): Finding {
  return {
    rule,
    kind: rule,
    category: null,
    stage: STAGE,
    evaluation: null,
    checkpointId: null,
    observed,
    threshold,
    basis,
    then,
    explanation: sentences.join('; '),
    waived: false,
  };
}

// --- what it earns ---------------------------------------------------------------------------------------

/** The ceiling that clearing it earns by its risk; null: none, what is in force stays. */
export function ceilingWithin(
  state: RunState,
  checkpoint: CheckpointState,
  { cadence }: Policy,
  earned: Compute,
): Compute | null {
  if (cadence.risk === undefined) return earned;
  return isAhead(state, checkpoint) ? (checkpoint.risk?.chosen.compute ?? null) : null;
}

/** `ceiling`: what stands once it is cleared. Beyond the chosen one counts the greatest figure that is sealed. */
export function riskTaken(
  state: RunState,
  checkpoint: CheckpointState,
  ceiling: Compute | null,
): RiskTaken | undefined {
  const { risk, riskPaid = 0 } = checkpoint;
  if (risk === undefined || ceiling === null || !isAhead(state, checkpoint)) return undefined;
  const { chosen, full, dueCompute } = risk;
  const { p, compute } = compareCompute(ceiling, chosen.compute) <= 0 ? chosen : full;
  const spends = Math.max(0, roundedShare(p - riskPaid));
  return { dueCompute, p, compute, spends, spent: roundedShare((state.risk?.spent ?? 0) + spends) };
}

/** What a run has taken of the risk that its policy allows, for those who read; null where it limits none. */
export function runRisk({ risk }: Pick<RunState, 'risk'>, policy: Policy) {
  const limit = policy.cadence.risk;
  if (limit === undefined) return null;
  const { riskBudget } = policy;
  return {
    level: levelAt(limit.level),
    probability: limit.probability,
    spent: risk?.spent ?? 0,
    budget: riskBudget ?? null,
    budgetLeft: budgetLeft({ risk }, {}, policy),
    permit: risk === undefined ? null : { p: risk.p, compute: risk.compute, choice: risk.sealed },
  };
}

// --- replay ----------------------------------------------------------------------------------------------

/** Do the sealed figures follow from the policy, the budget and each other? The method is not asked again. */
export function riskProblem(
  state: RunState,
  checkpoint: CheckpointState,
  risk: PermitRisk,
  policy: Policy,
): string | null {
  const limit = policy.cadence.risk;
  if (limit === undefined) return 'the policy limits no risk';
  const { ratio, grace } = policy.cadence;
  const { least, chosen, full, categories, dueCompute } = risk;
  const cleared = checkpoint.effectiveCompute;
  const is = (a: Compute, b: Compute): boolean => compareCompute(a, b) === 0;
  if (!isAhead(state, checkpoint)) return 'it earns nothing';
  if (risk.level !== levelAt(limit.level) || risk.probability !== limit.probability) {
    return 'the policy has another limit';
  }
  if (risk.budgetLeft !== budgetLeft(state, checkpoint, policy)) return 'another part of the budget was left';
  if (!is(least.compute, timesCompute(cleared, limit.minRatio))) return 'the shortest step ends elsewhere';
  if (!is(full.compute, timesCompute(cleared, ratio, onePlus(grace))))
    return 'the longest step ends elsewhere';
  if (compareCompute(chosen.compute, least.compute) < 0)
    return 'the ceiling is nearer than the shortest step';
  if (compareCompute(chosen.compute, full.compute) > 0) return 'the ceiling is beyond the longest step';
  if (compareCompute(dueCompute, chosen.compute) > 0) return 'the next checkpoint is due beyond the ceiling';
  const agrees = (['least', 'chosen', 'full'] as const).every((step) => {
    const { p, greatest, sum } = anyOf(categories.map((each) => each[step]));
    return p === risk[step].p && greatest === risk[step].greatest && sum === risk[step].sum;
  });
  if (!agrees) return 'the categories give another risk';
  if (risk.basis !== standingBasis(categories, limit.probability)) return 'the categories give another basis';
  if (is(chosen.compute, least.compute)) return null;
  const { reference } = limit;
  const isCovered = reference !== undefined && compareCompute(chosen.compute, reference.upTo) <= 0;
  const judged = isCovered ? informed(categories.map(({ basis, chosen: p }) => ({ basis, p }))) : chosen.p;
  const isOver = judged > limit.probability || (risk.budgetLeft !== null && chosen.p > risk.budgetLeft);
  return isOver ? 'the ceiling risks more than the policy lets a permit risk' : null;
}
