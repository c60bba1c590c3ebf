/**
 * The checkpoints' part of a run's state: what reporting, forecasting and assessing do to it, and what is kept.
 *
 * Not here: when any of them happens (checkpoint.ts).
 */
import { type Compute, compareCompute, maxCompute } from '../compute.ts';
import { STAGES } from '../policy/schema.ts';
import { roundedShare } from '../statistics/rounded.ts';
import { withEfficiency } from './accounting.ts';
import { withMerged } from './ancestry.ts';
import { isToCallOff } from './call-off.ts';
import { hasOpenRound } from './estimate-state.ts';
import { isPending } from './evaluation.ts';
import { newAttempt } from './evaluation-state.ts';
import type { RunEventData } from './events.ts';
import { withReported } from './fence.ts';
import { forgetSettled, isToScore, overtake, track } from './forecast-state.ts';
import type { Lead } from './reading-documents.ts';
import type { Scorecard } from './scorecard-documents.ts';
import { shadowOf, withFurthest, withoutCheckpoints } from './shadow-state.ts';
import {
  type CheckpointState,
  CLEARED_KEPT,
  CLOSED_CHECKPOINTS_KEPT,
  HISTORY_KEPT,
  type RunState,
  SERIES_POINTS_KEPT,
  SHADOW_CHECKPOINTS_KEPT,
} from './state.ts';
import { stageOfCheckpoint, withStageCleared, withStageReported } from './training-stage.ts';

interface SeriesPoint {
  evaluation: string;
  variant: string;
  checkpointId: string;
  effectiveCompute: Compute;
  score: number;
  stderr: number | null;
  n: number | null;
  lead?: Lead | undefined;
  protocol?: string | undefined;
}

/** What of a scorecard goes into the series: conclusive scores only. */
export function seriesPoints(scorecard: Scorecard): SeriesPoint[] {
  return scorecard.categories.flatMap(({ stages }) =>
    // By the list and not by the record: an event read back from the ledger has its keys in another order.
    STAGES.flatMap((stage) =>
      (stages[stage]?.evidence ?? []).flatMap(
        ({ evaluation, variant, status, score, stderr, n, effectiveN, lead, protocol }) =>
          status === 'completed' && score !== null
            ? [
                {
                  evaluation,
                  variant,
                  checkpointId: scorecard.checkpointId,
                  effectiveCompute: scorecard.effectiveCompute,
                  score,
                  stderr,
                  // What a forecast may take for independent samples.
                  n: effectiveN ?? n,
                  ...(lead === undefined ? {} : { lead }),
                  ...(protocol === undefined ? {} : { protocol }),
                },
              ]
            : [],
      ),
    ),
  );
}

function withCheckpoint(
  state: RunState,
  checkpointId: string,
  change: (checkpoint: CheckpointState) => CheckpointState,
): RunState {
  const checkpoints = state.checkpoints.map((each) =>
    each.checkpointId === checkpointId ? change(each) : each,
  );
  return { ...state, checkpoints };
}

function reported(state: RunState, data: RunEventData<'CheckpointReported'>): RunState {
  const computeHigh =
    state.computeHigh === null ? data.effectiveCompute : maxCompute(state.computeHigh, data.effectiveCompute);
  const halt = withReported(state, data.effectiveCompute);
  const next = {
    ...state,
    computeHigh,
    halt,
    ...stated(state, data),
    ...withEfficiency(state, data),
    ...withFurthest(state, data),
    ...withStageReported(state, data),
  };
  // One that is only recorded lives in the views; nothing about it can change any more.
  if (data.deadlineAt === null) return next;
  const checkpoint: CheckpointState = {
    checkpointId: data.checkpointId,
    effectiveCompute: data.effectiveCompute,
    modelUri: data.modelUri,
    ...(data.weightsDigest === undefined ? {} : { weightsDigest: data.weightsDigest }),
    endpoint: data.endpoint,
    due: data.due,
    ...(data.declined === undefined ? {} : { declined: data.declined }),
    reportedAt: data.at,
    deadlineAt: data.deadlineAt,
    contentDigest: data.contentDigest,
    correlationId: data.correlationId,
    evaluations: data.evaluations.map(({ deferred, ...each }) => {
      const first = newAttempt(1, 'first', data.at);
      return { ...each, attempts: [deferred === true ? { ...first, state: 'deferred' as const } : first] };
    }),
    forecasts: [],
    ...stageOfCheckpoint(next, data),
    closed: null,
  };
  // In shadow what comes next is counted from the furthest that was due, whatever is found.
  const stage = data.due && shadowOf(state) !== null ? withStageCleared(next, checkpoint, data.at) : {};
  return overtake({ ...next, ...stage, checkpoints: [...state.checkpoints, checkpoint] }, checkpoint);
}

/** Held against what is in the weights, where the run was not made from nothing. */
function stated(
  state: RunState,
  { checkpointId, effectiveCompute, ancestry }: RunEventData<'CheckpointReported'>,
): Pick<RunState, 'lineage'> {
  const lineage = ancestry === undefined ? state.lineage : withMerged(state, ancestry, checkpointId);
  return lineage === undefined ? {} : { lineage: { ...lineage, stated: { checkpointId, effectiveCompute } } };
}

function assessed(state: RunState, data: RunEventData<'CheckpointAssessed'>): RunState {
  const { checkpointId, revision, verdict, scorecardDigest: digest, findings, scorecard, at } = data;
  const closed = { revision, verdict, scorecardDigest: digest, findings, at };
  const next = withRisk(
    withCheckpoint(state, checkpointId, (checkpoint) => ({ ...checkpoint, closed })),
    data,
  );
  const clears = verdict === 'proceed' && data.clears === undefined;
  const cleared =
    clears &&
    (state.lastCleared === null ||
      compareCompute(scorecard.effectiveCompute, state.lastCleared.effectiveCompute) > 0);
  const judged = state.checkpoints.find((each) => each.checkpointId === checkpointId);
  const after = {
    ...next,
    ...(clears && judged !== undefined ? withStageCleared(next, judged, at) : {}),
    ceiling: data.ceiling ?? state.ceiling,
    lastCleared: cleared
      ? { checkpointId, effectiveCompute: scorecard.effectiveCompute, at }
      : state.lastCleared,
    cleared: withCleared(state, data),
    series: withSeries(state.series, scorecard),
    history: withHistory(state.history, scorecard),
  };
  // Its forecasts are scored right after: until then it stays, however many others have to.
  return evicted(after, (each) => each.checkpointId === checkpointId && isToScore(after, checkpointId));
}

/** A waiver is leave to go on, and no evidence that its weights are ones to go back to. */
function withCleared(
  { cleared = [], checkpoints }: RunState,
  { checkpointId, verdict, findings, clears }: RunEventData<'CheckpointAssessed'>,
): NonNullable<RunState['cleared']> {
  const others = cleared.filter((each) => each.checkpointId !== checkpointId);
  const checkpoint = checkpoints.find((each) => each.checkpointId === checkpointId);
  const isCleared = verdict === 'proceed' && clears === undefined && !findings.some(({ waived }) => waived);
  if (checkpoint === undefined || !isCleared) return others;
  const { effectiveCompute, modelUri, weightsDigest = null } = checkpoint;
  const all = [...others, { checkpointId, effectiveCompute, modelUri, weightsDigest }];
  all.sort(byCompute);
  return all.slice(-CLEARED_KEPT);
}

/** What the permit takes is the run's; the checkpoint remembers it, so that it does not pay twice. */
function withRisk(
  state: RunState,
  { checkpointId, risk: taken }: RunEventData<'CheckpointAssessed'>,
): RunState {
  if (taken === undefined) return state;
  const sealed = state.checkpoints.find((each) => each.checkpointId === checkpointId)?.risk;
  if (sealed === undefined) return state;
  const { spends, ...risk } = taken;
  const paid = withCheckpoint(state, checkpointId, (checkpoint) => ({
    ...checkpoint,
    riskPaid: roundedShare((checkpoint.riskPaid ?? 0) + spends),
  }));
  return { ...paid, risk: { ...risk, sealed } };
}

interface Placed {
  readonly checkpointId: string;
  readonly effectiveCompute: Compute;
}

/** Ties by id: assessing a checkpoint again must not move its point, or forecasts would change with the order. */
function byCompute(a: Placed, b: Placed): number {
  const order = compareCompute(a.effectiveCompute, b.effectiveCompute);
  if (order !== 0) return order;
  return a.checkpointId < b.checkpointId ? -1 : 1;
}

function withSeries(series: RunState['series'], scorecard: Scorecard): RunState['series'] {
  const all = [...series];
  for (const { evaluation, variant, ...point } of seriesPoints(scorecard)) {
    const index = all.findIndex((each) => each.evaluation === evaluation && each.variant === variant);
    const earlier = all[index]?.points ?? [];
    const points = [...earlier.filter(({ checkpointId }) => checkpointId !== point.checkpointId), point];
    points.sort(byCompute);
    const kept = { evaluation, variant, points: points.slice(-SERIES_POINTS_KEPT) };
    if (index < 0) all.push(kept);
    else all[index] = kept;
  }
  return all;
}

function withHistory(history: RunState['history'], scorecard: Scorecard): RunState['history'] {
  const levels = scorecard.categories.flatMap(({ id: category, stages }) =>
    (['pre-mitigation', 'post-mitigation'] as const).flatMap((stage) => {
      const estimate = stages[stage]?.estimate ?? null;
      return estimate === null ? [] : [{ category, stage, estimate }];
    }),
  );
  const { checkpointId, effectiveCompute } = scorecard;
  const others = history.filter((each) => each.checkpointId !== checkpointId);
  const all = [...others, { checkpointId, effectiveCompute, levels }];
  all.sort(byCompute);
  return all.slice(-HISTORY_KEPT);
}

/** Open checkpoints stay; of the closed ones those that hold, halt or still evaluate, and the newest few. */
function evicted(state: RunState, isNeeded: (checkpoint: CheckpointState) => boolean): RunState {
  const closed = state.checkpoints.filter((checkpoint) => checkpoint.closed !== null);
  // What still runs or waits for its turn must be able to report, also after the verdict; so must experts.
  const isSpare = (each: CheckpointState): boolean =>
    !each.evaluations.some((one) => isPending(one) || isToCallOff(one)) &&
    !hasOpenRound(each) &&
    !isNeeded(each);
  const spare = closed.filter((each) => each.closed?.verdict === 'proceed' && isSpare(each));
  const stopping = closed.filter(({ closed: judged }) => judged?.verdict !== 'proceed');
  const passed = shadowOf(state) === null ? 0 : Math.max(0, stopping.length - SHADOW_CHECKPOINTS_KEPT);
  const drop = new Set([
    ...spare.slice(0, Math.max(0, closed.length - CLOSED_CHECKPOINTS_KEPT)),
    ...stopping.filter(isSpare).slice(0, passed),
  ]);
  const dropped = state.checkpoints.filter((checkpoint) => drop.has(checkpoint));
  const kept = state.checkpoints.filter((checkpoint) => !drop.has(checkpoint));
  return forgetSettled({ ...withoutCheckpoints(state, dropped), checkpoints: kept });
}

export const checkpointEvolvers = {
  CheckpointReported: reported,
  ProgressNoted: (
    state: RunState,
    { effectiveCompute, haltId, at }: RunEventData<'ProgressNoted'>,
  ): RunState => ({
    ...state,
    halt:
      haltId === undefined || state.halt?.haltId !== haltId ? state.halt : { ...state.halt, progressAt: at },
    computeHigh:
      state.computeHigh === null ? effectiveCompute : maxCompute(state.computeHigh, effectiveCompute),
  }),
  ForecastSealed: (state: RunState, data: RunEventData<'ForecastSealed'>): RunState =>
    withCheckpoint(track(state, data), data.checkpointId, (checkpoint) => ({
      ...checkpoint,
      forecasts: [
        ...checkpoint.forecasts.filter(
          ({ category, stage, checkpoints }) =>
            category !== data.forecast.category ||
            stage !== data.forecast.stage ||
            checkpoints !== data.forecast.checkpoints,
        ),
        data.forecast,
      ],
    })),
  PermitRiskSealed: (state: RunState, { checkpointId, risk }: RunEventData<'PermitRiskSealed'>): RunState =>
    withCheckpoint(state, checkpointId, (checkpoint) => ({ ...checkpoint, risk })),
  CheckpointAssessed: assessed,
};
