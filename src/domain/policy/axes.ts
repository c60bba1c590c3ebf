/**
 * The axes along which variants of an evaluation differ, each with the values that it takes.
 *
 * A fixed list: rules and hints know what an axis means (a greater token budget is more elicitation, noise in the weights
 * should cost score), and programs find it under one name, as `{tokenBudget}` and as INTERLOCK_VARIANT_TOKEN_BUDGET.
 */
import { z } from 'zod';

/** The order in which they stand in a variant's id, whatever the order in the file: canonical JSON sorts keys. */
export const AXES = [
  'tools',
  'scaffold',
  'systemPrompt',
  'weights',
  'items',
  'elicitation',
  'tokenBudget',
  'noise',
  'seed',
] as const;
export type Axis = (typeof AXES)[number];

/** It becomes an argument and a variable: it begins with a letter or digit, so that no program takes it for an option. */
const WordSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$/,
    'must be letters, digits, dots, dashes and underscores, at most 48, the first a letter or digit',
  );

const VALUES = {
  tools: WordSchema,
  scaffold: WordSchema,
  systemPrompt: WordSchema,
  /** Which weights: `base`, `helpful-only`, ... The executor finds them beside the checkpoint's. */
  weights: WordSchema,
  items: z.enum(['public', 'held-out', 'rephrased']),
  elicitation: z.int().min(0).max(100).meta({ description: 'Rank: a greater one elicits more' }),
  tokenBudget: z.int().min(1).max(1e12).meta({ description: 'Tokens that the model may use per sample' }),
  noise: z.number().min(0).max(1e3).meta({
    description: 'Standard deviation of the noise added to the weights; 0 is the plain model',
  }),
  seed: z.int().min(0).max(4_294_967_295),
};

export const AxesSchema = z
  .strictObject({
    tools: VALUES.tools.optional(),
    scaffold: VALUES.scaffold.optional(),
    systemPrompt: VALUES.systemPrompt.optional(),
    weights: VALUES.weights.optional(),
    items: VALUES.items.optional(),
    elicitation: VALUES.elicitation.optional(),
    tokenBudget: VALUES.tokenBudget.optional(),
    noise: VALUES.noise.optional(),
    seed: VALUES.seed.optional(),
  })
  .refine((axes) => AXES.some((axis) => axes[axis] !== undefined), 'must name at least one axis')
  .meta({ id: 'VariantAxes', description: 'Where a variant stands on each axis that it has' });
export type Axes = z.infer<typeof AxesSchema>;

const valuesOf = <T extends z.ZodType>(value: T) => z.array(value).min(1).max(50).optional();

export const MatrixSchema = z.strictObject({
  tools: valuesOf(VALUES.tools),
  scaffold: valuesOf(VALUES.scaffold),
  systemPrompt: valuesOf(VALUES.systemPrompt),
  weights: valuesOf(VALUES.weights),
  items: valuesOf(VALUES.items),
  elicitation: valuesOf(VALUES.elicitation),
  tokenBudget: valuesOf(VALUES.tokenBudget),
  noise: valuesOf(VALUES.noise),
  seed: valuesOf(VALUES.seed),
  exclude: z.array(AxesSchema).min(1).max(100).optional().meta({
    description: 'Combinations that are left out: those that agree with one of these in every axis it names',
  }),
  include: z.array(AxesSchema).min(1).max(50).optional().meta({ description: 'Further combinations' }),
  poolSeeds: z.boolean().optional().meta({
    description:
      'Seeds of one combination are pooled to one larger sample; true unless set. With false the worst seed counts',
  }),
});
export type Matrix = z.infer<typeof MatrixSchema>;

/** INTERLOCK_VARIANT_TOKEN_BUDGET for `tokenBudget`. */
export function axisVariable(axis: Axis): string {
  return `INTERLOCK_VARIANT_${axis.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** For people: `tools bash, tokenBudget 100000`. */
export function axesText(axes: Axes): string {
  return AXES.flatMap((axis) => (axes[axis] === undefined ? [] : [`${axis} ${axes[axis]}`])).join(', ');
}
