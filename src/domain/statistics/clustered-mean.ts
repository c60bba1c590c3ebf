/**
 * A mean of values that come in clusters: several epochs of one sample, several questions about one document. They rise and fall
 * together, so ten samples of five epochs are not fifty independent ones.
 *
 * Linearised cluster-robust standard error with the usual factor G / (G - 1) (Miller, 2024; as statsmodels' and Stata's without
 * the regressors' part). Values are weighed alike.
 */
export interface Clustered {
  readonly mean: number;
  readonly stderr: number;
  readonly clusters: number;
}

export interface InCluster {
  readonly value: number;
  readonly cluster: number;
}

export function clusteredMean(values: readonly InCluster[]): Clustered {
  const n = values.length;
  const mean = values.reduce((sum, { value }) => sum + value, 0) / n;
  const excess = new Map<number, number>();
  for (const { value, cluster } of values) excess.set(cluster, (excess.get(cluster) ?? 0) + value - mean);
  const clusters = excess.size;
  if (clusters < 2) return { mean, stderr: 0, clusters };
  const squares = [...excess.values()].reduce((sum, each) => sum + each * each, 0);
  return { mean, stderr: Math.sqrt((squares * clusters) / (clusters - 1)) / n, clusters };
}

/**
 * Independent samples that would leave a proportion as uncertain as it is: p (1 - p) / stderr^2, at most the `trials` there were.
 * Where nothing scatters (all succeed, none does) the scatter says nothing of dependence: as many as there are clusters.
 */
export function effectiveSamples(
  proportion: number,
  { stderr, clusters }: Clustered,
  trials: number,
): number {
  const variance = proportion * (1 - proportion);
  if (clusters < 2 || stderr <= 0 || variance <= 0) return Math.min(clusters, trials);
  return Math.min(trials, Math.max(1, variance / (stderr * stderr)));
}
