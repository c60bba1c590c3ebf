/**
 * The native result: what an evaluator says about one attempt, and what Interlock takes from it.
 *
 * Two steps. `parseNativeResult` judges the shape and leaves behind every text a model could have written:
 * of `error` the length stays, of `model` nothing, metric names and the transcript's URI only where they look
 * like what they are. What it returns is canonical JSON (no NaN) and may go into the ledger; parsing it again
 * gives it back. `readResult` judges the content against the policy's metric.
 *
 * Shape is refused sparingly. A number that cannot be used (NaN, Infinity, "0.9") is no refusal but an
 * unusable number, hence inconclusive: an evaluator that says nonsense has reported, and a hold is the answer.
 * Fails toward inconclusive; a score stays visible beside the reasons, because one at a threshold trips.
 * Not here: intervals and levels.
 */
import { z } from 'zod';

/** Stated, but no finite number (or, for `n`, no count). Distinct from absent and from zero. */
const UNUSABLE = 'unusable';
type Stated = number | typeof UNUSABLE;

export interface NativeMetric {
  value?: Stated;
  stderr?: Stated;
}

export interface NativeResult {
  status: 'success' | 'error';
  score?: Stated;
  stderr?: Stated;
  n?: Stated;
  metrics?: { [name: string]: NativeMetric };
  startedAt?: string;
  completedAt?: string;
  /** Characters of error text that were sent; the text itself is dropped. */
  errorLength?: number;
  transcriptUri?: string;
  /** Names how it was measured (harness and version, prompts, scaffold); another name is another series. */
  protocol?: string;
}

/** A harness written in Python says None where it has nothing, so null means absent in every optional field. */
const looseNumber = z.union([z.number(), z.string().max(64), z.null()]).optional();
const instant = z.iso.datetime({ offset: true }).max(40).nullish();

/** The wire form. Metric names are free here; unusable ones are left behind, not refused. */
export const NativeResultSchema = z.strictObject({
  status: z.enum(['success', 'error']),
  score: looseNumber,
  stderr: looseNumber,
  n: looseNumber,
  metrics: z
    .record(z.string(), z.strictObject({ value: looseNumber, stderr: looseNumber }))
    .refine((metrics) => Object.keys(metrics).length <= 256, 'must not have over 256 metrics')
    .nullish(),
  model: z.string().max(1_000_000).nullish(),
  startedAt: instant,
  completedAt: instant,
  error: z.string().max(1_000_000).nullish(),
  errorLength: z.int().min(0).optional(),
  transcriptUri: z.string().max(1_000_000).nullish(),
  protocol: z.string().max(1_000).nullish(),
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

/** Why a result settles nothing. Fixed codes: ledger, alerts and metric labels carry them. */
export const REASON_CODES = [
  'status-error', // the evaluator itself says that it failed
  'error-with-success', // it says success and sends error text
  'score-missing', // neither metrics[metric] nor score
  'score-not-finite', // stated as NaN, Infinity or text
  'score-out-of-range', // not on the metric's scale: another unit, or another metric
  'metric-disagrees', // score and metrics[metric] are different numbers
  'stderr-invalid', // negative, not finite, zero where it cannot be, or over half the range
  'uncertainty-missing', // nothing from which an interval could be made
  'samples-invalid', // n is not a count
  'zero-samples',
  'samples-missing', // n is not stated and cannot be inferred, so minSamples is not shown
  'too-few-samples', // under the policy's minSamples
  'samples-incomplete', // under the stated size of the evaluation
  'completed-before-started',
  'started-before-checkpoint', // by over the tolerance for clocks: these are other weights
  'took-no-time', // thousands of samples in an instant
] as const;
export type ReasonCode = (typeof REASON_CODES)[number];

export interface ScoreDefinition {
  metric: string;
  kind: 'proportion' | 'mean';
  range: readonly [number, number];
  minSamples: number;
  /** Size of the evaluation where the policy knows it; fewer completed samples are inconclusive. */
  totalSamples?: number | undefined;
}

export interface ReadingContext {
  /** When Interlock recorded the checkpoint, RFC 3339. */
  checkpointReportedAt?: string | undefined;
}

export type Reading =
  | { conclusive: true; score: number; stderr: number | null; n: number | null; reasons: []; alsoFound: null }
  | {
      conclusive: false;
      reasons: [ReasonCode, ...ReasonCode[]];
      /** On the metric's scale, or null. */
      score: number | null;
      stderr: number | null;
      n: number | null;
      /** Where `score` and `metrics[metric]` disagree, the other number: whichever is worse may trip. */
      alsoFound: number | null;
    };

/** Clocks of evaluator and Interlock may differ by as much as a signed webhook's may. */
const CLOCK_TOLERANCE_MS = 300_000;
/** Two spellings of one number (rounded in print) are no disagreement: this share of the range. */
const SAME_SCORE = 1e-6;
/** Timestamps of one second's grain are common, so only a run that no clock can explain is refused. */
const INSTANT_SAMPLES = 1_000;

export function readResult(
  result: NativeResult,
  definition: ScoreDefinition,
  context: ReadingContext = {},
): Reading {
  const metric = own(result.metrics, definition.metric);
  const samples = readSamples(result.n);
  const scores = readScores([metric?.value, result.score], definition.range);
  const stderr = readStderr([metric?.stderr, result.stderr], scores.score, samples.n, definition);

  const reasons: ReasonCode[] = [];
  if (result.status === 'error') reasons.push('status-error');
  if (result.status === 'success' && (result.errorLength ?? 0) > 0) reasons.push('error-with-success');
  reasons.push(...scores.reasons, ...samples.reasons, ...stderr.reasons);
  // An interval and a count are asked of a number; where there is none the reason is already given.
  if (scores.score !== null) {
    reasons.push(...evidenceProblems(scores.score, stderr, samples, definition));
  }
  reasons.push(...timeProblems(result, samples.n, context));

  const [first, ...rest] = reasons;
  if (first === undefined && scores.score !== null) {
    return {
      conclusive: true,
      score: scores.score,
      stderr: stderr.stderr,
      n: samples.n,
      reasons: [],
      alsoFound: null,
    };
  }
  return {
    conclusive: false,
    reasons: [first ?? 'score-missing', ...rest],
    score: scores.score,
    stderr: stderr.stderr,
    n: samples.n,
    alsoFound: scores.alsoFound,
  };
}

function readScores(
  stated: readonly (Stated | undefined)[],
  [min, max]: readonly [number, number],
): { score: number | null; alsoFound: number | null; reasons: ReasonCode[] } {
  const given = stated.filter((value) => value !== undefined);
  if (given.length === 0) return { score: null, alsoFound: null, reasons: ['score-missing'] };
  const finite = given.filter((value) => value !== UNUSABLE);
  const onScale = finite.filter((value) => value >= min && value <= max);
  const [score = null, other = null] = onScale;
  const disagree = score !== null && other !== null && Math.abs(score - other) > SAME_SCORE * (max - min);

  const reasons: ReasonCode[] = [];
  if (finite.length < given.length) reasons.push('score-not-finite');
  if (onScale.length < finite.length) reasons.push('score-out-of-range');
  if (disagree) reasons.push('metric-disagrees');
  return { score, alsoFound: disagree ? other : null, reasons };
}

interface Samples {
  n: number | null;
  stated: boolean;
  reasons: ReasonCode[];
}

function readSamples(stated: Stated | undefined): Samples {
  if (stated === undefined) return { n: null, stated: false, reasons: [] };
  if (stated === UNUSABLE) return { n: null, stated: true, reasons: ['samples-invalid'] };
  return { n: stated, stated: true, reasons: stated === 0 ? ['zero-samples'] : [] };
}

interface Stderr {
  stderr: number | null;
  stated: boolean;
  reasons: ReasonCode[];
}

function readStderr(
  stated: readonly (Stated | undefined)[],
  score: number | null,
  n: number | null,
  { kind, range: [min, max] }: ScoreDefinition,
): Stderr {
  const given = stated.filter((value) => value !== undefined);
  if (given.length === 0) return { stderr: null, stated: false, reasons: [] };
  const invalid: Stderr = { stderr: null, stated: true, reasons: ['stderr-invalid'] };
  const finite = given.filter((value) => value !== UNUSABLE);
  if (finite.length < given.length || finite.some((value) => value < 0)) return invalid;
  // Of two, the wider: the narrower one may be of another metric.
  const stderr = Math.max(...finite);
  // A mean of values within the range cannot have more (Popoviciu's inequality).
  if (stderr > (max - min) / 2) return invalid;
  if (stderr === 0 && n === 1) return invalid;
  const between = score !== null && score > 0 && score < 1;
  if (stderr === 0 && kind === 'proportion' && between) return invalid;
  return { stderr, stated: true, reasons: [] };
}

function evidenceProblems(
  score: number,
  stderr: Stderr,
  samples: Samples,
  { kind, minSamples, totalSamples }: ScoreDefinition,
): ReasonCode[] {
  const reasons: ReasonCode[] = [];
  // A proportion has its interval from n alone; a mean never has.
  const interval = stderr.stderr !== null || (kind === 'proportion' && samples.n !== null);
  if (!interval && !stderr.stated && !(kind === 'proportion' && samples.stated)) {
    reasons.push('uncertainty-missing');
  }
  if (samples.n !== null && samples.n > 0) {
    if (samples.n < minSamples) reasons.push('too-few-samples');
    if (totalSamples !== undefined && samples.n < totalSamples) reasons.push('samples-incomplete');
  }
  if (!samples.stated && interval && minSamples > 1) {
    const implied = kind === 'proportion' ? impliedSamples(score, stderr.stderr) : null;
    if (implied === null) reasons.push('samples-missing');
    else if (implied < minSamples) reasons.push('too-few-samples');
  }
  return reasons;
}

/** A proportion's standard error says how many samples it is worth; generous by rounding and by n - 1. */
function impliedSamples(score: number, stderr: number | null): number | null {
  if (stderr === null || stderr === 0) return null;
  return Math.ceil((1.01 * score * (1 - score)) / (stderr * stderr)) + 1;
}

function timeProblems(result: NativeResult, n: number | null, context: ReadingContext): ReasonCode[] {
  const reasons: ReasonCode[] = [];
  const startedMs = instantMs(result.startedAt);
  const completedMs = instantMs(result.completedAt);
  const reportedMs = instantMs(context.checkpointReportedAt);
  if (startedMs !== null && completedMs !== null) {
    if (completedMs < startedMs) reasons.push('completed-before-started');
    if (completedMs === startedMs && n !== null && n >= INSTANT_SAMPLES) reasons.push('took-no-time');
  }
  const earliestMs = startedMs ?? completedMs;
  if (reportedMs !== null && earliestMs !== null && earliestMs < reportedMs - CLOCK_TOLERANCE_MS) {
    reasons.push('started-before-checkpoint');
  }
  return reasons;
}

function instantMs(text: string | undefined): number | null {
  if (text === undefined) return null;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
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
  return Object.hasOwn(raw, 'metrics') ? { ...usable(raw), metrics } : usable(raw);
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
    errorLength: errorLength > 0 ? errorLength : undefined,
    transcriptUri,
    protocol: wire.protocol == null ? undefined : safeProtocol(wire.protocol),
  });
}

/** A name or a digest, never prose. What is neither is still something else than before. */
const safeProtocol = (text: string): string =>
  /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$/.test(text) ? text : UNUSABLE;

type LooseMetrics = { [name: string]: { value?: LooseNumber; stderr?: LooseNumber } };
type LooseNumber = number | string | null | undefined;

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

function stated(value: LooseNumber): Stated | undefined {
  if (value === null || value === undefined) return undefined;
  // Adding zero turns -0 into 0, which is how canonical JSON writes it.
  return typeof value === 'number' && Number.isFinite(value) ? value + 0 : UNUSABLE;
}

function count(value: LooseNumber): Stated | undefined {
  const number = stated(value);
  if (number === undefined || number === UNUSABLE) return number;
  return Number.isSafeInteger(number) && number >= 0 ? number : UNUSABLE;
}

/** Only a place, never content: no `data:`, no script, no credentials, and no query, which may be a presigned key. */
function safeUri(text: string): string | undefined {
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

function own<T>(record: { [key: string]: T } | undefined, key: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};
/** Drops undefined members: canonical JSON refuses them, and absence is the word for absent. */
function defined<T extends object>(record: T): Defined<T>;
function defined(record: object): object {
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
