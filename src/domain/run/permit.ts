/**
 * Permit terms: how far a run may train, or why not at all.
 *
 * No permit without evidence and none while anything stands against it. The ceiling is what the last
 * cleared checkpoint earned, the first ceiling, or what a governed resume set.
 */
import type { Compute } from '../compute.ts';
import type { RunState } from './state.ts';

export type PermitTerms =
  | {
      readonly granted: true;
      readonly ceiling: Compute;
      readonly epoch: number;
      readonly clearedHalts: readonly string[];
    }
  | { readonly granted: false; readonly reason: 'halted' | 'on-hold' | 'finished' };

/**
 * What a permit has room for. An order older than these would stop the run again if it were replayed: the safe side,
 * where a permit that cannot be signed would stop it for ever.
 */
const CLEARED_NAMED_MAX = 256;

export function permitTerms(state: RunState): PermitTerms {
  if (state.halt !== null) return { granted: false, reason: 'halted' };
  if (state.holds.length > 0) return { granted: false, reason: 'on-hold' };
  if (state.finishedAt !== null) return { granted: false, reason: 'finished' };
  const clearedHalts = state.clearedHalts.slice(-CLEARED_NAMED_MAX);
  return { granted: true, ceiling: state.ceiling, epoch: state.epoch, clearedHalts };
}
