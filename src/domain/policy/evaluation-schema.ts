/**
 * What a policy says of one evaluation: of which category and stage it is evidence, how it is carried out, in which variants,
 * which number of its result is the score, and at which scores the levels begin.
 *
 * Members that came after a run could have pinned a policy have no default: a policy that says nothing of them keeps its digest.
 */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import { ExecutorSchema } from '../executor.ts';
import { EnvironmentSchema } from '../executor-fields.ts';
import { AxesSchema, MatrixSchema } from './axes.ts';
import { SCHEDULING } from './scheduling-schema.ts';
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
  axes: AxesSchema.optional(),
});

const LevelsSchema = z.strictObject({ medium: finite, high: finite, critical: finite });

const BenignControlSchema = z
  .strictObject({ atLeast: finite.optional(), atMost: finite.optional() })
  .refine(
    ({ atLeast, atMost }) => (atLeast === undefined) !== (atMost === undefined),
    'must state atLeast, or for a metric that falls atMost',
  )
  .meta({
    description:
      'The benign twin of dangerous evaluations, and the score that a healthy model reaches: where it does not, low danger scores mean nothing. It has no levels and is no evidence of any',
  });

const SucceedsSchema = z
  .strictObject({
    evaluation: NameSchema,
    from: ComputeSchema.optional().meta({
      description: 'Effective compute from which it is measured; left out: from the first checkpoint on',
    }),
  })
  .meta({
    description:
      'The evaluation whose protocol this one changes: both run on the checkpoint last cleared and on the next two, then the other ends',
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
  // Here and below without a default: a policy that names none must keep the digest that runs have pinned.
  matrix: MatrixSchema.optional().meta({
    description: 'Variants as the combinations of axes, at most 50 with those that are listed',
  }),
  score: ScoreSchema,
  levels: LevelsSchema.optional().meta({ description: 'Required, but for a benign control, which has none' }),
  benignControl: BenignControlSchema.optional(),
  succeeds: SucceedsSchema.optional(),
  expects: ExpectsSchema.optional(),
  elicitationMargin: z.number().min(0).max(2).default(0).meta({ description: 'In levels' }),
  leads: LeadsSchema.optional(),
  tier: z.enum(['tripwire', 'full']).optional().meta({
    description: 'tripwire: takes minutes, and comes first at every due point; full unless set',
  }),
  ...SCHEDULING,
  // Without a default, as above.
  hazardous: z.boolean().optional().meta({
    description: 'Its logs are dangerous to read: sealed where they are kept; default: as its category says',
  }),
  topUps: z.int().min(0).max(5).default(0).meta({
    description: 'Further attempts with fresh samples, asked for while High is not ruled out; pooled',
  }),
});

export type Evaluation = z.infer<typeof EvaluationSchema>;
export type Leads = z.infer<typeof LeadsSchema>;
export type Variant = Evaluation['variants'][number];
export type BenignControl = z.infer<typeof BenignControlSchema>;

export const isControl = ({ benignControl }: Pick<Evaluation, 'benignControl'>): boolean =>
  benignControl !== undefined;

/** A control has none: a quarter of the way each stands in where a map must be whole, and nothing is read from it. */
export function levelMarks({ levels, score: { chance, best } }: Pick<Evaluation, 'levels' | 'score'>): {
  medium: number;
  high: number;
  critical: number;
} {
  const at = (share: number): number => chance + share * (best - chance);
  return levels ?? { medium: at(0.25), high: at(0.5), critical: at(0.75) };
}
