/**
 * What a policy says of one evaluation: of which category and stage it is evidence, how it is carried out, in which variants,
 * which number of its result is the score, and at which scores the levels begin.
 *
 * Members that came after a run could have pinned a policy have no default: a policy that says nothing of them keeps its digest.
 */
import { z } from 'zod';
import { EnvironmentSchema, ExecutorSchema } from '../executor.ts';
import { ExpectsSchema, LeadsSchema, ScoreSchema } from './score-schema.ts';

export const NameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must be lower-case letters, digits and dashes, at most 64');

export const STAGES = ['pre-mitigation', 'post-mitigation'] as const;
export const StageSchema = z.enum(STAGES);
export type Stage = z.infer<typeof StageSchema>;

const finite = z.number();

const VariantSchema = z.strictObject({
  id: NameSchema,
  env: EnvironmentSchema.default({}),
  pool: NameSchema.optional().meta({
    description:
      'Variants with the same pool are seeds of one variant: their samples are pooled before the maximum',
  }),
});

export const EvaluationSchema = z.strictObject({
  id: NameSchema,
  category: NameSchema,
  stage: StageSchema,
  required: z.boolean().default(true),
  executor: ExecutorSchema,
  variants: z
    .array(VariantSchema)
    .min(1)
    .max(50)
    .default([{ id: 'default', env: {} }]),
  score: ScoreSchema,
  // Without defaults, as `leads` below.
  expects: ExpectsSchema.optional(),
  levels: z.strictObject({ medium: finite, high: finite, critical: finite }),
  elicitationMargin: z.number().min(0).max(2).default(0).meta({ description: 'In levels' }),
  // Without a default: a policy that names none must keep the digest that runs have pinned.
  leads: LeadsSchema.optional(),
  topUps: z.int().min(0).max(5).default(0).meta({
    description: 'Further attempts with fresh samples, asked for while High is not ruled out; pooled',
  }),
});

export type Evaluation = z.infer<typeof EvaluationSchema>;
export type Leads = z.infer<typeof LeadsSchema>;
export type Variant = Evaluation['variants'][number];
