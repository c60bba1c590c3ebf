/**
 * What the scores of single samples come to: a score, how uncertain it is, and how many independent samples it is worth.
 *
 * Epochs of one sample are one cluster, always; samples that the policy says belong together are one too. Whatever order they
 * come in, the same figures come out: sums are made in the order of samples and epochs.
 */
import type { SampleScore } from './harness-log.ts';
import type { Score } from './policy/score-schema.ts';
import type { ReasonCode } from './reasons.ts';
import { bootstrapMean } from './statistics/bootstrap.ts';
import {
  type Clustered,
  clusteredMean,
  effectiveSamples,
  type InCluster,
} from './statistics/clustered-mean.ts';
import { passAll, passAny } from './statistics/pass-at-k.ts';
import type { Interval } from './statistics/wilson.ts';

export interface ScoresWanted {
  readonly kind: 'proportion' | 'mean';
  readonly range: readonly [number, number];
  readonly interval?: Score['interval'];
  readonly pass?: Score['pass'];
  /** The policy names what samples are clustered by: each must have one. */
  readonly clustered: boolean;
  /** Of the interval, where it is a bootstrap's. */
  readonly z: number;
  readonly seed: number;
}

export interface ScoresRead {
  /** Null where no sample has a score, or a reason says why there is no telling. */
  readonly score: number | null;
  readonly stderr: number;
  /** Distinct samples with a score. */
  readonly n: number;
  /** Samples x epochs with a score, without one, and of the latter those marked as errored. */
  readonly scored: number;
  readonly lost: number;
  readonly errored: number;
  /** Distinct samples of which at least one epoch has no score. */
  readonly lostSamples: number;
  readonly clusters: number;
  /** Null where all samples are independent and of one epoch: n says it. */
  readonly effectiveN: number | null;
  readonly interval: (Interval & { readonly z: number }) | null;
  /** The value that all have, where all have the same; null otherwise. */
  readonly constant: number | null;
  readonly reasons: readonly ReasonCode[];
}

interface Sample {
  readonly sample: number;
  readonly cluster: number | undefined;
  readonly values: readonly number[];
}

export function readScores(scores: readonly SampleScore[], wanted: ScoresWanted): ScoresRead {
  const samples = samplesOf(scores).filter(({ values }) => values.length > 0);
  const trials = samples.flatMap(({ values }) => values);
  const { values, reasons } = valuesOf(samples, wanted);
  const found = values.length === 0 ? null : clusteredMean(values);
  const isUsable = found !== null && reasons.length === 0;
  const lost = scores.filter(({ value }) => value === null);
  const [first] = trials;
  return {
    score: isUsable ? found.mean : null,
    stderr: found?.stderr ?? 0,
    n: samples.length,
    scored: trials.length,
    lost: lost.length,
    errored: lost.filter(({ errored }) => errored === true).length,
    lostSamples: new Set(lost.map(({ sample }) => sample)).size,
    clusters: found?.clusters ?? 0,
    effectiveN: isUsable ? effectiveOf(found, trialsOf(samples, wanted), wanted) : null,
    interval:
      isUsable && wanted.interval === 'bootstrap'
        ? sealed(bootstrapMean(values, wanted.z, wanted.seed), wanted)
        : null,
    constant: first !== undefined && trials.every((value) => value === first) ? first : null,
    reasons,
  };
}

function samplesOf(scores: readonly SampleScore[]): Sample[] {
  const bySample = new Map<number, SampleScore[]>();
  for (const score of scores) {
    const same = bySample.get(score.sample);
    if (same === undefined) bySample.set(score.sample, [score]);
    else same.push(score);
  }
  return [...bySample.entries()]
    .sort(([a], [b]) => a - b)
    .map(([sample, epochs]) => ({
      sample,
      cluster: epochs.find(({ cluster }) => cluster !== undefined)?.cluster,
      values: epochs
        .flatMap(({ value, epoch }) => (value === null ? [] : [{ value, epoch }]))
        .sort((a, b) => a.epoch - b.epoch || a.value - b.value)
        .map(({ value }) => value),
    }));
}

/** One value per sample, with its cluster. */
function valuesOf(
  samples: readonly Sample[],
  { pass, range, clustered }: ScoresWanted,
): { values: InCluster[]; reasons: ReasonCode[] } {
  const reasons: ReasonCode[] = [];
  if (clustered && samples.some(({ cluster }) => cluster === undefined)) reasons.push('cluster-missing');
  if (pass !== undefined) {
    if (samples.some(({ values }) => values.some((value) => !range.includes(value)))) {
      reasons.push('scores-not-binary');
    }
    if (samples.some(({ values }) => values.length < pass.k)) reasons.push('epochs-missing');
  }
  if (reasons.length > 0) return { values: [], reasons };
  const values = samples.map(({ sample, cluster, values: epochs }) => ({
    value: pass === undefined ? average(epochs) : passed(epochs, pass, range),
    cluster: clustered && cluster !== undefined ? cluster : sample,
  }));
  return { values, reasons };
}

const average = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** On the metric's own scale: a share of successes lies between its ends. */
function passed(
  epochs: readonly number[],
  { k, of }: NonNullable<Score['pass']>,
  [low, high]: readonly [number, number],
): number {
  const successes = epochs.filter((value) => value === high).length;
  const share = of === 'any' ? passAny(epochs.length, successes, k) : passAll(epochs.length, successes, k);
  return low + share * (high - low);
}

/** What k epochs come to is seen once in every k of them. */
const trialsOf = (samples: readonly Sample[], { pass }: ScoresWanted): number =>
  samples.reduce((sum, { values }) => sum + Math.max(1, Math.floor(values.length / (pass?.k ?? 1))), 0);

/** With one epoch each and no clusters a share of n is a share of n. */
function effectiveOf(
  found: Clustered,
  trials: number,
  { kind, range: [low, high] }: ScoresWanted,
): number | null {
  if (kind !== 'proportion' || found.clusters === trials) return null;
  const width = high - low;
  const share = Math.min(1, Math.max(0, (found.mean - low) / width));
  return effectiveSamples(share, { ...found, stderr: found.stderr / width }, trials);
}

/** Rounded: what is sealed is compared. */
const sealed = ({ lower, upper }: Interval, { range: [low, high], z }: ScoresWanted) => ({
  z,
  lower: Math.max(low, Math.round(lower * 1e9) / 1e9),
  upper: Math.min(high, Math.round(upper * 1e9) / 1e9),
});
