/**
 * A share of yes among answers that come in clusters (series of one model rise and fall together): the linearised
 * cluster-robust standard error and a t interval with one degree of freedom less than there are clusters.
 */
import { studentCdf } from './normal.ts';

export interface ClusteredShare {
  readonly share: number;
  readonly clusters: number;
  /** 95% interval in [0, 1]; the whole of it where a single cluster says nothing of the scatter. */
  readonly low: number;
  readonly high: number;
}

export function clusteredShare<T>(
  items: readonly T[],
  isYes: (item: T) => boolean,
  clusterOf: (item: T) => string,
): ClusteredShare {
  const n = items.length;
  const share = items.filter(isYes).length / n;
  const excess = new Map<string, number>();
  for (const item of items) {
    const cluster = clusterOf(item);
    excess.set(cluster, (excess.get(cluster) ?? 0) + (isYes(item) ? 1 : 0) - share);
  }
  const clusters = excess.size;
  if (clusters < 2) return { share, clusters, low: 0, high: 1 };
  const squares = [...excess.values()].reduce((sum, e) => sum + e * e, 0);
  const stderr = Math.sqrt((squares * clusters) / (clusters - 1)) / n;
  const half = studentUpper(clusters - 1) * stderr;
  return { share, clusters, low: Math.max(0, share - half), high: Math.min(1, share + half) };
}

/** t with P(T <= t) = 0.975. Beyond a hundred degrees of freedom it moves by less than 0.025. */
function studentUpper(degreesOfFreedom: number): number {
  const df = Math.min(100, degreesOfFreedom);
  let low = 1.9;
  let high = 13;
  for (let i = 0; i < 40; i += 1) {
    const middle = (low + high) / 2;
    if (studentCdf(middle, df) < 0.975) low = middle;
    else high = middle;
  }
  return high;
}
