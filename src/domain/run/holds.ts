/**
 * Holds: no new permit, people must look. A hold lifts by itself when evidence removes its cause, or by
 * sign-off; one that nobody lifts becomes a halt at its deadline.
 *
 * One hold per cause: `checkpoint:<id>` while that checkpoint's assessment holds, `overdue` while a due
 * checkpoint is missing, `instance:<id>` once that process trained without a permit, and the rule's name for what is
 * found about the run as a whole (run-findings.ts).
 */
import { durationMs } from '../duration.ts';
import { raiseAlert } from './alerts.ts';
import { activeWaiver, assess, findingKey, hardened, isWaived, verdictOf } from './assess.ts';
import { highestCompute, overdue } from './cadence.ts';
import { closesInUntil } from './closing-in.ts';
import { type Context, iso, isoAfter } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { idOf } from './ids.ts';
import { runFindingHold, runFindings } from './run-findings.ts';
import { isShadowed, shadowOf, standingHolds } from './shadow-state.ts';
import type { RunState } from './state.ts';

interface Cause {
  readonly key: string;
  readonly findings: readonly [Finding, ...Finding[]];
}

/** What holds the run now, whether or not a hold is already placed for it. */
export function holdCauses(state: RunState, context: Context): Cause[] {
  const causes: Cause[] = [];
  for (const checkpoint of state.checkpoints) {
    const { verdict, findings } = assess(state, checkpoint, context.policy, context.now);
    const [first, ...rest] = findings.filter(({ waived, then }) => !waived && then.includes('hold'));
    if (verdict === 'hold' && first !== undefined) {
      causes.push({ key: `checkpoint:${checkpoint.checkpointId}`, findings: [first, ...rest] });
    }
  }
  for (const { key, finding } of duplicateFindings(state)) causes.push({ key, findings: [finding] });
  for (const finding of runFindings(state, context.policy)) {
    if (verdictOf([finding]) === 'hold') causes.push({ key: runFindingHold(finding), findings: [finding] });
  }
  const missing = overdueFinding(state, context);
  if (missing !== null && !missing.waived && verdictOf([missing]) === 'hold') {
    causes.push({ key: 'overdue', findings: [missing] });
  }
  return causes;
}

/** What holds the run: each process that trains without a permit. */
function duplicateFindings({ duplicates }: RunState): { key: string; finding: Finding }[] {
  return (duplicates?.training ?? []).map(({ instance, effectiveCompute }) => ({
    key: `instance:${instance}`,
    finding: {
      rule: 'duplicate',
      kind: 'duplicate',
      category: null,
      stage: null,
      evaluation: instance,
      checkpointId: null,
      observed: effectiveCompute,
      threshold: null,
      basis: null,
      then: ['hold'],
      explanation: `process ${instance} trains at ${effectiveCompute} although it was refused a permit: another process of the run has it`,
      waived: false,
    },
  }));
}

/** How a waiver names the overdue finding, which stands on no checkpoint. */
export const OVERDUE_KEY = findingKey({
  rule: 'overdue',
  category: null,
  stage: null,
  evaluation: null,
  checkpointId: null,
});

export function overdueFinding(state: RunState, context: Context): Finding | null {
  const crossing = overdue(state, context);
  if (crossing === null) return null;
  const finding: Finding = {
    rule: 'overdue',
    kind: 'overdue',
    category: null,
    stage: null,
    evaluation: null,
    checkpointId: null,
    observed: crossing.observed,
    threshold: crossing.threshold,
    basis: null,
    then: hardened(context.policy, 'overdue', 'hold'),
    explanation: crossing.explanation,
    waived: false,
  };
  const effectiveCompute = highestCompute(state, context) ?? state.firstCeiling;
  const waiver = activeWaiver(state, { effectiveCompute }, context.now);
  return { ...finding, waived: isWaived(finding, waiver) };
}

export function placeHolds(state: RunState, context: Context): RunEvent[] {
  if (state.halt !== null || state.finishedAt !== null) return [];
  const placed = new Set(standingHolds(state).map(({ key }) => key));
  const cause = holdCauses(state, context).find(({ key }) => !placed.has(key));
  if (cause === undefined) return [];
  const { policy, digest, now } = context;
  const deadlineAt = isoAfter(now, durationMs(policy.cadence.holdDeadline));
  const findings = [...cause.findings];
  if (isShadowed(state, now)) {
    const shadowId = idOf('hold', digest, state.runId, 'would-hold', (state.shadow?.heldTimes ?? 0) + 1);
    const data = { holdId: shadowId, key: cause.key, findings, deadlineAt, at: iso(now) };
    return [{ kind: 'WouldHaveHeld', data }];
  }
  const holdId = idOf('hold', digest, state.runId, 'hold', state.counters.holds + 1);
  const until = closingInOf(state, cause.key, context);
  if (until !== null) {
    const data = { holdId, key: cause.key, findings, deadlineAt, closingIn: { until }, at: iso(now) };
    return [{ kind: 'HoldPlaced', data }];
  }
  const inconclusive = findings.every(({ kind }) => kind === 'inconclusive');
  return [
    { kind: 'HoldPlaced', data: { holdId, key: cause.key, findings, deadlineAt, at: iso(now) } },
    ...raiseAlert(state, context, {
      kind: inconclusive ? 'inconclusive' : 'hold',
      severity: 'error',
      dedupKey: holdId,
      summary: `${state.runId} is on hold: ${findings[0]?.explanation ?? cause.key}`,
      details: {
        holdId,
        deadlineAt,
        next: 'evidence or sign-offs lift it; at the deadline it becomes a halt',
      },
    }),
  ];
}

/** Until when further samples may decide what holds a checkpoint; null: people are woken now. */
export function closingInOf(state: RunState, key: string, context: Context): string | null {
  const checkpoint = state.checkpoints.find(({ checkpointId }) => key === `checkpoint:${checkpointId}`);
  return checkpoint === undefined ? null : closesInUntil(state, checkpoint, context);
}

export function liftHolds(state: RunState, context: Context): RunEvent[] {
  const holds = standingHolds(state);
  if (holds.length === 0 || state.halt !== null) return [];
  const standing = new Set(holdCauses(state, context).map(({ key }) => key));
  const over = holds.find(({ key }) => !standing.has(key));
  if (over === undefined) return [];
  if (shadowOf(state) !== null) {
    return [{ kind: 'WouldHaveLifted', data: { holdId: over.holdId, at: iso(context.now) } }];
  }
  return [{ kind: 'HoldLifted', data: { holdId: over.holdId, reason: 'evidence', at: iso(context.now) } }];
}

export const holdEvolvers = {
  HoldPlaced: (state: RunState, data: RunEventData<'HoldPlaced'>): RunState => {
    const { holdId, key, findings, deadlineAt, closingIn, at } = data;
    const more = closingIn === undefined ? {} : { closingIn };
    return {
      ...state,
      holds: [...state.holds, { holdId, key, findings, placedAt: at, deadlineAt, ...more }],
      counters: { ...state.counters, holds: state.counters.holds + 1 },
    };
  },
  HoldLifted: (state: RunState, { holdId }: RunEventData<'HoldLifted'>): RunState => ({
    ...state,
    holds: state.holds.filter((hold) => hold.holdId !== holdId),
  }),
};
