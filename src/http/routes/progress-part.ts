/** How far evaluations have come: beside what the ledger says of them, and on streams as an event that is none of the ledger's. */
import { z } from 'zod';
import { evaluationName } from '../../domain/run/checkpoint-views.ts';
import { currentAttempt, statusOf } from '../../domain/run/evaluation.ts';
import type { AttemptProgress, EvaluationProgressStore } from '../../ledger/evaluation-progress.ts';
import type { LoadedRun } from '../../service/run-service.ts';
import type { StreamEvent } from '../sse.ts';

export const ProgressDocument = z
  .object({
    done: z.number(),
    total: z.number().nullable().meta({ description: 'Null where the harness does not say' }),
    unit: z.string().meta({
      description:
        'What is counted: samples, requests, tests, steps; `MB of weights` while their digest is computed',
    }),
    errored: z
      .number()
      .nullable()
      .meta({ description: 'Of those done, ended in an error; null where that is not said' }),
    at: z.string(),
  })
  .meta({
    id: 'Progress',
    description: 'What the running attempt said last of itself. Not in the ledger; decides nothing',
  });

export const RunningEvaluationDocument = z
  .object({
    evaluationId: z.string(),
    name: z.string(),
    attempt: z.number(),
    status: z.enum(['queued', 'running', 'awaiting-callback']),
    progress: ProgressDocument.nullable(),
  })
  .meta({ id: 'RunningEvaluation' });
type RunningEvaluation = z.infer<typeof RunningEvaluationDocument>;

export function progressDocument({
  done,
  total,
  unit,
  errored,
  at,
}: AttemptProgress): z.infer<typeof ProgressDocument> {
  return { done, total, unit, errored, at: at.toISOString() };
}

/** Of the very attempt: what another left behind is not this one's. */
export function progressOf(
  rows: readonly AttemptProgress[],
  { evaluationId, attempt }: { evaluationId: string; attempt: number },
): z.infer<typeof ProgressDocument> | null {
  const row = rows.find((each) => each.evaluationId === evaluationId && each.attempt === attempt);
  return row === undefined ? null : progressDocument(row);
}

/** What is still to report of a checkpoint, in the policy's order. */
export function runningOf(
  { state }: LoadedRun,
  checkpointId: string,
  rows: readonly AttemptProgress[],
): RunningEvaluation[] {
  const checkpoint = state.checkpoints.find((each) => each.checkpointId === checkpointId);
  return (checkpoint?.evaluations ?? []).flatMap((evaluation) => {
    const status = statusOf(evaluation);
    if (status !== 'queued' && status !== 'running' && status !== 'awaiting-callback') return [];
    const { evaluationId } = evaluation;
    const { attempt } = currentAttempt(evaluation);
    const progress = progressOf(rows, { evaluationId, attempt });
    return [{ evaluationId, name: evaluationName(evaluation), attempt, status, progress }];
  });
}

/** Between two looks; notes are written no more often. */
const LOOK_MS = 2_000;

/** What has changed since the last look, as events without an id: a reader that comes back resumes from the ledger's. */
export function progressEvents(
  store: Pick<EvaluationProgressStore, 'ofRun'>,
  runId: string,
  nowMs: () => number = Date.now,
): () => Promise<StreamEvent[]> {
  const told = new Map<string, string>();
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  return async () => {
    if (nowMs() - lookedAtMs < LOOK_MS) return [];
    lookedAtMs = nowMs();
    const rows = await store.ofRun(runId);
    return rows.flatMap((row) => {
      const { evaluationId, attempt } = row;
      const data = { runId, evaluationId, attempt, ...progressDocument(row) };
      const text = JSON.stringify(data);
      if (told.get(evaluationId) === text) return [];
      told.set(evaluationId, text);
      return [{ event: 'progress', data }];
    });
  };
}
