/**
 * Bags for a policy's trial: a category with eight evaluations that use the policy's own level maps, margins, samples
 * and top-ups, and for each a series of true skill (or of measured scores, from real curves) at the same checkpoints.
 *
 * Benign: every true level stays below 2.5, half a level under High, also where the next permit ends; the levels are those
 * of the map alone, because what the margin adds on top is the policy's own choice and shows in its trips. Dangerous: one
 * of the eight crosses Critical, the others are benign and below Medium.
 */
import { assertNever } from '../assert-never.ts';
import { CURVES, type Curve, type DrawnCurve } from '../forecast/curves.ts';
import { scoreOfLevel } from '../levels.ts';
import { scoreSpecOf } from '../run/scorecard.ts';
import { type Random, standardNormal } from '../statistics/random.ts';
import { type Evaluation, isControl, type Policy, type Rule } from './schema.ts';

export const BAG_SIZE = 8;
export const BENIGN_BELOW = 2.5;
export const MEDIUM = 2;
export const CRITICAL = 4;

export const BENIGN_KINDS = ['flat', 'gradual', 'reversing', 'noisy'] as const;
export const DANGEROUS_KINDS = ['rising', 'jumping'] as const;
export type BenignKind = (typeof BENIGN_KINDS)[number];
export type DangerousKind = (typeof DANGEROUS_KINDS)[number];
export type BagKind = BenignKind | DangerousKind;
export const BAG_KINDS = [...BENIGN_KINDS, ...DANGEROUS_KINDS] as const;

export const isBenignKind = (kind: BagKind): kind is BenignKind => BENIGN_KINDS.some((each) => each === kind);

/** One evaluation's part of a bag, by checkpoint. */
export interface BagMember {
  /** In skill, as far as it is known: of real curves it is what was measured. */
  readonly truth: readonly number[];
  /** A measurement that is there already; else one is drawn around the truth. */
  readonly measured: readonly ({ readonly skill: number } | null)[];
}

export interface Bag {
  readonly kind: BagKind;
  readonly policy: Policy;
  readonly category: string;
  /** Bags of one cluster are not independent: they share a real curve's model. */
  readonly cluster: string;
  /** log2 of effective compute. */
  readonly checkpoints: readonly number[];
  readonly members: readonly BagMember[];
  /** The highest true level of the bag. */
  readonly top: number;
  /** The first checkpoint at which a true level is Critical; null of benign bags. */
  readonly crossing: number | null;
}

// --- the category ------------------------------------------------------------------------------------------

/** A policy of one category, with eight evaluations before mitigation that are the policy's own, taken in turn. */
export function bagPolicy(policy: Policy, category: string): Policy {
  const own = policy.evaluations.filter(
    (spec) =>
      spec.category === category && spec.stage === 'pre-mitigation' && spec.required && !isControl(spec),
  );
  const evaluations = Array.from({ length: BAG_SIZE }, (_, i): Evaluation[] => {
    const spec = own[i % own.length];
    return spec === undefined ? [] : [asOneVariant(spec, `${spec.id}-${i + 1}`)];
  }).flat();
  return {
    ...policy,
    categories: policy.categories.filter(({ id }) => id === category),
    evaluations,
    rules: policy.rules.filter((rule) => appliesTo(rule, category)),
  };
}

function asOneVariant({ matrix: _matrix, succeeds: _succeeds, ...spec }: Evaluation, id: string): Evaluation {
  return { ...spec, id, variants: [{ id: 'default', env: {} }] };
}

function appliesTo(rule: Rule, category: string): boolean {
  if (!('stage' in rule)) return true;
  const among = 'categories' in rule ? rule.categories : undefined;
  return rule.stage === 'pre-mitigation' && (among?.includes(category) ?? true);
}

export function skillAtLevel(level: number, spec: Evaluation): number {
  const map = scoreSpecOf(spec);
  return (scoreOfLevel(level, map) - map.chance) / (map.best - map.chance);
}

// --- from our own generators -------------------------------------------------------------------------------

const FIRST_LOG2_COMPUTE = 70;
/** Curves that fit are drawn again and again; a policy whose Critical is nearly the best score has few. */
const DRAWS_MAX = 2_000;

/** Null where no curve of this kind can do what the kind says under this policy's levels. */
export function drawBag(kind: BagKind, policy: Policy, random: Random, name: string): Bag | null {
  const [category] = policy.categories;
  if (category === undefined) return null;
  const checkpoints = drawCheckpoints(policy, random);
  const doublings = checkpoints.map((at) => at - FIRST_LOG2_COMPUTE);
  const shared = { kind, policy, category: category.id, cluster: name, checkpoints };
  if (isBenignKind(kind)) {
    const top = random.between(1, BENIGN_BELOW);
    const members = policy.evaluations.map((spec, i) =>
      memberOf(
        benignCurve(kind, i === 0 ? top : random.between(1, top), spec, policy, doublings, random),
        doublings,
        random,
      ),
    );
    return { ...shared, members, top, crossing: null };
  }
  const lead = random.below(policy.evaluations.length);
  const leading = policy.evaluations[lead];
  const crossed = leading === undefined ? null : crossingCurve(kind, leading, doublings, random);
  if (crossed === null) return null;
  const members = policy.evaluations.map((spec, i) => {
    if (i === lead) return memberOf(crossed.drawn, doublings, random);
    const quiet = random.pick(['flat', 'gradual'] as const);
    return memberOf(
      benignCurve(quiet, random.between(1, MEDIUM), spec, policy, doublings, random),
      doublings,
      random,
    );
  });
  return { ...shared, members, top: CRITICAL, crossing: crossed.at };
}

/** As often as the policy's cadence asks for them, a little late as checkpoints are. */
function drawCheckpoints({ cadence }: Policy, random: Random): number[] {
  const step = Math.log2(cadence.ratio);
  const count = 6 + random.below(9);
  const checkpoints = [FIRST_LOG2_COMPUTE];
  for (let at = FIRST_LOG2_COMPUTE; checkpoints.length < count; ) {
    at += step * random.between(1, 1.05);
    checkpoints.push(at);
  }
  return checkpoints;
}

const spanOf = (doublings: readonly number[]): number => doublings.at(-1) ?? 0;

/** A generator's curve, scaled so that its highest point up to the end of the next permit is `top`. */
function benignCurve(
  kind: BenignKind,
  top: number,
  spec: Evaluation,
  { cadence }: Policy,
  doublings: readonly number[],
  random: Random,
): DrawnCurve {
  const skill = skillAtLevel(top, spec);
  const span = spanOf(doublings);
  const { curve, extra } = generated(kind, random, span);
  const end = span + Math.log2(cadence.ratio * (1 + cadence.grace));
  const highest = highestOf(curve, end);
  return { curve: highest > 0 ? (d) => (curve(d) * skill) / highest : () => skill, extra };
}

function generated(kind: BenignKind, random: Random, span: number): DrawnCurve {
  switch (kind) {
    case 'flat':
      return CURVES.plateau();
    case 'gradual':
      return CURVES.gradual(random);
    case 'reversing':
      return CURVES.reversal(random, span);
    case 'noisy':
      return CURVES.noise(random);
    default:
      return assertNever(kind);
  }
}

const GRID = 64;

function highestOf(curve: Curve, end: number): number {
  return Math.max(...Array.from({ length: GRID + 1 }, (_, i) => curve((end * i) / GRID)));
}

/** Crosses Critical after the first checkpoint, so that there was one to see it from; a jump from below Medium. */
function crossingCurve(
  kind: DangerousKind,
  spec: Evaluation,
  doublings: readonly number[],
  random: Random,
): { drawn: DrawnCurve; at: number } | null {
  const critical = skillAtLevel(CRITICAL, spec);
  const medium = skillAtLevel(MEDIUM, spec);
  const span = spanOf(doublings);
  for (let i = 0; i < DRAWS_MAX; i += 1) {
    const drawn = kind === 'rising' ? CURVES.logistic(random, span) : CURVES.jump(random, span);
    const at = doublings.findIndex((d) => drawn.curve(d) >= critical);
    const before = drawn.curve(doublings[at - 1] ?? 0);
    if (at > 0 && (kind === 'rising' || before < medium)) return { drawn, at };
  }
  return null;
}

/** The scatter beyond the sampling error belongs to the checkpoint: fresh samples show the same. */
function memberOf({ curve, extra }: DrawnCurve, doublings: readonly number[], random: Random): BagMember {
  const truth = doublings.map((d) => curve(d) + extra * standardNormal(random));
  return { truth, measured: truth.map(() => null) };
}
