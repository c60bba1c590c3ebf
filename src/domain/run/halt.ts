/**
 * The halt latch and its delivery.
 *
 * ordered -> (each target's ladder, step by step) -> confirmed; reopened by any sign of life. Latched: only
 * `RunResumed` ends it. Accepted, acknowledged and stopped are different facts: only an orchestrator's own
 * state, or where none can tell the trainer's word and silence, confirms. Fails toward stopping: a rung is
 * retried and repeated until the stop is confirmed, and every rung that is due is tried.
 */
import { type Compute, compareCompute, maxCompute } from '../compute.ts';
import type { Consequence } from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { assess, findingKey, hardened } from './assess.ts';
import { spends } from './attempts.ts';
import { overrun } from './cadence.ts';
import { toCallOff } from './call-off.ts';
import { contradicted, escalationAt, mayBeLate } from './confirmation.ts';
import { type Context, type Decision, iso, isoAfter, reached, reject } from './context.ts';
import { isOverDrill } from './drill-state.ts';
import { currentAttempt, isPending, specOf } from './evaluation.ts';
import type { RunEvent } from './events.ts';
import type { Finding } from './finding-documents.ts';
import type { HaltAction, HaltCause, LadderStep } from './halt-documents.ts';
import { overdueFinding } from './holds.ts';
import { idOf } from './ids.ts';
import { readsProgress } from './ladder-due.ts';
import { runFindings } from './run-findings.ts';
import { endedByPress, isKnownInShadow, isShadowed, standingHolds } from './shadow-state.ts';
import type { Halt, Hold, RunState } from './state.ts';

export interface OrderHalt {
  readonly type: 'OrderHalt';
  readonly action: HaltAction;
  readonly reason: string;
  readonly group: string;
  readonly by: string;
  /** Names the press, so that it is known again where it also reaches the ledger by way of the spool. */
  readonly pressId?: string | undefined;
  /** The halt that this press is a cause of by now, as the ledger's views know it. */
  readonly causeOf?: string | null | undefined;
}
export interface RecordHaltStep {
  readonly type: 'RecordHaltStep';
  readonly haltId: string;
  readonly targetId: string;
  readonly round: number;
  readonly step: string;
  readonly attempt: number;
  readonly outcome: 'accepted' | 'retry' | 'rejected';
  readonly detail: string;
}
export interface AcknowledgeHalt {
  readonly type: 'AcknowledgeHalt';
  readonly haltId: string;
  readonly state: 'received' | 'stopped';
  readonly claimedAt: string | null;
  readonly by: string;
  /** An orchestrator speaks of any run; a trainer of those it is a source of. */
  readonly orchestrator: boolean;
}
export interface RecordStopObserved {
  readonly type: 'RecordStopObserved';
  readonly haltId: string;
  readonly targetId: string;
  readonly round: number;
  readonly detail: string;
  /** How long the look took: what it shows may be as old as that. */
  readonly tookMs?: number;
}
export interface NoteProgress {
  readonly type: 'NoteProgress';
  readonly effectiveCompute: Compute;
  /** The run computes: this heartbeat states more than the one before it. */
  readonly advanced: boolean;
}

// --- ordering ------------------------------------------------------------------------------------------

/** Halting findings in force now, with the checkpoint they stand on. */
export function haltingFindings(
  state: RunState,
  context: Context,
): { checkpointId: string | null; findings: Finding[] }[] {
  const isHalting = ({ waived, then }: Finding): boolean =>
    !waived && (then.includes('halt') || then.includes('quarantine'));
  const groups = state.checkpoints.map((checkpoint) => ({
    checkpointId: checkpoint.checkpointId,
    findings: assess(state, checkpoint, context.policy, context.now).findings.filter(isHalting),
  }));
  const runWide = [
    overrunFinding(state, context),
    overdueFinding(state, context),
    ...expiredHolds(state, context),
    ...runFindings(state, context.policy),
  ];
  return [
    ...groups,
    { checkpointId: null, findings: runWide.filter((finding) => finding !== null).filter(isHalting) },
  ].filter(({ findings }) => findings.length > 0);
}

function overrunFinding(state: RunState, context: Context): Finding | null {
  const crossing = overrun(state, context);
  if (crossing === null) return null;
  const ended = state.finishedAt !== null;
  return {
    rule: 'overrun',
    kind: 'overrun',
    category: null,
    stage: null,
    evaluation: null,
    checkpointId: null,
    observed: crossing.observed,
    threshold: crossing.threshold,
    basis: null,
    then: hardened(context.policy, 'overrun', 'halt'),
    explanation: ended
      ? `the run was declared finished at ${crossing.threshold} FLOP and now states ${crossing.observed}`
      : `effective compute ${crossing.observed} is above the permit's ceiling ${crossing.threshold}`,
    waived: false,
  };
}

function expiredHolds(state: RunState, context: Context): Finding[] {
  return standingHolds(state)
    .filter(({ deadlineAt }) => reached(context.now, deadlineAt))
    .map((hold) => expiry(hold, context));
}

function expiry({ holdId, deadlineAt, findings }: Hold, { now }: Pick<Context, 'now'>): Finding {
  return {
    rule: 'hold-deadline',
    kind: 'hold-deadline',
    category: findings[0]?.category ?? null,
    stage: findings[0]?.stage ?? null,
    evaluation: holdId,
    checkpointId: findings[0]?.checkpointId ?? null,
    observed: iso(now),
    threshold: deadlineAt,
    basis: null,
    then: ['halt' as Consequence],
    explanation: `nobody lifted the hold in time (${findings[0]?.explanation ?? holdId})`,
    waived: false,
  };
}

/** A hold of a run in shadow whose deadline has been recorded as what would have halted it. */
export function isExpiryKnown(state: RunState, hold: Hold): boolean {
  return isKnownInShadow(state, findingKey(expiry(hold, { now: new Date(hold.deadlineAt) })));
}

/** Trip on the first evidence: runs on every change, before anything else is decided. */
export function orderHalts(state: RunState, context: Context): RunEvent[] {
  return ordered(state, context, ({ kind }) => kind !== 'overdue');
}

/** A missing checkpoint is judged once all verdicts are in: each that clears moves the due point. */
export function orderOverdueHalts(state: RunState, context: Context): RunEvent[] {
  return ordered(state, context, ({ kind }) => kind === 'overdue');
}

function ordered(state: RunState, context: Context, wanted: (finding: Finding) => boolean): RunEvent[] {
  const known = new Set(
    (state.halt?.causes ?? []).flatMap((cause) =>
      cause.kind === 'rule' ? cause.findings.map(findingKey) : [],
    ),
  );
  for (const { checkpointId, findings } of haltingFindings(state, context)) {
    const [first, ...rest] = findings.filter(
      (finding) =>
        wanted(finding) && !known.has(findingKey(finding)) && !isKnownInShadow(state, findingKey(finding)),
    );
    if (first === undefined) continue;
    const cause: HaltCause = { kind: 'rule', checkpointId, findings: [first, ...rest] };
    return haltEvents(state, context, cause, actionOf(cause));
  }
  return [];
}

function actionOf(cause: HaltCause): HaltAction {
  const quarantine = cause.kind === 'rule' && cause.findings.some(({ then }) => then.includes('quarantine'));
  return quarantine ? 'quarantine' : 'halt';
}

/** The red button: anyone in a governance group, at any time. The run's evaluation jobs stop too. */
export function orderHalt(state: RunState, command: OrderHalt, context: Context): Decision {
  const { by, group, reason, action, pressId } = command;
  if (pressId !== undefined && hasPress(state, { pressId, causeOf: command.causeOf })) return [];
  const cause: HaltCause = {
    kind: 'person',
    by,
    group,
    reason,
    ...(pressId === undefined ? {} : { pressId }),
  };
  return [
    ...endedByPress(state, by, context),
    ...haltEvents(state, context, cause, action),
    ...cancelJobs(state, context),
  ];
}

/** Whether it is a cause of the halt in force: among the causes that the state keeps, or by what the views know. */
export function hasPress(
  { halt }: RunState,
  { pressId, causeOf }: { readonly pressId: string; readonly causeOf?: string | null | undefined },
): boolean {
  if (halt === null) return false;
  return (
    causeOf === halt.haltId ||
    halt.causes.some((cause) => cause.kind === 'person' && cause.pressId === pressId)
  );
}

/** What a person stops, stops with all its evaluation jobs. */
export function cancelJobs(state: RunState, context: Context, reason = 'red-button'): RunEvent[] {
  const jobs = state.checkpoints.flatMap(({ evaluations }) => evaluations.filter(isPending));
  const [first, ...rest] = jobs.map(({ evaluationId }) => evaluationId);
  if (first === undefined) return [];
  const callOff = toCallOff(jobs, context.policy);
  const spent = jobs.flatMap((each) => {
    const { spentMs } = spends(currentAttempt(each), specOf(context.policy, each.evaluation), context.now);
    return spentMs === undefined ? [] : [[each.evaluationId, spentMs] as const];
  });
  const data = {
    evaluationIds: [first, ...rest],
    ...(callOff.length === 0 ? {} : { callOff }),
    ...(spent.length === 0 ? {} : { spentMs: Object.fromEntries(spent) }),
    reason,
    at: iso(context.now),
  };
  return [{ kind: 'EvaluationsCancelled', data }];
}

/** A veto after a resume, and whatever else must halt from inside the domain. */
export function haltEvents(
  state: RunState,
  context: Context,
  cause: HaltCause,
  action: HaltAction,
  /** Of an order that went out already: what the trainers hold is what the halt is called. */
  issued?: { readonly haltId: string; readonly issuedAt: string },
): RunEvent[] {
  const at = iso(context.now);
  if (state.halt !== null) {
    const graver: HaltAction = state.halt.action === 'quarantine' ? 'quarantine' : action;
    // People were asked to sign for the causes they saw.
    const open = state.proposals.filter(({ status }) => status === 'open');
    return [
      {
        kind: 'HaltCauseAdded',
        data: { haltId: state.halt.haltId, action: graver, cause, asks: action, at },
      },
      ...open.map(
        ({ proposalId }): RunEvent => ({
          kind: 'ProposalVoided',
          data: { proposalId, reason: 'halt-changed', at },
        }),
      ),
    ];
  }
  if (cause.kind !== 'person' && isShadowed(state, context.now)) {
    return [{ kind: 'WouldHaveHalted', data: { action, cause, at } }];
  }
  const epoch = state.epoch + 1;
  const haltId = issued?.haltId ?? idOf('halt', context.digest, state.runId, 'halt', epoch);
  return [
    {
      kind: 'HaltOrdered',
      data: {
        haltId,
        action,
        cause,
        epoch,
        escalateAt: escalationAt(context),
        ...(issued === undefined ? {} : { issuedAt: issued.issuedAt }),
        at,
      },
    },
    ...raiseAlert(state, context, {
      kind: 'halt-ordered',
      severity: 'critical',
      dedupKey: haltId,
      summary: `${state.runId}: ${action} ordered: ${explain(cause)}`,
      details: { haltId, action, cause: explain(cause), stopped: 'not yet confirmed' },
    }),
  ];
}

export function explain(cause: HaltCause): string {
  if (cause.kind === 'lineage') {
    const relation =
      cause.through === undefined
        ? `descends from ${cause.runId}, which`
        : `began with weights of ${cause.through}, as did ${cause.runId}, which`;
    return `${relation} was halted (${cause.haltId}): ${cause.reason}`;
  }
  if (cause.kind === 'person') return `${cause.by} (${cause.group}) pressed the red button: ${cause.reason}`;
  return cause.findings.map(({ explanation }) => explanation).join('; ');
}

// --- delivery ------------------------------------------------------------------------------------------

export function recordHaltStep(state: RunState, command: RecordHaltStep, context: Context): Decision {
  const { haltId, targetId, round, step, attempt, outcome, detail } = command;
  const { halt } = state;
  if (halt === null || halt.haltId !== haltId || halt.round !== round) return [];
  const rung = halt.targets
    .find((each) => each.targetId === targetId)
    ?.steps.find((each) => each.step === step);
  const plan = ladderStep(state, targetId, step);
  if (rung === undefined || plan === undefined || attempt !== rung.attempts + 1) return [];
  const wait = waitMs(plan, outcome, attempt, rung.acceptances);
  return [
    {
      kind: 'HaltStepTaken',
      data: {
        haltId,
        targetId,
        round,
        step,
        attempt,
        outcome,
        detail,
        nextAt: wait === null ? null : isoAfter(context.now, wait),
        at: iso(context.now),
      },
    },
  ];
}

function ladderStep(state: RunState, targetId: string, step: string): LadderStep | undefined {
  return state.targets.find((each) => each.targetId === targetId)?.ladder.find((each) => each.step === step);
}

/** Even a rejection is tried again, slowly: what refuses now may be mended, and giving up is no option. */
function waitMs(
  plan: LadderStep,
  outcome: RecordHaltStep['outcome'],
  attempt: number,
  acceptances: number,
): number | null {
  if (outcome === 'retry') return plan.retryMs[Math.min(attempt, plan.retryMs.length) - 1] ?? null;
  if (outcome === 'rejected') return plan.retryMs.at(-1) ?? null;
  return plan.resendMs[Math.min(acceptances, plan.resendMs.length - 1)] ?? null;
}

export function acknowledgeHalt(state: RunState, command: AcknowledgeHalt, context: Context): Decision {
  const { halt } = state;
  const { by, claimedAt } = command;
  if (halt === null || !isNamed(halt, command.haltId)) {
    return state.clearedHalts.includes(command.haltId)
      ? reject('conflict', `halt ${command.haltId} is over: the run was resumed`)
      : reject('not-found', `run ${state.runId} has no halt ${command.haltId}`);
  }
  const { haltId } = halt;
  if (!command.orchestrator && state.sources !== null && !state.sources.includes(by)) {
    return reject('forbidden', `${by} is not a source of run ${state.runId}`);
  }
  // `received` after `stopped` is old news: the state never goes back.
  const known = command.state === 'stopped' ? halt.stoppedAckAt : (halt.receivedAt ?? halt.stoppedAckAt);
  if (known !== null) return [];
  return [
    { kind: 'HaltAcknowledged', data: { haltId, state: command.state, by, claimedAt, at: iso(context.now) } },
  ];
}

/** Trainers hold a halt by the id of whichever order reached them. */
export function isNamed({ haltId, orders = [] }: Halt, id: string): boolean {
  return haltId === id || orders.includes(id);
}

export function recordStopObserved(state: RunState, command: RecordStopObserved, context: Context): Decision {
  const { halt } = state;
  const { haltId, targetId, detail, tookMs = 0 } = command;
  if (halt === null || halt.haltId !== haltId || halt.round !== command.round) return [];
  // A drill that did not get through in time has failed, whatever comes after.
  if (isOverDrill(state)) return [];
  if (halt.targets.find((each) => each.targetId === targetId)?.stoppedAt !== null) return [];
  // Progress since the question was asked: the answer may be older than it, and is asked for again.
  const { progress, now } = context;
  if (progress !== null && progress.at.getTime() > now.getTime() - tookMs) return [];
  return [{ kind: 'TargetStopObserved', data: { haltId, targetId, detail, at: iso(now) } }];
}

/** A heartbeat's compute, where it says something that the ledger must know. */
export function noteProgress(state: RunState, command: NoteProgress, context: Context): Decision {
  const { effectiveCompute, advanced } = command;
  const at = iso(context.now);
  const { halt } = state;
  if (halt !== null && advanced) {
    const isLate = mayBeLate(state, halt, context.now);
    const read = isLate || readsProgress(state) ? { haltId: halt.haltId } : {};
    const noted: RunEvent = {
      kind: 'ProgressNoted',
      data: { effectiveCompute, source: 'heartbeat', ...read, at },
    };
    if (isLate) return [noted];
    const follows = contradicted(state, halt, { reason: 'progress', effectiveCompute }, context);
    if (follows.length > 0 || 'haltId' in read) return [noted, ...follows];
  }
  const { progress } = context;
  // What an earlier heartbeat stated counts too, also where the instance that took it died before it could act.
  const high = progress === null ? effectiveCompute : maxCompute(progress.effectiveCompute, effectiveCompute);
  const seen: Context = { ...context, progress: { effectiveCompute: high, at: context.now } };
  const crossed = overrun(state, seen) !== null || overdueFinding(state, seen) !== null;
  if (!crossed || !needsNoting(state, seen)) return [];
  return [{ kind: 'ProgressNoted', data: { effectiveCompute: high, source: 'heartbeat', at } }];
}

/** Only a crossing that nothing stands for yet is worth an event. */
function needsNoting(state: RunState, context: Context): boolean {
  return (
    ordered(state, context, () => true).length > 0 ||
    (state.halt === null &&
      !standingHolds(state).some(({ key }) => key === 'overdue') &&
      overdueFinding(state, context) !== null)
  );
}

/**
 * Heartbeats are not events, but what is decided from one must be in the ledger: where the side columns cross a
 * due point or a ceiling that an earlier heartbeat had not, they are noted first.
 */
export function noteHighWater(state: RunState, context: Context): RunEvent[] {
  const { progress } = context;
  if (progress === null) return [];
  const { effectiveCompute } = progress;
  if (state.computeHigh !== null && compareCompute(effectiveCompute, state.computeHigh) <= 0) return [];
  const crossed = overrun(state, context) !== null || overdueFinding(state, context) !== null;
  if (!crossed || !needsNoting(state, context)) return [];
  return [{ kind: 'ProgressNoted', data: { effectiveCompute, source: 'heartbeat', at: iso(context.now) } }];
}
