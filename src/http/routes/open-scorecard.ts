/** The scorecard of a checkpoint as it stands now, with what is still to report of it. */
import type { LoadedRun } from '../../service/run-service.ts';
import { openScorecard } from './documents.ts';
import { runningOf } from './progress-part.ts';
import type { Services } from './services.ts';

/** Null where the state no longer holds the checkpoint: then its scorecard is closed, and a view of the ledger. */
export async function scorecardNow(
  loaded: LoadedRun,
  checkpointId: string,
  { clock, evaluationProgress }: Pick<Services, 'clock' | 'evaluationProgress'>,
): Promise<ReturnType<typeof openScorecard>> {
  const open = openScorecard(loaded, checkpointId, clock());
  if (open === null || open.state === 'closed') return open;
  const rows = await evaluationProgress.ofRun(loaded.state.runId);
  return { ...open, running: runningOf(loaded, checkpointId, rows) };
}
