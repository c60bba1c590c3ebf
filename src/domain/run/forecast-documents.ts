/**
 * What is said of the future in a run's events: sealed forecasts, how they did, and what experts say together.
 */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import { StageSchema } from '../policy/schema.ts';

const int = z.int().min(0);
const id = z.string();

export const ForecastReasonsSchema = z
  .object({
    level: z.number(),
    probability: z.number().meta({ description: 'The limit of the rule' }),
    evaluation: z.string().nullable().meta({ description: 'Gives most of the probability' }),
    share: z.number().nullable().meta({ description: 'Its share of the sum over the evaluations' }),
    facts: z.array(z.string()),
    unless: z.string().optional().meta({
      description: 'Where the limit is reached: what would have to be true for it not to be',
    }),
  })
  .meta({ id: 'ForecastReasons', description: 'Why a forecast is what it is, beside one limit' });

export const ForecastSchema = z
  .object({
    category: z.string(),
    stage: StageSchema,
    checkpoints: int,
    horizonCompute: ComputeSchema,
    method: z.string(),
    basis: z.enum(['mostly-prior', 'mixed', 'data']),
    points: int,
    quantiles: z.array(z.object({ p: z.number(), level: z.number() })),
    /** `greatest` and `sum` bound `p` whatever depends on what; without them `p` is the sum. */
    exceedance: z.array(
      z.object({
        level: z.number(),
        p: z.number(),
        greatest: z.number().optional(),
        sum: z.number().optional(),
      }),
    ),
    /** Not there in what was sealed before forecasts were calibrated. */
    calibration: z.object({ forecasts: int, passed: int, tails: z.number() }).optional().meta({
      description:
        "How the run's bounds have done, and how many times what lies above the median counts for it",
    }),
    notes: z.array(z.string()),
    /** For each limit of the policy's forecast rules; not there in what was sealed before they were. */
    reasons: z.array(ForecastReasonsSchema).optional(),
  })
  .meta({
    id: 'Forecast',
    description: 'Predictive distribution of a category level at the horizon compute',
  });
export type SealedForecast = z.infer<typeof ForecastSchema>;

export const ForecastScoreSchema = z
  .object({
    /** At which it was sealed. */
    checkpointId: id,
    /** The checkpoint that it was about. */
    scoredBy: id,
    revision: int,
    category: z.string(),
    stage: StageSchema,
    checkpoints: int,
    method: z.string(),
    basis: z.enum(['mostly-prior', 'mixed', 'data']),
    fromCompute: ComputeSchema,
    horizonCompute: ComputeSchema,
    actualCompute: ComputeSchema,
    observed: z.number().meta({ description: 'The level (estimate) that came' }),
    complete: z.boolean().meta({ description: 'false: evidence is missing, and `observed` a lower bound' }),
    excluded: z.enum(['sealed-late', 'beyond-horizon', 'partial']).nullable().meta({
      description: 'Why it does not count in the record; null where it does',
    }),
    q50: z.number(),
    q95: z.number(),
    q99: z.number(),
    pit: z.number().meta({ description: 'Where in the sealed distribution `observed` lies, 0 to 1' }),
    pinball50: z.number(),
    pinball95: z.number(),
    pinball99: z.number(),
    covered95: z.boolean(),
    covered99: z.boolean(),
    exceedance: z.array(z.object({ level: z.number(), p: z.number(), reached: z.boolean() })),
  })
  .meta({
    id: 'ForecastScore',
    description: 'A sealed forecast beside the level that came; losses in levels',
  });

export const ExpertPoolSchema = z
  .object({
    p: z.number(),
    geometricMean: z.number(),
    exponent: z.number(),
    n: int,
    median: z.number(),
    lowerQuartile: z.number(),
    upperQuartile: z.number(),
    method: z.string(),
  })
  .meta({
    id: 'ExpertPool',
    description: 'Probability of reaching the level before the next checkpoint, pooled over experts',
  });

export const LevelQuantileSchema = z
  .object({ p: z.number(), level: z.number() })
  .meta({ id: 'LevelQuantile', description: 'P(level <= `level`) = `p`' });
