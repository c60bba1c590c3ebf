/**
 * Drills: every step of every target's ladder rehearsed, as far as its system lets a step go without being taken. The ledger
 * has what came of it; nothing else about the run changes, and nothing of it may be taken for a halt.
 */
import type { Context, Decision } from './context.ts';
import { iso } from './context.ts';
import type { RunEventData } from './events.ts';
import type { DrillResult } from './halt-documents.ts';
import type { RunState } from './state.ts';

export interface RecordDrill {
  readonly type: 'RecordDrill';
  readonly drillId: string;
  readonly by: string;
  readonly results: readonly DrillResult[];
}

export function recordDrill(_state: RunState, command: RecordDrill, { now }: Context): Decision {
  const { drillId, by, results } = command;
  return [{ kind: 'DrillHeld', data: { drillId, by, results: [...results], at: iso(now) } }];
}

export const drillEvolvers = {
  DrillHeld: (state: RunState, _data: RunEventData<'DrillHeld'>): RunState => state,
};
