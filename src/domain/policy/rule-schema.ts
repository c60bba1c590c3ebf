/**
 * The rules of a policy: what is looked for in a checkpoint's scorecard and forecasts, and what follows where it is found.
 *
 * Evaluated in order, every finding kept, the gravest verdict wins (domain/run/assess.ts). A new kind of rule is a schema here,
 * a case there, and its cross-checks in check.ts; the compiler names whatever is missing.
 */
import { z } from 'zod';
import { LEVEL_NAMES, LEVEL_STARTS, type LevelName } from '../levels.ts';
import { NameSchema, StageSchema } from './evaluation-schema.ts';

/** A level by name or as a number from 1 (Low begins) to 5. */
export const LevelReferenceSchema = z.union([z.enum(LEVEL_NAMES), z.number().min(1).max(5)]);
export type LevelReference = z.infer<typeof LevelReferenceSchema>;

export function levelAt(reference: LevelReference): number {
  return typeof reference === 'number' ? reference : LEVEL_STARTS[reference satisfies LevelName];
}

const probability = z.number().gt(0).lt(1);

export const ConsequenceSchema = z
  .string()
  .regex(
    /^(halt|quarantine|hold|alert|block-deployment|block-development|oblige:[a-z0-9][a-z0-9-]{0,63})$/,
    'must be halt, quarantine, hold, alert, block-deployment, block-development or oblige:<obligation>',
  );
export type Consequence = z.infer<typeof ConsequenceSchema>;

const consequences = z.array(ConsequenceSchema).min(1).max(8);
const categories = z.array(NameSchema).min(1).optional().meta({ description: 'Default: every category' });

const LevelRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.literal('level'),
  stage: StageSchema,
  atLeast: LevelReferenceSchema,
  basis: z.enum(['estimate', 'upper']).default('estimate'),
  categories,
  then: consequences,
});

const ForecastRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.literal('forecast'),
  stage: StageSchema,
  atLeast: LevelReferenceSchema,
  probability,
  checkpoints: z.int().min(1).max(3).default(1),
  whenMostlyPrior: z
    .enum(['ignore', 'alert', 'hold', 'halt'])
    .default('alert')
    .meta({ description: 'What follows instead of `then` while the forecast is mostly prior' }),
  categories,
  then: consequences,
});

const JumpRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.literal('jump'),
  stage: StageSchema,
  above: z.number().gt(0).max(4).meta({ description: 'Rise of the category level per doubling, in levels' }),
  categories,
  then: consequences,
});

/** Fires on what experts say alone, whatever `forecast.experts` makes of it beside the model. */
const EstimateRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.literal('estimate'),
  stage: StageSchema,
  atLeast: LevelReferenceSchema,
  probability: probability.meta({
    description: 'Pooled expert probability of reaching the level before the next checkpoint',
  }),
  categories,
  then: consequences,
});

const ClauseSchema = z
  .strictObject({
    evaluation: NameSchema.optional(),
    category: NameSchema.optional(),
    atLeast: LevelReferenceSchema,
  })
  .refine(
    ({ evaluation, category }) => (evaluation === undefined) !== (category === undefined),
    'must name an evaluation or a category',
  );
export type Clause = z.infer<typeof ClauseSchema>;

/**
 * Several levels that together mean more than the highest of them. The scorecard stays what was measured: what was counted
 * has no score behind it, and would look like a jump, and bend every forecast, if it were written there as a level.
 */
const CompoundRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.literal('compound'),
  stage: StageSchema,
  of: z.union([z.enum(['evaluations', 'categories']), z.array(ClauseSchema).min(2).max(50)]).meta({
    description:
      'What is counted: evaluations within each category, categories, or clauses that are listed one by one',
  }),
  atLeast: LevelReferenceSchema.optional().meta({
    description: 'What each must reach, where `of` lists no clauses',
  }),
  count: z.int().min(1).max(50).default(2),
  basis: z.enum(['estimate', 'upper']).default('estimate'),
  categories,
  countsAs: LevelReferenceSchema.optional().meta({
    description: 'What `level` rules would make of this level follows, beside `then`',
  }),
  then: z.array(ConsequenceSchema).max(8).default([]),
});

const RefusalRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.literal('refusal'),
  stage: StageSchema,
  above: z.number().min(0).lt(1).meta({ description: 'Share of the samples that the model refused' }),
  evaluations: z.array(NameSchema).min(1).optional().meta({ description: 'Default: every one of the stage' }),
  then: consequences,
});

/** What outside evaluators find beside any evaluation. Without such a rule a finding is recorded, and pages where it is urgent. */
const OutsideFindingRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.literal('outside-finding'),
  atLeast: z.enum(['low', 'medium', 'high', 'critical']),
  categories,
  then: consequences,
});

export const BUILT_IN_RULES = [
  'inconclusive',
  'overdue',
  'overrun',
  'suspicion',
  'lineage',
  'compute',
  'weights',
  'control',
  'sandbagging',
  'contamination',
] as const;

/** The built-in findings, hardened: the policy may add consequences, never take the built-in one away. */
const BuiltInRuleSchema = z.strictObject({
  id: NameSchema,
  kind: z.enum(BUILT_IN_RULES),
  then: consequences,
});

export const RuleSchema = z.union([
  z.discriminatedUnion('kind', [
    LevelRuleSchema,
    ForecastRuleSchema,
    JumpRuleSchema,
    EstimateRuleSchema,
    CompoundRuleSchema,
    RefusalRuleSchema,
    OutsideFindingRuleSchema,
  ]),
  BuiltInRuleSchema,
]);
export type Rule = z.infer<typeof RuleSchema>;
export type LevelRule = z.infer<typeof LevelRuleSchema>;
export type ForecastRule = z.infer<typeof ForecastRuleSchema>;
export type JumpRule = z.infer<typeof JumpRuleSchema>;
export type CompoundRule = z.infer<typeof CompoundRuleSchema>;
export type RefusalRule = z.infer<typeof RefusalRuleSchema>;
export type OutsideFindingRule = z.infer<typeof OutsideFindingRuleSchema>;
export type EstimateRule = z.infer<typeof EstimateRuleSchema>;
