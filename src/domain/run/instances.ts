/**
 * One live instance per permit: which process of a run trains is settled where permits are numbered
 * (ledger/progress.ts); here is what follows from what was seen there.
 *
 * A second process is refused its permit, told to pause, and people hear of it; the first trains on, for nothing is
 * wrong with it. One that computes on although it was refused holds the whole run: two processes spend its compute
 * and one of them has no permit. A process that is new to a run that is halted and said it stopped is life after the
 * halt. Fails toward stopping: evidence does not lift that hold, sign-offs do.
 * Not promised: clients that name no instance cannot be told apart.
 */
import type { Compute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { raiseAlert } from './alerts.ts';
import { contradicted } from './confirmation.ts';
import { type Context, type Decision, iso, isoAfter, reached } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { RunState } from './state.ts';

export interface NoteInstance {
  readonly type: 'NoteInstance';
  readonly instance: string;
  readonly by: string;
  readonly seen:
    | { readonly kind: 'refused'; readonly holder: string; readonly heldUntil: string }
    | { readonly kind: 'took-over'; readonly supersedes: string }
    | { readonly kind: 'trained'; readonly effectiveCompute: Compute }
    | { readonly kind: 'appeared'; readonly effectiveCompute: Compute };
}

/** Kept in the state; every one stands in the ledger. */
const INSTANCES_KEPT = 16;

export function noteInstance(state: RunState, command: NoteInstance, context: Context): Decision {
  const { instance, by, seen } = command;
  const at = iso(context.now);
  switch (seen.kind) {
    case 'took-over':
      return [{ kind: 'InstanceTookOver', data: { instance, supersedes: seen.supersedes, by, at } }];
    case 'refused':
      return refusedAgain(state, instance, context)
        ? []
        : [
            {
              kind: 'InstanceRefused',
              data: { instance, holder: seen.holder, heldUntil: seen.heldUntil, by, at },
            },
            ...raiseAlert(state, context, {
              kind: 'notice',
              severity: 'error',
              dedupKey: `${state.runId}-instance-${instance}`,
              summary: `${state.runId}: a second process (${instance}) asks for permits while ${seen.holder} trains; it is refused`,
              details: { instance, holder: seen.holder, heldUntil: seen.heldUntil },
            }),
          ];
    case 'trained':
      return trained(state, instance, seen.effectiveCompute, command.by, context);
    case 'appeared': {
      const { halt } = state;
      if (halt === null) return [];
      const life = { reason: 'relaunched' as const, effectiveCompute: seen.effectiveCompute };
      return contradicted(state, halt, life, context);
    }
    default:
      return seen satisfies never;
  }
}

/** Said once per life of a permit, however often it asks. */
function refusedAgain({ duplicates }: RunState, instance: string, { now, policy }: Context): boolean {
  const known = duplicates?.refused.find((each) => each.instance === instance);
  return known !== undefined && !reached(now, isoAfter(known.at, durationMs(policy.permit.ttl)));
}

/** A step that was under way when the refusal came may still be reported: one heartbeat interval is left to it. */
function trained(
  state: RunState,
  instance: string,
  effectiveCompute: Compute,
  by: string,
  context: Context,
): RunEvent[] {
  const refused = state.duplicates?.refused.find((each) => each.instance === instance);
  if (refused === undefined || state.halt !== null || state.finishedAt !== null) return [];
  const grace = isoAfter(refused.at, durationMs(context.policy.permit.heartbeatInterval));
  const isKnown = state.duplicates?.training.some((each) => each.instance === instance) === true;
  if (isKnown || !reached(context.now, grace)) return [];
  return [{ kind: 'InstanceTrained', data: { instance, effectiveCompute, by, at: iso(context.now) } }];
}

const NONE: NonNullable<RunState['duplicates']> = { refused: [], training: [] };

export const instanceEvolvers = {
  InstanceRefused: (state: RunState, { instance, at }: RunEventData<'InstanceRefused'>): RunState => {
    const { refused, training } = state.duplicates ?? NONE;
    const others = refused.filter((each) => each.instance !== instance);
    return {
      ...state,
      duplicates: { refused: [...others, { instance, at }].slice(-INSTANCES_KEPT), training },
    };
  },
  InstanceTookOver: (state: RunState, _data: RunEventData<'InstanceTookOver'>): RunState => state,
  InstanceTrained: (state: RunState, data: RunEventData<'InstanceTrained'>): RunState => {
    const { instance, effectiveCompute, at } = data;
    const { refused, training } = state.duplicates ?? NONE;
    return {
      ...state,
      duplicates: {
        refused,
        training: [...training, { instance, effectiveCompute, at }].slice(-INSTANCES_KEPT),
      },
    };
  },
};
