/**
 * Executor kind to evaluator: the one place that knows them all. A new kind is a schema in domain/executor, a file
 * beside this one and a case below; the compiler names whatever is missing.
 */
import { assertNever } from '../domain/assert-never.ts';
import type { Executor } from '../domain/executor.ts';
import { type CommandDeps, createCommandEvaluator } from './command.ts';
import type { CallOffOutcome, EvaluationRequest, Evaluator, EvaluatorOutcome } from './evaluator.ts';
import { createHttpEvaluator, type HttpDeps } from './http.ts';
import { createSlurmEvaluator, type SlurmDeps } from './slurm.ts';

export interface EvaluatorDeps {
  command: CommandDeps;
  http: HttpDeps;
  slurm: SlurmDeps;
}

export interface Evaluators {
  run(executor: Executor, request: EvaluationRequest, signal: AbortSignal): Promise<EvaluatorOutcome>;
  /** Tells whoever carries it out elsewhere that it is cancelled. */
  callOff(executor: Executor, request: EvaluationRequest, signal: AbortSignal): Promise<CallOffOutcome>;
}

export function createEvaluators(deps: EvaluatorDeps): Evaluators {
  return {
    run: (executor, request, signal) => createEvaluator(executor, deps).run(request, signal),
    callOff: (executor, request, signal) => createEvaluator(executor, deps).callOff(request, signal),
  };
}

function createEvaluator(executor: Executor, deps: EvaluatorDeps): Evaluator {
  switch (executor.kind) {
    case 'command':
      return createCommandEvaluator(executor, deps.command);
    case 'http':
      return createHttpEvaluator(executor, deps.http);
    case 'slurm':
      return createSlurmEvaluator(executor, deps.slurm);
    default:
      return assertNever(executor);
  }
}
