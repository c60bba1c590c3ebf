/**
 * What k attempts come to, from n attempts of which c succeeded: pass@k, at least one of them succeeds, by the unbiased
 * estimator (Chen et al., 2021); pass^k, all of them do (Yao et al., 2024). As products, so that no binomial overflows.
 */
export function passAny(n: number, c: number, k: number): number {
  if (n - c < k) return 1;
  let none = 1;
  for (let i = 0; i < k; i += 1) none *= (n - c - i) / (n - i);
  return 1 - none;
}

export function passAll(n: number, c: number, k: number): number {
  if (c < k) return 0;
  let all = 1;
  for (let i = 0; i < k; i += 1) all *= (c - i) / (n - i);
  return all;
}
