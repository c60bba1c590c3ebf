/** The scorecard of a checkpoint as verdicts record it: per category and stage, with the evidence that it rests on. */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import { AxesSchema } from '../policy/axes.ts';
import { StageSchema } from '../policy/schema.ts';
import { arms, besideScore, SourceSchema, samplesOfReading } from './reading-documents.ts';

const id = z.string();
const int = z.int().min(0);

export const EvidenceSchema = z
  .object({
    evaluationId: id,
    evaluation: z.string(),
    variant: z.string(),
    required: z.boolean(),
    status: z.enum([
      'queued',
      'running',
      'awaiting-callback',
      'completed',
      'inconclusive',
      'cancelled',
      'deferred',
      'not-needed',
    ]),
    attempts: int,
    score: z.number().nullable(),
    stderr: z.number().nullable(),
    n: z.number().nullable(),
    estimate: z.number().nullable(),
    upper: z.number().nullable(),
    reasons: z.array(z.string()),
    ...besideScore,
    /** Only of variants that have any. */
    axes: AxesSchema.optional(),
    /** Of a benign control: no evidence of any level. */
    control: z.literal(true).optional(),
    /** Asked of a checkpoint that was cleared without it, for a changed protocol. */
    beside: z.literal(true).optional(),
    ...samplesOfReading,
    arms,
    /** Of the attempt that stands. */
    source: SourceSchema.optional(),
  })
  .meta({ id: 'Evidence' });
export type Evidence = z.infer<typeof EvidenceSchema>;

export const StageLevelsSchema = z.object({
  estimate: z.number().nullable(),
  upper: z.number().nullable(),
  name: z.string(),
  complete: z.boolean(),
  evidence: z.array(EvidenceSchema),
  /** Which variant, or pool of seeds, the estimate is of; where variants have axes. */
  worst: z.object({ evaluation: z.string(), variant: z.string(), estimate: z.number() }).optional(),
});

export const ScorecardSchema = z
  .object({
    checkpointId: id,
    effectiveCompute: ComputeSchema,
    categories: z.array(
      z.object({
        id: z.string(),
        title: z.string(),
        stages: z.partialRecord(StageSchema, StageLevelsSchema),
      }),
    ),
    overall: z.object({ estimate: z.number().nullable(), upper: z.number().nullable(), name: z.string() }),
  })
  .meta({ id: 'ScorecardLevels' });
export type Scorecard = z.infer<typeof ScorecardSchema>;
