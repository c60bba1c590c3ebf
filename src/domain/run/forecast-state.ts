/**
 * Sealed forecasts as the state follows them: from the seal to the checkpoint that they are about, and while that one's
 * evidence may still change.
 *
 * A forecast of `checkpoints` ahead is about that many *due* checkpoints beyond its own: the policy says when, and an
 * evaluation that a trainer merely asked for is no milestone, or dense ones would flatter the record. It is in time if
 * it is sealed before the evaluations of that checkpoint are queued; what is sealed again later is not what is scored.
 *
 * Bounded: TRACKED_CHECKPOINTS_MAX checkpoints, and a forecast is forgotten when the checkpoint it was scored by leaves
 * the state. Not here: the scores (forecast-scores.ts).
 */
import { compareCompute } from '../compute.ts';
import { type BoundRecord, isPassed, NO_RECORD } from '../forecast/calibration.ts';
import type { RunEventData } from './events.ts';
import {
  type CheckpointState,
  type RunState,
  TRACKED_CHECKPOINTS_MAX,
  type TrackedForecast,
} from './state.ts';

type Placed = Pick<CheckpointState, 'checkpointId' | 'effectiveCompute'>;
type Kind = Pick<TrackedForecast, 'category' | 'stage' | 'checkpoints'>;

const isBeyond = (one: Pick<Placed, 'effectiveCompute'>, other: Pick<Placed, 'effectiveCompute'>): boolean =>
  compareCompute(one.effectiveCompute, other.effectiveCompute) > 0;

const isSameKind = (a: Kind, b: Kind): boolean =>
  a.category === b.category && a.stage === b.stage && a.checkpoints === b.checkpoints;

/** Due checkpoints beyond this one whose evaluations have been queued: a forecast about one of these comes late. */
export function dueBeyond({ checkpoints, lastCleared }: RunState, checkpoint: Placed): string[] {
  const known = checkpoints.filter((each) => each.due && isBeyond(each, checkpoint));
  // Evicted already: whether it was due is forgotten, and late is the safe thing to say.
  const isGone =
    lastCleared !== null && checkpoints.every((each) => each.checkpointId !== lastCleared.checkpointId);
  const gone = isGone && isBeyond(lastCleared, checkpoint) ? [lastCleared] : [];
  return [...gone, ...known].map(({ checkpointId }) => checkpointId);
}

/** The checkpoint that a forecast is about, once it has been reported. */
export const targetOf = ({ dueBeyond, checkpoints }: TrackedForecast): string | null =>
  dueBeyond[checkpoints - 1] ?? null;

/** A forecast about this checkpoint has no score yet. */
export const isToScore = ({ tracked = [] }: RunState, checkpointId: string): boolean =>
  tracked.some((each) => each.scored === null && targetOf(each) === checkpointId);

// --- events --------------------------------------------------------------------------------------------

/** `state`: as it was before the forecast was sealed. */
export function track(
  state: RunState,
  { checkpointId, forecast, ...sealed }: RunEventData<'ForecastSealed'>,
): RunState {
  const checkpoint = state.checkpoints.find((each) => each.checkpointId === checkpointId);
  if (sealed.dueBeyond === undefined || checkpoint === undefined) return state;
  const { category, stage, checkpoints, method, basis, horizonCompute, quantiles, exceedance } = forecast;
  const late = sealed.dueBeyond.length >= checkpoints;
  const tracked = state.tracked ?? [];
  const isOfThis = (each: TrackedForecast): boolean =>
    each.checkpointId === checkpointId && isSameKind(each, forecast);
  // What was known before the evaluations began stands, also where it is settled and forgotten here: sealed again, it
  // would be held against a later checkpoint, and its score would take the place of the one that counts.
  if (late && (tracked.some(isOfThis) || checkpoint.forecasts.some((each) => isSameKind(each, forecast)))) {
    return state;
  }
  const entry: TrackedForecast = {
    checkpointId,
    effectiveCompute: checkpoint.effectiveCompute,
    due: checkpoint.due,
    category,
    stage,
    checkpoints,
    method,
    basis,
    horizonCompute,
    quantiles,
    exceedance,
    ...(forecast.calibration === undefined ? {} : { tails: forecast.calibration.tails }),
    dueBeyond: sealed.dueBeyond.slice(0, checkpoints),
    late,
    scored: null,
  };
  return { ...state, tracked: bounded([...tracked.filter((each) => !isOfThis(each)), entry]) };
}

/** A due checkpoint comes one nearer to what forecasts of those before it are about. */
export function overtake(state: RunState, checkpoint: CheckpointState): RunState {
  if (state.tracked === undefined || !checkpoint.due) return state;
  const tracked = state.tracked.map((each) =>
    each.dueBeyond.length < each.checkpoints && isBeyond(checkpoint, each)
      ? { ...each, dueBeyond: [...each.dueBeyond, checkpoint.checkpointId] }
      : each,
  );
  return { ...state, tracked };
}

/** What the state no longer holds can no longer change. */
export function forgetSettled(state: RunState): RunState {
  if (state.tracked === undefined) return state;
  const held = new Set(state.checkpoints.map(({ checkpointId }) => checkpointId));
  const tracked = state.tracked.filter((each) => {
    const target = targetOf(each);
    return target === null || held.has(target);
  });
  return tracked.length === state.tracked.length ? state : { ...state, tracked };
}

/** Over the bound goes first what is scored, then the newest that was not due (wishes push nothing out), then the oldest. */
function bounded(tracked: TrackedForecast[]): TrackedForecast[] {
  const checkpoints = [...new Set(tracked.map(({ checkpointId }) => checkpointId))];
  if (checkpoints.length <= TRACKED_CHECKPOINTS_MAX) return tracked;
  const all = (id: string, is: (each: TrackedForecast) => boolean): boolean =>
    tracked.every((each) => each.checkpointId !== id || is(each));
  const dropped =
    checkpoints.find((id) => all(id, ({ scored }) => scored !== null)) ??
    checkpoints.findLast((id) => all(id, ({ due }) => !due)) ??
    checkpoints[0];
  return tracked.filter(({ checkpointId }) => checkpointId !== dropped);
}

function scored(state: RunState, data: RunEventData<'ForecastScored'>): RunState {
  const { checkpointId, revision, observed, complete } = data;
  const is = (each: TrackedForecast): boolean => each.checkpointId === checkpointId && isSameKind(each, data);
  const known = state.tracked?.find(is);
  // Of what somebody wished to see in between there may be any number, and further ahead they overlap: one that went wrong
  // would be counted several times.
  const counts = data.excluded === null && data.checkpoints === 1 && known?.due === true;
  const passed = counts && isPassed(data.pit, known?.tails ?? 1);
  const tracked = (state.tracked ?? []).map((each) =>
    is(each) ? { ...each, scored: { revision, observed, complete, counts, passed } } : each,
  );
  const bounds = withBound(state.bounds ?? [], data, known?.scored ?? null, { counts, passed });
  return { ...state, tracked, ...(bounds.length === 0 ? {} : { bounds }) };
}

type Bounds = NonNullable<RunState['bounds']>;
type Counted = Pick<NonNullable<TrackedForecast['scored']>, 'counts' | 'passed'>;

/** Scored again, it takes the place of what it was. */
function withBound(
  bounds: Bounds,
  { category, stage }: Pick<Kind, 'category' | 'stage'>,
  before: Counted | null,
  now: Counted,
): Bounds {
  const change = (of: 'counts' | 'passed'): number =>
    Number(now[of] ?? false) - Number(before?.[of] ?? false);
  const [more, passed] = [change('counts'), change('passed')];
  if (more === 0 && passed === 0) return bounds;
  const is = (each: Bounds[number]): boolean => each.category === category && each.stage === stage;
  const one = bounds.find(is) ?? { category, stage, forecasts: 0, passed: 0 };
  const next = { ...one, forecasts: one.forecasts + more, passed: one.passed + passed };
  return bounds.some(is) ? bounds.map((each) => (is(each) ? next : each)) : [...bounds, next];
}

/** How the run's bounds have done in a category, for the forecasts that come. */
export function boundRecord(
  { bounds = [] }: Pick<RunState, 'bounds'>,
  { category, stage }: Pick<Kind, 'category' | 'stage'>,
): BoundRecord {
  const { forecasts, passed } =
    bounds.find((each) => each.category === category && each.stage === stage) ?? NO_RECORD;
  return { forecasts, passed };
}

export const forecastEvolvers = { ForecastScored: scored };
