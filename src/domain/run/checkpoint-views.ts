/** Rows of checkpoints, their evaluations, results, weights and closed scorecards. */
import { type BudgetBest, bestAtBudgets } from './budgets.ts';
import { currentAttempt, statusOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { Scorecard } from './scorecard-documents.ts';
import type { CheckpointState, RunState } from './state.ts';
import { checkpointKey, json, resultKey, type View } from './view.ts';

export function checkpointView(checkpoint: CheckpointState, runId: string): View {
  return {
    kind: 'checkpoint',
    id: checkpointKey(runId, checkpoint.checkpointId),
    runId,
    ordinal: Date.parse(checkpoint.reportedAt),
    doc: json({
      runId,
      checkpointId: checkpoint.checkpointId,
      effectiveCompute: checkpoint.effectiveCompute,
      disposition: 'evaluate',
      due: checkpoint.due,
      modelUri: checkpoint.modelUri,
      reportedAt: checkpoint.reportedAt,
      deadlineAt: checkpoint.deadlineAt,
      verdict: checkpoint.closed?.verdict ?? null,
      evaluations: checkpoint.evaluations.map((evaluation) => ({
        evaluationId: evaluation.evaluationId,
        name: evaluationName(evaluation),
        status: statusOf(evaluation),
        attempt: currentAttempt(evaluation).attempt,
      })),
      contentDigest: checkpoint.contentDigest,
      ...(checkpoint.weights === undefined ? {} : { weights: checkpoint.weights }),
    }),
  };
}

/** `ctf` or, where there are several variants, `ctf/tools`. */
export function evaluationName({ evaluation, variant }: { evaluation: string; variant: string }): string {
  return variant === 'default' ? evaluation : `${evaluation}/${variant}`;
}

export function checkpointsWith(state: RunState, evaluationIds: readonly string[]): View[] {
  return state.checkpoints
    .filter(({ evaluations }) => evaluations.some((each) => evaluationIds.includes(each.evaluationId)))
    .map((checkpoint) => checkpointView(checkpoint, state.runId));
}

export function recordedCheckpoint(
  data: Extract<RunEvent, { kind: 'CheckpointReported' }>['data'],
  after: RunState,
): View {
  const open = after.checkpoints.find(({ checkpointId }) => checkpointId === data.checkpointId);
  if (open !== undefined) return checkpointView(open, after.runId);
  return {
    kind: 'checkpoint',
    id: checkpointKey(after.runId, data.checkpointId),
    runId: after.runId,
    ordinal: Date.parse(data.at),
    doc: json({
      runId: after.runId,
      checkpointId: data.checkpointId,
      effectiveCompute: data.effectiveCompute,
      disposition: 'recorded',
      due: false,
      modelUri: data.modelUri,
      reportedAt: data.at,
      deadlineAt: null,
      verdict: null,
      evaluations: [],
      contentDigest: data.contentDigest,
    }),
  };
}

export function evaluationViews(
  evaluations: RunEventData<'CheckpointReported'>['evaluations'],
  checkpointId: string,
  at: string,
  { runId }: RunState,
): View[] {
  return evaluations.map((each) => ({
    kind: 'evaluation',
    id: each.evaluationId,
    runId,
    ordinal: Date.parse(at),
    doc: json({ ...each, runId, checkpointId }),
  }));
}

/** Found by the digest: equal weights may be reported by several. */
export function weightsView(data: RunEventData<'CheckpointReported'>, { runId }: RunState): View[] {
  const { weightsDigest, checkpointId, effectiveCompute, at } = data;
  if (weightsDigest === undefined) return [];
  return [
    {
      kind: 'weights',
      id: `${weightsDigest}/${checkpointKey(runId, checkpointId)}`,
      runId: weightsDigest,
      ordinal: Date.parse(at),
      doc: json({ runId, checkpointId, effectiveCompute }),
    },
  ];
}

export function resultView(
  { data }: Extract<RunEvent, { kind: 'EvaluationReported' | 'ArchivedResultReported' }>,
  runId: string,
): View {
  return {
    kind: 'result',
    id: resultKey(data.evaluationId, data.attempt),
    runId,
    ordinal: Date.parse(data.at),
    doc: json({ resultDigest: data.resultDigest }),
  };
}

/** A checkpoint as its verdict closed it, and the scorecard that the verdict rests on. */
export function assessedViews(
  {
    checkpointId,
    scorecard,
    at,
    revision,
    verdict,
    findings,
    scorecardDigest,
  }: RunEventData<'CheckpointAssessed'>,
  checkpoint: CheckpointState,
  after: RunState,
): View[] {
  const closed = { revision, verdict, scorecardDigest, findings, at };
  return [
    checkpointView({ ...checkpoint, closed }, after.runId),
    {
      kind: 'scorecard',
      id: checkpointKey(after.runId, checkpointId),
      runId: after.runId,
      ordinal: Date.parse(checkpoint.reportedAt),
      doc: json({
        runId: after.runId,
        checkpointId,
        effectiveCompute: scorecard.effectiveCompute,
        state: 'closed',
        revision,
        verdict,
        findings,
        categories: scorecard.categories,
        overall: scorecard.overall,
        ...budgetsOf(scorecard, after),
        forecasts: checkpoint.forecasts,
        risk: checkpoint.risk,
        digest: scorecardDigest,
        reportedAt: checkpoint.reportedAt,
        assessedAt: at,
      }),
    },
  ];
}

/** Only where variants state a budget. */
function budgetsOf(scorecard: Scorecard, { series }: RunState): { budgets?: BudgetBest[] } {
  const budgets = bestAtBudgets(scorecard, series);
  return budgets.length === 0 ? {} : { budgets };
}
