/**
 * What a reader takes from a harness's log: one form for all harnesses, facts only, no judgement.
 *
 * Readers (src/evaluators/formats) translate; whether it settles anything is decided by domain/harness-result.ts and domain/native-result.ts. Numbers stay what
 * the file says: a value that is not finite keeps its name, what the file does not say is null, and nothing is filled in.
 * Hostile: every text comes out of a file that a model may have written into. `error`, `facts` and sample labels are for
 * `results parse` on somebody's own screen; none of them enters the ledger, an alert or a log.
 */
import { z } from 'zod';

/** Of a Python harness: JSON has no word for these. */
export const NON_FINITE = ['NaN', 'Infinity', '-Infinity'] as const;
export const HarnessNumberSchema = z.union([z.number(), z.enum(NON_FINITE), z.null()]);
export type HarnessNumber = z.infer<typeof HarnessNumberSchema>;

const count = z.int().min(0).nullable();
const text = z.string().nullable();

export const HarnessMetricSchema = z.strictObject({
  /** Scorer, filter, split, prompt: whatever the harness computes its metrics under. */
  scorer: text,
  name: z.string(),
  value: z.union([HarnessNumberSchema, z.boolean()]),
  stderr: HarnessNumberSchema,
  /** Of logs that hold several tasks. */
  task: z.string().nullable().optional(),
  /** An aggregate over tasks that have rows of their own. */
  group: z.literal(true).optional(),
  /** How epochs were made one value, as in `mean`, `pass_at_5`. */
  reducer: z.string().optional(),
  /** Samples that the value is of. */
  n: z.number().nullable().optional(),
  /** Whatever else the harness says of it, by its own names. */
  facts: z.record(z.string(), z.json()).optional(),
});
export type HarnessMetric = z.infer<typeof HarnessMetricSchema>;

/** One value per sample and epoch, for intervals of our own. Labels are numbered in order of appearance, never kept. */
export const SampleScoreSchema = z.strictObject({
  /** null: no score, or one that is no number. */
  value: z.number().nullable(),
  sample: z.int().min(0),
  epoch: z.int().min(0),
  cluster: z.int().min(0).optional(),
  errored: z.literal(true).optional(),
});
export type SampleScore = z.infer<typeof SampleScoreSchema>;

export const SampleScoresSchema = z.strictObject({
  scorer: text,
  /** Of a scorer whose value is a record: the key. */
  name: text,
  task: z.string().nullable().optional(),
  /** `prompt_index` of the metric's facts. */
  prompt: z.int().min(0).optional(),
  scores: z.array(SampleScoreSchema),
});
export type SampleScores = z.infer<typeof SampleScoresSchema>;

export const HARNESS_STATUSES = ['success', 'error', 'cancelled', 'started'] as const;

export const HarnessLogSchema = z.strictObject({
  /** The file's own kind, such as `inspect-eval-zip`: finer than the reader's name. */
  format: z.string(),
  harness: z.string(),
  harnessVersion: text,
  /** null: a companion file of a log (a manifest, a listing, a run specification), which says nothing of a run's outcome. */
  status: z.enum(HARNESS_STATUSES).nullable(),
  task: text,
  taskVersion: text,
  model: text,
  revision: text,
  /** Where the model answered, if the log says so. */
  modelBaseUrl: text,
  dataset: text,
  /** The harness's own text. */
  created: text,
  startedAt: text,
  completedAt: text,
  epochs: z.number().nullable(),
  /** What bounded the run: samples, messages, tokens, time in seconds. */
  limits: z.record(z.string(), z.number()),
  metrics: z.array(HarnessMetricSchema),
  samples: z.strictObject({
    /** Samples x epochs that the run was to have. */
    total: count,
    /** Of these, ended without an error of the harness, the model or the scorer. */
    completed: count,
    /** Of these, with a score. */
    scored: count,
    /** Ended without an answer that could be judged, and counted as no success: neither completed nor errored. */
    blank: z.int().min(0).optional(),
    errored: count,
    /** Where the log marks that the model refused. */
    refused: count,
    /** That this file holds. */
    logged: count,
  }),
  /** Tokens that the model wrote, all samples together, where the log says. Zero: it wrote nothing at all. */
  outputTokens: count.optional(),
  /** Null where nothing went wrong as a whole. */
  error: text,
  /** sha256 of the file's bytes, hexadecimal. */
  fileDigest: z.string().regex(/^[0-9a-f]{64}$/),
  /** Whatever else it says, by the harness's own names. */
  facts: z.record(z.string(), z.json()),
  /** What was done to the model to get these scores: names the protocol by its digest. Never of one run alone. */
  protocol: z.record(z.string(), z.json()),
  /** Only where asked for and where the log has them. */
  sampleScores: z.array(SampleScoresSchema),
});
export type HarnessLog = z.infer<typeof HarnessLogSchema>;

/** Why no log could be read. Fixed codes: ledger, alerts and metric labels carry them. */
export const LOG_PROBLEMS = [
  'log-missing', // no file where the harness was to write one
  'log-empty',
  'log-truncated', // ends in the middle, and its format says nothing of a run that goes on
  'log-unreadable', // not what it claims to be: broken JSON, a damaged archive, members that contradict each other
  'log-too-large', // over a stated bound of the reader
  'log-bomb', // expands out of all proportion
  'log-ambiguous', // several logs where one was to be
  'format-unknown', // no reader claims it
  'format-disagrees', // another format than the policy names
] as const;
export type LogProblem = (typeof LOG_PROBLEMS)[number];
