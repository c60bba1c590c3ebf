/**
 * When an evaluation is due, and when a run has gone past what it earned.
 *
 * *Due*: the first checkpoint, or ratio x the compute last cleared (a shorter step where the policy limits the risk of a
 * permit and that is what it allows: permit-risk.ts), or when `maxInterval` since then has nearly passed.
 * *Overdue*: at or past the due point with no due checkpoint reported. *Overrun*: above the permit's
 * ceiling. Compute never silently decreases: the highest known value counts.
 * A change of the training stage, the doubling of that stage's own compute and a declared breakthrough make one due beside
 * these (training-stage.ts).
 * While a run is in shadow it trains past what stops it: due is a ratio beyond the furthest due checkpoint, cleared or not.
 */
import { type Compute, compareCompute, maxCompute, minCompute, timesCompute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { checkpointWithinMs } from '../policy/trigger-schema.ts';
import { type Context, isoAfter, reached } from './context.ts';
import type { StatedStage } from './events.ts';
import { shadowOf } from './shadow-state.ts';
import type { RunState } from './state.ts';
import {
  awaitedBy,
  isAwaited,
  missesStageCheckpoint,
  type StageReason,
  stageDueTotal,
  stageIntervalMs,
  stageOverdue,
  whyDueByStage,
} from './training-stage.ts';

export type DueReason = 'first' | 'ratio' | 'interval' | StageReason;

/** What the next checkpoint is counted from. */
function lastPassed(state: RunState): { readonly effectiveCompute: Compute; readonly at: string } | null {
  const { lastCleared } = state;
  const furthest = shadowOf(state)?.furthest ?? null;
  if (furthest === null || lastCleared === null) return furthest ?? lastCleared;
  return compareCompute(furthest.effectiveCompute, lastCleared.effectiveCompute) > 0 ? furthest : lastCleared;
}

/** Compute at which the next checkpoint is due: a ratio beyond the last cleared, or nearer where its risk asks for it. */
export function nextDueCompute(state: RunState, context: Pick<Context, 'policy'>): Compute {
  const due = ratioDue(state, context);
  const byStage = stageDueTotal(state, context);
  return byStage === null ? due : minCompute(due, byStage);
}

/** By the compute of the whole run alone. */
function ratioDue(state: RunState, { policy }: Pick<Context, 'policy'>): Compute {
  const passed = lastPassed(state);
  if (passed === null) return state.firstCeiling;
  if (state.risk !== undefined && passed === state.lastCleared) {
    return minCompute(state.risk.dueCompute, state.ceiling);
  }
  return timesCompute(passed.effectiveCompute, policy.cadence.ratio);
}

/**
 * Where the trainer should report the next one: at the due point, or at its ceiling where that comes first. `high` is the highest
 * compute known, of heartbeats too: one that is due whatever its compute is due there. Where the run was when it last reported
 * a checkpoint, the trainer would take it for the one that it has made.
 */
export function nextCheckpointAt(
  state: RunState,
  context: Pick<Context, 'policy' | 'now'>,
  high: Compute | null,
): Compute {
  if (high !== null && isDueAnywhere(state, context, high)) return high;
  const due = nextDueCompute(state, context);
  return shadowOf(state) === null && compareCompute(due, state.ceiling) > 0 ? state.ceiling : due;
}

function isDueAnywhere(state: RunState, context: Pick<Context, 'policy' | 'now'>, high: Compute): boolean {
  if (isAwaited(state) || missesStageCheckpoint(state, high, context)) return true;
  return pendingDue(state).length === 0 && isDueByCalendar(state, high, context);
}

/** When the next checkpoint is due by the calendar, or because something was declared. */
export function nextDueAt(state: RunState, context: Pick<Context, 'policy'>): string {
  const at = intervalDueAt(state, context);
  const awaited = awaitedBy(state);
  return awaited !== null && Date.parse(awaited) < Date.parse(at) ? awaited : at;
}

function intervalMs(state: RunState, { policy }: Pick<Context, 'policy'>): number {
  const ms = durationMs(policy.cadence.maxInterval);
  return Math.min(ms, stageIntervalMs(state, { policy }) ?? ms);
}

function intervalDueAt(state: RunState, context: Pick<Context, 'policy'>): string {
  return isoAfter(lastPassed(state)?.at ?? state.registeredAt, intervalMs(state, context));
}

/**
 * From a tenth of the interval before it has passed, at most `triggers.checkpointWithin`: a trainer that reports in time is
 * never late. Weights that were trained no further are not looked at again.
 */
function isDueByCalendar(
  state: RunState,
  effectiveCompute: Compute,
  context: Pick<Context, 'policy' | 'now'>,
): boolean {
  const passed = lastPassed(state);
  if (passed === null || compareCompute(effectiveCompute, passed.effectiveCompute) <= 0) return false;
  const ms = intervalMs(state, context);
  const before = Math.min(ms / 10, checkpointWithinMs(context.policy.cadence));
  return reached(context.now, isoAfter(passed.at, ms - before));
}

export interface ReportedCompute {
  readonly effectiveCompute: Compute;
  readonly trainingStage?: StatedStage | undefined;
}

export function whyDue(state: RunState, reported: ReportedCompute, context: Context): DueReason | null {
  return whyDueByRun(state, reported.effectiveCompute, context) ?? whyDueByStage(state, reported, context);
}

function whyDueByRun(state: RunState, effectiveCompute: Compute, context: Context): DueReason | null {
  const passed = lastPassed(state);
  if (passed === null) return whyDueBeforeAnyIsCleared(state, effectiveCompute, context);
  if (compareCompute(effectiveCompute, ratioDue(state, context)) >= 0) return 'ratio';
  return isDueByCalendar(state, effectiveCompute, context) ? 'interval' : null;
}

/** While nothing is cleared, one is the first; the others are due a ratio beyond the last that was. */
function whyDueBeforeAnyIsCleared(
  { checkpoints }: RunState,
  effectiveCompute: Compute,
  { policy }: Context,
): DueReason | null {
  const due = checkpoints.filter((each) => each.due).map((each) => each.effectiveCompute);
  const [first, ...rest] = due;
  if (first === undefined) return 'first';
  const last = rest.reduce(maxCompute, first);
  return compareCompute(effectiveCompute, timesCompute(last, policy.cadence.ratio)) >= 0 ? 'ratio' : null;
}

/** The highest compute known from events and from heartbeats. */
export function highestCompute(state: RunState, context: Pick<Context, 'progress'>): Compute | null {
  const beat = context.progress?.effectiveCompute ?? null;
  if (beat === null || state.computeHigh === null) return beat ?? state.computeHigh;
  return maxCompute(beat, state.computeHigh);
}

interface Overrun {
  readonly kind: 'overrun';
  readonly observed: Compute;
  readonly threshold: Compute;
}

interface Overdue {
  readonly kind: 'overdue';
  readonly observed: Compute | string;
  readonly threshold: Compute | string;
  readonly explanation: string;
}

export function overrun(state: RunState, context: Context): Overrun | null {
  const high = highestCompute(state, context);
  if (high === null || compareCompute(high, state.ceiling) <= 0) return null;
  return { kind: 'overrun', observed: high, threshold: state.ceiling };
}

/** Due checkpoints beyond the last cleared one. */
function pendingDue(state: RunState) {
  const cleared = lastPassed(state)?.effectiveCompute ?? null;
  return state.checkpoints.filter(
    (checkpoint) =>
      checkpoint.due && (cleared === null || compareCompute(checkpoint.effectiveCompute, cleared) > 0),
  );
}

/** A due checkpoint that is already in, at or past the due point, is being evaluated: nothing is overdue. */
export function overdue(state: RunState, context: Context): Overdue | null {
  if (state.finishedAt !== null) return null;
  const due = ratioDue(state, context);
  const cleared = lastPassed(state)?.effectiveCompute ?? null;
  const pending = pendingDue(state);
  const high = highestCompute(state, context);
  const atDuePoint = pending.some(
    ({ effectiveCompute }) => cleared === null || compareCompute(effectiveCompute, due) >= 0,
  );
  if (high !== null && !atDuePoint && compareCompute(high, due) >= 0) return missing(high, due);
  const byStage = stageOverdue(state, high, context);
  if (byStage !== null) return { kind: 'overdue', ...byStage };
  const now = context.now.toISOString();
  const awaited = awaitedBy(state);
  if (awaited !== null && reached(context.now, awaited)) {
    const explanation = `no checkpoint was reported by ${awaited}, although a breakthrough or another training stage makes one due`;
    return { kind: 'overdue', observed: now, threshold: awaited, explanation };
  }
  const dueAt = intervalDueAt(state, context);
  return pending.length === 0 && reached(context.now, dueAt) ? missing(now, dueAt) : null;
}

function missing(observed: Compute | string, threshold: Compute | string): Overdue {
  const explanation = `no checkpoint was reported although one is due at ${threshold} and the run is at ${observed}`;
  return { kind: 'overdue', observed, threshold, explanation };
}
