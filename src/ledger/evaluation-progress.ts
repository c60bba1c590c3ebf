/**
 * How far attempts that run now have come: a side table beside the ledger, read by every process that answers people.
 *
 * Not events: there are too many, none decides anything, and the last of them may be lost. A row is of one attempt; what
 * another attempt left behind is not shown for it.
 */
import type { Pool } from 'pg';
import { z } from 'zod';
import { query } from './connection.ts';

export interface AttemptProgress {
  readonly runId: string;
  readonly evaluationId: string;
  readonly attempt: number;
  readonly done: number;
  /** Null where nobody said how many there will be. */
  readonly total: number | null;
  /** What is counted: samples, requests, tests. */
  readonly unit: string;
  /** Of those done, ended in an error; null where that is not said. */
  readonly errored: number | null;
  readonly at: Date;
}

export interface EvaluationProgressStore {
  note(progress: AttemptProgress): Promise<void>;
  /** The evaluation's attempt is over. */
  forget(evaluationId: string): Promise<void>;
  ofRun(runId: string): Promise<AttemptProgress[]>;
}

const TIMEOUT_MS = 5_000;
const RowSchema = z.object({
  run_id: z.string(),
  evaluation_id: z.string(),
  attempt: z.number(),
  done: z.coerce.number(),
  total: z.coerce.number().nullable(),
  unit: z.string(),
  errored: z.coerce.number().nullable(),
  at_ms: z.coerce.number(),
});

export function createEvaluationProgress(pool: Pool): EvaluationProgressStore {
  return {
    async note({ runId, evaluationId, attempt, done, total, unit, errored, at }) {
      await query(
        pool,
        TIMEOUT_MS,
        `INSERT INTO evaluation_progress (evaluation_id, run_id, attempt, done, total, unit, errored, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (evaluation_id) DO UPDATE SET run_id = $2, attempt = $3, done = $4, total = $5, unit = $6, errored = $7, at = $8`,
        [evaluationId, runId, attempt, done, total, unit, errored, at],
      );
    },
    async forget(evaluationId) {
      await query(pool, TIMEOUT_MS, 'DELETE FROM evaluation_progress WHERE evaluation_id = $1', [
        evaluationId,
      ]);
    },
    async ofRun(runId) {
      const rows = await query(
        pool,
        TIMEOUT_MS,
        `SELECT run_id, evaluation_id, attempt, done, total, unit, errored,
           floor(extract(epoch FROM at) * 1000)::bigint AS at_ms
         FROM evaluation_progress WHERE run_id = $1 ORDER BY evaluation_id`,
        [runId],
      );
      return rows.map((row) => {
        const { run_id: run, evaluation_id: evaluationId, at_ms: atMs, ...figures } = RowSchema.parse(row);
        return { runId: run, evaluationId, ...figures, at: new Date(atMs) };
      });
    },
  };
}
