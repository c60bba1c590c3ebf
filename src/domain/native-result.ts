/**
 * The native result: what an evaluator says about one attempt, and what Interlock takes from it.
 *
 * `parseNativeResult` judges the shape and leaves behind every text a model could have written: of `error` the length
 * stays, names of models, tasks, metrics and the transcript's URI only where they look like what they are. What it
 * returns is canonical JSON (no NaN); parsing it again gives it back. A harness's log comes into the same form by
 * domain/harness-result.ts, and domain/read-result.ts judges the content of both against the policy's metric.
 *
 * Shape is refused sparingly. A number that cannot be used (NaN, Infinity, "0.9") is no refusal but an
 * unusable number, hence inconclusive: an evaluator that says nonsense has reported, and a hold is the answer.
 */
import { z } from 'zod';
import { HARNESS_STATUSES, type SampleScore } from './harness-log.ts';
import { REASON_CODES, type ReasonCode } from './reasons.ts';

/** Stated, but no finite number (or, for `n`, no count). Distinct from absent and from zero. */
export const UNUSABLE = 'unusable';
export type Stated = number | typeof UNUSABLE;

export interface NativeMetric {
  value?: Stated;
  stderr?: Stated;
}

/** What is known of how many samples came to what; each only where it is stated. */
export interface NativeCounts {
  /** Samples x epochs that the run was to have. */
  total?: Stated;
  /** Of these, ended without an error. */
  completed?: Stated;
  /** Of these, with a score. */
  scored?: Stated;
  errored?: Stated;
  refused?: Stated;
  /** Whose transcripts the log holds. */
  logged?: Stated;
}

/** One arm of a difference. */
export interface NativeArm {
  score?: Stated;
  stderr?: Stated;
  n?: Stated;
  scores?: SampleScore[];
}

export interface NativeResult {
  status: (typeof HARNESS_STATUSES)[number];
  score?: Stated;
  stderr?: Stated;
  n?: Stated;
  metrics?: { [name: string]: NativeMetric };
  startedAt?: string;
  completedAt?: string;
  /** Of the log, where it says nothing of start and end. */
  createdAt?: string;
  /** Characters of error text that were sent; the text itself is dropped. */
  errorLength?: number;
  transcriptUri?: string;
  /** Names how it was measured (harness and version, prompts, scaffold); another name is another series. */
  protocol?: string;
  /** What the evaluator itself found that settles nothing. */
  doubts?: ReasonCode[];
  harness?: string;
  harnessVersion?: string;
  task?: string;
  model?: string;
  revision?: string;
  dataset?: string;
  /** Of the weights that were loaded, `sha256:` and hexadecimal digits. */
  weightsDigest?: string;
  /** Where the model answered: scheme, host and path. */
  endpoint?: string;
  samples?: NativeCounts;
  epochs?: Stated;
  limits?: { [name: string]: number };
  /** Tokens that the model wrote, all samples together. */
  outputTokens?: Stated;
  /** sha256 of the log's bytes, hexadecimal. */
  fileDigest?: string;
  /** One per sample and epoch: what intervals, clusters and pass@k are made from. */
  scores?: SampleScore[];
  /** The other arm, where the policy asks for a difference. */
  control?: NativeArm;
  /** Of the metric that the policy names under `leads`, where its name alone would not say which. */
  lead?: NativeMetric;
}

/** A harness written in Python says None where it has nothing, so null means absent in every optional field. */
const looseNumber = z.union([z.number(), z.string().max(64), z.null()]).optional();
const instant = z.iso.datetime({ offset: true }).max(40).nullish();
const looseText = z.string().max(1_000_000).nullish();

export const SCORES_MAX = 200_000;

const SampleScoreWireSchema = z.strictObject({
  value: looseNumber,
  sample: z
    .int()
    .min(0)
    .optional()
    .meta({ description: 'Number of the sample; default: its place in the list' }),
  epoch: z.int().min(0).optional(),
  cluster: z.int().min(0).optional().meta({
    description: 'Samples of one number are no independent ones: one document, one environment',
  }),
  errored: z.boolean().optional(),
});
const scores = z.array(SampleScoreWireSchema).max(SCORES_MAX).nullish();

/** The wire form. Metric names are free here; unusable ones are left behind, not refused. */
export const NativeResultSchema = z.strictObject({
  status: z.enum(HARNESS_STATUSES),
  score: looseNumber,
  stderr: looseNumber,
  n: looseNumber,
  metrics: z
    .record(z.string(), z.strictObject({ value: looseNumber, stderr: looseNumber }))
    .refine((metrics) => Object.keys(metrics).length <= 256, 'must not have over 256 metrics')
    .nullish(),
  model: looseText,
  startedAt: instant,
  completedAt: instant,
  createdAt: instant,
  error: z.string().max(1_000_000).nullish(),
  errorLength: z.int().min(0).optional(),
  transcriptUri: z.string().max(1_000_000).nullish(),
  protocol: z.string().max(1_000).nullish(),
  doubts: z.array(z.enum(REASON_CODES)).max(16).nullish().meta({
    description: 'Reasons why the evaluator itself thinks that this settles nothing',
  }),
  harness: looseText,
  harnessVersion: looseText,
  task: looseText,
  revision: looseText,
  dataset: looseText,
  weightsDigest: z
    .string()
    .regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits')
    .nullish()
    .meta({ description: 'Of the weights that were loaded' }),
  endpoint: looseText,
  samples: z
    .strictObject({
      total: looseNumber,
      completed: looseNumber,
      scored: looseNumber,
      errored: looseNumber,
      refused: looseNumber,
      logged: looseNumber,
    })
    .nullish()
    .meta({
      description: 'Samples x epochs: that were to be, that ended without an error, that have a score, ...',
    }),
  epochs: looseNumber,
  limits: z
    .record(z.string().max(64), z.number())
    .refine((limits) => Object.keys(limits).length <= 32, 'must not have over 32 limits')
    .nullish(),
  outputTokens: looseNumber,
  fileDigest: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits')
    .nullish(),
  scores,
  control: z
    .strictObject({ score: looseNumber, stderr: looseNumber, n: looseNumber, scores })
    .nullish()
    .meta({ description: 'The other arm, where the policy asks for a difference' }),
  lead: z.strictObject({ value: looseNumber, stderr: looseNumber }).nullish(),
});

export type ShapeProblem = { path: string; message: string };
export type ParsedNativeResult =
  | { ok: true; result: NativeResult }
  | {
      ok: false;
      problems: [ShapeProblem, ...ShapeProblem[]];
      /**
       * The numbers that could be read all the same, as a result of status `error`: never conclusive, yet a score
       * at a threshold trips. Null where there are none. For results of our own jobs; a refused POST leaves nothing.
       */
      salvage: NativeResult | null;
    };

export function parseNativeResult(raw: unknown): ParsedNativeResult {
  const parsed = NativeResultSchema.safeParse(withoutNonFinite(raw));
  if (parsed.success) return { ok: true, result: strip(parsed.data) };
  const problems = parsed.error.issues.flatMap((issue) => problemsOf(issue)).slice(0, 20);
  const [first = { path: '', message: 'is not a native result' }, ...rest] = problems;
  return { ok: false, problems: [first, ...rest], salvage: salvage(raw) };
}

// --- shape -------------------------------------------------------------------------------------------

/** JSON.parse makes Infinity of 1e999, and harness files hold NaN: both are unusable numbers, not wrong types. */
function withoutNonFinite(raw: unknown): unknown {
  if (!isRecord(raw)) return raw;
  const metrics = isRecord(raw['metrics'])
    ? Object.fromEntries(
        Object.entries(raw['metrics']).map(([name, metric]) => [
          name,
          isRecord(metric) ? usable(metric) : metric,
        ]),
      )
    : raw['metrics'];
  const nested = ['samples', 'control', 'lead'].flatMap((name): [string, unknown][] => {
    const member = raw[name];
    return isRecord(member) ? [[name, usable(member)]] : [];
  });
  const rest = { ...usable(raw), ...Object.fromEntries(nested) };
  return Object.hasOwn(raw, 'metrics') ? { ...rest, metrics } : rest;
}

function usable(record: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(record).map(([key, value]) => [
    key,
    typeof value === 'number' && !Number.isFinite(value) ? UNUSABLE : value,
  ]);
  return Object.fromEntries(entries);
}

function strip(wire: z.infer<typeof NativeResultSchema>): NativeResult {
  const errorLength = wire.error?.length ?? wire.errorLength ?? 0;
  const transcriptUri = wire.transcriptUri == null ? undefined : safeUri(wire.transcriptUri);
  return defined({
    status: wire.status,
    score: stated(wire.score),
    stderr: stated(wire.stderr),
    n: count(wire.n),
    metrics: wire.metrics == null ? undefined : stripMetrics(wire.metrics),
    startedAt: wire.startedAt ?? undefined,
    completedAt: wire.completedAt ?? undefined,
    createdAt: wire.createdAt ?? undefined,
    errorLength: errorLength > 0 ? errorLength : undefined,
    transcriptUri,
    protocol: wire.protocol == null ? undefined : safeProtocol(wire.protocol),
    doubts: wire.doubts == null || wire.doubts.length === 0 ? undefined : [...new Set(wire.doubts)],
    ...provenanceOf(wire),
    ...stripSamples(wire),
  });
}

function provenanceOf(wire: z.infer<typeof NativeResultSchema>) {
  const { harness, harnessVersion, task, model, revision, dataset, weightsDigest, endpoint, fileDigest } =
    wire;
  return {
    harness: safeName(harness),
    harnessVersion: safeName(harnessVersion),
    task: safeName(task),
    model: safeName(model),
    revision: safeName(revision),
    dataset: safeName(dataset),
    weightsDigest: weightsDigest ?? undefined,
    endpoint: endpoint == null ? undefined : safeUri(endpoint),
    fileDigest: fileDigest ?? undefined,
  };
}

function stripSamples(wire: z.infer<typeof NativeResultSchema>) {
  const { samples, limits, control, lead } = wire;
  return {
    samples: samples == null ? undefined : nonEmpty(mapCounts(samples)),
    epochs: count(wire.epochs),
    limits: limits == null ? undefined : nonEmpty(safeLimits(limits)),
    outputTokens: count(wire.outputTokens),
    scores: stripScores(wire.scores),
    control:
      control == null
        ? undefined
        : defined({
            score: stated(control.score),
            stderr: stated(control.stderr),
            n: count(control.n),
            scores: stripScores(control.scores),
          }),
    lead: lead == null ? undefined : defined({ value: stated(lead.value), stderr: stated(lead.stderr) }),
  };
}

function mapCounts(samples: { [name in keyof NativeCounts]: LooseNumber }): NativeCounts {
  const { total, completed, scored, errored, refused, logged } = samples;
  return defined({
    total: count(total),
    completed: count(completed),
    scored: count(scored),
    errored: count(errored),
    refused: count(refused),
    logged: count(logged),
  });
}

const nonEmpty = <T extends object>(record: T): T | undefined =>
  Object.keys(record).length === 0 ? undefined : record;

const safeLimits = (limits: { [name: string]: number }): { [name: string]: number } =>
  Object.fromEntries(
    Object.entries(limits)
      .filter(([name, value]) => isMetricName(name) && Number.isFinite(value))
      .map(([name, value]) => [name, value + 0]),
  );

function stripScores(
  wire: readonly z.infer<typeof SampleScoreWireSchema>[] | null | undefined,
): SampleScore[] | undefined {
  return wire?.map(({ value, sample, epoch, cluster, errored }, i) => {
    const number = stated(value);
    return {
      value: typeof number === 'number' ? number : null,
      sample: sample ?? i,
      epoch: epoch ?? 0,
      ...(cluster === undefined ? {} : { cluster }),
      ...(errored === true ? { errored: true as const } : {}),
    };
  });
}

/**
 * Of a model, a task, a version: `inspect_evals/gpqa`, `meta-llama/Llama-3.1-8B`, `/checkpoints/step-3000`, `mmlu:anatomy|5`; prose has
 * spaces and is not one. Weights that a harness loads from a folder have no other name, and one that is dropped is compared with nothing.
 */
export function safeName(text: string | null | undefined): string | undefined {
  return text != null && /^(?:~?\/|\.{1,2}\/)?[A-Za-z0-9][A-Za-z0-9._:/@+=,|-]{0,199}$/.test(text)
    ? text
    : undefined;
}

/** A name or a digest, never prose. What is neither is still something else than before. */
export const safeProtocol = (text: string): string =>
  /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$/.test(text) ? text : UNUSABLE;

type LooseMetrics = { [name: string]: { value?: LooseNumber; stderr?: LooseNumber } };
export type LooseNumber = number | string | null | undefined;

function stripMetrics(metrics: LooseMetrics): { [name: string]: NativeMetric } {
  return Object.fromEntries(
    Object.entries(metrics)
      .filter(([name]) => isMetricName(name))
      .map(([name, metric]) => [
        name,
        defined({ value: stated(metric.value), stderr: stated(metric.stderr) }),
      ]),
  );
}

/** `accuracy`, `pass@1`, `exact_match,strict-match`; prose has spaces and is not one. */
export function isMetricName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._,:/@+-]{0,63}$/.test(name);
}

export function stated(value: LooseNumber): Stated | undefined {
  if (value === null || value === undefined) return undefined;
  // Adding zero turns -0 into 0, which is how canonical JSON writes it.
  return typeof value === 'number' && Number.isFinite(value) ? value + 0 : UNUSABLE;
}

export function count(value: LooseNumber): Stated | undefined {
  const number = stated(value);
  if (number === undefined || number === UNUSABLE) return number;
  return Number.isSafeInteger(number) && number >= 0 ? number : UNUSABLE;
}

/** Only a place, never content: no `data:`, no script, no credentials, and no query, which may be a presigned key. */
export function safeUri(text: string): string | undefined {
  const match = /^([A-Za-z][A-Za-z0-9+.-]{0,31}):\/\/[A-Za-z0-9._~:/%+,;=!()-]{1,480}(?=$|[?#])/.exec(text);
  const [place, scheme] = match ?? [];
  if (place === undefined || /^(javascript|data|vbscript|blob)$/i.test(scheme ?? '')) return undefined;
  return place;
}

function salvage(raw: unknown): NativeResult | null {
  if (!isRecord(raw)) return null;
  const metrics = isRecord(raw['metrics'])
    ? Object.entries(raw['metrics'])
        .filter(([name, metric]) => isMetricName(name) && isRecord(metric))
        .slice(0, 256)
        .map(([name, metric]): [string, NativeMetric] => [
          name,
          isRecord(metric) ? defined({ value: loose(metric['value']), stderr: loose(metric['stderr']) }) : {},
        ])
        .filter(([, metric]) => metric.value !== undefined)
    : [];
  const score = loose(raw['score']);
  if (score === undefined && metrics.length === 0) return null;
  const n = loose(raw['n']);
  return defined({
    status: 'error' as const,
    score,
    stderr: loose(raw['stderr']),
    n: n === undefined ? undefined : count(n),
    metrics: metrics.length === 0 ? undefined : Object.fromEntries(metrics),
  });
}

const loose = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value + 0 : undefined;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};
/** Drops undefined members: canonical JSON refuses them, and absence is the word for absent. */
export function defined<T extends object>(record: T): Defined<T>;
export function defined(record: object): object {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}

/** Keys a sender made up may be text of a model, so an unknown key is counted, not repeated. */
function problemsOf(issue: z.core.$ZodIssue): ShapeProblem[] {
  const path = safePath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: [path, isMetricName(key) ? key : '(unprintable)'].filter((part) => part !== '').join('.'),
      message: 'unknown key',
    }));
  }
  return [{ path, message: messageOf(issue) }];
}

function safePath(path: readonly PropertyKey[]): string {
  return path.map((part) => (isMetricName(String(part)) ? String(part) : '(unprintable)')).join('.');
}

function messageOf(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_union':
      return 'must be a number';
    case 'invalid_value':
      return `must be one of ${issue.values.map(String).join(', ')}`;
    case 'invalid_format':
      return 'must be an instant with a zone, RFC 3339';
    case 'invalid_type':
      return `must be ${issue.expected === 'object' ? 'an object' : `a ${issue.expected}`}`;
    case 'too_big':
      return 'is too long';
    default:
      return issue.code === 'custom' ? issue.message : 'is not valid';
  }
}
