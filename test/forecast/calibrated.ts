/**
 * Tried, and not served: a forecast that learns from the record of its own run. docs/forecasting.md says what it is worth.
 *
 * Each point of the history from the third on is forecast from those before it. Where such a point came above the median, its
 * distance is taken in units of the distance from the median to the 95% bound; a mean of their excess over what
 * the forecast itself expects, drawn towards none by `doubt` points, stretches the upper half. It widens and never narrows.
 */
import { quantileOf } from '../../src/domain/forecast/quantile.ts';
import type { ForecastMethod, SkillForecast, SkillPoint } from '../../src/domain/forecast/score-forecast.ts';

const POINTS_BEFORE_FIRST = 2;
/** Of a normal distribution: the mean distance above the median, 0 below it, in units of that to the 95% bound. */
const EXPECTED = 0.2425;
const STRETCH_MAX = 4;
const SKILL_MIN = -20;
const SKILL_MAX = 20;

const open = ({ atLeast }: SkillForecast, p: number): number => quantileOf(atLeast, p, SKILL_MIN, SKILL_MAX);

export function calibrated(method: ForecastMethod, doubt: number): ForecastMethod {
  const excesses = new WeakMap<SkillPoint, number>();
  const excessOf = (point: SkillPoint, before: readonly SkillPoint[]): number => {
    const known = excesses.get(point);
    if (known !== undefined) return known;
    // Without its stated errors: a larger one would make the past look foreseen, and the forecast narrower.
    const unstated = before.map((each) => ({ ...each, stderr: null }));
    const own = method.forecast(unstated, point.log2Compute);
    const median = open(own, 0.5);
    const passed = Math.max(0, point.skill - median) / Math.max(1e-6, open(own, 0.95) - median);
    const excess = Math.min(STRETCH_MAX, passed) / EXPECTED;
    excesses.set(point, excess);
    return excess;
  };
  return {
    method: `${method.method}, calibrated by its own record, doubt ${doubt}`,
    forecast: (history, horizonLog2Compute, siblings) => {
      const plain = method.forecast(history, horizonLog2Compute, siblings);
      const past = history.flatMap((point, i) =>
        i < POINTS_BEFORE_FIRST ? [] : [excessOf(point, history.slice(0, i))],
      );
      const stretch = Math.min(
        STRETCH_MAX,
        Math.max(1, (doubt + past.reduce((sum, excess) => sum + excess, 0)) / (doubt + past.length)),
      );
      if (stretch === 1) return plain;
      const median = open(plain, 0.5);
      return {
        ...plain,
        atLeast: (skill) =>
          Math.max(
            plain.atLeast(skill),
            skill <= median ? 0 : plain.atLeast(median + (skill - median) / stretch),
          ),
      };
    },
  };
}
