/**
 * What an attempt says of its progress, written down now and then, and away when the attempt is over.
 *
 * Best effort: a note that cannot be written is skipped, never waited for and never in an evaluation's way. One note at a time,
 * the newest figures: a database that is slow makes them rarer, not more.
 */
import type { EvaluationProgress } from '../evaluators/evaluator.ts';
import type { EvaluationProgressStore } from '../ledger/evaluation-progress.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';

export interface ProgressNotes {
  heard(progress: EvaluationProgress): void;
  /** No further note is written once this has settled. */
  end(): Promise<void>;
}

/** Between two notes of one attempt. */
export const PROGRESS_NOTE_EVERY_MS = 2_000;

export function createProgressNotes(
  attempt: { runId: string; evaluationId: string; attempt: number },
  store: Pick<EvaluationProgressStore, 'note' | 'forget'>,
  timers: Timers = realTimers,
  everyMs = PROGRESS_NOTE_EVERY_MS,
): ProgressNotes {
  let newest: EvaluationProgress | null = null;
  let isWaiting = false;
  let isOver = false;
  let writing: Promise<void> = Promise.resolve();
  let timer: Timer | undefined;

  const write = (): void => {
    const progress = newest;
    if (progress === null || isOver) return;
    newest = null;
    isWaiting = true;
    const { done, total, unit, errored = null } = progress;
    writing = store.note({ ...attempt, done, total, unit, errored, at: new Date() }).catch(() => undefined);
    void writing.then(() => {
      if (isOver) return;
      timer = timers.set(() => {
        isWaiting = false;
        write();
      }, everyMs);
    });
  };
  return {
    heard(progress) {
      newest = progress;
      if (!isWaiting) write();
    },
    async end() {
      isOver = true;
      timers.clear(timer);
      await writing;
      await store.forget(attempt.evaluationId).catch(() => undefined);
    },
  };
}
