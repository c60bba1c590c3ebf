/**
 * Evaluation jobs that run in this process, so that a halt can stop them.
 *
 * The commit that cancels an evaluation aborts it here at once where it runs here; where it runs in another
 * process, that process notices at its next look.
 */
import { EVALUATION_CANCELLED } from '../evaluators/evaluator.ts';

export interface RunningJob {
  readonly signal: AbortSignal;
  end(): void;
}

export interface RunningEvaluations {
  begin(runId: string, evaluationId: string, attempt: number, signal: AbortSignal): RunningJob;
  cancel(evaluationIds: readonly string[]): void;
  /** One attempt alone: another of the same evaluation may run here, and stands. */
  cancelAttempt(evaluationId: string, attempt: number): void;
  /** What runs here now. */
  list(): readonly { runId: string; evaluationId: string; attempt: number }[];
}

interface Entry {
  readonly runId: string;
  readonly evaluationId: string;
  readonly attempt: number;
  readonly controller: AbortController;
}

export function createRunningEvaluations(): RunningEvaluations {
  const entries = new Set<Entry>();
  return {
    begin(runId, evaluationId, attempt, signal) {
      const controller = new AbortController();
      const entry: Entry = { runId, evaluationId, attempt, controller };
      entries.add(entry);
      // By hand: Node keeps what listens to a signal of AbortSignal.any for ever where nothing ends it.
      const abort = (): void => controller.abort(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      return {
        signal: controller.signal,
        end() {
          signal.removeEventListener('abort', abort);
          entries.delete(entry);
        },
      };
    },
    cancel(evaluationIds) {
      for (const { evaluationId, controller } of entries) {
        if (evaluationIds.includes(evaluationId)) controller.abort(EVALUATION_CANCELLED);
      }
    },
    cancelAttempt(evaluationId, attempt) {
      for (const entry of entries) {
        if (entry.evaluationId === evaluationId && entry.attempt === attempt) {
          entry.controller.abort(EVALUATION_CANCELLED);
        }
      }
    },
    list: () => [...entries].map(({ runId, evaluationId, attempt }) => ({ runId, evaluationId, attempt })),
  };
}
