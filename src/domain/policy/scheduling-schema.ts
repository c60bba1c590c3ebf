/**
 * How an evaluation is scheduled: which labelled workers it needs, what it may use up, how it closes in on a level that is not
 * ruled out, and who stands in for a broken evaluator. Read through the functions below; what a policy leaves out is no limit.
 */
import { z } from 'zod';
import { DurationSchema, durationMs } from '../duration.ts';
import { ExecutorSchema } from '../executor.ts';

/** What a worker is started with, and an evaluation asks for. */
export const ResourceLabelSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,30}$/, 'must be lower-case letters, digits and dashes, at most 31');

/** Each set of labels is a queue of its own: more would be queues by the dozen in every worker. */
export const RESOURCE_LABELS_MAX = 3;

const BudgetSchema = z
  .strictObject({
    attempts: z.int().min(1).max(100).optional().meta({ description: 'All attempts, also those asked for' }),
    wallTime: DurationSchema.optional().meta({ description: 'All attempts together' }),
    gpuHours: z.number().gt(0).max(1e6).optional().meta({ description: 'Wall time x `gpus`' }),
    gpus: z
      .int()
      .min(1)
      .max(4096)
      .optional()
      .meta({ description: 'Which an attempt occupies; 1 unless set' }),
    samples: z.int().min(1).max(1e9).optional().meta({ description: 'All results together' }),
  })
  .meta({ description: 'Used up, it is inconclusive (`budget-exhausted`) where nothing conclusive is in' });
export type Budget = z.infer<typeof BudgetSchema>;

const ClosingInSchema = z
  .strictObject({
    attempts: z.int().min(1).max(20).optional().meta({ description: 'Further attempts; 5 unless set' }),
    samples: z.int().min(1).max(1e9).optional().meta({ description: 'Of all attempts together' }),
    within: DurationSchema.optional().meta({
      description: 'After the first of them was asked for; 6h unless set',
    }),
  })
  .meta({
    description:
      'Further samples while High is not ruled out, in place of `topUps`: people are woken once this is used up. No permit is issued meanwhile',
  });
export type ClosingIn = z.infer<typeof ClosingInSchema>;

export const SCHEDULING = {
  resources: z
    .array(ResourceLabelSchema)
    .min(1)
    .max(RESOURCE_LABELS_MAX)
    .optional()
    .meta({ description: 'Labels of the workers that may carry it out, as `gpu`; each must be had' }),
  budget: BudgetSchema.optional(),
  closingIn: ClosingInSchema.optional(),
  replicas: z.array(ExecutorSchema).min(1).max(5).optional().meta({
    description: 'The same evaluation carried out elsewhere: tried in turn where an attempt breaks',
  }),
} as const;

const CLOSING_ATTEMPTS = 5;
const CLOSING_WITHIN = '6h';

export function closingInTerms(closingIn: ClosingIn) {
  const { attempts = CLOSING_ATTEMPTS, samples = null, within = CLOSING_WITHIN } = closingIn;
  return { attempts, samples, withinMs: durationMs(within) };
}

const HOUR_MS = 3_600_000;

/** Wall time that the budget leaves to all attempts together, ms; null: no limit. */
export function wallTimeMs({ wallTime, gpuHours, gpus = 1 }: Budget): number | null {
  const limits = [
    ...(wallTime === undefined ? [] : [durationMs(wallTime)]),
    ...(gpuHours === undefined ? [] : [Math.floor((gpuHours / gpus) * HOUR_MS)]),
  ];
  return limits.length === 0 ? null : Math.min(...limits);
}
