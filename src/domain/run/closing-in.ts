/**
 * Closing in: while High is not ruled out, further samples are drawn of that very evaluation, before people are woken.
 *
 * The hold is placed all the same: no permit is issued, and the one in force runs out. What waits is the page, for as long as
 * a sample is on its way and the budget lasts (`closingIn`); where anything else holds the run too, nothing waits.
 * Without `closingIn`, `topUps` draws samples beside people who know already.
 */
import { closingInTerms } from '../policy/scheduling-schema.ts';
import type { Evaluation, Policy } from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { type Assessment, assess } from './assess.ts';
import { budgetUsedUp, drewSample, sampleCount, sampleWaitMs } from './attempts.ts';
import { type Context, iso, isoAfter, reached } from './context.ts';
import { currentAttempt, isPending, requeued, specOf, statusOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { beginsNoJobs } from './quarantine.ts';
import type { CheckpointState, EvaluationState, Hold, RunState } from './state.ts';
import { unscorableBecause } from './weights.ts';

/** Evaluations for which a finding of an upper level stands although their estimate is below it. */
function undecided(
  finding: Finding,
  checkpoint: CheckpointState,
  { scorecard }: Pick<Assessment, 'scorecard'>,
): EvaluationState[] {
  if (!isNotRuledOut(finding) || finding.stage === null) return [];
  const threshold = typeof finding.threshold === 'number' ? finding.threshold : 5;
  const stages = scorecard.categories.find(({ id }) => id === finding.category)?.stages;
  return (stages?.[finding.stage]?.evidence ?? []).flatMap((row) => {
    const evaluation = checkpoint.evaluations.find((each) => each.evaluationId === row.evaluationId);
    const isOpen = (row.upper ?? 0) >= threshold && (row.estimate ?? 5) < threshold;
    return isOpen && evaluation !== undefined ? [evaluation] : [];
  });
}

const isNotRuledOut = ({ kind, basis }: Finding): boolean => kind === 'level' && basis === 'upper';

const topUpsOf = ({ attempts }: EvaluationState) => attempts.filter(({ purpose }) => purpose === 'top-up');

/** How long an evaluation may close in; null before its first further sample was asked for. */
function untilOf(evaluation: EvaluationState, { closingIn }: Evaluation): string | null {
  const [first] = topUpsOf(evaluation);
  if (closingIn === undefined || first === undefined) return null;
  return isoAfter(first.notBefore, closingInTerms(closingIn).withinMs);
}

/** Whether another sample may be drawn. */
function hasRoom(evaluation: EvaluationState, policy: Policy, now: Date): boolean {
  const spec = specOf(policy, evaluation.evaluation);
  if (budgetUsedUp(evaluation, spec) !== null) return false;
  const used = topUpsOf(evaluation).filter(drewSample).length;
  if (spec.closingIn === undefined) return used < spec.topUps;
  const { attempts, samples } = closingInTerms(spec.closingIn);
  const until = untilOf(evaluation, spec);
  if (until !== null && reached(now, until)) return false;
  return used < attempts && (samples === null || sampleCount(evaluation) < samples);
}

/** Asks for fresh samples where an evaluation may draw them and High or worse is not ruled out. */
export function requestTopUps(state: RunState, context: Context): RunEvent[] {
  const { policy, now } = context;
  if (beginsNoJobs(state, policy)) return [];
  for (const checkpoint of state.checkpoints) {
    if (unscorableBecause(checkpoint) !== null) continue;
    const assessment = assess(state, checkpoint, policy, now);
    for (const finding of assessment.findings) {
      if (finding.waived) continue;
      for (const evaluation of undecided(finding, checkpoint, assessment)) {
        const { state: attempt } = currentAttempt(evaluation);
        // One attempt at a time, whoever asked for it; what was cancelled starts again with the run.
        const isOver = attempt === 'reported' || attempt === 'failed';
        const wants = hasRoom(evaluation, policy, now) && statusOf(evaluation) === 'completed';
        if (!wants || !isOver) continue;
        const waitMs = sampleWaitMs(evaluation, specOf(policy, evaluation.evaluation));
        return [requeued(evaluation, 'top-up', 'interlock', context, waitMs)];
      }
    }
  }
  return [];
}

/** Until when people need not be woken for what holds a checkpoint; null: now. */
export function closesInUntil(
  state: RunState,
  checkpoint: CheckpointState,
  { policy, now }: Pick<Context, 'policy' | 'now'>,
): string | null {
  const assessment = assess(state, checkpoint, policy, now);
  const holding = assessment.findings.filter(({ waived, then }) => !waived && then.includes('hold'));
  const untils: string[] = [];
  for (const finding of holding) {
    const open = undecided(finding, checkpoint, assessment);
    // Something else holds it, or its estimate is there: no sample will take that away.
    if (open.length === 0) return null;
    for (const evaluation of open) {
      const until = untilOf(evaluation, specOf(policy, evaluation.evaluation));
      if (until === null || reached(now, until) || !isPending(evaluation)) return null;
      untils.push(until);
    }
  }
  return untils.sort((a, b) => Date.parse(a) - Date.parse(b))[0] ?? null;
}

/** The samples are used up, or took too long, and the hold stands: people are woken. */
export function wakePeople(state: RunState, context: Context): RunEvent[] {
  if (state.halt !== null) return [];
  for (const hold of state.holds) {
    if (hold.closingIn === undefined) continue;
    const checkpoint = checkpointOf(state, hold);
    // What else is drawn by then may go on; people were to hear of the hold.
    const isLate = reached(context.now, hold.closingIn.until);
    if (!isLate && checkpoint !== undefined && closesInUntil(state, checkpoint, context) !== null) continue;
    const findings =
      checkpoint === undefined
        ? hold.findings
        : assess(state, checkpoint, context.policy, context.now).findings.filter(({ then }) =>
            then.includes('hold'),
          );
    return [ended(hold, context), ...alertOf(state, hold, findings, context)];
  }
  return [];
}

function ended({ holdId, closingIn }: Hold, { now }: Context): RunEvent {
  const isLate = closingIn !== undefined && reached(now, closingIn.until);
  return { kind: 'ClosingInEnded', data: { holdId, reason: isLate ? 'time' : 'undecided', at: iso(now) } };
}

function alertOf(
  state: RunState,
  { holdId, key, deadlineAt }: Hold,
  findings: readonly Finding[],
  context: Context,
): RunEvent[] {
  return raiseAlert(state, context, {
    kind: 'hold',
    severity: 'error',
    dedupKey: holdId,
    summary: `${state.runId} is on hold: ${findings[0]?.explanation ?? key}; further samples did not decide it`,
    details: { holdId, deadlineAt, next: 'evidence or sign-offs lift it; at the deadline it becomes a halt' },
  });
}

const checkpointOf = ({ checkpoints }: RunState, { key }: Hold): CheckpointState | undefined =>
  checkpoints.find(({ checkpointId }) => key === `checkpoint:${checkpointId}`);

export const closingInEvolvers = {
  ClosingInEnded: (state: RunState, { holdId }: RunEventData<'ClosingInEnded'>): RunState => ({
    ...state,
    holds: state.holds.map((hold) => {
      if (hold.holdId !== holdId) return hold;
      const { closingIn: _ended, ...rest } = hold;
      return rest;
    }),
  }),
};
