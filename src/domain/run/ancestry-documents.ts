/** What is recorded of where a run's weights come from, and of what its orchestrators account to it. */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';

/** One ancestor's own work: on a run's own scale of compute, from where it began to the weights that were taken. */
export const ContributionSchema = z.object({
  /** `run:ID`, or `weights:NAME` for what was in weights that no run here made. */
  source: z.string(),
  from: ComputeSchema.nullable(),
  to: ComputeSchema,
});
export type Contribution = z.infer<typeof ContributionSchema>;

export const KnownParentSchema = z.object({
  /** As it was named: a run, `run/checkpoint`, or the digest of weights that a checkpoint reported. */
  stated: z.string(),
  runId: z.string(),
  checkpointId: z.string().nullable(),
  effectiveCompute: ComputeSchema.nullable(),
});
export type KnownParent = z.infer<typeof KnownParentSchema>;

export const AncestrySchema = z.object({
  known: z.array(KnownParentSchema),
  unknown: z.array(z.string()),
  /** Of the known ones and all their ancestors, each once. */
  work: z.array(ContributionSchema),
});
export type Ancestry = z.infer<typeof AncestrySchema>;

export const TargetUsageSchema = z.object({
  targetId: z.string(),
  nodeSeconds: z.number(),
  /** Null where the system does not say. */
  acceleratorSeconds: z.number().nullable(),
});
export type TargetUsage = z.infer<typeof TargetUsageSchema>;
