/** What events do to the proposals that a run's state keeps. */
import type { Proposal } from './proposal-documents.ts';
import { PROPOSALS_KEPT, type RunState } from './state.ts';

export function withProposal(
  state: RunState,
  proposalId: string,
  change: (proposal: Proposal) => Proposal,
): RunState {
  const proposals = state.proposals.map((each) => (each.proposalId === proposalId ? change(each) : each));
  return { ...state, proposals };
}

export const withExecuted = (state: RunState, proposalId: string): RunState =>
  withProposal(state, proposalId, (proposal) => ({ ...proposal, status: 'executed' }));

/** What a run goes on by stays within reach of a late veto, of each kind the latest, however many proposals come after it. */
export function kept(proposals: readonly Proposal[]): Proposal[] {
  const inForce = new Set(
    (['resume', 'scoped-resume', 'release'] as const).map((kind) =>
      proposals.findLast((each) => each.status === 'executed' && each.kind === kind),
    ),
  );
  inForce.delete(undefined);
  const others = proposals.filter((each) => !inForce.has(each));
  const evicted = new Set(others.slice(0, Math.max(0, others.length - (PROPOSALS_KEPT - inForce.size))));
  return proposals.filter((each) => !evicted.has(each));
}
