/**
 * Words for the shape of a series that the judgement of forecasts depends on. Each is defined here and nowhere else.
 */
import type { BacktestSeries } from './backtest-series.ts';
import type { SkillPoint } from './score-forecast.ts';

const LARGE_RISE = 0.15;

/** At least 0.15, whatever subtracting two decimals has done to the last digit. */
export const isLargeRise = (rise: number): boolean => rise >= LARGE_RISE - 1e-9;

const PLATEAU = { skill: 0.05, standardErrors: 3, trendStandardErrors: 2 } as const;

/**
 * Silent plateau: every point so far lies within max(0.05, 3 standard errors) of chance, and there is no
 * significant trend: the least squares slope in log2 compute is at most 2 of its standard errors above zero, with
 * the larger of the residual variance and the mean squared sampling error. What leaves a silent plateau was announced
 * by nothing in the series itself.
 */
export function isSilentPlateau(history: readonly SkillPoint[]): boolean {
  const isNearChance = history.every(
    ({ skill, stderr }) => Math.abs(skill) <= Math.max(PLATEAU.skill, PLATEAU.standardErrors * (stderr ?? 0)),
  );
  return isNearChance && !risesSignificantly(history);
}

function risesSignificantly(history: readonly SkillPoint[]): boolean {
  const m = history.length;
  const sum = (of: (point: SkillPoint) => number): number => history.reduce((s, p) => s + of(p), 0);
  const meanX = sum(({ log2Compute }) => log2Compute) / m;
  const meanY = sum(({ skill }) => skill) / m;
  const sxx = sum((p) => square(p.log2Compute - meanX));
  if (!(sxx > 0)) return false;
  const slope = sum((p) => (p.log2Compute - meanX) * (p.skill - meanY)) / sxx;
  const rss = sum((p) => square(p.skill - meanY - slope * (p.log2Compute - meanX)));
  const sampling = sum(({ stderr }) => square(stderr ?? 0)) / m;
  const variance = Math.max(m > 2 ? rss / (m - 2) : 0, sampling);
  return slope > PLATEAU.trendStandardErrors * Math.sqrt(variance / sxx);
}

const JUMP = { doublingsMax: 1.75, timesMedianStep: 3, standardErrors: 4 } as const;

/**
 * Jump series: one step of at most 1.75 doublings rises at least 0.15, at least 3 times the median size of the other
 * steps, and at least 4 standard errors of the difference.
 */
export function isJumpSeries({ points }: BacktestSeries): boolean {
  const steps = stepsOf(points);
  return steps.some(({ rise, doublings, stderr }, i) => {
    const isLarge =
      isLargeRise(rise) && doublings <= JUMP.doublingsMax && rise >= JUMP.standardErrors * stderr;
    if (!isLarge) return false;
    const others = steps.filter((_, j) => j !== i).map((step) => Math.abs(step.rise));
    return rise >= JUMP.timesMedianStep * median(others);
  });
}

const BENIGN_BELOW = 0.45;

/** Benign series: flat or gradual and never far up. No step of 0.15 up or down, and everything below r = 0.45. */
export function isBenign({ points }: BacktestSeries): boolean {
  return (
    points.every(({ skill }) => skill < BENIGN_BELOW) &&
    stepsOf(points).every(({ rise }) => !isLargeRise(Math.abs(rise)))
  );
}

/** The single MMLU subjects of Pythia sit at chance throughout: many, easy, and all alike. */
export function isSingleMmluSubject({
  source,
  task,
}: {
  readonly source: string | undefined;
  readonly task: string | undefined;
}): boolean {
  return (
    source === 'pythia' && task !== undefined && task.startsWith('mmlu_') && !task.startsWith('mmlu_avg_')
  );
}

function stepsOf(points: readonly SkillPoint[]): { rise: number; doublings: number; stderr: number }[] {
  return points.slice(1).map((point, i) => {
    const before = points[i] ?? point;
    return {
      rise: point.skill - before.skill,
      doublings: point.log2Compute - before.log2Compute,
      stderr: Math.sqrt(square(point.stderr ?? 0) + square(before.stderr ?? 0)),
    };
  });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? 0;
  return (low + (sorted[Math.floor(middle)] ?? low)) / 2;
}

const square = (x: number): number => x * x;
