/** Rows and documents of halts. */
import type { RunEventData } from './events.ts';
import { haltTimeline } from './halt-timeline.ts';
import type { Halt, RunState } from './state.ts';
import { json, pressKey, type View } from './view.ts';

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

/** Which halt a press is a cause of, for as long as the ledger: the state keeps the causes of the first few alone. */
export function pressView(
  { cause, at }: RunEventData<'HaltOrdered' | 'HaltCauseAdded'>,
  { haltId }: Halt,
  runId: string,
): View[] {
  if (cause.kind !== 'person' || cause.pressId === undefined) return [];
  const id = pressKey(runId, cause.pressId);
  return [{ kind: 'press', id, runId, ordinal: Date.parse(at), doc: json({ haltId }) }];
}
