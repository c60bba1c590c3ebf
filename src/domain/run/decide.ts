/**
 * decide(state, command, context) -> events: the one place where a run's fate is judged.
 *
 * Two parts. A command says what happened and yields its own events; then the reactions say what follows
 * from the new state (halt, seal, close, hold, lift, escalate), one at a time, until nothing follows any
 * more. Reactions depend on state, policy and time only, so a `Tick` after a deadline is a command that
 * adds nothing of its own. Order matters: halts are decided before anything else.
 */
import { assertNever } from '../assert-never.ts';
import { type NoteUsage, noteUsage } from './accounting.ts';
import { type RecordAlertDelivery, recordAlertDelivery } from './alerts.ts';
import { type RecordArchivedResult, recordArchivedResult } from './archived.ts';
import { type RecordCallOff, recordCallOff } from './call-off.ts';
import { closeCheckpoints, type ReportCheckpoint, reportCheckpoint, sealForecasts } from './checkpoint.ts';
import { requestTopUps, wakePeople } from './closing-in.ts';
import { confirmHalt, escalateHalt } from './confirmation.ts';
import { type Context, type Decision, isRejection, reject } from './context.ts';
import { endDrill, orderDrill, type RecordDrill, recordDrill } from './drill.ts';
import {
  type BeginSecondRound,
  beginSecondRound,
  type CloseEstimateRound,
  closeEstimateRound,
  closeEstimateRounds,
  type GiveEstimate,
  giveEstimate,
  type OpenEstimateRound,
  openEstimateRound,
} from './estimates.ts';
import {
  expireAttempts,
  type FailAttempt,
  failAttempt,
  type NoteDispatched,
  noteDispatched,
  type RecordResult,
  type RetryEvaluation,
  type ReturnAttempt,
  recordResult,
  retryEvaluation,
  returnAttempt,
  type StartEvaluation,
  startEvaluation,
} from './evaluation.ts';
import type { RunEvent } from './events.ts';
import {
  type ApproveRelease,
  type AskRelease,
  approveRelease,
  askRelease,
  type NoteEvidence,
  type NoteEvidenceRead,
  noteEvidence,
  noteEvidenceRead,
} from './evidence.ts';
import { evolve, evolveAll } from './evolve.ts';
import { lifeAfterStop, type RecordLife, recordLife } from './fence.ts';
import { scoreForecasts } from './forecast-scores.ts';
import {
  type ProposeResume,
  proposeResume,
  requeueCancelled,
  type SignOff,
  signOff,
  voidProposals,
} from './governance.ts';
import {
  type AcknowledgeHalt,
  acknowledgeHalt,
  type NoteProgress,
  noteHighWater,
  noteProgress,
  type OrderHalt,
  orderHalt,
  orderHalts,
  orderOverdueHalts,
  type RecordHaltStep,
  type RecordStopObserved,
  recordHaltStep,
  recordStopObserved,
} from './halt.ts';
import { liftHolds, placeHolds } from './holds.ts';
import { type NoteInstance, noteInstance } from './instances.ts';
import { type FindParent, findParent, type LatchLineage, latchLineage } from './lineage.ts';
import {
  type GrantOutside,
  grantOutside,
  type SubmitOutsideFinding,
  type SubmitOutsideResult,
  submitOutsideFinding,
  submitOutsideResult,
} from './outside.ts';
import { type NoteDirective, noteDirective, takePages } from './own-steps.ts';
import { type RecordPress, recordPress } from './press.ts';
import {
  type ProposeRelease,
  type ProposeScopedResume,
  proposeRelease,
  proposeScopedResume,
} from './propose.ts';
import {
  beginQuarantine,
  type ConfirmIsolation,
  confirmIsolation,
  isolate,
  type RecordIsolation,
  recordIsolation,
} from './quarantine.ts';
import { type FinishRun, finishRun, type RegisterRun, registerRun } from './registration.ts';
import { endScopedWork, stopJobs } from './scoped-work.ts';
import { type ArmRun, armRun, endShadow, orderKept } from './shadow.ts';
import type { RunState } from './state.ts';
import { endSuccessions } from './succession.ts';
import { settleTiers } from './tiers.ts';
import {
  type DeclareBreakthrough,
  declareBreakthrough,
  type NoteTrainingStage,
  noteTrainingStage,
} from './training-stage.ts';
import { type NoteUnstaffed, noteUnstaffed } from './unstaffed.ts';
import { type NoteWeights, noteWeights } from './weights.ts';

export interface Tick {
  readonly type: 'Tick';
}

export type Command =
  | RegisterRun
  | ReportCheckpoint
  | NoteProgress
  | NoteTrainingStage
  | DeclareBreakthrough
  | NoteWeights
  | NoteUnstaffed
  | NoteEvidence
  | AskRelease
  | ApproveRelease
  | NoteEvidenceRead
  | GrantOutside
  | SubmitOutsideResult
  | SubmitOutsideFinding
  | StartEvaluation
  | NoteDispatched
  | ReturnAttempt
  | RecordResult
  | RecordArchivedResult
  | FailAttempt
  | RetryEvaluation
  | OrderHalt
  | RecordPress
  | NoteInstance
  | LatchLineage
  | FindParent
  | NoteUsage
  | RecordHaltStep
  | NoteDirective
  | AcknowledgeHalt
  | RecordStopObserved
  | RecordLife
  | RecordDrill
  | RecordCallOff
  | RecordIsolation
  | ConfirmIsolation
  | ProposeResume
  | ProposeRelease
  | ProposeScopedResume
  | SignOff
  | RecordAlertDelivery
  | OpenEstimateRound
  | GiveEstimate
  | CloseEstimateRound
  | BeginSecondRound
  | FinishRun
  | ArmRun
  | Tick;

/** More reactions than any real decision takes: reaching it is a broken invariant, not a busy day. */
const REACTIONS_MAX = 500;

const reactions: readonly ((state: RunState, context: Context) => RunEvent[])[] = [
  endShadow,
  orderKept,
  orderDrill,
  noteHighWater,
  expireAttempts,
  orderHalts,
  closeEstimateRounds,
  // Before what comes is forecast, which reads how the last ones did. What is closed out of its turn may leave the state in
  // the same instant, and its evidence with it.
  settleTiers,
  scoreForecasts,
  sealForecasts,
  closeCheckpoints,
  endSuccessions,
  orderOverdueHalts,
  requestTopUps,
  voidProposals,
  endScopedWork,
  stopJobs,
  requeueCancelled,
  liftHolds,
  placeHolds,
  wakePeople,
  beginQuarantine,
  confirmHalt,
  takePages,
  escalateHalt,
  isolate,
  endDrill,
];

export function decide(state: RunState | null, command: Command, context: Context): Decision {
  const own = ownEvents(state, command, context);
  if (isRejection(own)) return own;
  // A command that changes nothing wakes nothing, but for the tick, whose purpose that is.
  if (own.length === 0 && command.type !== 'Tick') return [];
  if (state === null && own.length === 0) return [];
  return [...own, ...react(evolveAll(state, own), context)];
}

function react(from: RunState, context: Context): RunEvent[] {
  const events: RunEvent[] = [];
  let state = from;
  for (let i = 0; i < REACTIONS_MAX; i += 1) {
    const next = firstReaction(state, context);
    if (next.length === 0) return events;
    events.push(...next);
    state = next.reduce(evolve, state);
  }
  throw new RangeError(
    `reactions to ${from.runId} do not settle: ${events.slice(-4).map(({ kind }) => kind)}`,
  );
}

function firstReaction(state: RunState, context: Context): RunEvent[] {
  for (const reaction of reactions) {
    const events = reaction(state, context);
    if (events.length > 0) return events;
  }
  return [];
}

function ownEvents(state: RunState | null, command: Command, context: Context): Decision {
  if (command.type === 'RegisterRun') return registerRun(state, command, context);
  if (state === null) return reject('not-found', 'no such run', 'runId');
  switch (command.type) {
    case 'ReportCheckpoint': {
      const events = reportCheckpoint(state, command, context);
      if (isRejection(events) || events.length === 0) return events;
      return [...events, ...lifeAfterStop(state, command.effectiveCompute, context)];
    }
    case 'RecordLife':
      return recordLife(state, command, context);
    case 'RecordDrill':
      return recordDrill(state, command, context);
    case 'NoteProgress':
      return noteProgress(state, command, context);
    case 'NoteTrainingStage':
      return noteTrainingStage(state, command, context);
    case 'DeclareBreakthrough':
      return declareBreakthrough(state, command, context);
    case 'NoteWeights':
      return noteWeights(state, command, context);
    case 'NoteUnstaffed':
      return noteUnstaffed(state, command, context);
    case 'NoteEvidence':
      return noteEvidence(state, command, context);
    case 'AskRelease':
      return askRelease(state, command, context);
    case 'ApproveRelease':
      return approveRelease(state, command, context);
    case 'NoteEvidenceRead':
      return noteEvidenceRead(state, command, context);
    case 'GrantOutside':
      return grantOutside(state, command, context);
    case 'SubmitOutsideResult':
      return submitOutsideResult(state, command, context);
    case 'SubmitOutsideFinding':
      return submitOutsideFinding(state, command, context);
    case 'StartEvaluation':
      return startEvaluation(state, command, context);
    case 'NoteDispatched':
      return noteDispatched(state, command, context);
    case 'ReturnAttempt':
      return returnAttempt(state, command, context);
    case 'RecordResult':
      return recordResult(state, command, context);
    case 'RecordArchivedResult':
      return recordArchivedResult(state, command, context);
    case 'FailAttempt':
      return failAttempt(state, command, context);
    case 'RetryEvaluation':
      return retryEvaluation(state, command, context);
    case 'OrderHalt':
      return orderHalt(state, command, context);
    case 'RecordPress':
      return recordPress(state, command, context);
    case 'NoteInstance':
      return noteInstance(state, command, context);
    case 'LatchLineage':
      return latchLineage(state, command, context);
    case 'FindParent':
      return findParent(state, command, context);
    case 'NoteUsage':
      return noteUsage(state, command, context);
    case 'RecordHaltStep':
      return recordHaltStep(state, command, context);
    case 'NoteDirective':
      return noteDirective(state, command, context);
    case 'AcknowledgeHalt':
      return acknowledgeHalt(state, command, context);
    case 'RecordStopObserved':
      return recordStopObserved(state, command, context);
    case 'RecordCallOff':
      return recordCallOff(state, command, context);
    case 'RecordIsolation':
      return recordIsolation(state, command, context);
    case 'ConfirmIsolation':
      return confirmIsolation(state, command, context);
    case 'ProposeRelease':
      return proposeRelease(state, command, context);
    case 'ProposeScopedResume':
      return proposeScopedResume(state, command, context);
    case 'ProposeResume':
      return proposeResume(state, command, context);
    case 'SignOff':
      return signOff(state, command, context);
    case 'RecordAlertDelivery':
      return recordAlertDelivery(state, command, context);
    case 'OpenEstimateRound':
      return openEstimateRound(state, command, context);
    case 'GiveEstimate':
      return giveEstimate(state, command, context);
    case 'CloseEstimateRound':
      return closeEstimateRound(state, command, context);
    case 'BeginSecondRound':
      return beginSecondRound(state, command, context);
    case 'FinishRun':
      return finishRun(state, command, context);
    case 'ArmRun':
      return armRun(state, command, context);
    case 'Tick':
      return [];
    default:
      return assertNever(command);
  }
}
