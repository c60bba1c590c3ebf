/**
 * Quarantine: a halt that also takes the weights out of reach, and says which ones to go back to.
 *
 * The order goes out like that of every halt. Once the run is known to have stopped, or `isolateAfter` has passed, the policy's
 * call-outs are made, in order: each begins when the one before it is known to be done, or is overdue, which pages. Done is
 * what was called says so, or a person does; a call-out that was only accepted is made again.
 * Fails toward isolating: nothing is given up, a run that shows life is isolated anew and at once, and a released one
 * that is quarantined again begins anew.
 *
 * Out of it leads a release, signed by itself (governance.ts); before, nothing resumes the run.
 * Not here: undoing what a call-out did. Whoever releases the run has that done.
 */
import { compareCompute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import type { Policy } from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { type Context, type Decision, iso, isoAfter, reached, reject } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { HaltCause } from './halt-documents.ts';
import { withExecuted } from './proposal-state.ts';
import type { IsolationStep, QuarantineState, Revert } from './quarantine-documents.ts';
import type { Halt, RunState } from './state.ts';

export interface RecordIsolation {
  readonly type: 'RecordIsolation';
  readonly haltId: string;
  readonly round: number;
  readonly step: string;
  readonly attempt: number;
  readonly outcome: 'isolated' | 'accepted' | 'retry' | 'rejected';
  readonly detail: string;
}
export interface ConfirmIsolation {
  readonly type: 'ConfirmIsolation';
  readonly haltId: string;
  readonly step: string;
  readonly detail: string;
  readonly by: string;
}

const RETRY_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000] as const;
/** It took the call and is at work: asked again until it says that it is done. */
const ASK_AGAIN_MS = [1_000, 2_000, 5_000, 15_000, 30_000, 60_000] as const;
const SLOW_MS = 60_000;

/** In quarantine, and nobody has released it. */
export function isQuarantined({ halt }: Pick<RunState, 'halt'>): boolean {
  return halt?.action === 'quarantine' && halt.quarantine?.released === undefined;
}

/** Why the run's evaluation jobs are stopped, and none is begun; null where they are not. */
export function jobsStoppedBecause(state: RunState, policy: Policy): string | null {
  const { halt, runId } = state;
  if (halt === null || halt.scoped !== undefined) return null;
  if (isQuarantined(state)) {
    return `run ${runId} is quarantined (${halt.haltId}): nothing runs its weights until it is released`;
  }
  if (policy.halt.evaluations !== 'stop') return null;
  return `run ${runId} is halted (${halt.haltId}), which stops its evaluations; a scoped resume lets them go on`;
}

/** Whether Interlock begins none by itself: where they are stopped, and where a person halted the run, which stopped them. */
export function beginsNoJobs(state: RunState, policy: Policy): boolean {
  if (jobsStoppedBecause(state, policy) !== null) return true;
  const { halt } = state;
  return halt !== null && halt.scoped === undefined && halt.causes.some(({ kind }) => kind === 'person');
}

// --- deciding ------------------------------------------------------------------------------------------

export function beginQuarantine(state: RunState, context: Context): RunEvent[] {
  const { halt } = state;
  if (halt?.action !== 'quarantine' || halt.quarantine !== undefined) return [];
  const { quarantine } = context.policy.halt;
  const { haltId } = halt;
  const revert = revertFor(state);
  const steps = (quarantine?.isolate ?? []).map(({ step, kind, within }) => ({
    step,
    kind,
    withinMs: durationMs(within),
  }));
  return [
    {
      kind: 'QuarantineBegun',
      data: {
        haltId,
        revert,
        steps,
        isolateAt: isoAfter(context.now, quarantine === undefined ? 0 : durationMs(quarantine.isolateAfter)),
        at: iso(context.now),
      },
    },
    ...raiseAlert(state, context, {
      kind: 'notice',
      severity: 'critical',
      dedupKey: `${haltId}-quarantine`,
      summary: `${state.runId} is in quarantine: ${stepsText(steps)}; ${revertText(revert)}`,
      details: {
        haltId,
        isolation: steps.map(({ step }) => step).join(', ') || 'none configured',
        revertTo: revert?.checkpointId ?? 'none',
        weightsDigest: revert?.weightsDigest ?? 'not reported',
      },
    }),
  ];
}

const stepsText = (steps: readonly { readonly step: string }[]): string =>
  steps.length === 0
    ? 'the policy names nothing that isolates it, do it by hand'
    : `once it has stopped it is isolated (${steps.map(({ step }) => step).join(', ')})`;

export function revertText(revert: Revert | null): string {
  if (revert === null) return 'no cleared checkpoint is known to go back to';
  const digest = revert.weightsDigest === null ? 'no digest was reported' : revert.weightsDigest;
  return `go back to ${revert.checkpointId} at most (${digest})`;
}

/**
 * The newest cleared checkpoint below everything that the halt's findings are about. What came after such a checkpoint was
 * trained on from it; where one is so old that its compute is not known any more, none can be said to lie below it.
 */
function revertFor({ halt, cleared = [], checkpoints }: RunState): Revert | null {
  const accused = new Set((halt?.causes ?? []).flatMap(checkpointsOf));
  const known = new Map(
    [...checkpoints, ...cleared].map((each) => [each.checkpointId, each.effectiveCompute]),
  );
  const bounds = [...accused].map((checkpointId) => known.get(checkpointId));
  const fit = cleared.filter(({ effectiveCompute }) =>
    bounds.every((bound) => bound !== undefined && compareCompute(effectiveCompute, bound) < 0),
  );
  return fit.at(-1) ?? null;
}

function checkpointsOf(cause: HaltCause): string[] {
  if (cause.kind !== 'rule') return [];
  const named = [cause.checkpointId, ...cause.findings.map(({ checkpointId }) => checkpointId)];
  return named.filter((each) => each !== null);
}

/** The next call-out begins, or one that is not known to be done in time is told of. One event at a time. */
export function isolate(state: RunState, context: Context): RunEvent[] {
  const { halt } = state;
  if (halt === null || !isQuarantined(state)) return [];
  const { quarantine, haltId } = halt;
  if (quarantine === undefined) return [];
  const late = quarantine.steps.find((each) => isOverdue(each, context.now));
  if (late !== undefined) return overdue(state, halt, late, context);
  const index = quarantine.steps.findIndex(
    ({ begunAt, confirmedAt }) => begunAt === null && confirmedAt === null,
  );
  const next = quarantine.steps[index];
  if (next === undefined) return [];
  const because = whyNow(halt, quarantine, index, context.now);
  if (because === null) return [];
  const { step, withinMs } = next;
  const dueAt = isoAfter(context.now, withinMs);
  return [{ kind: 'IsolationStepBegun', data: { haltId, step, because, dueAt, at: iso(context.now) } }];
}

function isOverdue({ dueAt, confirmedAt, overdueAt }: IsolationStep, now: Date): boolean {
  return dueAt !== null && confirmedAt === null && overdueAt === null && reached(now, dueAt);
}

function whyNow(
  { confirmedAt }: Halt,
  { steps, isolateAt }: QuarantineState,
  index: number,
  now: Date,
): RunEventData<'IsolationStepBegun'>['because'] | null {
  // Until then a run may be writing its last checkpoint.
  if (confirmedAt === null && !reached(now, isolateAt)) return null;
  const before = steps[index - 1];
  if (before === undefined) return confirmedAt === null ? 'deadline' : 'stopped';
  if (before.confirmedAt !== null) return 'confirmed';
  return before.overdueAt === null ? null : 'overdue';
}

function overdue(
  state: RunState,
  { haltId, round }: Halt,
  { step, begunAt }: IsolationStep,
  context: Context,
): RunEvent[] {
  return [
    { kind: 'IsolationStepOverdue', data: { haltId, step, at: iso(context.now) } },
    ...raiseAlert(state, context, {
      kind: 'halt-unconfirmed',
      severity: 'critical',
      dedupKey: `${haltId}-${round}-${step}`,
      summary: `${state.runId}: ${step} is not known to be done since ${begunAt ?? 'it began'}; isolate it by hand and confirm it`,
      details: { haltId, step, isolation: 'not confirmed' },
    }),
  ];
}

export function recordIsolation(state: RunState, command: RecordIsolation, context: Context): Decision {
  const { haltId, round, step, attempt, outcome, detail } = command;
  const { halt } = state;
  if (halt?.haltId !== haltId || halt.round !== round) return [];
  const standing = halt.quarantine?.steps.find((each) => each.step === step);
  if (standing === undefined || standing.confirmedAt !== null || attempt !== standing.attempts + 1) return [];
  if (outcome === 'isolated') return confirmed(state, halt, { step, by: 'call-out', detail }, context);
  const at = iso(context.now);
  const waitMs = waitFor(outcome, attempt, standing.acceptances);
  return [
    {
      kind: 'IsolationStepTaken',
      data: { haltId, step, attempt, outcome, detail, nextAt: isoAfter(context.now, waitMs), at },
    },
  ];
}

function waitFor(outcome: 'accepted' | 'retry' | 'rejected', attempt: number, acceptances: number): number {
  if (outcome === 'rejected') return SLOW_MS;
  const waits = outcome === 'accepted' ? ASK_AGAIN_MS : RETRY_MS;
  const count = outcome === 'accepted' ? acceptances : attempt - 1;
  return waits[Math.min(count, waits.length - 1)] ?? SLOW_MS;
}

export function confirmIsolation(state: RunState, command: ConfirmIsolation, context: Context): Decision {
  const { haltId, step, by, detail } = command;
  const { halt } = state;
  if (halt?.haltId !== haltId) return reject('not-found', `run ${state.runId} has no open halt ${haltId}`);
  const steps = halt.quarantine?.steps ?? [];
  const standing = steps.find((each) => each.step === step);
  if (standing === undefined) {
    const names = steps.map((each) => each.step).join(', ') || 'none';
    return reject('not-found', `halt ${haltId} has no call-out ${step}; there are ${names}`, 'step');
  }
  return standing.confirmedAt !== null ? [] : confirmed(state, halt, { step, by, detail }, context);
}

function confirmed(
  state: RunState,
  { haltId, quarantine }: Halt,
  { step, by, detail }: { readonly step: string; readonly by: string; readonly detail: string },
  context: Context,
): RunEvent[] {
  const others = (quarantine?.steps ?? []).filter((each) => each.step !== step);
  const isLast = others.every(({ confirmedAt }) => confirmedAt !== null);
  return [
    { kind: 'IsolationStepConfirmed', data: { haltId, step, by, detail, at: iso(context.now) } },
    ...(isLast
      ? raiseAlert(state, context, {
          kind: 'notice',
          severity: 'info',
          dedupKey: `${haltId}-isolated`,
          summary: `${state.runId} is isolated; ${revertText(quarantine?.revert ?? null)}`,
          details: { haltId, isolation: 'confirmed' },
        })
      : []),
  ];
}

/** Instants at which the quarantine may move by itself. */
export function quarantineDeadlines(state: RunState): string[] {
  const { halt } = state;
  if (halt?.quarantine === undefined || !isQuarantined(state)) return [];
  const { steps, isolateAt } = halt.quarantine;
  const waits = steps.some(({ begunAt, confirmedAt }) => begunAt === null && confirmedAt === null);
  const due = steps.flatMap(({ dueAt, confirmedAt, overdueAt }) =>
    dueAt === null || confirmedAt !== null || overdueAt !== null ? [] : [dueAt],
  );
  return waits && halt.confirmedAt === null ? [isolateAt, ...due] : due;
}

// --- state ---------------------------------------------------------------------------------------------

const unbegun = ({
  step,
  kind,
  withinMs,
}: Pick<IsolationStep, 'step' | 'kind' | 'withinMs'>): IsolationStep => ({
  step,
  kind,
  withinMs,
  begunAt: null,
  because: null,
  attempts: 0,
  acceptances: 0,
  acceptedAt: null,
  nextAt: null,
  dueAt: null,
  overdueAt: null,
  confirmedAt: null,
  confirmedBy: null,
  lastDetail: null,
});

/** A run that lives was not isolated, whatever was said: all of it again, and without waiting. */
export function isolatedAnew(quarantine: QuarantineState, at: string): QuarantineState {
  return { ...quarantine, isolateAt: at, steps: quarantine.steps.map(unbegun) };
}

function withQuarantine(
  state: RunState,
  haltId: string,
  change: (quarantine: QuarantineState) => QuarantineState,
): RunState {
  const { halt } = state;
  if (halt?.haltId !== haltId || halt.quarantine === undefined) return state;
  return { ...state, halt: { ...halt, quarantine: change(halt.quarantine) } };
}

const withStep = (
  state: RunState,
  { haltId, step }: { readonly haltId: string; readonly step: string },
  change: (standing: IsolationStep) => IsolationStep,
): RunState =>
  withQuarantine(state, haltId, (quarantine) => ({
    ...quarantine,
    steps: quarantine.steps.map((each) => (each.step === step ? change(each) : each)),
  }));

export const quarantineEvolvers = {
  QuarantineBegun: (state: RunState, data: RunEventData<'QuarantineBegun'>): RunState => {
    const { haltId, revert, steps, isolateAt, at } = data;
    if (state.halt?.haltId !== haltId) return state;
    const quarantine = { begunAt: at, revert, isolateAt, steps: steps.map(unbegun) };
    return { ...state, halt: { ...state.halt, quarantine } };
  },
  IsolationStepBegun: (state: RunState, data: RunEventData<'IsolationStepBegun'>): RunState =>
    withStep(state, data, (standing) => ({
      ...standing,
      begunAt: data.at,
      because: data.because,
      dueAt: data.dueAt,
      nextAt: data.at,
    })),
  IsolationStepTaken: (state: RunState, data: RunEventData<'IsolationStepTaken'>): RunState =>
    withStep(state, data, (standing) => ({
      ...standing,
      attempts: data.attempt,
      acceptances: standing.acceptances + (data.outcome === 'accepted' ? 1 : 0),
      acceptedAt: standing.acceptedAt ?? (data.outcome === 'accepted' ? data.at : null),
      nextAt: data.nextAt,
      lastDetail: data.detail,
    })),
  IsolationStepOverdue: (state: RunState, data: RunEventData<'IsolationStepOverdue'>): RunState =>
    withStep(state, data, (standing) => ({ ...standing, overdueAt: data.at })),
  IsolationStepConfirmed: (state: RunState, data: RunEventData<'IsolationStepConfirmed'>): RunState =>
    withStep(state, data, (standing) => ({
      ...standing,
      nextAt: null,
      confirmedAt: data.at,
      confirmedBy: data.by,
      lastDetail: data.detail,
    })),
  QuarantineReleased: (state: RunState, data: RunEventData<'QuarantineReleased'>): RunState => {
    const { proposalId, haltId, at } = data;
    return withQuarantine(withExecuted(state, proposalId), haltId, (quarantine) => ({
      ...quarantine,
      released: { proposalId, at },
    }));
  },
};
