/** What is recorded of a quarantine: what it recommends to go back to, and how far the run's isolation has got. */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';

const at = z.string();
const int = z.int().min(0);

/** Weights that people may go back to: of the newest checkpoint that was cleared and that nothing speaks against. */
export const RevertSchema = z.object({
  checkpointId: z.string(),
  effectiveCompute: ComputeSchema,
  modelUri: z.string(),
  /** As its checkpoint reported them; null where it reported none. */
  weightsDigest: z.string().nullable(),
});
export type Revert = z.infer<typeof RevertSchema>;

/** `stopped`, `deadline`: the first call-out, and what it waited for; `confirmed`, `overdue`: what became of the one before. */
export const BEGUN_BECAUSE = ['stopped', 'deadline', 'confirmed', 'overdue'] as const;

export const IsolationStepSchema = z.object({
  step: z.string(),
  kind: z.string(),
  withinMs: int,
  begunAt: at.nullable(),
  because: z.enum(BEGUN_BECAUSE).nullable(),
  attempts: int,
  acceptances: int,
  acceptedAt: at.nullable(),
  /** When the next attempt is due; null when none is. */
  nextAt: at.nullable(),
  dueAt: at.nullable(),
  overdueAt: at.nullable(),
  confirmedAt: at.nullable(),
  /** `call-out`: what was called says so; else the identity whose word it is. */
  confirmedBy: z.string().nullable(),
  lastDetail: z.string().nullable(),
});
export type IsolationStep = z.infer<typeof IsolationStepSchema>;

export const QuarantineStateSchema = z.object({
  begunAt: at,
  revert: RevertSchema.nullable(),
  /** From then on the isolation does not wait for the stop any more. */
  isolateAt: at,
  steps: z.array(IsolationStepSchema),
  /** The proposal that people released it by. The halt stands all the same. */
  released: z.object({ proposalId: z.string(), at }).optional(),
});
export type QuarantineState = z.infer<typeof QuarantineStateSchema>;
