/**
 * Projections: what lists and lookups show, one row per thing, derived from events alone.
 *
 * Nothing here decides anything; every row can be thrown away and rebuilt by replay. Open scorecards are
 * computed on reading, closed ones are kept as the verdict's event recorded them.
 */
import { type Json, plainJson } from '../canonical-json.ts';
import { LEVEL_TITLES, levelName } from '../levels.ts';
import { type BudgetBest, bestAtBudgets } from './budgets.ts';
import { isOverDrill } from './drill-state.ts';
import { findRound, type PlacedRound } from './estimate-state.ts';
import { currentAttempt, statusOf } from './evaluation.ts';
import type { RunEvent, RunEventData, Scorecard } from './events.ts';
import { haltTimeline } from './halt-timeline.ts';
import { origins } from './lineage.ts';
import { permitTerms } from './permit.ts';
import type { Proposal } from './proposal-documents.ts';
import { toldOfShadow } from './shadow.ts';
import type { CheckpointState, Halt, RunState } from './state.ts';

export interface View {
  readonly kind:
    | 'run'
    | 'checkpoint'
    | 'scorecard'
    | 'evaluation'
    | 'result'
    | 'halt'
    | 'halt-order'
    | 'press'
    | 'lineage'
    | 'weights'
    | 'evidence'
    | 'outside'
    | 'proposal'
    | 'estimate-round'
    | 'estimate'
    | 'forecast-score'
    | 'breakthrough';
  readonly id: string;
  readonly runId: string;
  readonly ordinal: number;
  readonly doc: Json;
}

/** Views are keyed across runs; a run's own ids are made unique by it. */
export const checkpointKey = (runId: string, checkpointId: string): string => `${runId}/${checkpointId}`;
export const breakthroughKey = (runId: string, breakthroughId: string): string =>
  `${runId}/${breakthroughId}`;
export const evidenceKey = (digest: string, runId: string): string => `${digest}/${runId}`;
export const partyKey = (runId: string, party: string): string => `${runId}/${party}`;
export const submissionKey = (runId: string, party: string, name: string): string =>
  `${partyKey(runId, party)}/${name}`;
export const pressKey = (runId: string, pressId: string): string => `${runId}/${pressId}`;
/** One row per result, for ever: a repetition must be known long after its checkpoint has left the state. */
export const resultKey = (evaluationId: string, attempt: number): string => `${evaluationId}/${attempt}`;

/** Documents are stored as text and read by schema: what JSON cannot say is left out here. */
const json = (value: object): Json => plainJson(value);

export function project(before: RunState | null, event: RunEvent, after: RunState): View[] {
  return [runView(after), ...ownViews(before, event, after)];
}

export type RunStatus = 'training' | 'on-hold' | 'halted' | 'finished';

export function statusOfRun(state: RunState): RunStatus {
  if (isOverDrill(state)) return 'finished';
  if (state.halt !== null) return 'halted';
  if (state.finishedAt !== null) return 'finished';
  return state.holds.length > 0 ? 'on-hold' : 'training';
}

function runView(state: RunState): View {
  const { runId } = state;
  return {
    kind: 'run',
    id: runId,
    runId,
    ordinal: Date.parse(state.registeredAt),
    doc: json(runSummary(state)),
  };
}

/** A run in a list, and the head of its own page. */
export function runSummary(state: RunState) {
  const { halt } = state;
  const estimates = (state.history.at(-1)?.levels ?? [])
    .filter(({ stage }) => stage === 'pre-mitigation')
    .map(({ estimate }) => estimate);
  const level = estimates.length === 0 ? null : Math.max(...estimates);
  const terms = permitTerms(state);
  return {
    runId: state.runId,
    title: state.title,
    drill: state.drill === true,
    status: statusOfRun(state),
    policy: { name: state.policyName, digest: state.policy },
    level: level === null ? null : { estimate: level, name: LEVEL_TITLES[levelName(level)] },
    effectiveCompute: state.computeHigh,
    ceiling: terms.granted ? terms.ceiling : null,
    lastCleared: state.lastCleared,
    halt:
      halt === null
        ? null
        : {
            haltId: halt.haltId,
            action: halt.action,
            orderedAt: halt.orderedAt,
            stopped: halt.confirmedAt !== null,
          },
    holds: state.holds.map(({ holdId, key, deadlineAt, closingIn = null }) => ({
      holdId,
      key,
      deadlineAt,
      closingIn,
    })),
    shadow: toldOfShadow(state),
    registeredAt: state.registeredAt,
    finishedAt: state.finishedAt,
  };
}

function ownViews(before: RunState | null, event: RunEvent, after: RunState): View[] {
  switch (event.kind) {
    case 'CheckpointReported':
      return [
        recordedCheckpoint(event.data, after),
        ...weightsView(event.data, after),
        ...(event.data.ancestry === undefined ? [] : originViews(event.data.at, after)),
        ...evaluationViews(event.data.evaluations, event.data.checkpointId, event.data.at, after),
      ];
    case 'SuccessionBegun': {
      const { lastCleared, at } = event.data;
      if (lastCleared === null) return [];
      const { checkpointId, evaluations } = lastCleared;
      const found = after.checkpoints.find((each) => each.checkpointId === checkpointId);
      return [
        ...(found === undefined ? [] : [checkpointView(found, after.runId)]),
        ...evaluationViews(evaluations, checkpointId, at, after),
      ];
    }
    case 'SuccessionEnded':
      return [];
    case 'EvaluationStarted':
    case 'EvaluationDispatched':
    case 'EvaluationReturned':
    case 'EvaluationAttemptFailed':
    case 'EvaluationRequeued':
    case 'EvaluationCalledOff':
      return checkpointsWith(after, [event.data.evaluationId]);
    case 'EvidenceKept':
      return [evidenceView(event.data, after)];
    case 'OutsideResultSigned':
    case 'OutsideFindingReported':
      return [submissionView(event, after.runId)];
    case 'WeightsDigested':
    case 'WeightsChanged':
      return after.checkpoints
        .filter(({ checkpointId }) => checkpointId === event.data.checkpointId)
        .map((checkpoint) => checkpointView(checkpoint, after.runId));
    case 'EvaluationReported':
      return [...checkpointsWith(after, [event.data.evaluationId]), resultView(event, after.runId)];
    case 'EvaluationsCancelled':
    case 'EvaluationsReleased':
    case 'TripwireCleared':
    case 'CheckpointMadeDue':
    case 'EvaluationsUnstaffed':
      return checkpointsWith(after, event.data.evaluationIds);
    case 'ArchivedResultReported':
      return [resultView(event, after.runId)];
    case 'CheckpointAssessed': {
      const { checkpointId, scorecard, at, ...assessed } = event.data;
      const checkpoint = before?.checkpoints.find((each) => each.checkpointId === checkpointId);
      if (checkpoint === undefined) return [];
      const closed = {
        revision: assessed.revision,
        verdict: assessed.verdict,
        scorecardDigest: assessed.scorecardDigest,
        findings: assessed.findings,
        at,
      };
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
            revision: assessed.revision,
            verdict: assessed.verdict,
            findings: assessed.findings,
            categories: scorecard.categories,
            overall: scorecard.overall,
            ...budgetsOf(scorecard, after),
            forecasts: checkpoint.forecasts,
            risk: checkpoint.risk,
            digest: assessed.scorecardDigest,
            reportedAt: checkpoint.reportedAt,
            assessedAt: at,
          }),
        },
      ];
    }
    case 'HaltOrdered':
    case 'HaltCauseAdded': {
      const { halt } = after;
      return halt === null ? [] : [haltView(halt, after, null), ...pressView(event.data, halt, after.runId)];
    }
    case 'HaltStepTaken':
    case 'HaltAcknowledged':
    case 'TargetStopObserved':
    case 'StopWithdrawn':
    case 'HaltDirectiveGiven':
    case 'HaltConfirmed':
    case 'HaltEscalated':
    case 'HaltReopened':
    case 'QuarantineBegun':
    case 'IsolationStepBegun':
    case 'IsolationStepTaken':
    case 'IsolationStepOverdue':
    case 'IsolationStepConfirmed':
    case 'ScopedWorkEnded':
      return after.halt === null ? [] : [haltView(after.halt, after, null)];
    case 'PressRecorded': {
      const { orderId, haltId } = event.data;
      if (after.halt === null) return [];
      const shown = haltView(after.halt, after, null);
      if (orderId === haltId) return [shown];
      const { runId } = after;
      // So that an acknowledgement of the order finds the halt that it belongs to.
      const named = { kind: 'halt-order' as const, id: orderId, runId, ordinal: shown.ordinal };
      return [shown, { ...named, doc: json({ haltId: after.halt.haltId }) }];
    }
    case 'ProposalOpened':
    case 'ProposalVoided':
    case 'SignOffRecorded':
      return proposalViews(after, event.data.proposalId);
    case 'QuarantineReleased':
    case 'ScopedWorkGranted':
      return [
        ...(after.halt === null ? [] : [haltView(after.halt, after, null)]),
        ...proposalViews(after, event.data.proposalId),
      ];
    case 'RunResumed':
      return [
        ...(before === null || before.halt === null ? [] : [haltView(before.halt, after, event.data.at)]),
        ...proposalViews(after, event.data.proposalId),
      ];
    case 'RunRegistered':
    case 'ParentFound':
      return originViews(event.data.at, after);
    case 'EstimateRoundOpened':
    case 'EstimateRoundClosed':
    case 'EstimatesPooled':
      return estimateRoundViews(after, event.data.roundId);
    case 'EstimateGiven':
      return [estimateView(event.data, after.runId), ...estimateRoundViews(after, event.data.roundId)];
    case 'BreakthroughDeclared':
      return [breakthroughView(event.data, after.runId)];
    case 'ForecastScored':
      return [forecastScoreView(event.data, after.runId)];
    case 'OutsideEvaluatorGranted':
    case 'EvidenceReleaseAsked':
    case 'EvidenceReleased':
    case 'EvidenceRead':
    case 'WouldHaveHalted':
    case 'WouldHaveHeld':
    case 'WouldHaveLifted':
    case 'ShadowEnded':
    case 'InstanceRefused':
    case 'InstanceTookOver':
    case 'DrillHeld':
    case 'InstanceTrained':
    case 'ProgressNoted':
    case 'TrainingStageNoted':
    case 'UsageNoted':
    case 'ForecastSealed':
    case 'PermitRiskSealed':
    case 'HoldPlaced':
    case 'HoldLifted':
    case 'ClosingInEnded':
    case 'RunFinished':
    case 'AlertRaised':
    case 'AlertAttempted':
      return [];
    default:
      return event satisfies never;
  }
}

/**
 * Found by the parent, whose halt has to reach it; and by names of weights that no run here made, which siblings share,
 * and which may turn out to be those of a run.
 */
function originViews(at: string, after: RunState): View[] {
  return origins(after).map((parent) => ({
    kind: 'lineage' as const,
    id: checkpointKey(parent, after.runId),
    runId: parent,
    ordinal: Date.parse(at),
    doc: json({ parent, child: after.runId }),
  }));
}

/** Found by the digest: equal weights may be reported by several. */
/** Only where variants state a budget. */
function budgetsOf(scorecard: Scorecard, { series }: RunState): { budgets?: BudgetBest[] } {
  const budgets = bestAtBudgets(scorecard, series);
  return budgets.length === 0 ? {} : { budgets };
}

function evaluationViews(
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

function weightsView(data: RunEventData<'CheckpointReported'>, { runId }: RunState): View[] {
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

/** Found by the digest: several runs may keep the same log. */
function evidenceView(
  { digest, bytes, sealed, evaluationId, attempt, at }: RunEventData<'EvidenceKept'>,
  { runId }: RunState,
): View {
  return {
    kind: 'evidence',
    id: evidenceKey(digest, runId),
    runId: digest,
    ordinal: Date.parse(at),
    doc: json({ runId, digest, bytes, sealed, evaluationId, attempt, keptAt: at }),
  };
}

/** Found by the party within the run: nobody reads those of another. */
function submissionView(
  event: Extract<RunEvent, { kind: 'OutsideResultSigned' | 'OutsideFindingReported' }>,
  runId: string,
): View {
  const { party, signed, at } = event.data;
  const own =
    event.kind === 'OutsideResultSigned'
      ? { kind: 'result', evaluationId: event.data.evaluationId, attempt: event.data.attempt }
      : {
          kind: 'finding',
          findingId: event.data.findingId,
          checkpointId: event.data.checkpointId,
          category: event.data.category,
          severity: event.data.severity,
          title: event.data.title,
        };
  const name = event.kind === 'OutsideResultSigned' ? signed.messageId : event.data.findingId;
  return {
    kind: 'outside',
    id: submissionKey(runId, party, `${own.kind}/${name}`),
    runId: partyKey(runId, party),
    ordinal: Date.parse(at),
    doc: json({ ...own, bodyDigest: signed.bodyDigest, messageId: signed.messageId, at }),
  };
}

/** Which halt a press is a cause of, for as long as the ledger: the state keeps the causes of the first few alone. */
function pressView(
  { cause, at }: RunEventData<'HaltOrdered' | 'HaltCauseAdded'>,
  { haltId }: Halt,
  runId: string,
): View[] {
  if (cause.kind !== 'person' || cause.pressId === undefined) return [];
  const id = pressKey(runId, cause.pressId);
  return [{ kind: 'press', id, runId, ordinal: Date.parse(at), doc: json({ haltId }) }];
}

function resultView(
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

function recordedCheckpoint(
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

function checkpointsWith(state: RunState, evaluationIds: readonly string[]): View[] {
  return state.checkpoints
    .filter(({ evaluations }) => evaluations.some((each) => evaluationIds.includes(each.evaluationId)))
    .map((checkpoint) => checkpointView(checkpoint, state.runId));
}

export function haltView(halt: Halt, state: RunState, clearedAt: string | null): View {
  return {
    kind: 'halt',
    id: halt.haltId,
    runId: state.runId,
    ordinal: Date.parse(halt.orderedAt),
    doc: json(haltDoc(halt, state, clearedAt)),
  };
}

/** What people read of a halt: why, what was sent where, and whether the run has really stopped. */
export function haltDoc(halt: Halt, { runId, targets }: RunState, clearedAt: string | null): object {
  return {
    haltId: halt.haltId,
    runId,
    action: halt.action,
    epoch: halt.epoch,
    orderedAt: halt.orderedAt,
    causes: halt.causes,
    state: clearedAt !== null ? 'cleared' : halt.confirmedAt !== null ? 'stopped' : 'open',
    acknowledged: { receivedAt: halt.receivedAt, stoppedAt: halt.stoppedAckAt },
    confirmedAt: halt.confirmedAt,
    clearedAt,
    round: halt.round,
    escalations: halt.escalations,
    life: halt.life ?? null,
    quarantine: halt.quarantine ?? null,
    scoped: halt.scoped ?? null,
    timeline: haltTimeline(halt),
    deliveries: halt.targets.map((target) => ({
      targetId: target.targetId,
      kind: targets.find(({ targetId }) => targetId === target.targetId)?.kind ?? 'unknown',
      stoppedAt: target.stoppedAt,
      stopDetail: target.stopDetail,
      steps: target.steps.map(({ step, attempts, acceptedAt, nextAt, lastDetail }) => ({
        step,
        attempts,
        acceptedAt,
        nextAt,
        detail: lastDetail,
      })),
    })),
  };
}

function proposalViews(state: RunState, proposalId: string): View[] {
  const proposal = state.proposals.find((each) => each.proposalId === proposalId);
  return proposal === undefined ? [] : [proposalView(proposal, state.runId)];
}

function proposalView(proposal: Proposal, runId: string): View {
  return {
    kind: 'proposal',
    id: proposal.proposalId,
    runId,
    ordinal: Date.parse(proposal.openedAt),
    doc: json({ ...proposal, runId }),
  };
}

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

function estimateRoundViews(state: RunState, roundId: string): View[] {
  const placed = findRound(state, roundId);
  if (placed === null) return [];
  const { openedAt, estimateIds } = placed.round;
  const doc = json({ ...estimateRoundDoc(placed, state.runId), estimateIds });
  return [{ kind: 'estimate-round', id: roundId, runId: state.runId, ordinal: Date.parse(openedAt), doc }];
}

/** Words are kept here alone, and shown without their author (http/routes/estimates.ts). */
function estimateView(data: RunEventData<'EstimateGiven'>, runId: string): View {
  return {
    kind: 'estimate',
    id: data.estimateId,
    runId,
    ordinal: Date.parse(data.at),
    doc: json(data),
  };
}

/** For ever: the same id with other content must be told from a repetition. */
function breakthroughView(data: RunEventData<'BreakthroughDeclared'>, runId: string): View {
  const id = breakthroughKey(runId, data.breakthroughId);
  return { kind: 'breakthrough', id, runId, ordinal: Date.parse(data.at), doc: json({ ...data, runId }) };
}

/** The latest revision of each score. */
function forecastScoreView(data: RunEventData<'ForecastScored'>, runId: string): View {
  const { checkpointId, category, stage, checkpoints, at } = data;
  return {
    kind: 'forecast-score',
    id: `${checkpointKey(runId, checkpointId)}/${category}/${stage}/${checkpoints}`,
    runId,
    ordinal: Date.parse(at),
    doc: json({ runId, ...data }),
  };
}
