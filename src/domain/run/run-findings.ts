/**
 * Findings about the run as a whole, beside those of its checkpoints: where its weights come from, and what it states of
 * its compute. In force until facts or people settle them.
 */
import type { Policy } from '../policy/schema.ts';
import { accountingFindings, withoutSignedAccounts } from './accounting.ts';
import { lineageFindings, UNKNOWN_PARENT, withoutSignedLineage } from './ancestry.ts';
import type { Finding } from './finding-documents.ts';
import type { RunState } from './state.ts';

export function runFindings(state: RunState, policy: Policy): Finding[] {
  return [...lineageFindings(state, policy), ...accountingFindings(state, policy)];
}

/**
 * One hold for each, so that one that is settled lifts by itself. Figures change with every checkpoint, and the hold
 * stays the same one: else reporting on would move its deadline for ever.
 */
export function runFindingHold({ rule, checkpointId }: Pick<Finding, 'rule' | 'checkpointId'>): string {
  return rule === UNKNOWN_PARENT && checkpointId !== null ? `${rule}:${checkpointId}` : rule;
}

/** After a resume: what its terms name is settled, what they do not name is not. */
export function withoutSigned(state: RunState, waives: readonly string[]): RunState {
  const { lineage } = state;
  return {
    ...state,
    ...withoutSignedAccounts(state, waives),
    ...(lineage === undefined ? {} : { lineage: withoutSignedLineage(lineage, waives) }),
  };
}
