/** What an evaluator is told of one attempt. */

import { scoresWanted } from '../domain/harness-result.ts';
import { AXES, type Axes, type Axis } from '../domain/policy/axes.ts';
import { variantsOf } from '../domain/policy/schema.ts';
import { samplesUpTo, submissionOf } from '../domain/run/attempts.ts';
import type { Located } from '../domain/run/evaluation.ts';
import type { EvaluationRequest } from '../evaluators/evaluator.ts';

export function evaluationRequest(
  runId: string,
  attempt: number,
  { checkpoint, evaluation, spec }: Located,
  callbackUrl: (evaluationId: string, attempt: number) => string,
): EvaluationRequest {
  const { evaluationId, variant: name } = evaluation;
  const variant = variantsOf(spec).find(({ id }) => id === name);
  const topUp = samplesUpTo(evaluation, attempt);
  return {
    evaluationId,
    attempt,
    runId,
    checkpointId: checkpoint.checkpointId,
    evaluation: evaluation.evaluation,
    variant: name,
    modelUri: checkpoint.modelUri,
    ...(checkpoint.endpoint === null ? {} : { endpoint: checkpoint.endpoint }),
    effectiveCompute: checkpoint.effectiveCompute,
    variantEnv: variant?.env ?? {},
    ...(variant?.axes === undefined ? {} : { axes: asText(variant.axes) }),
    submission: submissionOf(evaluation, attempt, spec),
    ...(topUp === 0 ? {} : { topUp }),
    callbackUrl: callbackUrl(evaluationId, attempt),
    scores: scoresWanted(spec),
  };
}

const asText = (axes: Axes): Partial<Record<Axis, string>> =>
  Object.fromEntries(AXES.flatMap((axis) => (axes[axis] === undefined ? [] : [[axis, String(axes[axis])]])));
