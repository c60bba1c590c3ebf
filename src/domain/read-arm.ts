/**
 * One arm of a result: its number, the uncertainty of it, and what of either cannot be believed.
 *
 * The number is what the metric states; what its samples' scores come to is held against it, and says how much it is worth.
 */
import type { Measured } from './levels.ts';
import { type NativeArm, type NativeResult, type Stated, UNUSABLE } from './native-result.ts';
import type { ReadingContext, ReadingDetails, ScoreDefinition } from './read-result.ts';
import type { ReasonCode } from './reasons.ts';
import { readScores, type ScoresRead } from './sample-scores.ts';

/** Two spellings of one number (rounded in print) are no disagreement: this share of the range. */
const SAME_SCORE = 1e-6;
/** A log may round its metrics to three digits; its samples' mean is none the less the same number. */
const SAME_MEAN = 1e-3;

export interface Arm {
  readonly score: number | null;
  readonly stderr: number | null;
  readonly n: number | null;
  readonly alsoFound: number | null;
  readonly reasons: readonly ReasonCode[];
  /** Whatever the samples say, used or not. */
  readonly scores: ScoresRead | null;
  readonly beside: ReadingDetails;
}

export function readArm(
  { score, stderr: wholeStderr, n, scores: given, harness }: NativeArm & Pick<NativeResult, 'harness'>,
  metric: { value?: Stated; stderr?: Stated } | undefined,
  definition: ScoreDefinition,
  context: ReadingContext,
): Arm {
  const { pass, kind, range } = definition;
  const scores = given === undefined ? null : readScores(given, scoresWanted(definition, context));
  const stated = readValues([metric?.value, score], range);
  const used = usableScores(scores, stated.score, n, definition);
  const samples = readSamples(
    pass !== undefined ? (used.scores?.n ?? n) : distinctSamples(n, scores, used.scores),
  );
  const values = pass === undefined ? stated : ofScores(used.scores);
  const spread = readStderr([metric?.stderr, wholeStderr], values.score, samples.n, definition);
  const stderr = withSpread(pass === undefined ? spread : NO_STDERR, used.scores, kind);

  const reasons = [...values.reasons, ...used.reasons, ...samples.reasons, ...stderr.reasons];
  // Nothing scatters, by the harness's word alone: how much that is worth is a matter of how many samples there were.
  const isFlat = harness !== undefined && used.scores === null && stderr.stderr === 0;
  // An interval and a count are asked of a number; where there is none the reason is already given.
  if (values.score !== null) {
    reasons.push(...evidenceProblems(values.score, stderr, samples, definition));
    if (isFlat && !samples.stated) reasons.push('samples-missing');
  }
  const effectiveN =
    used.scores?.effectiveN ??
    (harness === undefined ? null : impliedEffective(values.score, stderr.stderr, samples.n, definition));
  const clusters = kind === 'mean' || used.scores?.effectiveN != null ? used.scores?.clusters : undefined;
  const units = clusters ?? (kind === 'mean' && isFlat && samples.n !== null ? samples.n : undefined);
  return {
    score: values.score,
    stderr: stderr.stderr,
    n: samples.n,
    alsoFound: values.alsoFound ?? used.alsoFound,
    reasons,
    scores,
    beside: {
      ...(effectiveN === null ? {} : { effectiveN }),
      ...(units === undefined ? {} : { clusters: units }),
      ...(used.scores?.interval == null ? {} : { interval: used.scores.interval }),
    },
  };
}

/** A metric may count answers or checks, and its list of samples be cut: no more samples than there are scores of. */
function distinctSamples(
  n: Stated | undefined,
  listed: ScoresRead | null,
  used: ScoresRead | null,
): Stated | undefined {
  if (n === undefined) return used?.n;
  return typeof n === 'number' && listed !== null && listed.n > 0 ? Math.min(n, listed.n) : n;
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
  const isMean = reducer === undefined || reducer === 'mean';
  // A list of other samples than n is of more than this metric.
  const isOfIt = typeof n !== 'number' || scores.n === n;
  if (pass === undefined && isMean && isOfIt && stated !== null) {
    const { score } = scores;
    if (score !== null && Math.abs(score - stated) > SAME_MEAN * (high - low)) {
      reasons.push(isPercentOf(score, stated) ? 'units-disagree' : 'scores-disagree');
      if (score >= low && score <= high) alsoFound = score;
    }
  }
  if (isAskedFor) {
    if (scores.score === null) reasons.push('scores-missing');
    if (pass === undefined && !isOfIt) reasons.push('scores-disagree');
    return { scores, alsoFound, reasons };
  }
  const isAllowed = reasons.every((reason) => allow.includes(reason));
  return {
    scores: isOfIt && isMean && reasons.length === 0 ? scores : null,
    alsoFound: isAllowed ? null : alsoFound,
    reasons,
  };
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

/** Of a share without one, by its samples. */
export function armStderr(
  { score, stderr, n, effectiveN }: Measured,
  { range: [low, high] }: ScoreDefinition,
) {
  const samples = effectiveN ?? n;
  if (stderr !== null || samples === null || samples === 0) return stderr;
  const share = (score - low) / (high - low);
  return (high - low) * Math.sqrt(Math.max(0, share * (1 - share)) / samples);
}

// --- its parts ---------------------------------------------------------------------------------------

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
