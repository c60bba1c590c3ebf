/**
 * Which number of a result is the score, how sure it has to be, and what the result must be of.
 *
 * A metric's name alone rarely names one number of a harness's log: `scorer`, `task`, `reducer` and `prompt` do. Whatever fits
 * several is none. No member that came later has a default: a policy that says nothing of it keeps its digest.
 */
import { z } from 'zod';
import { WAIVABLE } from '../reasons.ts';

const finite = z.number();
const name = z.string().min(1).max(200);
/** null: the one that has none, such as a total beside its parts. */
const nameOrNone = name.nullable();

/** Names one number of a log. What is left out must not be needed to tell two apart. */
const metricNames = {
  metric: z.string().min(1).max(120),
  scorer: nameOrNone.optional().meta({
    description:
      "The scorer of a log's metric; lm-eval: the filter, HELM: the split, promptfoo: the provider",
  }),
  task: name
    .optional()
    .meta({ description: 'Of a log of several tasks, the one; of any log, what it must be of' }),
  reducer: nameOrNone
    .optional()
    .meta({ description: 'How epochs were made one value, as in mean or pass_at_5' }),
  prompt: z.int().min(0).max(10_000).optional().meta({
    description: 'Of a log of several prompts (promptfoo), the index of the one',
  }),
};

export const INTERVALS = ['wilson', 'clopper-pearson', 'normal', 'bootstrap'] as const;
export type IntervalMethod = (typeof INTERVALS)[number];

const ReferenceScoreSchema = z
  .strictObject({
    score: finite,
    model: z.string().min(1).max(120).optional(),
    date: z.iso.date().optional(),
  })
  .meta({
    description:
      'What a known model scores, for `policy check`: is the evaluation saturated, is there headroom below High',
  });

export const ScoreSchema = z.strictObject({
  ...metricNames,
  kind: z.enum(['proportion', 'mean']),
  chance: finite,
  best: finite,
  range: z.tuple([finite, finite]).optional().meta({
    description:
      'Least and greatest possible value; default [0, 1] of a proportion, from chance and best of a mean. With control: of each arm',
  }),
  minSamples: z.int().min(1).default(1),
  totalSamples: z.int().min(1).optional().meta({
    description:
      'How many samples the task has: fewer are inconclusive, and a log that states no number (bigcode, dclm) is taken to be of so many, or of its own limit',
  }),
  stderrFloor: z.number().min(0).default(0),
  maxErrored: z.number().min(0).max(1).optional().meta({
    description:
      'Largest share of samples that may have ended without a score; they count as successes in `upper`. 0 unless set',
  }),
  interval: z.enum(INTERVALS).optional().meta({
    description: 'How `upper` is found. Default: wilson of a proportion, normal of a mean',
  }),
  cluster: z.string().min(1).max(120).optional().meta({
    description:
      "Member of the samples' metadata: those that share it (one document, one environment) are no independent samples",
  }),
  pass: z
    .strictObject({ k: z.int().min(1).max(1_000), of: z.enum(['any', 'all']) })
    .optional()
    .meta({
      description:
        "The score is pass@k (any of k epochs succeeds) or pass^k (all do), from the samples' scores",
    }),
  control: z.strictObject(metricNames).partial().optional().meta({
    description:
      'The score is an uplift: the difference to this metric of the same result. Levels are thresholds of the difference',
  }),
  reference: ReferenceScoreSchema.optional(),
  allow: z.array(z.enum(WAIVABLE)).min(1).max(WAIVABLE.length).optional().meta({
    description: 'Reasons that do not make this evaluation inconclusive: what looks broken is genuine here',
  }),
});
export type Score = z.infer<typeof ScoreSchema>;

export const LeadsSchema = z
  .strictObject({
    ...metricNames,
    chance: finite,
    best: finite,
  })
  .meta({
    description:
      'A smoother metric of the same evaluation, such as the likelihood of the right answer: where it moves before the score does, the forecast is raised; it never lowers one, and decides no level',
  });

/** A model's name may depend on the checkpoint: `local/{checkpointId}`. */
export const ExpectsSchema = z
  .strictObject({
    model: name.optional(),
    revision: name.optional(),
    harness: name.optional(),
    harnessVersion: name.optional(),
    weightsDigest: z.literal(true).optional().meta({
      description:
        "The result must state the digest of the weights that it loaded, and it must be the checkpoint's",
    }),
  })
  .meta({
    description:
      'What a result must say of itself. Another value, or none, is inconclusive. {checkpointId} and {runId} are replaced in model and revision',
  });
export type Expects = z.infer<typeof ExpectsSchema>;
