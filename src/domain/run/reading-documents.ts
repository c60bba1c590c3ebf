/** What is stored of one attempt's result: its score, what it was measured from, and what it says that it is of. */
import { z } from 'zod';

const int = z.int().min(0);

/** Of the metric that the policy names under `leads`; for forecasts alone. */
export const LeadSchema = z.object({ value: z.number(), stderr: z.number().nullable() });
export type Lead = z.infer<typeof LeadSchema>;

/** Only where the result states them. */
export const besideScore = { lead: LeadSchema.optional(), protocol: z.string().optional() };

export const samplesOfReading = {
  /** Samples x epochs: that were to be, that have a score, that ended in an error, that the model refused. */
  total: int.optional(),
  scored: int.optional(),
  errored: int.optional(),
  refused: int.optional(),
  /** Errored or without a score: counted as successes in `upper`. */
  lost: int.optional(),
  /** Independent samples that it is worth, where samples depend on each other. */
  effectiveN: z.number().optional(),
  /** Independent units that its uncertainty was measured from. */
  clusters: int.optional(),
};

const measuredOfReading = {
  ...samplesOfReading,
  /** Where it takes the samples' scores to compute it; `z` is what it was computed for. */
  interval: z.object({ z: z.number(), lower: z.number(), upper: z.number() }).optional(),
};

const ArmSchema = z.object({
  score: z.number(),
  stderr: z.number().nullable(),
  n: z.number().nullable(),
  effectiveN: z.number().optional(),
  clusters: int.optional(),
});

/** Of a score that is a difference. */
export const arms = z.object({ treatment: ArmSchema, control: ArmSchema }).optional();

/** What the result says that it is of; names alone, never text. */
export const SourceSchema = z.object({
  harness: z.string().optional(),
  harnessVersion: z.string().optional(),
  task: z.string().optional(),
  model: z.string().optional(),
  revision: z.string().optional(),
  dataset: z.string().optional(),
  weightsDigest: z.string().optional(),
  epochs: z.number().optional(),
  limits: z.record(z.string(), z.number()).optional(),
  startedAt: z.string().optional(),
  completedAt: z.string().optional(),
  /** sha256 of the log, hexadecimal. */
  fileDigest: z.string().optional(),
});
export type Source = z.infer<typeof SourceSchema>;

export const ReadingSchema = z.object({
  conclusive: z.boolean(),
  score: z.number().nullable(),
  stderr: z.number().nullable(),
  n: z.number().nullable(),
  reasons: z.array(z.string()),
  ...besideScore,
  ...measuredOfReading,
  arms,
  source: SourceSchema.optional(),
});
export type StoredReading = z.infer<typeof ReadingSchema>;
