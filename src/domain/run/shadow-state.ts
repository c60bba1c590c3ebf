/**
 * The shadow's part of a run's state: whether the run is in shadow, and what would have come of it so far.
 *
 * Only an event ends a shadow. Decisions read the clock beside it (`isShadowed`): past its time nothing is excused any
 * more, whether or not a tick has come round to say so.
 * Not here: when a shadow ends (shadow.ts).
 */
import { sameJson } from '../canonical-json.ts';
import { compareCompute } from '../compute.ts';
import { findingKey, verdictOf } from './assess.ts';
import { type Context, iso, reached } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { HaltAction, HaltCause } from './halt-documents.ts';
import type { CheckpointState, Hold, RunState, Shadow } from './state.ts';

type Shadowed = Pick<RunState, 'shadow'>;

/** As far as its events say. */
export function shadowOf({ shadow }: Shadowed): Shadow | null {
  return shadow === undefined || shadow.ended !== null ? null : shadow;
}

export function isShadowed(state: Shadowed, now: Date): boolean {
  const shadow = shadowOf(state);
  return shadow !== null && !reached(now, shadow.until);
}

/** Holds that stand, or would. */
export function standingHolds({ holds, shadow }: Pick<RunState, 'holds' | 'shadow'>): readonly Hold[] {
  return shadow === undefined ? holds : [...holds, ...shadow.holds];
}

/** People do not press to rehearse: with a press the run is armed. */
export function endedByPress(state: Shadowed, by: string, { now }: Pick<Context, 'now'>): RunEvent[] {
  if (shadowOf(state) === null) return [];
  return [{ kind: 'ShadowEnded', data: { reason: 'press', by, at: iso(now) } }];
}

const relativeName = (haltId: string): string => `lineage:${haltId}`;

/** Of a finding, or of the halt of a relative: whether it has been recorded as what would have halted the run. */
export function isKnownInShadow(state: Shadowed, name: string | { readonly haltId: string }): boolean {
  const key = typeof name === 'string' ? name : relativeName(name.haltId);
  return shadowOf(state)?.known.includes(key) === true;
}

/** Any one of them halts the run when it is armed; a quarantine is the graver. */
const CAUSES_KEPT = 16;

function keeping(shadow: Shadow, action: HaltAction, cause: HaltCause): Shadow {
  const all = [...shadow.kept, { action, cause }];
  const graver = all.filter((each) => each.action === 'quarantine');
  const others = all.filter((each) => each.action !== 'quarantine');
  return { ...shadow, kept: [...graver, ...others].slice(0, CAUSES_KEPT) };
}

/** A cause that has become one of a halt is owed no more. */
export function withoutKept(state: RunState, cause: HaltCause): RunState {
  const { shadow } = state;
  if (shadow === undefined || shadow.kept.length === 0) return state;
  return {
    ...state,
    shadow: { ...shadow, kept: shadow.kept.filter((each) => !sameJson(each.cause, cause)) },
  };
}

/** Checkpoints leave the state; what they would have halted the run for does not. */
export function withoutCheckpoints(state: RunState, dropped: readonly CheckpointState[]): RunState {
  const shadow = shadowOf(state);
  if (shadow === null || dropped.length === 0) return state;
  const ids = new Set(dropped.map(({ checkpointId }) => checkpointId));
  let kept = shadow;
  for (const { checkpointId, closed } of dropped) {
    const [first, ...rest] = (closed?.findings ?? []).filter((each) => verdictOf([each]) === 'halt');
    if (first === undefined) continue;
    const findings: [typeof first, ...typeof rest] = [first, ...rest];
    const quarantine = findings.some(({ then }) => then.includes('quarantine'));
    kept = keeping(kept, quarantine ? 'quarantine' : 'halt', { kind: 'rule', checkpointId, findings });
  }
  const isOfDropped = (name: string): boolean => ids.has(name.slice(name.lastIndexOf('/') + 1));
  return {
    ...state,
    shadow: {
      ...kept,
      known: shadow.known.filter((name) => !isOfDropped(name)),
      holds: shadow.holds.filter(({ key }) => !ids.has(key.slice('checkpoint:'.length))),
    },
  };
}

/** Due is what lies a ratio beyond it: a run that nothing stops is still evaluated at each doubling. */
export function withFurthest(
  state: RunState,
  { due, effectiveCompute, at }: Pick<RunEventData<'CheckpointReported'>, 'due' | 'effectiveCompute' | 'at'>,
): Pick<RunState, 'shadow'> {
  const shadow = shadowOf(state);
  if (shadow === null || !due) return {};
  const { furthest } = shadow;
  const isFurther = furthest === null || compareCompute(effectiveCompute, furthest.effectiveCompute) > 0;
  return isFurther ? { shadow: { ...shadow, furthest: { effectiveCompute, at } } } : {};
}

export function startOfShadow({ until }: { readonly until: string }): Shadow {
  return {
    until,
    ended: null,
    halts: 0,
    heldTimes: 0,
    first: null,
    known: [],
    holds: [],
    kept: [],
    furthest: null,
  };
}

function wouldHaveHalted(state: RunState, data: RunEventData<'WouldHaveHalted'>): RunState {
  const shadow = shadowOf(state);
  if (shadow === null) return state;
  const { action, cause, at } = data;
  const first = shadow.first ?? { action, ...toldOf(cause), at };
  const next = { ...shadow, halts: shadow.halts + 1, first };
  const isStanding =
    cause.kind === 'rule' &&
    (cause.checkpointId === null ||
      state.checkpoints.some((each) => each.checkpointId === cause.checkpointId));
  if (isStanding) {
    return { ...state, shadow: { ...next, known: [...next.known, ...cause.findings.map(findingKey)] } };
  }
  const known = cause.kind === 'lineage' ? [...next.known, relativeName(cause.haltId)] : next.known;
  return { ...state, shadow: keeping({ ...next, known }, action, cause) };
}

function toldOf(cause: HaltCause): { checkpointId: string | null; explanation: string } {
  if (cause.kind !== 'rule') return { checkpointId: null, explanation: cause.reason };
  const explanation = cause.findings.map((each) => each.explanation).join('; ');
  return { checkpointId: cause.checkpointId, explanation };
}

export const shadowEvolvers = {
  WouldHaveHalted: wouldHaveHalted,
  WouldHaveHeld: (state: RunState, data: RunEventData<'WouldHaveHeld'>): RunState => {
    const shadow = shadowOf(state);
    if (shadow === null) return state;
    const { holdId, key, findings, deadlineAt, at } = data;
    const explanation = findings.map((each) => each.explanation).join('; ');
    const checkpointId = findings[0]?.checkpointId ?? null;
    return {
      ...state,
      shadow: {
        ...shadow,
        heldTimes: shadow.heldTimes + 1,
        first: shadow.first ?? { action: 'hold', checkpointId, explanation, at },
        holds: [...shadow.holds, { holdId, key, findings, placedAt: at, deadlineAt }],
      },
    };
  },
  WouldHaveLifted: (state: RunState, { holdId }: RunEventData<'WouldHaveLifted'>): RunState => {
    const shadow = shadowOf(state);
    if (shadow === null) return state;
    return {
      ...state,
      shadow: {
        ...shadow,
        known: shadow.known.filter((name) => !name.split('/').includes(holdId)),
        holds: shadow.holds.filter((hold) => hold.holdId !== holdId),
      },
    };
  },
  ShadowEnded: (state: RunState, { reason, by, at }: RunEventData<'ShadowEnded'>): RunState => {
    const shadow = shadowOf(state);
    if (shadow === null) return state;
    return {
      ...state,
      shadow: { ...shadow, ended: { reason, by, at }, known: [], holds: [], furthest: null },
    };
  },
};
