/**
 * The interval as actuator: the furthest ceiling at which the risk that any category reaches a level stays within what
 * a permit may take.
 *
 * Between the shortest step and the longest lie STEPS + 1 ceilings, evenly in log compute, looked at from the shortest on up
 * to the first that is over the limit. A risk never falls with compute here: what was risked on the way counts, also where
 * the forecast of a later point is lower. So a smaller limit, or a graver forecast, never gives a further ceiling.
 * Categories are combined as evaluations within one are (combine.ts): nobody knows what depends on what.
 */
import { type Compute, compareCompute, log2Compute, onePlus, shortened, timesCompute } from '../compute.ts';
import type { CategoryTail } from './category-forecast.ts';
import { type Combined, combine, rounded } from './combine.ts';

const STEPS = 16;
/** Of the due point, so that people and trainers can name it. */
const DUE_DIGITS = 6;

export interface Cadence {
  readonly ratio: number;
  readonly grace: number;
  readonly minRatio: number;
}

export interface CategoryRisk extends CategoryTail {
  readonly category: string;
}

export interface Limits {
  /** Of one permit. */
  readonly probability: number;
  /** What is left of the run's budget; null where it has none. */
  readonly budgetLeft: number | null;
  /** Up to here what is mostly prior does not count against `probability`. */
  readonly referenceUpTo: Compute | null;
}

/** A ceiling, and how likely some category is to reach the level by then. */
export interface RiskAt extends Combined {
  readonly compute: Compute;
}

export interface Choice {
  readonly least: RiskAt;
  readonly chosen: RiskAt;
  readonly full: RiskAt;
  /** From here on the next checkpoint is due: a grace before the chosen ceiling. */
  readonly dueCompute: Compute;
  readonly categories: readonly {
    readonly category: string;
    readonly basis: CategoryTail['basis'];
    readonly points: number;
    readonly least: number;
    readonly chosen: number;
    readonly full: number;
  }[];
}

type Part = Pick<CategoryRisk, 'basis'> & { readonly p: number };

export function chooseCeiling(
  cleared: Compute,
  cadence: Cadence,
  risks: readonly CategoryRisk[],
  limits: Limits,
): Choice {
  const steps = stepsOf(cleared, cadence);
  const figures = risks.map((risk) => ({ ...risk, values: risen(steps, risk) }));
  const partsAt = (i: number): Part[] => figures.map(({ basis, values }) => ({ basis, p: values[i] ?? 1 }));
  const over = steps.findIndex(({ compute }, i) => !isWithin(partsAt(i), compute, limits));
  const last = steps.length - 1;
  const chosen = over < 0 ? last : Math.max(0, over - 1);
  const riskAt = (i: number): RiskAt => ({
    compute: steps[i]?.compute ?? cleared,
    ...anyOf(partsAt(i).map(({ p }) => p)),
  });
  return {
    least: riskAt(0),
    chosen: riskAt(chosen),
    full: riskAt(last),
    dueCompute: steps[chosen]?.dueCompute ?? cleared,
    categories: figures.map(({ category, basis, points, values }) => ({
      category,
      basis,
      points,
      least: values[0] ?? 1,
      chosen: values[chosen] ?? 1,
      full: values[last] ?? 1,
    })),
  };
}

function isWithin(
  parts: readonly Part[],
  compute: Compute,
  { probability, budgetLeft, referenceUpTo }: Limits,
): boolean {
  const isCovered = referenceUpTo !== null && compareCompute(compute, referenceUpTo) <= 0;
  const total = anyOf(parts.map(({ p }) => p)).p;
  const judged = isCovered ? informed(parts) : total;
  return judged <= probability && (budgetLeft === null || total <= budgetLeft);
}

/** Of the categories whose forecast rests on the run's own history. */
export function informed(parts: readonly Part[]): number {
  return anyOf(parts.filter(({ basis }) => basis !== 'mostly-prior').map(({ p }) => p)).p;
}

/** As figures are sealed: to six decimals. */
export function anyOf(probabilities: readonly number[]): Combined {
  return rounded(combine(probabilities));
}

// --- steps ---------------------------------------------------------------------------------------------

interface Step {
  readonly compute: Compute;
  readonly dueCompute: Compute;
}

/** The first is minRatio x cleared, the last what the cadence earns without a risk. */
function stepsOf(cleared: Compute, { ratio, grace, minRatio }: Cadence): Step[] {
  const width = Math.log((ratio * (1 + grace)) / minRatio);
  const between = Array.from({ length: STEPS }, (_, i): Step => {
    const factor = i === 0 ? minRatio : roundedDown(minRatio * Math.exp((width * i) / STEPS));
    const due = timesCompute(cleared, roundedDown(factor / (1 + grace)));
    return { compute: timesCompute(cleared, factor), dueCompute: shortened(due, DUE_DIGITS) };
  });
  const dueCompute = timesCompute(cleared, ratio);
  return [...between, { compute: timesCompute(dueCompute, onePlus(grace)), dueCompute }];
}

const roundedDown = (factor: number): number => Math.floor(factor * 1e4) / 1e4;

/** P at each step, and at least what it was before. */
function risen(steps: readonly Step[], { atLeast }: CategoryTail): number[] {
  let most = 0;
  return steps.map(({ compute }) => {
    most = Math.max(most, atLeast(log2Compute(compute)));
    return most;
  });
}
