/** `policy check`, of one evaluation: its variants, its benign control, and the evaluation that it succeeds. */
import { type CommandPlaceholder, placeholdersIn } from '../executor-fields.ts';
import { AXES, type Axis, axesText } from './axes.ts';
import type { PolicyProblem } from './check.ts';
import { type Evaluation, isControl, NameSchema, type Policy } from './schema.ts';
import { combinationCount, combinations, matches, stated, VARIANTS_MAX, variantsOf } from './variants.ts';

export function variantProblems(policy: Policy, spec: Evaluation, path: string): PolicyProblem[] {
  return [
    ...matrixProblems(spec, `${path}.matrix`),
    ...controlProblems(spec, path),
    ...successionProblems(policy, spec, `${path}.succeeds`),
  ];
}

function matrixProblems(spec: Evaluation, path: string): PolicyProblem[] {
  const { matrix } = spec;
  if (matrix === undefined) return placeholderProblems(spec, path);
  const axes = stated(matrix);
  if (axes.length === 0 && matrix.include === undefined) {
    return [{ path, message: `names no axis; there are ${AXES.join(', ')}` }];
  }
  const product = axes.map((axis) => `${axis} ${matrix[axis]?.length ?? 0}`).join(' x ');
  // A product is known without being made: 50 values on each of nine axes would fill no memory.
  const before = combinationCount(matrix);
  const tooMany = `comes to ${before} combinations (${product})`;
  if (before > COMBINATIONS_MAX)
    return [{ path, message: `${tooMany}; make it ${COMBINATIONS_MAX} at most` }];
  const problems = (matrix.exclude ?? []).flatMap((pattern, i) =>
    combinations({ ...matrix, exclude: undefined, include: undefined }).some((each) => matches(each, pattern))
      ? []
      : [{ path: `${path}.exclude.${i}`, message: `no combination has ${axesText(pattern)}` }],
  );
  const variants = variantsOf(spec);
  if (variants.length > VARIANTS_MAX) {
    const message = `${tooMany}, ${variants.length} variants in all; at most ${VARIANTS_MAX} are evaluated: take values away, or exclude some`;
    return [...problems, { path, message }];
  }
  if (variants.length === 0) return [...problems, { path, message: 'leaves no variant at all' }];
  const ids = variants.map(({ id }) => id);
  const repeated = new Set(ids.filter((id, i) => ids.indexOf(id) !== i));
  return [
    ...problems,
    ...[...repeated].map((id) => ({ path, message: `two variants would be called ${id}` })),
    ...ids
      .filter((id) => !NameSchema.safeParse(id).success)
      .map((id) => ({
        path,
        message: `the variant ${id} has too long a name: 64 at most, so take shorter values`,
      })),
    ...placeholderProblems(spec, path),
  ];
}

/** Far more than may be left, so that an exclude can do its work. */
const COMBINATIONS_MAX = 10_000;

/** A placeholder that a variant has no value for would fail at the first checkpoint. */
function placeholderProblems(spec: Evaluation, path: string): PolicyProblem[] {
  const { executor } = spec;
  if (executor.kind === 'http') return [];
  // Wherever it stands in the executor: in arguments, in a task, in a model's name.
  const named = new Set(placeholdersIn(JSON.stringify(executor)));
  return AXES.filter((axis: Axis & CommandPlaceholder) => named.has(axis)).flatMap((axis) => {
    const without = variantsOf(spec).find(({ axes }) => axes?.[axis] === undefined);
    return without === undefined
      ? []
      : [{ path, message: `the executor takes {${axis}}, and the variant ${without.id} has no ${axis}` }];
  });
}

function controlProblems(spec: Evaluation, path: string): PolicyProblem[] {
  const { benignControl, levels, score } = spec;
  if (benignControl === undefined) {
    return levels === undefined ? [{ path: `${path}.levels`, message: 'is required' }] : [];
  }
  const problems: PolicyProblem[] = [];
  if (levels !== undefined) {
    problems.push({
      path: `${path}.levels`,
      message: 'a benign control is evidence of no level: leave them out',
    });
  }
  const isRising = score.best > score.chance;
  const [name, other] = isRising ? (['atLeast', 'atMost'] as const) : (['atMost', 'atLeast'] as const);
  const wanted = benignControl[name];
  if (wanted === undefined) {
    const way = isRising ? 'rises' : 'falls';
    problems.push({
      path: `${path}.benignControl.${other}`,
      message: `the metric ${way} from score.chance (${score.chance}) to score.best (${score.best}): state ${name}`,
    });
    return problems;
  }
  const share = (wanted - score.chance) / (score.best - score.chance);
  if (!(share > 0 && share <= 1)) {
    problems.push({
      path: `${path}.benignControl.${name}`,
      message: `must lie beyond score.chance (${score.chance}) and not beyond score.best (${score.best})`,
    });
  }
  return problems;
}

function successionProblems({ evaluations }: Policy, spec: Evaluation, path: string): PolicyProblem[] {
  const { succeeds } = spec;
  if (succeeds === undefined) return [];
  const at = `${path}.evaluation`;
  const before = evaluations.find(({ id }) => id === succeeds.evaluation);
  if (before === undefined || before === spec) {
    return [{ path: at, message: `${succeeds.evaluation} is no other evaluation of this policy` }];
  }
  const problems: PolicyProblem[] = [];
  const isAlike =
    before.category === spec.category && before.stage === spec.stage && isControl(before) === isControl(spec);
  if (!isAlike) {
    problems.push({
      path: at,
      message: `${before.id} is of another category or stage: nothing would succeed it there`,
    });
  }
  if (before.required && !spec.required) {
    problems.push({ path: at, message: `${before.id} is required: what succeeds it must be, too` });
  }
  const rivals = evaluations.filter((each) => each.succeeds?.evaluation === succeeds.evaluation);
  if (rivals.length > 1 && rivals[0] !== spec) {
    problems.push({ path: at, message: `${before.id} is succeeded by ${rivals[0]?.id} already` });
  }
  if (before.succeeds !== undefined) {
    problems.push({
      path: at,
      message: `${before.id} itself succeeds ${before.succeeds.evaluation}: one change at a time`,
    });
  }
  return problems;
}
