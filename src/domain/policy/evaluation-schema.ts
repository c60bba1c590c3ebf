/**
 * What a policy says of one evaluation: of which category and stage it is evidence, how it is carried out, in which variants,
 * which number of its result is the score, and at which scores the levels begin.
 *
 * Members that came after a run could have pinned a policy have no default: a policy that says nothing of them keeps its digest.
 */
import { z } from 'zod';
import { EnvironmentSchema, ExecutorSchema } from '../executor.ts';
import { SCHEDULING } from './scheduling-schema.ts';

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

const ScoreSchema = z.strictObject({
  metric: z.string().min(1).max(120),
  kind: z.enum(['proportion', 'mean']),
  chance: finite,
  best: finite,
  range: z
    .tuple([finite, finite])
    .optional()
    .meta({ description: 'Least and greatest possible score; default from chance and best' }),
  minSamples: z.int().min(1).default(1),
  stderrFloor: z.number().min(0).default(0),
});

const LeadsSchema = z
  .strictObject({
    metric: z.string().min(1).max(120),
    chance: finite,
    best: finite,
  })
  .meta({
    description:
      'A smoother metric of the same evaluation, such as the likelihood of the right answer: where it moves before the score does, the forecast is raised; it never lowers one, and decides no level',
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
  levels: z.strictObject({ medium: finite, high: finite, critical: finite }),
  elicitationMargin: z.number().min(0).max(2).default(0).meta({ description: 'In levels' }),
  // Without a default: a policy that names none must keep the digest that runs have pinned.
  leads: LeadsSchema.optional(),
  tier: z.enum(['tripwire', 'full']).optional().meta({
    description: 'tripwire: takes minutes, and comes first at every due point; full unless set',
  }),
  ...SCHEDULING,
  topUps: z.int().min(0).max(5).default(0).meta({
    description: 'Further attempts with fresh samples, asked for while High is not ruled out; pooled',
  }),
});

export type Evaluation = z.infer<typeof EvaluationSchema>;
export type Leads = z.infer<typeof LeadsSchema>;
export type Variant = Evaluation['variants'][number];
