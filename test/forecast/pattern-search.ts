/**
 * Direct search for the least of a function (Hooke and Jeeves 1961): coordinate by coordinate, each with its own step, then
 * once more in the direction that the whole round went. It needs no derivative and draws nothing.
 */
const LONGER = 1.3;
const SHORTER = 0.5;

export interface PatternSearch {
  readonly at: readonly number[];
  readonly least: number;
}

export function patternSearch(
  of: (at: readonly number[]) => number,
  from: readonly number[],
  {
    rounds,
    step,
    done = () => {},
  }: { rounds: number; step: number; done?: (rounds: number, least: number) => void },
): PatternSearch {
  let at = [...from];
  let least = of(at);
  const isBetter = (to: number[]): boolean => {
    const value = of(to);
    if (!(value < least)) return false;
    at = to;
    least = value;
    return true;
  };
  const steps = at.map(() => step);
  for (let round = 1; round <= rounds; round += 1) {
    const before = at;
    for (const [i, size] of steps.entries()) {
      const moved = (by: number): number[] => at.map((x, j) => (j === i ? x + by : x));
      if (isBetter(moved(size))) steps[i] = size * LONGER;
      else if (isBetter(moved(-size))) steps[i] = -size * LONGER;
      else steps[i] = size * SHORTER;
    }
    const { length } = before;
    isBetter(Array.from({ length }, (_, i) => 2 * (at[i] ?? 0) - (before[i] ?? 0)));
    done(round, least);
  }
  return { at, least };
}
