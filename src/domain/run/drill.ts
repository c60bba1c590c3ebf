/**
 * Drills: does a halt get through?
 *
 * A **rehearsal** of a run: every step of every target's ladder, as far as its system lets a step go without being taken. The
 * ledger has what came of it; nothing else about the run changes, and nothing of it may be taken for a halt.
 *
 * A **drill run** (registered with `drill: true`) has shadow targets, such as a job that only sleeps, and is halted by the very
 * append that registers it: its ladder is taken for real, confirmed by the same evidence, and timed. It never trains, no
 * permit is issued to it, and it ends by itself once it is confirmed, or when the stop was waited for too long: then the drill
 * has failed, and people hear of it. What it tells people says that it is a drill.
 */
import type { Context, Decision } from './context.ts';
import { iso } from './context.ts';
import type { RunEvent } from './events.ts';
import { haltEvents } from './halt.ts';
import type { DrillResult } from './halt-documents.ts';
import type { RunState } from './state.ts';

export interface RecordDrill {
  readonly type: 'RecordDrill';
  readonly drillId: string;
  readonly by: string;
  readonly results: readonly DrillResult[];
}

/** Pages that a drill which does not get through sends before it is given up. */
const ESCALATIONS = 2;

export function recordDrill(_state: RunState, command: RecordDrill, { now }: Context): Decision {
  const { drillId, by, results } = command;
  return [{ kind: 'DrillHeld', data: { drillId, by, results: [...results], at: iso(now) } }];
}

/** In the same decision as its registration: at no time does it stand there unhalted. */
export function orderDrill(state: RunState, context: Context): RunEvent[] {
  if (state.drill !== true || state.halt !== null || state.finishedAt !== null) return [];
  const reason = `a drill${state.title === null ? '' : `: ${state.title}`}`;
  return haltEvents(state, context, { kind: 'person', by: state.by, group: 'drill', reason }, 'halt');
}

export function endDrill(state: RunState, { now }: Context): RunEvent[] {
  const { drill, halt, finishedAt, by, ceiling } = state;
  if (drill !== true || halt === null || finishedAt !== null) return [];
  if (halt.confirmedAt === null && halt.escalations < ESCALATIONS) return [];
  return [{ kind: 'RunFinished', data: { by, ceiling, at: iso(now) } }];
}
