/** Seeds that once failed, and what they found. They run before any other, here and in CI. */
export const REGRESSIONS: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 171, found: 'heartbeats renewed a permit past a deadline that no tick had looked at yet' },
  { seed: 20261364, found: 'the checkers gave up on a page before its eighth attempt was due' },
];
