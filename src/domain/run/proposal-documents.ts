/** What people are asked to sign, and under which terms: the ways out of a halt, each with approvals of its own. */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';

const at = z.string();
const id = z.string();

export const TermsSchema = z
  .object({
    ceiling: ComputeSchema,
    levels: z.record(z.string(), z.number()),
    forecasts: z.record(z.string(), z.number()),
    waives: z.array(z.string()),
    expires: z.iso.datetime(),
    scope: z.enum(['training']),
  })
  .meta({
    id: 'ResumeTerms',
    description: 'What a resume waives, and up to where; anything beyond trips again',
  });
export type Terms = z.infer<typeof TermsSchema>;

/** The run stays halted: nothing is waived, and no permit to train follows. */
export const ScopedTermsSchema = z
  .object({ scope: z.literal('evaluation'), expires: z.iso.datetime() })
  .meta({ id: 'ScopedTerms', description: 'Evaluation and alignment work alone, until then' });
export type ScopedTerms = z.infer<typeof ScopedTermsSchema>;

const content = {
  proposalId: id,
  digest: z.string(),
  haltId: id.nullable(),
  holdIds: z.array(id),
  checkpointId: id.nullable(),
  scorecardDigest: z.string().nullable(),
  rationale: z.string(),
  by: z.string(),
};

/** One shape per kind, each with `more` beside what all of them have. */
export const proposalWith = <More extends z.ZodRawShape>(more: More) =>
  z.discriminatedUnion('kind', [
    /** Training goes on, under a waiver. */
    z.object({ ...content, ...more, kind: z.literal('resume'), terms: TermsSchema }),
    /** Only work on what is there: evaluation and alignment. */
    z.object({ ...content, ...more, kind: z.literal('scoped-resume'), terms: ScopedTermsSchema }),
    /** Out of quarantine. The halt stays. */
    z.object({ ...content, ...more, kind: z.literal('release') }),
  ]);

/** What has become of it. */
export const proposalStanding = {
  openedAt: at,
  status: z.enum(['open', 'vetoed', 'voided', 'executed']),
  signOffs: z.array(
    z.object({
      decision: z.enum(['approve', 'veto', 'dissent']),
      group: z.string(),
      by: z.string(),
      justification: z.string(),
      at,
    }),
  ),
};

export const ProposalSchema = proposalWith(proposalStanding);
export type Proposal = z.infer<typeof ProposalSchema>;
export type ProposalKind = Proposal['kind'];
