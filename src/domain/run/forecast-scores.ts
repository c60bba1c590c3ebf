/**
 * Scores of sealed forecasts, when the level that they were about is in.
 *
 * Bookkeeping: it comes after the halts of the same decision, and no rule of a policy reads it. A
 * level is in when all required evaluations of the category and stage have concluded; where evidence changes later, the
 * forecast is scored again and the latest revision counts. Not scored: what no evaluation gave any level.
 *
 * What does not count in the record, and is recorded all the same: a forecast sealed late; one whose checkpoint came
 * beyond its horizon; and a level from part of the evidence, which is a lower bound, unless it is above the 95 % bound
 * already (who presses the red button cancels the rest, and hides no miss by it).
 */
import { compareCompute } from '../compute.ts';
import { isAbove, scoreLevel } from '../forecast/record.ts';
import { isControl, type Policy } from '../policy/schema.ts';
import { type Context, iso } from './context.ts';
import { isConcluded, specOf, statusOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { targetOf } from './forecast-state.ts';
import { scorecardOf } from './scorecard.ts';
import type { CheckpointState, RunState, TrackedForecast } from './state.ts';

/** All at once: one more pass over the reactions, however many there are. */
export function scoreForecasts(state: RunState, { policy, now }: Context): RunEvent[] {
  return (state.tracked ?? []).flatMap((tracked) => {
    const data = scoreOf(state, tracked, policy);
    return data === null ? [] : [{ kind: 'ForecastScored' as const, data: { ...data, at: iso(now) } }];
  });
}

function scoreOf(
  { checkpoints }: RunState,
  tracked: TrackedForecast,
  policy: Policy,
): Omit<RunEventData<'ForecastScored'>, 'at'> | null {
  const target = targetOf(tracked);
  const came = target === null ? undefined : checkpoints.find(({ checkpointId }) => checkpointId === target);
  if (came === undefined) return null;
  const level = levelThatCame(came, tracked, policy);
  const { scored, late, category, stage, horizonCompute, method, basis, checkpointId } = tracked;
  if (level === null || (scored?.observed === level.observed && scored.complete === level.complete))
    return null;
  const figures = scoreLevel(tracked, level.observed);
  const isBeyond = compareCompute(came.effectiveCompute, horizonCompute) > 0;
  const isPartial = !level.complete && !isAbove(level.observed, figures.q95);
  return {
    checkpointId,
    scoredBy: came.checkpointId,
    revision: (scored?.revision ?? 0) + 1,
    category,
    stage,
    checkpoints: tracked.checkpoints,
    method,
    basis,
    fromCompute: tracked.effectiveCompute,
    horizonCompute,
    actualCompute: came.effectiveCompute,
    ...level,
    excluded: late ? 'sealed-late' : isBeyond ? 'beyond-horizon' : isPartial ? 'partial' : null,
    ...figures,
  };
}

function levelThatCame(
  checkpoint: CheckpointState,
  { category, stage }: TrackedForecast,
  policy: Policy,
): { observed: number; complete: boolean } | null {
  const rows = checkpoint.evaluations.filter(({ evaluation, beside }) => {
    if (beside !== undefined) return false;
    const spec = specOf(policy, evaluation);
    return spec.category === category && spec.stage === stage && !isControl(spec);
  });
  const required = rows.filter(({ evaluation }) => specOf(policy, evaluation).required);
  const awaited = required.length === 0 ? rows : required;
  if (!awaited.every(isConcluded)) return null;
  const stages = scorecardOf(checkpoint, policy).categories.find(({ id }) => id === category)?.stages;
  const observed = stages?.[stage]?.estimate ?? null;
  return observed === null
    ? null
    : { observed, complete: awaited.every((each) => statusOf(each) === 'completed') };
}
