/**
 * A method with the calibration that a run's own record calls for, for a single series: what the service does with what it
 * sealed, here with what it would have sealed. For backtests; the service has its ledger.
 */
import { calibrationNotes, calibrationOf, isPassed, tailsCounted } from './calibration.ts';
import type { ForecastMethod, SkillForecast, SkillPoint } from './score-forecast.ts';

export function withOwnRecord({ method, forecast }: ForecastMethod): ForecastMethod {
  // Each series is walked along: a point is looked back at once.
  const known = new WeakMap<SkillPoint, boolean>();
  const wasPassed = (history: readonly SkillPoint[], i: number): boolean => {
    const point = history[i];
    if (point === undefined || i === 0) return false;
    const before = known.get(point);
    if (before !== undefined) return before;
    const passed = isPassed(1 - forecast(history.slice(0, i), point.log2Compute).atLeast(point.skill), 1);
    known.set(point, passed);
    return passed;
  };
  return {
    method,
    forecast: (history, horizonLog2Compute, siblings): SkillForecast => {
      const plain = forecast(history, horizonLog2Compute, siblings);
      const calibration = calibrationOf({
        forecasts: Math.max(0, history.length - 1),
        passed: history.filter((_, i) => wasPassed(history, i)).length,
      });
      const { tails } = calibration;
      if (tails === 1) return plain;
      return {
        ...plain,
        notes: [...plain.notes, ...calibrationNotes(calibration)],
        atLeast: (skill) => tailsCounted(plain.atLeast(skill), tails),
      };
    },
  };
}
