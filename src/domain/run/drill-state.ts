/** Drills in a run's state. */
import type { RunEventData } from './events.ts';
import type { RunState } from './state.ts';

/** Ended, one way or the other: nothing is sent for it any more. */
export function isOverDrill({ drill, finishedAt }: Pick<RunState, 'drill' | 'finishedAt'>): boolean {
  return drill === true && finishedAt !== null;
}

export const drillEvolvers = {
  DrillHeld: (state: RunState, _data: RunEventData<'DrillHeld'>): RunState => state,
};
