/**
 * The halt's part of a run's state: what each event of ordering, delivering and confirming does to it.
 *
 * Not here: when any of them happens (halt.ts).
 */
import { isoAfter } from './context.ts';
import type { RunEventData } from './events.ts';
import type { HaltCause } from './halt-documents.ts';
import { lifeText } from './life-text.ts';
import { withInherited } from './lineage.ts';
import { isolatedAnew } from './quarantine.ts';
import { withoutKept } from './shadow-state.ts';
import type { Halt, RunState } from './state.ts';

/** People's causes kept in the state; every press stands in the ledger. */
const PERSON_CAUSES_KEPT = 20;

function armed(state: Pick<RunState, 'targets'>, at: string): Halt['targets'] {
  return state.targets.map(({ targetId, ladder }) => ({
    targetId,
    steps: ladder.map(({ step, afterMs }) => ({
      step,
      attempts: 0,
      acceptances: 0,
      firstAt: null,
      acceptedAt: null,
      nextAt: isoAfter(at, afterMs),
      lastDetail: null,
    })),
    stoppedAt: null,
    stopDetail: null,
  }));
}

function withHalt(state: RunState, haltId: string, change: (halt: Halt) => Halt): RunState {
  return state.halt?.haltId === haltId ? { ...state, halt: change(state.halt) } : state;
}

function withTarget(
  halt: Halt,
  targetId: string,
  change: (target: Halt['targets'][number]) => Halt['targets'][number],
): Halt {
  return { ...halt, targets: halt.targets.map((each) => (each.targetId === targetId ? change(each) : each)) };
}

function keptCauses(causes: readonly HaltCause[]): HaltCause[] {
  const people = causes.filter(({ kind }) => kind === 'person').slice(0, PERSON_CAUSES_KEPT);
  return causes.filter((cause) => cause.kind !== 'person' || people.includes(cause));
}

/** What people had let go on ends where somebody orders it stopped again, and a quarantine that is asked for anew begins anew. */
function withoutLeave(halt: Halt, { cause, asks }: RunEventData<'HaltCauseAdded'>): Halt {
  const { quarantine, scoped, ...rest } = halt;
  const again = asks === 'quarantine' && quarantine?.released !== undefined;
  const ended = cause.kind === 'person' || asks === 'quarantine';
  return {
    ...rest,
    ...(quarantine === undefined || again ? {} : { quarantine }),
    ...(scoped === undefined || ended ? {} : { scoped }),
  };
}

/** A new round: every rung again from the start, and no earlier word about stopping counts. */
function rearmed(state: RunState, halt: Halt, round: number, at: string, escalateAt: string): Halt {
  const { directive: _directive, progressAt: _progressAt, ...kept } = halt;
  return {
    ...kept,
    round,
    roundAt: at,
    targets: armed(state, at),
    receivedAt: null,
    stoppedAckAt: null,
    confirmedAt: null,
    escalateAt,
  };
}

export const haltEvolvers = {
  HaltOrdered: (state: RunState, data: RunEventData<'HaltOrdered'>): RunState => {
    const { haltId, action, cause, epoch, issuedAt, at } = data;
    return {
      ...withInherited(withoutKept(state, cause), cause),
      epoch,
      halt: {
        haltId,
        action,
        epoch,
        orderedAt: at,
        ...(issuedAt === undefined ? {} : { issuedAt }),
        causes: [cause],
        round: 1,
        roundAt: at,
        targets: armed(state, at),
        receivedAt: null,
        stoppedAckAt: null,
        computeAtStop: null,
        confirmedAt: null,
        escalations: 0,
        escalateAt: data.escalateAt,
      },
    };
  },
  HaltCauseAdded: (state: RunState, data: RunEventData<'HaltCauseAdded'>): RunState =>
    withHalt(withInherited(withoutKept(state, data.cause), data.cause), data.haltId, (halt) => {
      const causes = keptCauses([...halt.causes, data.cause]);
      const graver = data.action !== halt.action;
      const next = graver ? rearmed(state, halt, halt.round + 1, data.at, halt.escalateAt) : halt;
      return withoutLeave(
        { ...next, action: data.action, causes: [causes[0] ?? data.cause, ...causes.slice(1)] },
        data,
      );
    }),
  HaltStepTaken: (state: RunState, data: RunEventData<'HaltStepTaken'>): RunState =>
    withHalt(state, data.haltId, (halt) =>
      withTarget(halt, data.targetId, (target) => ({
        ...target,
        steps: target.steps.map((rung) =>
          rung.step === data.step
            ? {
                ...rung,
                attempts: data.attempt,
                acceptances: rung.acceptances + (data.outcome === 'accepted' ? 1 : 0),
                firstAt: rung.firstAt ?? data.at,
                acceptedAt: rung.acceptedAt ?? (data.outcome === 'accepted' ? data.at : null),
                nextAt: data.nextAt,
                lastDetail: data.detail,
              }
            : rung,
        ),
      })),
    ),
  HaltAcknowledged: (state: RunState, data: RunEventData<'HaltAcknowledged'>): RunState =>
    withHalt(state, data.haltId, (halt) => ({
      ...halt,
      receivedAt: halt.receivedAt ?? data.at,
      stoppedAckAt: data.state === 'stopped' ? (halt.stoppedAckAt ?? data.at) : halt.stoppedAckAt,
    })),
  TargetStopObserved: (state: RunState, data: RunEventData<'TargetStopObserved'>): RunState =>
    withHalt(state, data.haltId, (halt) =>
      withTarget(halt, data.targetId, (target) => ({
        ...target,
        stoppedAt: data.at,
        stopDetail: data.detail,
      })),
    ),
  StopWithdrawn: (state: RunState, data: RunEventData<'StopWithdrawn'>): RunState =>
    withHalt(state, data.haltId, (halt) => ({
      ...halt,
      targets: halt.targets.map((target) =>
        data.targetIds.includes(target.targetId) ? { ...target, stoppedAt: null, stopDetail: null } : target,
      ),
      stoppedAckAt: data.acknowledged ? null : halt.stoppedAckAt,
      ...(data.targetIds.length === 0 ? {} : { doubtedAt: data.at }),
    })),
  HaltConfirmed: (state: RunState, data: RunEventData<'HaltConfirmed'>): RunState =>
    withHalt(state, data.haltId, (halt) => ({
      ...halt,
      confirmedAt: data.at,
      computeAtStop: data.effectiveCompute,
    })),
  HaltEscalated: (state: RunState, data: RunEventData<'HaltEscalated'>): RunState =>
    withHalt(state, data.haltId, (halt) => ({
      ...halt,
      escalations: data.count,
      escalateAt: data.nextAt,
    })),
  HaltReopened: (state: RunState, data: RunEventData<'HaltReopened'>): RunState =>
    withHalt(state, data.haltId, (halt) => ({
      ...rearmed(state, halt, data.round, data.at, data.escalateAt),
      // People who order it again are no sign of life.
      ...(data.reason === 'ordered-again' ? {} : { life: { shown: lifeText(data), at: data.at } }),
      ...(data.reason === 'ordered-again' || halt.quarantine === undefined
        ? {}
        : { quarantine: isolatedAnew(halt.quarantine, data.at) }),
      ...(data.doubts === true ? { doubtedAt: data.at } : {}),
    })),
};
