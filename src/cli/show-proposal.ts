/** A proposal as people must read it before they sign: why the run stands, and what exactly would be waived. */
import { printable, relative, type Style } from './output.ts';
import type { Proposal, Run } from './service-documents.ts';
import { causeLines } from './show-run.ts';

export function showProposal(proposal: Proposal, run: Run | null, now: Date, style: Style): string {
  const { terms, signOffs, approvalsNeeded } = proposal;
  const halt = run?.openHalt ?? null;
  const isOfHalt = halt !== null && halt.haltId === proposal.haltId;
  return [
    `${style.bold(printable(proposal.proposalId))}  ${printable(proposal.kind)} of ${printable(proposal.runId)}, ${printable(proposal.status)}`,
    `  by           ${printable(proposal.by)}: ${printable(proposal.rationale)}`,
    `  halt         ${proposal.haltId === null ? 'none; lifts the holds' : printable(proposal.haltId)}`,
    ...(isOfHalt ? causeLines(halt) : []),
    ...(run?.openHolds ?? []).flatMap(({ key, findings }) => [
      `  hold         ${printable(key)}`,
      ...causeLines({ causes: [{ kind: 'rule', checkpointId: null, findings }] }),
    ]),
    `  scorecard    ${proposal.checkpointId === null ? 'none' : `of ${printable(proposal.checkpointId)}`}${proposal.scorecardDigest === null ? ', not closed' : `, ${printable(proposal.scorecardDigest)}`}`,
    ...termsLines(terms, now),
    ...signOffs.map(
      ({ decision, group, by, justification }) =>
        `  signed       ${printable(decision)} by ${printable(by)} for ${printable(group)}: ${printable(justification)}`,
    ),
    `  needs        ${approvalsNeeded.map(printable).join(', ') || 'nothing more'}`,
    `  digest       ${printable(proposal.digest)}`,
  ].join('\n');
}

const pairs = (values: Readonly<Record<string, number>>): string =>
  Object.entries(values)
    .map(([category, value]) => `${printable(category)} ${value}`)
    .join(', ') || 'none';

function termsLines(terms: Proposal['terms'], now: Date): string[] {
  if (terms === undefined)
    return ['  terms        none: out of quarantine, and still halted until it is resumed'];
  const until = `    until              ${printable(terms.expires)} (${relative(terms.expires, now)})`;
  if (!('ceiling' in terms)) {
    return ['  terms        evaluation and alignment work alone; the run stays halted:', until];
  }
  return [
    '  terms        anything beyond these trips again:',
    `    compute up to      ${printable(terms.ceiling)}`,
    `    levels up to       ${pairs(terms.levels)}`,
    `    forecasts up to    ${pairs(terms.forecasts)}`,
    `    findings waived    ${terms.waives.map(printable).join(', ') || 'none'}`,
    until,
  ];
}
