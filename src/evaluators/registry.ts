/**
 * Executor kind to evaluator: the one place that knows them all. A new kind is a schema in domain/executor, a file
 * beside this one and a case below; the compiler names whatever is missing.
 */
import { assertNever } from '../domain/assert-never.ts';
import type { Executor } from '../domain/executor.ts';
import { isHarnessExecutor } from '../domain/harness-executors.ts';
import { createCommandEvaluator } from './command.ts';
import type {
  CallOffOutcome,
  EvaluationRequest,
  Evaluator,
  EvaluatorOutcome,
  RunOptions,
} from './evaluator.ts';
import { createHttpEvaluator, type HttpDeps } from './http.ts';
import { forgetAttempts } from './launchers/attempt-directories.ts';
import { createHarnessEvaluator, type HarnessDeps } from './launchers/harness.ts';
import { createSlurmEvaluator, type SlurmDeps } from './slurm.ts';

export interface EvaluatorDeps {
  /** Of everything that starts a program here. */
  command: HarnessDeps;
  http: HttpDeps;
  slurm: SlurmDeps;
}

export interface Evaluators {
  run(
    executor: Executor,
    request: EvaluationRequest,
    signal: AbortSignal,
    options?: RunOptions,
  ): Promise<EvaluatorOutcome>;
  /** Tells whoever carries it out elsewhere that it is cancelled. */
  callOff(executor: Executor, request: EvaluationRequest, signal: AbortSignal): Promise<CallOffOutcome>;
  /** No further attempt is to come: what was kept for one goes. */
  forget?(executor: Executor, evaluationId: string): Promise<void>;
}

export function createEvaluators(deps: EvaluatorDeps): Evaluators {
  return {
    run: (executor, request, signal, options) =>
      createEvaluator(executor, deps).run(request, signal, options),
    callOff: (executor, request, signal) => createEvaluator(executor, deps).callOff(request, signal),
    async forget(executor, evaluationId) {
      if (isHarnessExecutor(executor)) await forgetAttempts(deps.command.attemptsDirectory, evaluationId);
    },
  };
}

/** It looks for itself what is asked of it (GET /v1/runs/{run}/outside), and reports when it is done. */
const outsideEvaluator: Evaluator = {
  run: () => Promise.resolve({ kind: 'dispatched' }),
  callOff: () => Promise.resolve({ kind: 'rejected', detail: 'an outside evaluator sees it for itself' }),
};

function createEvaluator(executor: Executor, deps: EvaluatorDeps): Evaluator {
  switch (executor.kind) {
    case 'command':
      return createCommandEvaluator(executor, deps.command);
    case 'inspect':
    case 'lm-eval':
    case 'promptfoo':
      return createHarnessEvaluator(executor, deps.command);
    case 'http':
      return createHttpEvaluator(executor, deps.http);
    case 'slurm':
      return createSlurmEvaluator(executor, deps.slurm);
    case 'outside':
      return outsideEvaluator;
    default:
      return assertNever(executor);
  }
}
