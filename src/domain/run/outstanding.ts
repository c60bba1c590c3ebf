/**
 * outstanding(state) -> what should be in the queue: a pure function of the ledger, so the queue is disposable.
 *
 * Each item's key is derived from the facts, so enqueuing twice is harmless; each has its `notBefore`.
 * Deadlines live here, not in delayed jobs: the earliest becomes one `tick`.
 */
import { compareCompute } from '../compute.ts';
import { OWN_STEPS } from '../policy/ladder.ts';
import type { Policy } from '../policy/schema.ts';
import { isHandedOver } from './attempts.ts';
import { nextDueAt } from './cadence.ts';
import { quietAt } from './confirmation.ts';
import { isOverDrill } from './drill-state.ts';
import { roundsOf } from './estimate-state.ts';
import { currentAttempt, isConcluded, specOf, statusOf } from './evaluation.ts';
import { isExpiryKnown } from './halt.ts';
import { OVERDUE_KEY } from './holds.ts';
import { stepsDueMs } from './ladder-due.ts';
import { isDone, pagesDueMs } from './own-steps.ts';
import { priorityOf } from './priority.ts';
import { beginsNoJobs, isQuarantined, quarantineDeadlines } from './quarantine.ts';
import { isKnownInShadow, shadowOf } from './shadow-state.ts';
import type { Attempt, CheckpointState, EvaluationState, Halt, RunState, Shadow } from './state.ts';
import { tripwireLateAt } from './tiers.ts';
import { awaitedBy } from './training-stage.ts';

/**
 * `dispatch` is an evaluation that somebody else carries out: handing it over takes a moment, so it must not wait for
 * the slots of those that run here for hours.
 */
export type WorkKind = 'evaluate' | 'dispatch' | 'halt-step' | 'observe' | 'isolate' | 'alert' | 'tick';

export interface WorkItem {
  readonly kind: WorkKind;
  /** Deterministic and unique within its kind. */
  readonly key: string;
  readonly runId: string;
  readonly notBeforeMs: number;
  readonly ids: Readonly<Record<string, string | number>>;
  /** A smaller one goes first, within its kind. */
  readonly priority?: number;
  /** What a worker must have to carry it out. */
  readonly labels?: readonly string[];
}

export function outstanding(state: RunState, policy: Policy): WorkItem[] {
  const items = [
    ...evaluations(state, policy),
    ...halts(state, policy),
    ...isolation(state),
    ...alerts(state),
  ];
  const deadline = nextDeadlineMs(state, policy);
  if (deadline !== null) {
    const { runId } = state;
    items.push({ kind: 'tick', key: `${runId}/${deadline}`, runId, notBeforeMs: deadline, ids: {} });
  }
  return items;
}

/** When something is next to be done for this run, ms since the epoch; null when nothing ever is. */
export function nextDueMs(items: readonly WorkItem[]): number | null {
  return items.length === 0 ? null : Math.min(...items.map(({ notBeforeMs }) => notBeforeMs));
}

/** Of a finished run too: what its last checkpoint can do is still to be known. */
function evaluations(run: RunState, policy: Policy): WorkItem[] {
  const { runId, checkpoints } = run;
  return checkpoints.flatMap((checkpoint) =>
    checkpoint.evaluations.flatMap((evaluation) => {
      const { state, attempt, notBefore } = currentAttempt(evaluation);
      const { evaluationId } = evaluation;
      const callOffs = evaluation.attempts.flatMap((each) => callOff(runId, evaluationId, each));
      if (state !== 'queued') return callOffs;
      const spec = specOf(policy, evaluation.evaluation);
      const isElsewhere = isHandedOver(evaluation, attempt, spec);
      const { resources } = spec;
      return [
        ...callOffs,
        {
          kind: isElsewhere ? ('dispatch' as const) : ('evaluate' as const),
          key: `${evaluationId}/${attempt}`,
          runId,
          notBeforeMs: Date.parse(notBefore),
          ids: { evaluationId, attempt },
          priority: priorityOf(run, checkpoint, evaluation, policy),
          // Who is asked by a message has machines of its own.
          ...(isElsewhere || resources === undefined ? {} : { labels: [...resources].sort() }),
        },
      ];
    }),
  );
}

/** Handed over as a dispatch is: it takes a moment, and waits for no slot. */
function callOff(runId: string, evaluationId: string, { attempt, callOff: standing }: Attempt): WorkItem[] {
  if (standing === undefined || standing.nextAt === null) return [];
  const call = standing.calls + 1;
  return [
    {
      kind: 'dispatch',
      key: `${evaluationId}/${attempt}/off/${call}`,
      runId,
      notBeforeMs: Date.parse(standing.nextAt),
      ids: { evaluationId, attempt, call },
    },
  ];
}

function halts(state: RunState, policy: Policy): WorkItem[] {
  const { runId, halt, targets } = state;
  if (halt === null || halt.confirmedAt !== null || isOverDrill(state)) return [];
  return halt.targets.flatMap((target) => {
    const { targetId, stoppedAt } = target;
    const observed = targets.some((each) => each.targetId === targetId && each.confirmation === 'observed');
    return [
      ...(isDone(halt, target) ? [] : steps(state, halt, target, policy)),
      ...(observed && stoppedAt === null ? [observation(runId, halt, targetId)] : []),
    ];
  });
}

function steps(
  { runId, targets }: RunState,
  halt: Halt,
  target: Halt['targets'][number],
  policy: Policy,
): WorkItem[] {
  const { haltId, round } = halt;
  const { targetId } = target;
  const ladder = targets.find((each) => each.targetId === targetId)?.ladder ?? [];
  const due = stepsDueMs(halt, target, ladder, policy);
  return target.steps.flatMap(({ step, attempts, nextAt }, i) => {
    const notBeforeMs = due[i] ?? null;
    if (notBeforeMs === null || nextAt === null || OWN_STEPS.has(step)) return [];
    // One that a rule moves is another item: whatever waits for it as it was must not keep it from its time.
    const moved = notBeforeMs === Date.parse(nextAt) ? '' : `/${notBeforeMs}`;
    return [
      {
        kind: 'halt-step' as const,
        key: `${haltId}/${targetId}/${round}/${step}/${attempts + 1}${moved}`,
        runId,
        notBeforeMs,
        ids: { haltId, targetId, round, step, attempt: attempts + 1 },
      },
    ];
  });
}

function observation(runId: string, { haltId, round, roundAt }: Halt, targetId: string): WorkItem {
  return {
    kind: 'observe',
    key: `${haltId}/${targetId}/${round}`,
    runId,
    notBeforeMs: Date.parse(roundAt),
    ids: { haltId, targetId, round },
  };
}

function isolation(state: RunState): WorkItem[] {
  const { runId, halt } = state;
  if (halt?.quarantine === undefined || !isQuarantined(state)) return [];
  const { haltId, round } = halt;
  return halt.quarantine.steps.flatMap(({ step, attempts, nextAt }) =>
    nextAt === null
      ? []
      : [
          {
            kind: 'isolate' as const,
            key: `${haltId}/${round}/${step}/${attempts + 1}`,
            runId,
            notBeforeMs: Date.parse(nextAt),
            ids: { haltId, round, step, attempt: attempts + 1 },
          },
        ],
  );
}

function alerts({ runId, alerts: pending }: RunState): WorkItem[] {
  return pending.flatMap(({ alertId, channels }) =>
    channels.flatMap(({ channel, attempts, nextAt }) =>
      nextAt === null
        ? []
        : [
            {
              kind: 'alert' as const,
              key: `${alertId}/${channel}/${attempts + 1}`,
              runId,
              notBeforeMs: Date.parse(nextAt),
              ids: { alertId, channel, attempt: attempts + 1 },
            },
          ],
    ),
  );
}

/** The earliest instant at which a `Tick` may change something. */
export function nextDeadlineMs(state: RunState, policy: Policy): number | null {
  if (isOverDrill(state)) return null;
  const instants: number[] = [];
  const add = (instant: string | null): void => {
    if (instant !== null) instants.push(Date.parse(instant));
  };
  for (const checkpoint of state.checkpoints) {
    const { closed, deadlineAt, evaluations: all, due } = checkpoint;
    // What is asked of it beside its own may come after any deadline.
    const isSettled = (each: EvaluationState): boolean =>
      isConcluded(each) || each.beside !== undefined || (!due && statusOf(each) === 'deferred');
    if (!beginsNoJobs(state, policy)) add(tripwireLateAt(checkpoint, policy));
    // After closing, what is optional may still be awaited: its absence is a finding from the deadline on.
    const judged =
      closed !== null && (Date.parse(closed.at) >= Date.parse(deadlineAt) || all.every(isSettled));
    if (!judged) add(deadlineAt);
    for (const evaluation of all) {
      const { state: attempt, deadlineAt: attemptDeadline } = currentAttempt(evaluation);
      if (attempt === 'running' || attempt === 'awaiting-callback') add(attemptDeadline);
    }
  }
  for (const { round } of roundsOf(state)) if (round.closed === null) add(round.closesAt);
  const shadow = shadowOf(state);
  if (shadow !== null) {
    add(shadow.until);
    for (const hold of shadow.holds) if (!isExpiryKnown(state, hold)) add(hold.deadlineAt);
  }
  if (state.halt === null) {
    for (const { deadlineAt, closingIn } of state.holds) {
      add(deadlineAt);
      add(closingIn?.until ?? null);
    }
    // A waiver that nothing rests on expires without consequence.
    if (state.checkpoints.some(restsOnWaiver)) add(state.waiver?.expires ?? null);
  } else {
    for (const instant of quarantineDeadlines(state)) add(instant);
    add(state.halt.scoped?.expires ?? null);
  }
  if (state.halt !== null && state.halt.confirmedAt === null) {
    add(state.halt.escalateAt);
    // The side columns may show later progress: the tick then decides again, one interval later.
    add(quietAt(state, state.halt, policy));
    instants.push(...pagesDueMs(state, policy));
  }
  if (state.finishedAt === null && state.halt === null && state.holds.length === 0) {
    const awaited = state.checkpoints.some(({ due, closed }) => due && closed === null);
    const isSettled = shadow === null ? awaited : isOverdueKnown(state, shadow);
    // What was declared is awaited also while a checkpoint from before it is evaluated.
    if (!isSettled || (shadow === null && awaitedBy(state) !== null)) add(overdueAt(state, policy));
  }
  return instants.length === 0 ? null : Math.min(...instants);
}

/** In shadow it trains on: said once, and again when a checkpoint has come. */
function isOverdueKnown(state: RunState, { holds }: Shadow): boolean {
  return holds.some(({ key }) => key === 'overdue') || isKnownInShadow(state, OVERDUE_KEY);
}

/** When the calendar makes the run overdue: not before the terms that excuse it have expired. */
function overdueAt(state: RunState, policy: Policy): string {
  const dueAt = nextDueAt(state, { policy });
  const { waiver, ceiling } = state;
  const excused =
    waiver?.waives.includes(OVERDUE_KEY) === true && compareCompute(ceiling, waiver.ceiling) <= 0;
  return excused && Date.parse(waiver.expires) > Date.parse(dueAt) ? waiver.expires : dueAt;
}

function restsOnWaiver({ closed }: CheckpointState): boolean {
  return closed?.findings.some(({ waived }) => waived) ?? false;
}
