/** The handler of a call-off: tells whoever carries an evaluation out elsewhere that it is cancelled, and reports what came of it. */
import { z } from 'zod';
import { executorFor } from '../domain/run/attempts.ts';
import { locate } from '../domain/run/evaluation.ts';
import type { CallOffOutcome } from '../evaluators/evaluator.ts';
import type { Evaluators } from '../evaluators/registry.ts';
import type { WorkItem } from '../queue/work-queue.ts';
import { evaluationRequest } from './evaluation-request.ts';
import type { RunService } from './run-service.ts';

export interface CallOffDeps {
  readonly runs: RunService;
  readonly evaluators: Evaluators;
  readonly callbackUrl: (evaluationId: string, attempt: number) => string;
  readonly logger: { warn(fields: object, message: string): void };
}

const Ids = z.object({ evaluationId: z.string(), attempt: z.int(), call: z.int() });

export const isCallOff = ({ ids }: WorkItem): boolean => Object.hasOwn(ids, 'call');

export async function callOff(
  { runId, ids }: WorkItem,
  signal: AbortSignal,
  deps: CallOffDeps,
): Promise<void> {
  const { evaluationId, attempt, call } = Ids.parse(ids);
  const loaded = await deps.runs.load(runId);
  const located = loaded === null ? null : locate(loaded.state, evaluationId, loaded.policy);
  const standing = located?.evaluation.attempts.find((each) => each.attempt === attempt)?.callOff;
  if (located === null || standing === undefined || standing.nextAt === null || standing.calls + 1 !== call)
    return;
  const request = evaluationRequest(runId, attempt, located, deps.callbackUrl);
  let outcome: CallOffOutcome;
  try {
    outcome = await deps.evaluators.callOff(
      executorFor(located.evaluation, attempt, located.spec),
      request,
      signal,
    );
  } catch (error) {
    deps.logger.warn({ err: error, runId, evaluationId, attempt }, 'the evaluator broke');
    outcome = { kind: 'retry', detail: 'internal error' };
  }
  const { kind, detail } = outcome;
  if (signal.aborted && kind === 'retry') return;
  if (kind !== 'accepted') {
    const fields = { runId, evaluationId, attempt, call, detail };
    deps.logger.warn(fields, 'a cancelled evaluation could not be called off');
  }
  await deps.runs.execute(
    runId,
    { type: 'RecordCallOff', evaluationId, attempt, call, outcome: kind, detail },
    { actor: 'interlock' },
  );
}
