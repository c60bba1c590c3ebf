/**
 * The variants of an evaluation: those that the policy lists, and those that its matrix of axes comes to.
 *
 * A pure function of the policy, and the same for ever: a pinned policy must name the same variants in every version of
 * Interlock, or a run's series would end. So the expansion goes by the fixed order of axes and by each list's own order.
 * The policy keeps the matrix as it was written; nothing that is expanded goes into it or into its digest.
 */
import { AXES, type Axes, type Axis, type Matrix } from './axes.ts';
import type { Evaluation, Variant } from './evaluation-schema.ts';

export const VARIANTS_MAX = 50;

type Varied = Pick<Evaluation, 'variants' | 'matrix'>;

const expanded = new WeakMap<Varied, readonly Variant[]>();

/** In the order in which they are evaluated and shown. Beside a matrix the lone `default` variant is none. */
export function variantsOf(spec: Varied): readonly Variant[] {
  const { matrix } = spec;
  if (matrix === undefined) return spec.variants;
  const last = expanded.get(spec);
  if (last !== undefined) return last;
  const variants = [...spec.variants.filter((variant) => !isDefault(variant)), ...expand(matrix)];
  expanded.set(spec, variants);
  return variants;
}

/** The pool is the rest of the id: seeds of one combination are one variant, as a `pool` of listed ones is. */
function expand(matrix: Matrix): Variant[] {
  return combinations(matrix).map((axes) => {
    const { seed, ...others } = axes;
    const id = idOf(axes);
    const pools = seed !== undefined && matrix.poolSeeds !== false;
    return { id, env: {}, axes, ...(pools ? { pool: idOf(others) || 'seeds' } : {}) };
  });
}

export function combinations(matrix: Matrix): Axes[] {
  const all = stated(matrix).reduce<Axes[]>(
    (before, axis) =>
      before.flatMap((axes) => (matrix[axis] ?? []).map((value): Axes => ({ ...axes, [axis]: value }))),
    [{}],
  );
  const kept = all.filter(
    (axes) =>
      Object.keys(axes).length > 0 && !(matrix.exclude ?? []).some((pattern) => matches(axes, pattern)),
  );
  return [...kept, ...(matrix.include ?? [])];
}

/** Before anything is left out or added: known without making them. */
export function combinationCount(matrix: Matrix): number {
  const axes = stated(matrix);
  return axes.length === 0 ? 0 : axes.reduce((product, axis) => product * (matrix[axis]?.length ?? 1), 1);
}

export const stated = (matrix: Matrix): Axis[] => AXES.filter((axis) => matrix[axis] !== undefined);

/** Agrees in every axis that the pattern names. */
export function matches(axes: Axes, pattern: Axes): boolean {
  return AXES.every((axis) => pattern[axis] === undefined || pattern[axis] === axes[axis]);
}

const isDefault = ({ id, env, pool, axes }: Variant): boolean =>
  id === 'default' && Object.keys(env).length === 0 && pool === undefined && axes === undefined;

/** Numbers say what they are numbers of: `bash-react-t100000-s1`. */
const PREFIXES: Partial<Record<Axis, string>> = {
  elicitation: 'e',
  tokenBudget: 't',
  noise: 'noise',
  seed: 's',
};

function idOf(axes: Axes): string {
  return AXES.flatMap((axis) => {
    const value = axes[axis];
    return value === undefined ? [] : [`${PREFIXES[axis] ?? ''}${String(value)}`];
  })
    .join('-')
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, '-');
}
