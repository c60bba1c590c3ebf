/**
 * Accounting: what a run states it has done, against what its orchestrators say it has had.
 *
 * Where a scheduler accounts nodes and hours by itself, work that is stated far below accelerator-hours x peak x
 * utilisation is a finding that holds: compute that is not stated is compute that is never evaluated. So is a falling
 * `efficiencyMultiplier`: it slows the scale by which the next checkpoint is due.
 * Leans to silence where it knows little: hours that a system does not say, or says of the latest job alone, make the
 * expectation smaller; the multiplier is the highest stated; nothing is said before the policy's least hours.
 * Not here: asking the orchestrators (service/accounting.ts).
 */
import { type Compute, compareCompute, compute, flopText, minusCompute, timesCompute } from '../compute.ts';
import type { Accounting, Policy } from '../policy/schema.ts';
import type { TargetUsage } from './ancestry-documents.ts';
import { findingKey, hardened } from './assess.ts';
import { highestCompute } from './cadence.ts';
import { type Context, type Decision, iso } from './context.ts';
import type { RunEventData } from './events.ts';
import { type Finding, OF_THE_RUN } from './finding-documents.ts';
import type { RunState } from './state.ts';

export interface NoteUsage {
  readonly type: 'NoteUsage';
  /** The checkpoint whose report was the occasion; null where it was asked for in between. */
  readonly checkpointId: string | null;
  readonly targets: readonly TargetUsage[];
}

/** Recorded at each checkpoint; in between only where it changes what is found. */
export function noteUsage(state: RunState, command: NoteUsage, context: Context): Decision {
  const { checkpointId, targets } = command;
  if (targets.length === 0 || state.finishedAt !== null) return [];
  if (checkpointId !== null && state.usage?.checkpointId === checkpointId) return [];
  const data = {
    checkpointId,
    effectiveCompute: highestCompute(state, context),
    targets: [...targets],
    at: iso(context.now),
  };
  if (checkpointId === null) {
    const found = (each: RunState): boolean => usageFinding(each, context.policy) !== null;
    if (found(withUsage(state, data)) === found(state)) return [];
  }
  return [{ kind: 'UsageNoted', data }];
}

/** The same reading of an efficiency multiplier, written out another way. */
const EFFICIENCY_ROUNDING = 0.999;

export function accountingFindings(state: RunState, policy: Policy): Finding[] {
  return [usageFinding(state, policy), efficiencyFinding(state, policy)].filter((each) => each !== null);
}

const BLANK = { ...OF_THE_RUN, kind: 'compute' } as const;

function efficiencyFinding({ efficiency }: Pick<RunState, 'efficiency'>, policy: Policy): Finding | null {
  if (efficiency === undefined) return null;
  const { checkpointId, latest, highest } = efficiency;
  if (latest >= highest * EFFICIENCY_ROUNDING) return null;
  return {
    ...BLANK,
    rule: 'compute:efficiency-fell',
    checkpointId,
    observed: latest,
    threshold: highest,
    then: hardened(policy, 'compute', 'hold'),
    explanation: `${checkpointId} states an efficiency multiplier of ${latest}, below the ${highest} stated before: the same work would count for less`,
  };
}

export function usageFinding(state: RunState, policy: Policy): Finding | null {
  const { accounting } = policy;
  const { usage } = state;
  if (accounting === undefined || usage === undefined) return null;
  const expected = expectedWork(state, accounting);
  if (expected === null) return null;
  const stated = statedWork(state);
  const least = timesCompute(expected.compute, accounting.atLeast);
  if (stated !== null && compareCompute(stated, least) >= 0) return null;
  const hours = Math.round(expected.acceleratorSeconds / 3600);
  return {
    ...BLANK,
    rule: 'compute:below-usage',
    checkpointId: usage.checkpointId,
    observed: stated ?? '0',
    threshold: least,
    basis: expected.accelerator,
    then: hardened(policy, 'compute', 'hold'),
    explanation: `states ${stated === null ? 'no work' : flopText(stated)} of its own for ${hours} accelerator-hours on ${expected.accelerator}, of which ${flopText(expected.compute)} are expected`,
  };
}

/** Of this run, and since people last signed for a difference. */
function statedWork({ usage, lineage, initialCompute }: RunState): Compute | null {
  const from = usage?.signed?.effectiveCompute ?? lineage?.start ?? initialCompute;
  const at = usage?.effectiveCompute ?? null;
  return at === null || from === null ? at : minusCompute(at, from);
}

function expectedWork(
  state: RunState,
  accounting: Accounting,
): { readonly compute: Compute; readonly acceleratorSeconds: number; readonly accelerator: string } | null {
  const accelerator = acceleratorOf(state, accounting);
  const seconds = (targets: readonly TargetUsage[]): number =>
    targets.reduce((sum, each) => sum + acceleratorSeconds(each, accelerator), 0);
  const signed = state.usage?.signed?.targets ?? [];
  const had = seconds(state.usage?.targets ?? []) - seconds(signed);
  if (!(had / 3600 >= accounting.minAcceleratorHours)) return null;
  const perSecond = compute(accelerator.peakFlops);
  const multiplier = state.efficiency?.highest ?? 1;
  return {
    compute: timesCompute(perSecond, had, accounting.utilisation, multiplier),
    acceleratorSeconds: had,
    accelerator: accelerator.id,
  };
}

/** Where it did not say, or says what this policy does not know: the fastest, of which the most is expected. */
function acceleratorOf(
  { accelerator }: Pick<RunState, 'accelerator'>,
  { accelerators }: Accounting,
): Accounting['accelerators'][number] {
  const stated = accelerators.find(({ id }) => id === accelerator);
  return stated ?? accelerators.reduce((a, b) => (b.peakFlops > a.peakFlops ? b : a));
}

function acceleratorSeconds(
  { nodeSeconds, acceleratorSeconds: told }: TargetUsage,
  { perNode }: Accounting['accelerators'][number],
): number {
  return told ?? (perNode === undefined ? 0 : nodeSeconds * perNode);
}

// --- state ---------------------------------------------------------------------------------------------

function withUsage(state: RunState, data: RunEventData<'UsageNoted'>): RunState {
  const { checkpointId, effectiveCompute, targets } = data;
  const signed = state.usage?.signed;
  return {
    ...state,
    usage: { checkpointId, effectiveCompute, targets, ...(signed === undefined ? {} : { signed }) },
  };
}

export function withEfficiency(
  { efficiency }: Pick<RunState, 'efficiency'>,
  { checkpointId, efficiencyMultiplier: latest }: RunEventData<'CheckpointReported'>,
): Pick<RunState, 'efficiency'> {
  if (latest === undefined) return {};
  return { efficiency: { checkpointId, latest, highest: Math.max(latest, efficiency?.highest ?? latest) } };
}

/** What people signed for by name is the past: it is counted anew from there. */
export function withoutSignedAccounts(
  { usage, efficiency }: Pick<RunState, 'usage' | 'efficiency'>,
  waives: readonly string[],
): Pick<RunState, 'usage' | 'efficiency'> {
  const isSigned = (rule: string, checkpointId: string | null): boolean =>
    waives.includes(findingKey({ ...BLANK, rule, checkpointId }));
  return {
    ...(usage !== undefined && isSigned('compute:below-usage', usage.checkpointId)
      ? { usage: { ...usage, signed: { effectiveCompute: usage.effectiveCompute, targets: usage.targets } } }
      : {}),
    ...(efficiency !== undefined && isSigned('compute:efficiency-fell', efficiency.checkpointId)
      ? { efficiency: { ...efficiency, highest: efficiency.latest } }
      : {}),
  };
}

export const accountingEvolvers = { UsageNoted: withUsage };
