/**
 * The bootstrap interval of a mean of clustered values: clusters are drawn with replacement, the percentiles taken.
 *
 * Plain percentiles are too narrow for few clusters. They are taken further out, as Hesterberg (2015) proposes: at the level
 * that makes up for t against z and for G against G - 1. Where the draws are too few to show such a level, the interval reaches at
 * least as far as the one by t. Deterministic: the seed comes in, and what is found is sealed in the reading.
 */
import type { InCluster } from './clustered-mean.ts';
import { clusteredMean } from './clustered-mean.ts';
import { normalCdf } from './normal.ts';
import { createRandom } from './random.ts';
import { criticalValue } from './student.ts';
import type { Interval } from './wilson.ts';

const DRAWS_MAX = 10_000;
const DRAWS_MIN = 1_000;
/** Clusters drawn in all: bounds the time, about a second at most. */
const WORK_MAX = 20_000_000;
/** With fewer draws beyond the limit it is noise. */
const BEYOND_MIN = 10;

export function bootstrapMean(values: readonly InCluster[], z: number, seed: number): Interval {
  const { mean, stderr, clusters } = clusteredMean(values);
  const critical = criticalValue(z, clusters);
  if (!Number.isFinite(critical)) return { lower: Number.NEGATIVE_INFINITY, upper: Number.POSITIVE_INFINITY };
  const draws = Math.min(DRAWS_MAX, Math.max(DRAWS_MIN, Math.floor(WORK_MAX / clusters)));
  const means = resampledMeans(values, draws, seed);
  const tail = normalCdf(-critical * Math.sqrt(clusters / (clusters - 1)));
  const beyond = Math.floor(tail * draws);
  const lower = means[beyond] ?? mean;
  const upper = means[draws - 1 - beyond] ?? mean;
  if (beyond >= BEYOND_MIN) return { lower, upper };
  return {
    lower: Math.min(lower, mean - critical * stderr),
    upper: Math.max(upper, mean + critical * stderr),
  };
}

/** Sorted. */
function resampledMeans(values: readonly InCluster[], draws: number, seed: number): Float64Array {
  const totals = new Map<number, { sum: number; n: number }>();
  for (const { value, cluster } of values) {
    const total = totals.get(cluster) ?? { sum: 0, n: 0 };
    totals.set(cluster, { sum: total.sum + value, n: total.n + 1 });
  }
  const sums = Float64Array.from([...totals.values()].map(({ sum }) => sum));
  const sizes = Float64Array.from([...totals.values()].map(({ n }) => n));
  const random = createRandom(seed);
  const means = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw += 1) {
    let sum = 0;
    let n = 0;
    for (let i = 0; i < sums.length; i += 1) {
      const at = random.below(sums.length);
      sum += sums[at] ?? 0;
      n += sizes[at] ?? 0;
    }
    means[draw] = sum / n;
  }
  return means.sort();
}
