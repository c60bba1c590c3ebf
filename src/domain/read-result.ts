/**
 * Judges the content of a native result against the policy's metric: is it evidence, and of what?
 *
 * Fails toward inconclusive: every doubt has a code (domain/reasons.ts), and what is not shown is not assumed. A score stays
 * visible beside the reasons, because one at a threshold trips. Results without the members that came with harness logs
 * are judged as they ever were. Not here: intervals and levels (domain/levels.ts), the shape (domain/native-result.ts).
 */
import { assertNever } from './assert-never.ts';
import { type NativeResult, type Stated, UNUSABLE } from './native-result.ts';
import type { ReasonCode } from './reasons.ts';

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
  reasons.push(...statusReasons(result), ...(result.doubts ?? []));
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

function statusReasons({ status, doubts = [] }: NativeResult): ReasonCode[] {
  switch (status) {
    case 'success':
      return [];
    case 'error':
      return doubts.includes('status-missing') ? [] : ['status-error'];
    case 'cancelled':
      return ['status-cancelled'];
    case 'started':
      return ['status-started'];
    default:
      return assertNever(status);
  }
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

function own<T>(record: { [key: string]: T } | undefined, key: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}
