/** What a run of seeds must have reached: a simulation that never gets anywhere proves nothing. */
import { FAULTS } from './faults.ts';

const EVENTS = [
  'RunRegistered',
  'CheckpointReported',
  'ProgressNoted',
  'EvaluationStarted',
  'EvaluationDispatched',
  'EvaluationReturned',
  'EvaluationReported',
  'EvaluationAttemptFailed',
  'EvaluationRequeued',
  'EvaluationsCancelled',
  'ForecastSealed',
  'ForecastScored',
  'PermitRiskSealed',
  'CheckpointAssessed',
  'HoldPlaced',
  'HoldLifted',
  'HaltOrdered',
  'HaltCauseAdded',
  'HaltStepTaken',
  'HaltAcknowledged',
  'TargetStopObserved',
  'HaltConfirmed',
  'HaltDirectiveGiven',
  'StopWithdrawn',
  'HaltEscalated',
  'HaltReopened',
  'ProposalOpened',
  'ProposalVoided',
  'SignOffRecorded',
  'RunResumed',
  'QuarantineBegun',
  'IsolationStepBegun',
  'IsolationStepTaken',
  'IsolationStepOverdue',
  'IsolationStepConfirmed',
  'QuarantineReleased',
  'ScopedWorkGranted',
  'ScopedWorkEnded',
  'RunFinished',
  'AlertRaised',
  'AlertAttempted',
  'ArchivedResultReported',
  'WouldHaveHalted',
  'WouldHaveHeld',
  'WouldHaveLifted',
  'ShadowEnded',
  'EstimateRoundOpened',
  'EstimateGiven',
  'EstimateRoundClosed',
  'EstimatesPooled',
];

const OTHERS = [
  'version conflicts',
  'repeated messages recognised',
  'contradictions',
  'intrusions',
  'vetoes after a resume',
  'guard: permit',
  'guard: halt-received',
  'guard: halt-cleared',
  'guard: refused nonce',
  'steps trained',
  'confirmed while it runs',
  'pages sent',
];

/** Under this many seeds, chance alone may leave something out. */
export const ENOUGH = 1_000;

export function unreached(reached: ReadonlyMap<string, number>, seeds: number): string[] {
  if (seeds < ENOUGH) return [];
  const wanted = [...EVENTS, ...OTHERS, ...FAULTS.map((fault) => `fault: ${fault}`)];
  return wanted.filter((name) => (reached.get(name) ?? 0) === 0);
}
