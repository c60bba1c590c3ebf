/** Registering a run, and its end. */
import { type Compute, flopText, maxCompute, onePlus, timesCompute } from '../compute.ts';
import { raiseAlert } from './alerts.ts';
import { ancestryProblem, lineageAtStart, NOTHING_KNOWN } from './ancestry.ts';
import type { Ancestry } from './ancestry-documents.ts';
import { highestCompute } from './cadence.ts';
import { type Context, type Decision, iso, type Rejection, reached, reject } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { RunTarget } from './halt-documents.ts';
import { independenceRefusal } from './independence.ts';
import { SHADOW_DAYS_MAX, SHADOW_MAX_MS } from './shadow-documents.ts';
import { startOfShadow } from './shadow-state.ts';
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
  /** What the parents turned out to be; left out, nobody knows any of them. */
  readonly ancestry?: Ancestry | undefined;
  /** Why an operator answers for weights whose origin is not known here. */
  readonly vouched?: string | undefined;
  readonly accelerator?: string | undefined;
  readonly drill?: true | undefined;
  /** Until when the deployment is in shadow; left out, it is armed. */
  readonly shadowUntil?: string | undefined;
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
  const ancestry = command.ancestry ?? { ...NOTHING_KNOWN, unknown: [...command.parents] };
  const lineage = lineageAtStart(command.initialCompute, ancestry, command.vouched);
  const start = lineage?.start ?? null;
  const refusal = registrationRefusal(command, ancestry, start, context);
  if (refusal !== null) return refusal;
  const { vouched, accelerator, shadowUntil, drill } = command;
  // A drill is held to see what a real halt does.
  const isShadowed = drill === undefined && shadowUntil !== undefined && !reached(context.now, shadowUntil);
  const data: RunEventData<'RunRegistered'> = {
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
    ceiling: firstCeiling(start, context),
    contentDigest: command.contentDigest,
    ...(lineage === undefined ? {} : { ancestry }),
    ...(vouched === undefined ? {} : { vouched }),
    ...(accelerator === undefined ? {} : { accelerator }),
    ...(drill === undefined ? {} : { drill }),
    ...(isShadowed ? { shadow: { until: shadowUntil } } : {}),
    at: iso(context.now),
  };
  return [{ kind: 'RunRegistered', data }, ...vouchNotice(data, context)];
}

function registrationRefusal(
  { initialCompute, operator, vouched, accelerator, shadowUntil, targets, drill, parents }: RegisterRun,
  ancestry: Ancestry,
  start: Compute | null,
  { policy, now }: Context,
): Rejection | null {
  const { firstCheckpointBy } = policy.cadence;
  if (drill !== undefined) {
    if (!operator) return reject('forbidden', 'only an operator holds a drill', 'drill');
    if (initialCompute !== null || parents.length > 0) {
      return reject(
        'invalid',
        'must be left out of a drill, which trains nothing',
        initialCompute === null ? 'parents' : 'initialCompute',
      );
    }
    return null;
  }
  if (!operator && start !== null && maxCompute(start, firstCheckpointBy) !== firstCheckpointBy) {
    return initialCompute === start
      ? reject(
          'forbidden',
          `only an operator registers a run that starts above firstCheckpointBy (${firstCheckpointBy})`,
          'initialCompute',
        )
      : reject(
          'forbidden',
          `there are ${flopText(start)} in the parents; only an operator registers a run that starts above firstCheckpointBy (${firstCheckpointBy})`,
          'parents',
        );
  }
  if (vouched !== undefined && !operator) {
    return reject('forbidden', 'only an operator answers for weights of unknown origin', 'vouchedParentage');
  }
  const problem = ancestryProblem(null, ancestry);
  if (problem !== null) return reject('invalid', problem, 'parents');
  const known = policy.accounting?.accelerators.map(({ id }) => id) ?? [];
  if (accelerator !== undefined && !known.includes(accelerator)) {
    const there = known.length === 0 ? 'the policy names none' : `there are ${known.join(', ')}`;
    return reject('invalid', `the policy knows no accelerator ${accelerator}; ${there}`, 'accelerator');
  }
  // The configuration was held to it at start; whoever registers cannot mend it.
  if (shadowUntil !== undefined && Date.parse(shadowUntil) - now.getTime() > SHADOW_MAX_MS) {
    return reject('invalid', `a shadow ends within ${SHADOW_DAYS_MAX} days; this one until ${shadowUntil}`);
  }
  const dependent = independenceRefusal(targets, policy);
  return dependent === null ? null : reject('invalid', dependent, 'targets');
}

/** One person's word stands in for knowledge: others should hear of it. */
function vouchNotice(data: RunEventData<'RunRegistered'>, context: Context): RunEvent[] {
  const { runId, by, vouched } = data;
  if (vouched === undefined) return [];
  return raiseAlert(registered(data), context, {
    kind: 'notice',
    severity: 'warning',
    dedupKey: `${runId}-vouched`,
    summary: `${by} answers for the weights that ${runId} starts from, whose origin is not known here`,
    details: { runId, by, reason: vouched },
  });
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
  const { ancestry, vouched, accelerator, shadow, drill } = data;
  const lineage = ancestry === undefined ? undefined : lineageAtStart(data.initialCompute, ancestry, vouched);
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
    computeHigh: lineage?.start ?? data.initialCompute,
    checkpoints: [],
    series: [],
    history: [],
    holds: [],
    halt: null,
    ...(lineage === undefined ? {} : { lineage }),
    ...(accelerator === undefined ? {} : { accelerator }),
    ...(drill === undefined ? {} : { drill }),
    ...(shadow === undefined ? {} : { shadow: startOfShadow(shadow) }),
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
