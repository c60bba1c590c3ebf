/** Seeds that once failed, and what they found. They run before any other, here and in CI. */
export const REGRESSIONS: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 171, found: 'heartbeats renewed a permit past a deadline that no tick had looked at yet' },
  { seed: 20261364, found: 'the checkers gave up on a page before its eighth attempt was due' },
  { seed: 819, found: 'the checkers held a press before the registration against the button' },
  {
    seed: 1693,
    found: 'the checkers took the score of a failed attempt, after it was given up, for a repetition',
  },
  { seed: 3268, found: 'the checkers read a clock that had jumped while the request was under way' },
  {
    seed: 956524963,
    found: 'a signed heartbeat sent twice was given a permit while the first was not yet recorded',
  },
  {
    seed: 340,
    found: 'a forecast whose checkpoint was closed out of its turn left the state without a score',
  },
  {
    seed: 7121,
    found: 'the checkers held an upper limit, which further samples had lowered, against the end of a shadow',
  },
];
