/**
 * Permit terms: how far a run may train, or why not at all.
 *
 * No permit without evidence and none while anything stands against it. The ceiling is what the last
 * cleared checkpoint earned, the first ceiling, or what a governed resume set. In shadow it is the same, and does not bind.
 */
import type { Compute } from '../compute.ts';
import { inheritedHalt } from './lineage.ts';
import { shadowOf } from './shadow-state.ts';
import { CLEARED_HALTS_KEPT, type RunState } from './state.ts';

export type PermitTerms =
  | {
      readonly granted: true;
      readonly ceiling: Compute;
      readonly epoch: number;
      readonly clearedHalts: readonly string[];
      /** Until then neither its ceiling nor its end stops the run. */
      readonly shadowUntil?: string;
    }
  | { readonly granted: false; readonly reason: 'halted' | 'on-hold' | 'finished' | 'lineage' };

/**
 * `parents`: the runs it descends from, as far as they are known here. A permit names the newest cleared halts; older
 * ones are added where a trainer that holds them asks by name (ADR 0012).
 */
export function permitTerms(
  state: RunState,
  parents: readonly Pick<RunState, 'runId' | 'halt'>[] = [],
): PermitTerms {
  if (state.halt !== null) return { granted: false, reason: 'halted' };
  if (state.holds.length > 0) return { granted: false, reason: 'on-hold' };
  if (state.finishedAt !== null) return { granted: false, reason: 'finished' };
  const shadow = shadowOf(state);
  if (shadow === null && parents.some((parent) => inheritedHalt(state, parent) !== null)) {
    return { granted: false, reason: 'lineage' };
  }
  const clearedHalts = state.clearedHalts.slice(-CLEARED_HALTS_KEPT);
  const { ceiling, epoch } = state;
  const until = shadow === null ? {} : { shadowUntil: shadow.until };
  return { granted: true, ceiling, epoch, clearedHalts, ...until };
}
