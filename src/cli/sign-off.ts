/**
 * `interlock sign-off`: one group's decision on a proposal, bound to what was read.
 *
 * The digest is the binding. Without one the proposal is shown and nothing is signed, unless --yes says that what
 * is shown now is what is meant; it is signed under the very digest that was shown.
 */
import { z } from 'zod';
import { EXIT, type ExitCode } from './exit.ts';
import { json, printable } from './output.ts';
import { connect, path, read, type ServiceClient, type ServiceOptions } from './service-client.ts';
import { Proposal, Run } from './service-documents.ts';
import { showProposal } from './show-proposal.ts';
import type { Terminal } from './terminal.ts';

export interface SignOffOptions extends ServiceOptions {
  run: string;
  proposal: string;
  digest?: string;
  yes?: true;
  decision: 'approve' | 'veto' | 'dissent';
  group: string;
  justification: string;
  json?: true;
}

const Signed = z.object({ proposal: Proposal });

export async function signOff(options: SignOffOptions, terminal: Terminal): Promise<ExitCode> {
  const client = await connect(options, terminal);
  const digest = options.digest ?? (await digestAsShown(client, options, terminal));
  if (digest === null) {
    terminal.complain(
      'interlock: nothing was signed. Read the proposal above, then repeat with --digest (what you have read) or --yes',
    );
    return EXIT.failed;
  }
  const { decision, group, justification } = options;
  const answer = await client.post(path('v1', 'runs', options.run, 'sign-offs'), {
    proposalId: options.proposal,
    digest,
    decision,
    group,
    justification,
  });
  const { proposal } = read(Signed, answer);
  terminal.print(options.json ? json(answer) : outcome(proposal, decision));
  return EXIT.ok;
}

async function digestAsShown(
  client: ServiceClient,
  { run, proposal: proposalId, yes, json: isJson }: SignOffOptions,
  terminal: Terminal,
): Promise<string | null> {
  const [proposal, standing] = await Promise.all([
    client.get(path('v1', 'runs', run, 'proposals', proposalId)),
    client.get(path('v1', 'runs', run)),
  ]);
  const shown = read(Proposal, proposal);
  const text = showProposal(shown, read(Run, standing), new Date(), terminal.style);
  // With --json standard output is the answer alone.
  if (isJson) terminal.complain(text);
  else terminal.print(text);
  return yes ? shown.digest : null;
}

const CARRIED_OUT: Readonly<Record<string, { done: string; undone: string }>> = {
  resume: {
    done: 'is resumed under the terms',
    undone: 'was resumed under this proposal and is halted again',
  },
  'scoped-resume': {
    done: 'stays halted, and evaluation and alignment work may go on',
    undone: 'stays halted, and the work that this proposal let go on has ended',
  },
  release: {
    done: 'is out of quarantine; it stays halted until it is resumed',
    undone: 'was released by this proposal and is in quarantine again',
  },
};

function outcome({ kind, status, approvalsNeeded, runId }: Proposal, decision: string): string {
  const { done, undone } = CARRIED_OUT[kind] ?? { done: 'is changed', undone: 'is changed back' };
  switch (status) {
    case 'executed':
      return decision === 'veto'
        ? `recorded: veto. ${printable(runId)} ${undone}.`
        : `recorded: ${decision}. The set is complete: ${printable(runId)} ${done}.`;
    case 'vetoed':
      return `recorded: ${decision}. The proposal is blocked; ${printable(runId)} stays as it is.`;
    default:
      return `recorded: ${decision}. Still needed: ${approvalsNeeded.map(printable).join(', ') || 'nothing'}.`;
  }
}
