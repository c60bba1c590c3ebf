/**
 * Projections: what lists and lookups show, one row per thing, derived from events alone.
 *
 * Nothing here decides anything; every row can be thrown away and rebuilt by replay. Open scorecards are
 * computed on reading, closed ones are kept as the verdict's event recorded them.
 */
import { LEVEL_TITLES, levelName } from '../levels.ts';
import {
  assessedViews,
  checkpointsWith,
  checkpointView,
  evaluationViews,
  recordedCheckpoint,
  resultView,
  weightsView,
} from './checkpoint-views.ts';
import { isOverDrill } from './drill-state.ts';
import { estimateRoundViews, estimateView } from './estimate-views.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { haltView, pressView } from './halt-views.ts';
import { origins } from './lineage.ts';
import { permitTerms } from './permit.ts';
import type { Proposal } from './proposal-documents.ts';
import { toldOfShadow } from './shadow.ts';
import type { RunState } from './state.ts';
import {
  breakthroughKey,
  checkpointKey,
  evidenceKey,
  json,
  partyKey,
  submissionKey,
  type View,
} from './view.ts';

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
      const { checkpointId } = event.data;
      const checkpoint = before?.checkpoints.find((each) => each.checkpointId === checkpointId);
      return checkpoint === undefined ? [] : assessedViews(event.data, checkpoint, after);
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
