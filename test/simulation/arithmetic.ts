/**
 * The checkers' own arithmetic: levels, confidence limits and durations in plain doubles, written apart from the
 * domain's, so that one mistake is not made twice.
 */
import type { Evaluation, Policy } from '../../src/domain/policy/schema.ts';

/** Doubles hold compute to 16 digits. */
export const CLOSE = 1e-9;
/** Level arithmetic agrees to far better than this; nearer to a threshold nothing is claimed. */
export const LEVEL_CLOSE = 1e-6;

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };

export function ms(duration: string): number {
  const unit = duration.replace(/^\d+/, '');
  return Number.parseInt(duration, 10) * (UNITS[unit] ?? Number.NaN);
}

export function level(score: number, { score: { chance, best }, levels }: Evaluation): number {
  // A benign control has none, and whoever asks for one has a mistake.
  if (levels === undefined) return Number.NaN;
  // As a share of the way from chance to best, rising or falling alike.
  const share = (value: number): number => (value - chance) / (best - chance);
  const x = share(score);
  const marks = [0, share(levels.medium), share(levels.high), share(levels.critical), 1];
  if (x <= 0) return 1;
  for (let i = 1; i < marks.length; i += 1) {
    const from = marks[i - 1] ?? 0;
    const to = marks[i] ?? 1;
    if (x < to) return i + (x - from) / (to - from);
  }
  return 5;
}

export function estimate(score: number, spec: Evaluation): number {
  return Math.min(5, level(score, spec) + spec.elicitationMargin);
}

/** Level of the upper confidence limit in the dangerous direction, margin added. */
export function upper(
  { score, n, stderr }: { score: number; n: number | null; stderr: number | null },
  spec: Evaluation,
  policy: Policy,
): number {
  const z = sharedZ(policy, spec);
  const { chance, best, kind } = spec.score;
  const sign = best >= chance ? 1 : -1;
  const low = kind === 'proportion' ? 0 : Math.min(chance, best);
  const high = kind === 'proportion' ? 1 : Math.max(chance, best);
  let limit = best;
  if (kind === 'proportion' && n !== null && n > 0) {
    // The two roots p of (score - p)^2 = z^2 p (1 - p) / n.
    const a = 1 + (z * z) / n;
    const b = -(2 * score + (z * z) / n);
    const root = Math.sqrt(Math.max(0, b * b - 4 * a * score * score));
    limit = (-b + sign * root) / (2 * a);
  } else if (stderr !== null) {
    limit = score + sign * z * stderr;
  }
  limit = Math.min(high, Math.max(low, limit));
  return Math.max(estimate(score, spec), estimate(limit, spec));
}

function sharedZ(policy: Policy, { category, stage }: Evaluation): number {
  const confidence = policy.categories.find(({ id }) => id === category)?.confidence ?? 0.95;
  let shares = 0;
  for (const spec of policy.evaluations) {
    if (spec.category !== category || spec.stage !== stage || spec.benignControl !== undefined) continue;
    shares += new Set(variantNames(spec)).size;
  }
  const tail = (1 - confidence) / 2 / Math.max(1, shares);
  const known = Z.get(tail);
  if (known !== undefined) return known;
  let from = 0;
  let to = 10;
  for (let i = 0; i < 60; i += 1) {
    const middle = (from + to) / 2;
    if (upperTail(middle) > tail) from = middle;
    else to = middle;
  }
  Z.set(tail, from);
  return from;
}

type Combination = Readonly<Record<string, string | number | undefined>>;

/** What a matrix comes to, each with the axes that it has; written apart from the domain's expansion. */
export function combined({ matrix }: Evaluation): Combination[] {
  if (matrix === undefined) return [];
  const { exclude = [], include = [], poolSeeds: _poolSeeds, ...axes } = matrix;
  let all: Combination[] = [{}];
  for (const [axis, values] of Object.entries(axes)) {
    all = all.flatMap((each) => (values ?? []).map((value) => ({ ...each, [axis]: value })));
  }
  const isLeftOut = (each: Combination): boolean =>
    exclude.some((pattern) => Object.entries(pattern).every(([axis, value]) => each[axis] === value));
  return [...all.filter((each) => !isLeftOut(each)), ...include];
}

/** Beside a matrix the lone `default` is none. */
function listed({ variants, matrix }: Evaluation): Evaluation['variants'] {
  return variants.filter(
    ({ id, env, pool, axes }) =>
      matrix === undefined ||
      id !== 'default' ||
      pool !== undefined ||
      axes !== undefined ||
      Object.keys(env).length > 0,
  );
}

/** On how many variants one evaluation of a checkpoint is asked. */
export const variantCount = (spec: Evaluation): number => listed(spec).length + combined(spec).length;

/** Whether its samples are one with those of others: then its own level is not what counts. */
export function isPooled(spec: Evaluation, variant: string): boolean {
  const own = listed(spec).find(({ id }) => id === variant);
  if (own !== undefined) return own.pool !== undefined;
  return spec.matrix?.seed !== undefined && spec.matrix.poolSeeds !== false;
}

/** Seeds of one combination are one. */
function variantNames(spec: Evaluation): string[] {
  const own = listed(spec).map(({ id, pool }) => (pool === undefined ? `v ${id}` : `p ${pool}`));
  const pools = spec.matrix?.poolSeeds !== false;
  const others = combined(spec).map((axes) =>
    Object.entries(axes)
      .filter(([axis]) => axis !== 'seed' || !pools)
      .map(([axis, value]) => `${axis} ${value}`)
      .sort()
      .join(', '),
  );
  return [...own, ...others];
}

const Z = new Map<number, number>();

/** P(Z > z) by Simpson's rule over the density. */
function upperTail(z: number): number {
  const steps = 2000;
  const width = 12 / steps;
  let sum = 0;
  for (let i = 0; i <= steps; i += 1) {
    const x = z + i * width;
    const weight = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2;
    sum += weight * Math.exp((-x * x) / 2);
  }
  return (sum * width) / 3 / Math.sqrt(2 * Math.PI);
}

export function thresholdOf(atLeast: string | number): number {
  if (typeof atLeast === 'number') return atLeast;
  return { low: 1, medium: 2, high: 3, critical: 4 }[atLeast] ?? Number.NaN;
}

/** What an evaluator said, read by us: a sound result has a finite score on the scale and enough samples. */
export function soundScore(result: unknown, spec: Evaluation): number | null {
  if (typeof result !== 'object' || result === null) return null;
  const { status, score, n, stderr } = Object.fromEntries(Object.entries(result));
  if (status !== 'success' || typeof score !== 'number' || !(score >= 0 && score <= 1)) return null;
  if (typeof n !== 'number' || n < spec.score.minSamples) return null;
  if (spec.score.kind === 'mean' && typeof stderr !== 'number') return null;
  return score;
}

/** A number that may trip, however unsound the rest is. */
export function statedScore(result: unknown): number | null {
  if (typeof result !== 'object' || result === null) return null;
  const { score } = Object.fromEntries(Object.entries(result));
  return typeof score === 'number' && score >= 0 && score <= 1 ? score : null;
}
