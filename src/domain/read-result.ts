/**
 * Judges the content of a native result against the policy's metric: is it evidence, and of what?
 *
 * Fails toward inconclusive: every doubt has a code (domain/reasons.ts), and what is not shown is not assumed. A score stays
 * visible beside the reasons, because one at a threshold trips. Results without the members that came with harness logs
 * are judged as they ever were. Not here: intervals and levels (domain/levels.ts), the shape (domain/native-result.ts).
 */
import { assertNever } from './assert-never.ts';
import type { Measured } from './levels.ts';
import { type NativeArm, type NativeResult, type Stated, UNUSABLE } from './native-result.ts';
import type { Score } from './policy/score-schema.ts';
import { type Counts, readCounts } from './read-counts.ts';
import { exitProblems, type ProvenanceContext, provenanceProblems, timeProblems } from './read-provenance.ts';
import type { ReasonCode } from './reasons.ts';
import { readScores, type ScoresRead } from './sample-scores.ts';

export interface ScoreDefinition {
  metric: string;
  kind: 'proportion' | 'mean';
  /** Of the metric; with a control, of either arm. */
  range: readonly [number, number];
  minSamples: number;
  /** Size of the evaluation where the policy knows it; fewer completed samples are inconclusive. */
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

/** Two spellings of one number (rounded in print) are no disagreement: this share of the range. */
const SAME_SCORE = 1e-6;
/** A log may round its metrics to three digits; its samples' mean is none the less the same number. */
const SAME_MEAN = 1e-3;

export function readResult(
  result: NativeResult,
  definition: ScoreDefinition,
  context: ReadingContext = {},
): Reading {
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
  const details = detailsOf(whole, counts);
  const { score, stderr, n } = whole;
  const beside = Object.keys(details).length === 0 ? {} : { details };
  if (first === undefined && score !== null) {
    return { conclusive: true, score, stderr, n, reasons: [], alsoFound: null, ...beside };
  }
  const reasons: [ReasonCode, ...ReasonCode[]] = [first ?? 'score-missing', ...rest];
  return { conclusive: false, reasons, score, stderr, n, alsoFound: whole.alsoFound, ...beside };
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

// --- one arm -------------------------------------------------------------------------------------------

interface Arm {
  readonly score: number | null;
  readonly stderr: number | null;
  readonly n: number | null;
  readonly alsoFound: number | null;
  readonly reasons: readonly ReasonCode[];
  /** Whatever the samples say, used or not. */
  readonly scores: ScoresRead | null;
  readonly beside: ReadingDetails;
}

function readArm(
  { score, stderr: wholeStderr, n, scores: given, harness }: NativeArm & Pick<NativeResult, 'harness'>,
  metric: { value?: Stated; stderr?: Stated } | undefined,
  definition: ScoreDefinition,
  context: ReadingContext,
): Arm {
  const { pass, kind, range } = definition;
  const scores = given === undefined ? null : readScores(given, scoresWanted(definition, context));
  const stated = readValues([metric?.value, score], range);
  const used = usableScores(scores, stated.score, n, definition);
  const samples = readSamples(pass !== undefined || n === undefined ? (used.scores?.n ?? n) : n);
  const values = pass === undefined ? stated : ofScores(used.scores);
  const spread = readStderr([metric?.stderr, wholeStderr], values.score, samples.n, definition);
  const stderr = withSpread(pass === undefined ? spread : NO_STDERR, used.scores, kind);

  const reasons = [...values.reasons, ...used.reasons, ...samples.reasons, ...stderr.reasons];
  // An interval and a count are asked of a number; where there is none the reason is already given.
  if (values.score !== null) reasons.push(...evidenceProblems(values.score, stderr, samples, definition));
  const effectiveN =
    used.scores?.effectiveN ??
    (harness === undefined ? null : impliedEffective(values.score, stderr.stderr, samples.n, definition));
  const clusters = kind === 'mean' || used.scores?.effectiveN != null ? used.scores?.clusters : undefined;
  return {
    score: values.score,
    stderr: stderr.stderr,
    n: samples.n,
    alsoFound: values.alsoFound ?? used.alsoFound,
    reasons,
    scores,
    beside: {
      ...(effectiveN === null ? {} : { effectiveN }),
      ...(clusters === undefined ? {} : { clusters }),
      ...(used.scores?.interval == null ? {} : { interval: used.scores.interval }),
    },
  };
}

function scoresWanted(definition: ScoreDefinition, { z = 1.96, seed = 1 }: ReadingContext) {
  const { kind, range, interval, pass, cluster } = definition;
  return { kind, range, interval, pass, clustered: cluster !== undefined, z, seed };
}

/**
 * The samples' scores are evidence of the score's uncertainty if they are what it was made of. The policy may ask for them: then
 * they must be there and agree. Where it does not, a metric that is no plain mean (another reducer) goes by what it states.
 */
function usableScores(
  scores: ScoresRead | null,
  stated: number | null,
  n: Stated | undefined,
  { range: [low, high], reducer, pass, interval, cluster, allow = [] }: ScoreDefinition,
): { scores: ScoresRead | null; alsoFound: number | null; reasons: ReasonCode[] } {
  const isAskedFor = pass !== undefined || interval === 'bootstrap' || cluster !== undefined;
  const none = { scores: null, alsoFound: null };
  if (scores === null) return { ...none, reasons: isAskedFor ? ['scores-missing'] : [] };
  if (scores.reasons.length > 0) return { ...none, reasons: [...scores.reasons] };
  const reasons: ReasonCode[] = [];
  let alsoFound: number | null = null;
  if (pass === undefined && (reducer === undefined || reducer === 'mean') && stated !== null) {
    const { score } = scores;
    if (score !== null && Math.abs(score - stated) > SAME_MEAN * (high - low)) {
      reasons.push(isPercentOf(score, stated) ? 'units-disagree' : 'scores-disagree');
      if (score >= low && score <= high) alsoFound = score;
    }
  }
  if (isAskedFor) {
    if (scores.score === null) reasons.push('scores-missing');
    if (pass === undefined && typeof n === 'number' && scores.n !== n) reasons.push('scores-disagree');
    return { scores, alsoFound, reasons };
  }
  const isOfIt = reasons.length === 0 && (typeof n !== 'number' || scores.n >= n);
  const isMean = reducer === undefined || reducer === 'mean';
  const isAllowed = reasons.every((reason) => allow.includes(reason));
  return { scores: isOfIt && isMean ? scores : null, alsoFound: isAllowed ? null : alsoFound, reasons };
}

const isPercentOf = (a: number, b: number): boolean =>
  [
    [a, b],
    [b, a],
  ].some(([one = 0, hundred = 0]) => one !== 0 && Math.abs(hundred / one - 100) < 0.1);

const ofScores = (scores: ScoresRead | null): ReturnType<typeof readValues> => ({
  score: scores?.score ?? null,
  alsoFound: null,
  reasons: [],
});

const NO_STDERR: Stderr = { stderr: null, stated: false, reasons: [] };

/** Of two, the wider. A share needs none: its samples are in `effectiveN`. */
function withSpread(spread: Stderr, scores: ScoresRead | null, kind: 'proportion' | 'mean'): Stderr {
  if (scores === null || (kind === 'proportion' && !spread.stated)) return spread;
  return { ...spread, stated: true, stderr: Math.max(spread.stderr ?? 0, scores.stderr) };
}

/** A harness that states a wider error than n independent samples have knows that they are none. */
function impliedEffective(
  score: number | null,
  stderr: number | null,
  n: number | null,
  { kind, range: [low, high] }: ScoreDefinition,
): number | null {
  if (kind !== 'proportion' || score === null || stderr === null || stderr <= 0 || !n) return null;
  const share = (score - low) / (high - low);
  const width = stderr / (high - low);
  const implied = (share * (1 - share)) / (width * width);
  // With n - 1 for n, and rounded in print, it is the usual one.
  return implied > 0 && implied < 0.9 * (n - 1) ? Math.max(1, implied) : null;
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

function armStderr({ score, stderr, n, effectiveN }: Measured, { range: [low, high] }: ScoreDefinition) {
  const samples = effectiveN ?? n;
  if (stderr !== null || samples === null || samples === 0) return stderr;
  const share = (score - low) / (high - low);
  return (high - low) * Math.sqrt(Math.max(0, share * (1 - share)) / samples);
}

// --- results that measured nothing ---------------------------------------------------------------------

/** What programs write where they have no number. */
const PLACEHOLDERS = [-1, -99, -999, -9999, 99, 999, 9999, 99_999, 999_999, 1e6, 1e9, -1e9];
/** So few may agree by accident. */
const CONSTANT_SAMPLES_MIN = 5;
/** Standard errors above chance, and of the fall, that are plain. */
const PLAINLY = 3;
const INDISTINGUISHABLE = 1.96;

/**
 * A weak model is no broken scorer: no success at all, or at the other end all of them, is a genuine score. What a working scorer
 * does not give is the same number between the ends for every sample, a number that stands for none, or a fall back to guessing.
 * Asked only of results that say which harness they come from, or hold their samples' scores.
 */
function emptiness(
  result: NativeResult,
  { score, stderr, n, scores }: Arm,
  definition: ScoreDefinition,
  { before }: ReadingContext,
): ReasonCode[] {
  const { range, kind, pass } = definition;
  if (score === null || (result.harness === undefined && scores === null)) return [];
  const reasons: ReasonCode[] = [];
  const isScattered = stderr !== null && stderr > 0;
  if (PLACEHOLDERS.includes(score) && !isScattered) reasons.push('placeholder-value');
  const same = scores?.constant ?? (scores === null && kind === 'mean' && stderr === 0 ? score : null);
  const samples = scores?.scored ?? n ?? 0;
  if (pass === undefined && same !== null && !range.includes(same) && samples >= CONSTANT_SAMPLES_MIN) {
    reasons.push('constant-scores');
  }
  if (before !== undefined && fellToChance({ score, stderr, n }, before, definition))
    reasons.push('all-chance');
  return reasons;
}

function fellToChance(
  now: Pick<Measured, 'score' | 'stderr' | 'n'>,
  before: Pick<Measured, 'score' | 'stderr' | 'n'>,
  definition: ScoreDefinition,
): boolean {
  const { chance, best, range, control } = definition;
  // At an end of the range there is no guessing: a model that can do nothing scores there honestly.
  if (chance === undefined || best === undefined || range.includes(chance) || control !== undefined)
    return false;
  const sign = best >= chance ? 1 : -1;
  const noiseNow = scatterOf(now, definition);
  const noiseBefore = scatterOf(before, definition);
  if (noiseNow === null || noiseBefore === null) return false;
  const isAtChance = Math.abs(now.score - chance) <= INDISTINGUISHABLE * noiseNow;
  const wasAbove = sign * (before.score - chance) > PLAINLY * noiseBefore;
  const fall = sign * (before.score - now.score);
  return (
    isAtChance && wasAbove && fall > PLAINLY * Math.sqrt(noiseNow * noiseNow + noiseBefore * noiseBefore)
  );
}

const scatterOf = (measured: Measured, definition: ScoreDefinition): number | null =>
  measured.stderr ?? armStderr(measured, definition);

// --- the parts of an arm -------------------------------------------------------------------------------

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

function readValues(
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

function own<T>(record: { [key: string]: T } | undefined, key: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}
