/** Proposals and sign-offs: how a halt or a hold ends by people's decision. */
import { z } from 'zod';
import { assertNever } from '../../domain/assert-never.ts';
import type { Command } from '../../domain/run/decide.ts';
import type { RunState } from '../../domain/run/state.ts';
import type { LoadedRun } from '../../service/run-service.ts';
import { notFound } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import {
  ComputeSchema,
  IdSchema,
  Instant,
  isFailed,
  isRefusal,
  loadRun,
  OF_RUN,
  RunParams,
  receiptOf,
  refusalOf,
  runAfter,
  text,
} from './common.ts';
import { ProposalDocument, proposalDocument } from './documents.ts';
import { listOfRun } from './list-of-run.ts';
import type { Services } from './services.ts';

/** Its notation has more than four digits of year, which the ledger does not take for an instant. */
const YEAR_10000_MS = Date.UTC(10_000, 0);

const haltId = IdSchema.optional().meta({ description: 'Default: the open halt, or the holds in force' });
const expires = Instant.refine(
  (instant) => !(Date.parse(instant) >= YEAR_10000_MS),
  'must be an instant before the year 10000',
).optional();
const rationale = text(4000);

const ProposalBody = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('resume'),
      haltId,
      terms: z
        .strictObject({
          ceiling: ComputeSchema.optional(),
          levels: z.record(z.string(), z.number().min(1).max(5)).optional(),
          forecasts: z.record(z.string(), z.number().min(0).max(1)).optional(),
          expires,
          scope: z.literal('training').optional(),
        })
        .default({})
        .meta({ description: 'What is left out is filled in from the evidence' }),
      rationale,
    }),
    z
      .strictObject({
        kind: z.literal('scoped-resume'),
        haltId,
        terms: z
          .strictObject({ expires, scope: z.literal('evaluation').optional() })
          .default({})
          .meta({ description: 'Default: for 7 days; at most 30' }),
        rationale,
      })
      .meta({ description: 'Evaluation and alignment work goes on; the run stays halted' }),
    z
      .strictObject({ kind: z.literal('release'), haltId, rationale })
      .meta({ description: 'Out of quarantine; the run stays halted until it is resumed' }),
  ])
  .meta({ id: 'ProposalRequest' });

function commandOf(body: z.output<typeof ProposalBody>, by: string): Command {
  const common = { haltId: body.haltId ?? null, rationale: body.rationale, by };
  switch (body.kind) {
    case 'resume': {
      const { terms } = body;
      return { type: 'ProposeResume', ...common, terms: { ...terms, ...inUtc(terms.expires) } };
    }
    case 'scoped-resume':
      return { type: 'ProposeScopedResume', ...common, ...inUtc(body.terms.expires) };
    case 'release':
      return { type: 'ProposeRelease', ...common };
    default:
      return assertNever(body);
  }
}

const inUtc = (instant: string | undefined): { expires?: string } =>
  instant === undefined ? {} : { expires: new Date(instant).toISOString() };

const SignOffBody = z
  .strictObject({
    proposalId: IdSchema,
    digest: z.string().regex(/^[0-9a-f]{64}$/, "must be the proposal's digest"),
    decision: z.enum(['approve', 'veto', 'dissent']),
    group: IdSchema,
    justification: text(4000),
  })
  .meta({ id: 'SignOff' });

const SignedProposal = z.object({ proposal: ProposalDocument }).meta({ id: 'SignedProposal' });

export const governanceRoutes = (services: Services): Route[] => {
  const { runs, ledger } = services;
  const documentOf = (loaded: Pick<LoadedRun, 'state' | 'policy'>, proposalId: string) => {
    const proposal = loaded.state.proposals.find((each) => each.proposalId === proposalId);
    return proposal === undefined ? null : proposalDocument(proposal, { ...loaded, version: 0 });
  };

  const newest = (state: RunState): string => state.proposals.at(-1)?.proposalId ?? '';

  return [
    route({
      method: 'POST',
      path: '/v1/runs/:run/proposals',
      summary: 'Propose to resume a halted or held run, in part or whole, or to release it from quarantine',
      description:
        'A resume is a waiver with terms. Approvals bind to the digest; another scorecard or proposal voids it. A quarantined run takes a release first.',
      tags: ['governance'],
      params: RunParams,
      body: ProposalBody,
      responses: { 201: ProposalDocument, 200: ProposalDocument },
      handler: async (call) => {
        const { params, body, identity } = call;
        const executed = await runs.execute(params.run, commandOf(body, identity.id), {
          actor: identity.id,
          receipt: receiptOf(call),
        });
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const loaded = await runAfter(executed, runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const document = documentOf(loaded, newest(loaded.state));
        if (document === null) return notFound('the proposal is no longer held');
        return { status: executed.outcome === 'recorded' ? 201 : 200, body: document };
      },
    }),
    listOfRun(services, {
      path: '/v1/runs/:run/proposals',
      summary: 'Proposals of a run, the newest first',
      tags: ['governance'],
      kind: 'proposal',
      item: ProposalDocument,
      show(doc, loaded) {
        const held = z.object({ proposalId: z.string() }).parse(doc);
        return (
          documentOf(loaded, held.proposalId) ??
          ProposalDocument.parse({ ...held, ...asObject(doc), approvalsNeeded: [] })
        );
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/proposals/:proposal',
      summary: 'One proposal: terms, digest, who has signed, who is still needed',
      tags: ['governance'],
      params: z.strictObject({ run: IdSchema, proposal: IdSchema }),
      responses: { 200: ProposalDocument },
      handler: async ({ params }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const document = documentOf(loaded, params.proposal);
        if (document !== null) return { status: 200, body: document };
        const row = await ledger.view('proposal', params.proposal);
        if (row === null || row.runId !== params.run) {
          return notFound(`run ${params.run} has no proposal ${params.proposal}`, 'path.proposal');
        }
        return { status: 200, body: ProposalDocument.parse({ ...asObject(row.doc), approvalsNeeded: [] }) };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/sign-offs',
      summary: 'Approve, veto or dissent, for a group you belong to',
      description:
        'The approval that completes the set carries the proposal out; a veto afterwards undoes it.',
      tags: ['governance'],
      params: RunParams,
      body: SignOffBody,
      responses: { 200: SignedProposal },
      handler: async (call) => {
        const { params, body, identity } = call;
        const executed = await runs.execute(
          params.run,
          { type: 'SignOff', ...body, by: identity.id, groups: identity.groups },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const loaded = await runAfter(executed, runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const document = documentOf(loaded, body.proposalId);
        if (document === null)
          return notFound(`run ${params.run} has no proposal ${body.proposalId}`, 'proposalId');
        return { status: 200, body: { proposal: document } };
      },
    }),
  ];
};

const asObject = (doc: unknown): Record<string, unknown> => z.record(z.string(), z.unknown()).parse(doc);
