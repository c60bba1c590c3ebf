/** What a rule found, and the verdict that findings come to. */
import { z } from 'zod';
import { ConsequenceSchema, StageSchema } from '../policy/schema.ts';

export const FindingSchema = z
  .object({
    rule: z.string(),
    kind: z.enum([
      'level',
      'forecast',
      'estimate',
      'jump',
      'inconclusive',
      'overdue',
      'overrun',
      'hold-deadline',
      'waiver-expired',
      'veto',
      'duplicate',
      'suspicion',
      'risk',
      'risk-budget',
      'lineage',
      'compute',
      'weights',
      'compound',
      'refusal',
      'control',
      'sandbagging',
      'contamination',
      'outside-finding',
    ]),
    category: z.string().nullable(),
    stage: StageSchema.nullable(),
    evaluation: z.string().nullable(),
    checkpointId: z.string().nullable(),
    observed: z.union([z.number(), z.string()]).nullable(),
    threshold: z.union([z.number(), z.string()]).nullable(),
    basis: z.string().nullable(),
    then: z.array(ConsequenceSchema),
    explanation: z.string(),
    waived: z.boolean(),
  })
  .meta({ id: 'Finding', description: 'One rule that fired, with the figures that made it fire' });
export type Finding = z.infer<typeof FindingSchema>;

/** What a finding about the run as a whole leaves open. */
export const OF_THE_RUN = {
  category: null,
  stage: null,
  evaluation: null,
  basis: null,
  waived: false,
} as const;

export const VerdictSchema = z.enum(['proceed', 'hold', 'halt']);
export type Verdict = z.infer<typeof VerdictSchema>;
