/** What is recorded of outside evaluators: what they may see, and what they have said under their own signature. */
import { z } from 'zod';

const at = z.string();
const id = z.string();

export const SEVERITIES = ['low', 'medium', 'high', 'critical'] as const;
export const SeveritySchema = z.enum(SEVERITIES);
export type Severity = z.infer<typeof SeveritySchema>;

export const OutsideGrantSchema = z
  .object({
    party: id,
    /** `due`: those that the policy asks to be evaluated; `all`: also those that were evaluated on a wish. */
    checkpoints: z.enum(['all', 'due']),
    /** Where the party finds the model, instead of its own address; null: the weights' address is shown. */
    endpoint: z.string().nullable(),
    /** Whether it is told how much compute a checkpoint took. */
    compute: z.boolean(),
    expiresAt: at.nullable(),
    grantedAt: at,
    by: z.string(),
  })
  .meta({ id: 'OutsideGrant', description: 'What an outside evaluator may see of a run' });
export type OutsideGrant = z.infer<typeof OutsideGrantSchema>;

/**
 * Who said it: Ed25519 over `<messageId>.<timestamp>.<body>`, by the key named. The body is evidence under `bodyDigest`, so that
 * whoever has the ledger's export and the body can check it without Interlock.
 */
export const SignedWordSchema = z
  .object({
    messageId: z.string(),
    timestamp: z.string(),
    signature: z.string(),
    publicKeys: z.array(z.string()),
    bodyDigest: z.string(),
  })
  .meta({ id: 'SignedWord' });
export type SignedWord = z.infer<typeof SignedWordSchema>;

/** The words of a finding are evidence, never here. */
export const OutsideFindingSchema = z.object({
  findingId: id,
  party: id,
  category: z.string().nullable(),
  severity: SeveritySchema,
  bodyDigest: z.string(),
});
export type OutsideFinding = z.infer<typeof OutsideFindingSchema>;

export const OUTSIDE_EVENTS = {
  OutsideEvaluatorGranted: OutsideGrantSchema.omit({ grantedAt: true }).extend({ at }),
  /** Beside the reading that came of it. */
  OutsideResultSigned: z.object({
    party: id,
    evaluationId: id,
    attempt: z.int(),
    signed: SignedWordSchema,
    at,
  }),
  OutsideFindingReported: OutsideFindingSchema.extend({
    checkpointId: id,
    /** Null where the finding is hazardous: its title may be, too. */
    title: z.string().nullable(),
    evidenceUri: z.string().nullable(),
    signed: SignedWordSchema,
    at,
  }),
} as const;
