/** Rows and documents of estimate rounds. */
import { findRound, type PlacedRound } from './estimate-state.ts';
import type { RunEventData } from './events.ts';
import type { RunState } from './state.ts';
import { json, type View } from './view.ts';

/** What everybody may read of a round at any time: how many have answered, not what. */
export function estimateRoundDoc({ checkpoint, question, round, ordinal }: PlacedRound, runId: string) {
  const { roundId, by, openedAt, closesAt, closed, pool } = round;
  const { questionId, category, stage, level, horizonCompute } = question;
  return {
    roundId,
    questionId,
    runId,
    round: ordinal,
    state: closed === null ? ('open' as const) : ('closed' as const),
    checkpointId: checkpoint.checkpointId,
    category,
    stage,
    level,
    horizonCompute,
    by,
    openedAt,
    closesAt,
    closedAt: closed?.at ?? null,
    closedBecause: closed?.reason ?? null,
    given: round.estimates.length,
    pool,
  };
}

export function estimateRoundViews(state: RunState, roundId: string): View[] {
  const placed = findRound(state, roundId);
  if (placed === null) return [];
  const { openedAt, estimateIds } = placed.round;
  const doc = json({ ...estimateRoundDoc(placed, state.runId), estimateIds });
  return [{ kind: 'estimate-round', id: roundId, runId: state.runId, ordinal: Date.parse(openedAt), doc }];
}

/** Words are kept here alone, and shown without their author (http/routes/estimates.ts). */
export function estimateView(data: RunEventData<'EstimateGiven'>, runId: string): View {
  return {
    kind: 'estimate',
    id: data.estimateId,
    runId,
    ordinal: Date.parse(data.at),
    doc: json(data),
  };
}
