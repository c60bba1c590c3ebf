/**
 * A result of an evaluation, from whichever side it comes: as a command on the run while its checkpoint is in the
 * state, else as a late result of an archived one, which is kept and may still trip. No result is dropped because
 * its checkpoint was closed and evicted while it was on its way.
 */
import { z } from 'zod';
import type { LaunchFacts } from '../domain/launch-facts.ts';
import { archivedResult } from '../domain/run/archived.ts';
import { resultKey } from '../domain/run/view.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { BuildCommand } from './run-service.ts';

export interface ReportedResult {
  readonly checkpointId: string;
  readonly evaluation: string;
  readonly variant: string;
  readonly evaluationId: string;
  readonly attempt: number;
  readonly result: unknown;
  readonly resultDigest: string;
  readonly launch?: LaunchFacts | undefined;
  /** Why the weights cannot be shown to be the checkpoint's. */
  readonly doubt?: string | undefined;
  readonly by: string;
}

const ResultDoc = z.object({ resultDigest: z.string() });

export function recordResult(ledger: Pick<Ledger, 'view'>, reported: ReportedResult): BuildCommand {
  const { checkpointId, evaluation: _evaluation, variant: _variant, ...own } = reported;
  return async (loaded) => {
    const held = loaded?.state.checkpoints.some((each) => each.checkpointId === checkpointId);
    if (loaded === null || held) return { type: 'RecordResult', ...own };
    const prior = await ledger.view('result', resultKey(own.evaluationId, own.attempt));
    const recorded = ResultDoc.safeParse(prior?.doc);
    return archivedResult({ ...reported, priorDigest: recorded.success ? recorded.data.resultDigest : null });
  };
}
