/**
 * Judges the content of a native result against the policy's metric: is it evidence, and of what?
 *
 * Fails toward inconclusive: every doubt has a code (domain/reasons.ts), and what is not shown is not assumed. A score stays
 * visible beside the reasons, because one at a threshold trips. Results without the members that came with harness logs
 * are judged as they ever were. Not here: intervals and levels (domain/levels.ts), the shape (domain/native-result.ts).
 */
import { assertNever } from './assert-never.ts';
import type { Measured } from './levels.ts';
import type { NativeResult } from './native-result.ts';
import type { Score } from './policy/score-schema.ts';
import { type Arm, armStderr, readArm } from './read-arm.ts';
import { type Counts, readCounts } from './read-counts.ts';
import { emptiness } from './read-emptiness.ts';
import { exitProblems, type ProvenanceContext, provenanceProblems, timeProblems } from './read-provenance.ts';
import type { ReasonCode } from './reasons.ts';

export interface ScoreDefinition {
  metric: string;
  kind: 'proportion' | 'mean';
  /** Of the metric; with a control, of either arm. */
  range: readonly [number, number];
  minSamples: number;
  /** Size of the evaluation where the policy knows it; fewer samples are inconclusive, and a result that states no number is of so many. */
  totalSamples?: number | undefined;
  chance?: number | undefined;
  best?: number | undefined;
  reducer?: string | undefined;
  maxErrored?: number | undefined;
  interval?: Score['interval'];
  cluster?: string | undefined;
  pass?: Score['pass'];
  /** Name of the control's metric, where the score is a difference. */
  control?: string | undefined;
  allow?: readonly ReasonCode[] | undefined;
}

export interface ReadingContext extends ProvenanceContext {
  /** Of the interval, where it has to be sealed; 1.96 unless given. */
  z?: number | undefined;
  /** Of whatever is drawn. */
  seed?: number | undefined;
  /** The same evaluation at the checkpoint before, by the same protocol. */
  before?: Pick<Measured, 'score' | 'stderr' | 'n'> | undefined;
}

/** What stands beside the score, each only where it is known. */
export type ReadingDetails = Partial<
  Pick<Measured, 'scored' | 'lost' | 'effectiveN' | 'clusters' | 'interval' | 'arms'> & {
    total: number;
    errored: number;
    refused: number;
  }
>;

export type Reading =
  | {
      conclusive: true;
      score: number;
      stderr: number | null;
      n: number | null;
      reasons: [];
      alsoFound: null;
      details?: ReadingDetails;
    }
  | {
      conclusive: false;
      reasons: [ReasonCode, ...ReasonCode[]];
      /** On the metric's scale, or null. */
      score: number | null;
      stderr: number | null;
      n: number | null;
      /** Where `score` and `metrics[metric]` disagree, the other number: whichever is worse may trip. */
      alsoFound: number | null;
      details?: ReadingDetails;
    };

export function readResult(
  stated: NativeResult,
  definition: ScoreDefinition,
  context: ReadingContext = {},
): Reading {
  const result = withSize(stated, definition);
  const metric = own(result.metrics, definition.metric);
  const arm = readArm(result, metric, definition, context);
  const counts = readCounts(result, arm.scores, definition.maxErrored ?? 0);
  const whole = definition.control === undefined ? arm : readDifference(result, arm, definition, context);

  const found: ReasonCode[] = [...statusReasons(result), ...(result.doubts ?? [])];
  if (result.status === 'success' && (result.errorLength ?? 0) > 0) found.push('error-with-success');
  found.push(
    ...exitProblems(result, context.launch),
    ...whole.reasons,
    ...counts.reasons,
    ...provenanceProblems(result, context),
    ...timeProblems(result, arm.n, context),
    ...emptiness(result, arm, definition, context),
  );
  const { allow = [] } = definition;
  const [first, ...rest] = new Set(found.filter((reason) => !allow.includes(reason)));
  const details = detailsOf(whole, definition.pass === undefined ? counts : bySample(counts, arm.scores));
  const { score, stderr, n } = whole;
  const beside = Object.keys(details).length === 0 ? {} : { details };
  if (first === undefined && score !== null) {
    return { conclusive: true, score, stderr, n, reasons: [], alsoFound: null, ...beside };
  }
  const reasons: [ReasonCode, ...ReasonCode[]] = [first ?? 'score-missing', ...rest];
  return { conclusive: false, reasons, score, stderr, n, alsoFound: whole.alsoFound, ...beside };
}

/** Of a result that says nothing of its samples: as many as the policy knows of, where no limit that it states allows fewer. */
function withSize(result: NativeResult, { totalSamples, control }: ScoreDefinition): NativeResult {
  const { n, scores, samples, limits } = result;
  if (totalSamples === undefined || control !== undefined) return result;
  if (n !== undefined || scores !== undefined || samples !== undefined) return result;
  return { ...result, n: Math.min(totalSamples, limits?.['samples'] ?? totalSamples) };
}

/**
 * Of pass@k it is samples that succeed: one epoch that was lost may have been the one that did, so the whole sample is lost.
 * What the list of scores does not hold is added as it is counted.
 */
function bySample(counts: Counts, scores: Arm['scores']): Counts {
  if (scores === null) return counts;
  const { lostSamples, n } = scores;
  const elsewhere = Math.max(0, counts.lost - scores.lost);
  return { ...counts, lost: lostSamples + elsewhere, scored: Math.max(0, n - lostSamples) };
}

function detailsOf(arm: Arm, { total, scored, errored, refused, lost }: Counts): ReadingDetails {
  return {
    ...(total === null ? {} : { total }),
    ...(scored === null ? {} : { scored }),
    ...(errored === null ? {} : { errored }),
    ...(refused === null ? {} : { refused }),
    ...(lost === 0 ? {} : { lost }),
    ...arm.beside,
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

// --- two arms ------------------------------------------------------------------------------------------

function readDifference(
  result: NativeResult,
  treatment: Arm,
  definition: ScoreDefinition,
  context: ReadingContext,
): Arm {
  const name = definition.control ?? definition.metric;
  const byName = name === definition.metric ? undefined : own(result.metrics, name);
  const isMissing = result.control === undefined && byName === undefined;
  const native = { ...result.control, ...(result.harness === undefined ? {} : { harness: result.harness }) };
  const control = isMissing ? null : readArm(native, byName, { ...definition, metric: name }, context);
  const reasons: ReasonCode[] = [
    ...treatment.reasons,
    ...(control === null ? (['control-missing'] as const) : control.reasons),
  ];
  const { score: one } = treatment;
  const two = control?.score ?? null;
  if (control === null || one === null || two === null) {
    return { ...treatment, score: null, stderr: null, alsoFound: null, reasons, beside: {} };
  }
  const arms = {
    treatment: measuredArm(treatment, one, definition),
    control: measuredArm(control, two, definition),
  };
  const a = armStderr(arms.treatment, definition);
  const b = armStderr(arms.control, definition);
  const stderr = a === null || b === null ? null : Math.sqrt(a * a + b * b);
  return { ...treatment, score: one - two, stderr, alsoFound: null, reasons, beside: { arms } };
}

/** A share with its n needs no standard error; its interval is the score interval. */
function measuredArm({ stderr, n, beside }: Arm, score: number, { kind }: ScoreDefinition): Measured {
  const { effectiveN, clusters } = beside;
  const isShare = kind === 'proportion' && n !== null;
  return {
    score,
    stderr: isShare ? null : stderr,
    n,
    ...(effectiveN === undefined ? {} : { effectiveN }),
    ...(clusters === undefined ? {} : { clusters }),
  };
}

function own<T>(record: { [key: string]: T } | undefined, key: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}
