/**
 * From a halt's order to its confirmation: when the run is taken to have stopped, what takes that back, and what
 * happens where nobody can say so.
 *
 * A word that was given and is contradicted while the halt is unconfirmed is withdrawn, and the ladder climbs on
 * where it stands: begun anew each time, it would never reach its last step with a run that lies. Once confirmed,
 * life begins a new round from the first step. Not here: how evidence weighs (stop-evidence.ts).
 */
import type { Compute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { raiseAlert } from './alerts.ts';
import { type Context, iso, isoAfter, reached } from './context.ts';
import { isOverDrill } from './drill-state.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { haltTimeline } from './halt-timeline.ts';
import { lifeText } from './life-text.ts';
import type { Halt, RunState } from './state.ts';
import {
  againstText,
  factsOf,
  IN_FLIGHT_MS,
  isBeyondFlight,
  type StopFacts,
  type StopWeighed,
  weighStop,
  wordAt,
} from './stop-evidence.ts';

const ESCALATION_MAX_MS = 3_600_000;

export function escalationAt({ now, policy }: Context): string {
  return isoAfter(now, durationMs(policy.halt.confirmWithin));
}

function weighed(state: RunState, halt: Halt, { now, policy, progress }: Context): StopWeighed {
  const facts: StopFacts = {
    ...factsOf(halt, state.targets),
    progressAt: progress === null ? null : iso(progress.at),
    heartbeatAt: progress?.heartbeatAt === undefined ? null : iso(progress.heartbeatAt),
  };
  return weighStop(facts, durationMs(policy.permit.heartbeatInterval), now);
}

/** When silence alone may confirm the stop, as far as the ledger knows; null where more than silence is missing. */
export function quietAt(
  state: Pick<RunState, 'targets'>,
  halt: Halt,
  policy: Context['policy'],
): string | null {
  const facts = { ...factsOf(halt, state.targets), progressAt: null, heartbeatAt: null };
  return weighStop(facts, durationMs(policy.permit.heartbeatInterval), new Date(0)).quietAt;
}

export function confirmHalt(state: RunState, context: Context): RunEvent[] {
  const { halt } = state;
  if (halt === null || halt.confirmedAt !== null) return [];
  const { isStopped, speaksFor } = weighed(state, halt, context);
  if (!isStopped) return [];
  const at = iso(context.now);
  const timeline = haltTimeline({ ...halt, confirmedAt: at });
  const { haltId } = halt;
  return [
    {
      kind: 'HaltConfirmed',
      data: { haltId, effectiveCompute: state.computeHigh, evidence: [...speaksFor], timeline, at },
    },
    ...raiseAlert(state, context, {
      kind: 'halt-confirmed',
      severity: 'info',
      dedupKey: `${halt.haltId}-stopped`,
      summary: `${state.runId} has stopped (${halt.action} ${halt.haltId})`,
      details: { haltId: halt.haltId, stopped: 'confirmed', orderedAt: halt.orderedAt, confirmedAt: at },
    }),
  ];
}

/**
 * One heartbeat may have been under way when the orchestrators saw the run stop; a second one was sent after it. Not so
 * where the trainer gives the word: it says what it said before.
 */
export function mayBeLate(state: Pick<RunState, 'targets'>, halt: Halt, now: Date): boolean {
  const word = observedAt(state, halt);
  if (word === null || isBeyondFlight(word, now)) return false;
  // Clocks that differ by more than that tell nothing.
  if (now.getTime() < Date.parse(word) - IN_FLIGHT_MS) return false;
  return halt.progressAt === undefined || Date.parse(halt.progressAt) < Date.parse(word);
}

/** When the last of the orchestrators saw its target stopped; null while one has not, or none can. */
function observedAt({ targets }: Pick<RunState, 'targets'>, halt: Halt): string | null {
  const canBeSeen = targets.some(({ confirmation }) => confirmation === 'observed');
  return canBeSeen ? wordAt(factsOf(halt, targets)) : null;
}

export interface Life {
  readonly reason: 'progress' | 'checkpoint' | 'relaunched';
  readonly effectiveCompute: Compute;
}

/** Life of a run that is said to have stopped. Nothing follows where nobody has said so: the ladder is at work. */
export function contradicted(state: RunState, halt: Halt, life: Life, context: Context): RunEvent[] {
  const word = wordAt(factsOf(halt, state.targets));
  if (halt.confirmedAt === null && halt.stoppedAckAt === null && word === null) return [];
  const { reason, effectiveCompute } = life;
  const isObserved = state.targets.some(({ confirmation }) => confirmation === 'observed');
  if (halt.confirmedAt !== null || !isObserved) {
    return reopened(state, halt, reason, effectiveCompute, context, isObserved ? { doubts: true } : {});
  }
  // One of several targets that is seen to have stopped is not contradicted by what another one does.
  const { haltId, round, targets, stoppedAckAt, doubtedAt } = halt;
  const stopped = word !== null ? targets.filter(({ stoppedAt }) => stoppedAt !== null) : [];
  const withdrawn: RunEvent = {
    kind: 'StopWithdrawn',
    data: {
      haltId,
      round,
      targetIds: stopped.map(({ targetId }) => targetId),
      acknowledged: stoppedAckAt !== null,
      reason,
      effectiveCompute,
      at: iso(context.now),
    },
  };
  // Said once in a halt; after that its growing deadlines page.
  if (stopped.length === 0 || doubtedAt !== undefined) return [withdrawn];
  return [
    withdrawn,
    ...raiseAlert(state, context, {
      kind: 'halt-unconfirmed',
      severity: 'critical',
      dedupKey: `${haltId}-${round}-doubt`,
      summary: `${state.runId} is said to have stopped and shows life (${lifeText(life)}): is it the right job?`,
      details: { haltId, said: stopped.map(({ targetId }) => targetId).join(', '), stopped: 'no' },
    }),
  ];
}

export function reopened(
  state: RunState,
  halt: Halt,
  reason: RunEventData<'HaltReopened'>['reason'],
  effectiveCompute: Compute | null,
  context: Context,
  more: Pick<RunEventData<'HaltReopened'>, 'targetId' | 'detail' | 'doubts'> = {},
): RunEvent[] {
  const round = halt.round + 1;
  return [
    {
      kind: 'HaltReopened',
      data: {
        haltId: halt.haltId,
        round,
        escalateAt: escalationAt(context),
        effectiveCompute,
        reason,
        ...more,
        at: iso(context.now),
      },
    },
    ...raiseAlert(state, context, {
      kind: 'halt-unconfirmed',
      severity: 'critical',
      dedupKey: `${halt.haltId}-${round}`,
      summary: `${state.runId} shows life after its halt (${lifeText({ reason, effectiveCompute, ...more })}); it is halted again`,
      details: { haltId: halt.haltId, round: String(round), stopped: 'no' },
    }),
  ];
}

/** Unconfirmed past its deadline: page, and again each time the (growing) deadline passes. */
export function escalateHalt(state: RunState, context: Context): RunEvent[] {
  if (isOverDrill(state)) return [];
  const { halt } = state;
  if (halt === null || halt.confirmedAt !== null || !reached(context.now, halt.escalateAt)) return [];
  const count = halt.escalations + 1;
  const waitMsAfter = Math.min(
    durationMs(context.policy.halt.confirmWithin) * (count + 1),
    ESCALATION_MAX_MS,
  );
  const against = weighed(state, halt, context).speaksAgainst.map(againstText);
  return [
    {
      kind: 'HaltEscalated',
      data: {
        haltId: halt.haltId,
        count,
        nextAt: isoAfter(context.now, waitMsAfter),
        at: iso(context.now),
      },
    },
    ...raiseAlert(state, context, {
      kind: 'halt-unconfirmed',
      severity: 'critical',
      dedupKey: `${halt.haltId}-${halt.round}`,
      summary: `${state.runId} is not known to have stopped since ${halt.orderedAt}; stop it by hand`,
      details: {
        haltId: halt.haltId,
        acknowledged: halt.stoppedAckAt ?? halt.receivedAt ?? 'no',
        stopped: 'not confirmed',
        against: against.join('; '),
      },
    }),
  ];
}
