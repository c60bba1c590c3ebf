/**
 * The steps of a ladder that Interlock takes by itself: the directive in the answer to a heartbeat, and the louder
 * page. No adapter hears of them.
 *
 * The first heartbeat of a round that was answered with the halt is a fact, whether or not a ladder names it: that the
 * trainer was told and when is what everybody asks first. That the answer was sent is all that is known; whether
 * it arrived, an acknowledgement says.
 */
import { raiseAlert } from './alerts.ts';
import { type Context, type Decision, iso } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { stepsDueMs } from './ladder-due.ts';
import type { Halt, RunState } from './state.ts';

export interface NoteDirective {
  readonly type: 'NoteDirective';
  readonly haltId: string;
  readonly round: number;
  readonly by: string;
  readonly instance: string | null;
}

export function noteDirective(state: RunState, command: NoteDirective, { now }: Context): Decision {
  const { halt } = state;
  const { haltId, round, by, instance } = command;
  if (halt === null || halt.haltId !== haltId || halt.round !== round) return [];
  if (halt.directive !== undefined) return [];
  const data = { haltId, round, by, ...(instance === null ? {} : { instance }), at: iso(now) };
  return [{ kind: 'HaltDirectiveGiven', data }];
}

/** When a page of a ladder is next due, ms since the epoch. */
export function pagesDueMs(
  { halt, targets }: Pick<RunState, 'halt' | 'targets'>,
  policy: Context['policy'],
): number[] {
  return halt === null ? [] : pagesDue(halt, targets, policy).map(({ dueMs }) => dueMs);
}

/** Louder: an incident of its own, so that nobody takes it for one that is being dealt with. */
export function takePages(state: RunState, context: Context): RunEvent[] {
  const { halt, runId } = state;
  if (halt === null || halt.confirmedAt !== null) return [];
  const [page] = pagesDue(halt, state.targets, context.policy).filter(
    ({ dueMs }) => dueMs <= context.now.getTime(),
  );
  if (page === undefined) return [];
  const { haltId, round } = halt;
  const { targetId } = page;
  const alert = raiseAlert(state, context, {
    kind: 'halt-unconfirmed',
    severity: 'critical',
    dedupKey: `${haltId}-${round}-page-${targetId}`,
    summary: `${runId}: ${targetId} is not known to have stopped, ordered ${halt.orderedAt}; every step before this page was taken or is overdue`,
    details: { haltId, targetId, round: String(round), stopped: 'not confirmed' },
  });
  const isPaged = alert.length > 0;
  const taken: RunEvent = {
    kind: 'HaltStepTaken',
    data: {
      haltId,
      targetId,
      round,
      step: 'page',
      attempt: 1,
      outcome: isPaged ? 'accepted' : 'rejected',
      detail: isPaged ? 'an alert was raised' : 'the policy names no alert channel',
      nextAt: null,
      at: iso(context.now),
    },
  };
  return [taken, ...alert];
}

function pagesDue(
  halt: Halt,
  targets: RunState['targets'],
  policy: Context['policy'],
): { targetId: string; dueMs: number }[] {
  return halt.targets.flatMap((target) => {
    const index = target.steps.findIndex(({ step }) => step === 'page');
    if (index < 0 || isDone(halt, target)) return [];
    const ladder = targets.find(({ targetId }) => targetId === target.targetId)?.ladder ?? [];
    const dueMs = stepsDueMs(halt, target, ladder, policy)[index] ?? null;
    return dueMs === null ? [] : [{ targetId: target.targetId, dueMs }];
  });
}

/** Nothing more is asked of a target that was seen to stop, unless life has shown that such words are not to be trusted. */
export function isDone({ doubtedAt }: Halt, { stoppedAt }: Halt['targets'][number]): boolean {
  return stoppedAt !== null && doubtedAt === undefined;
}

export const ownStepEvolvers = {
  HaltDirectiveGiven: (state: RunState, data: RunEventData<'HaltDirectiveGiven'>): RunState => {
    const { halt } = state;
    if (halt?.haltId !== data.haltId) return state;
    const { at, by } = data;
    const targets = halt.targets.map((target) => ({
      ...target,
      steps: target.steps.map((rung) =>
        rung.step === 'directive'
          ? { ...rung, attempts: 1, acceptances: 1, firstAt: at, acceptedAt: at, nextAt: null }
          : rung,
      ),
    }));
    return { ...state, halt: { ...halt, targets, directive: { at, by } } };
  },
};
