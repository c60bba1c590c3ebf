/** Registering a run, and its end. */
import { type Compute, maxCompute, onePlus, timesCompute } from '../compute.ts';
import { highestCompute } from './cadence.ts';
import { type Context, type Decision, iso, reject } from './context.ts';
import type { RunEvent, RunEventData, RunTarget } from './events.ts';
import type { RunState } from './state.ts';

export interface RegisterRun {
  readonly type: 'RegisterRun';
  readonly runId: string;
  readonly title: string | null;
  readonly policyDigest: string;
  readonly initialCompute: Compute | null;
  readonly parents: readonly string[];
  readonly sources: readonly string[] | null;
  readonly targets: readonly RunTarget[];
  readonly labels: Readonly<Record<string, string>>;
  /** Digest of the registration as sent, so that the same again is a repetition and another is a conflict. */
  readonly contentDigest: string;
  readonly by: string;
  readonly operator: boolean;
}

/** The first permit's ceiling: `firstCheckpointBy`, or what a run that starts from weights needs to begin. */
export function firstCeiling(initialCompute: Compute | null, { policy }: Pick<Context, 'policy'>): Compute {
  const { firstCheckpointBy, grace } = policy.cadence;
  if (initialCompute === null) return firstCheckpointBy;
  return maxCompute(firstCheckpointBy, timesCompute(initialCompute, onePlus(grace)));
}

export function registerRun(state: RunState | null, command: RegisterRun, context: Context): Decision {
  if (state !== null) {
    // Who registers is about to start: a repetition too is told that nothing may.
    if (state.halt !== null) {
      const { action, haltId } = state.halt;
      const how = action === 'quarantine' ? 'quarantined' : 'halted';
      return reject(
        'conflict',
        `run ${command.runId} is ${how} (${haltId}); nothing starts under its name`,
        'runId',
      );
    }
    if (state.contentDigest === command.contentDigest) return [];
    return reject('conflict', `run ${command.runId} is registered with other content`, 'runId');
  }
  const ceiling = firstCeiling(command.initialCompute, context);
  if (
    command.initialCompute !== null &&
    !command.operator &&
    maxCompute(command.initialCompute, context.policy.cadence.firstCheckpointBy) !==
      context.policy.cadence.firstCheckpointBy
  ) {
    return reject(
      'forbidden',
      `only an operator registers a run that starts above firstCheckpointBy (${context.policy.cadence.firstCheckpointBy})`,
      'initialCompute',
    );
  }
  const event: RunEvent = {
    kind: 'RunRegistered',
    data: {
      runId: command.runId,
      title: command.title,
      policy: command.policyDigest,
      policyName: context.policy.policy,
      by: command.by,
      initialCompute: command.initialCompute,
      parents: [...command.parents],
      sources: command.sources === null ? null : [...command.sources],
      targets: [...command.targets],
      labels: { ...command.labels },
      ceiling,
      contentDigest: command.contentDigest,
      at: iso(context.now),
    },
  };
  return [event];
}

export interface FinishRun {
  readonly type: 'FinishRun';
  readonly by: string;
}

export function finishRun(state: RunState, command: FinishRun, context: Context): Decision {
  if (state.finishedAt !== null) return [];
  if (state.halt !== null) {
    return reject('conflict', `run ${state.runId} is halted; a halt ends only by a governed resume`);
  }
  const ceiling = highestCompute(state, context) ?? state.ceiling;
  return [{ kind: 'RunFinished', data: { by: command.by, ceiling, at: iso(context.now) } }];
}

export function registered(data: RunEventData<'RunRegistered'>): RunState {
  return {
    schema: 1,
    runId: data.runId,
    title: data.title,
    policy: data.policy,
    policyName: data.policyName,
    by: data.by,
    registeredAt: data.at,
    contentDigest: data.contentDigest,
    labels: data.labels,
    parents: data.parents,
    sources: data.sources,
    initialCompute: data.initialCompute,
    targets: data.targets,
    epoch: 0,
    ceiling: data.ceiling,
    firstCeiling: data.ceiling,
    lastCleared: null,
    computeHigh: data.initialCompute,
    checkpoints: [],
    series: [],
    history: [],
    holds: [],
    halt: null,
    clearedHalts: [],
    waiver: null,
    proposals: [],
    alerts: [],
    counters: { holds: 0, proposals: 0, alerts: 0 },
    finishedAt: null,
  };
}

export const registrationEvolvers = {
  RunRegistered: (_state: RunState, data: RunEventData<'RunRegistered'>): RunState => registered(data),
  RunFinished: (state: RunState, data: RunEventData<'RunFinished'>): RunState => ({
    ...state,
    ceiling: data.ceiling,
    finishedAt: data.at,
  }),
};
