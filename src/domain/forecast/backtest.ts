/**
 * The backtest: walks along a series and forecasts each point from the points before it, as the service would have.
 *
 * Nothing of the target but its compute reaches the method. The first target is the point of index 2 (two points
 * before it); `horizon` checkpoints ahead, the history ends `horizon` points before the target. Everything is in
 * skill, r = (score - chance) / (1 - chance); quantiles lie between the least possible skill and 1.
 */
import type { BacktestSeries, SeriesPoint } from './backtest-series.ts';
import { scoreOfSkill, skillOfScore } from './backtest-series.ts';
import { quantileOf } from './quantile.ts';
import type { ForecastBasis, ForecastMethod, SkillForecast } from './score-forecast.ts';

/** Learned tables are judged on sources they have not seen, so the method depends on the source. */
export type MethodFor = (source: string | undefined) => ForecastMethod;

export const POINTS_BEFORE_FIRST = 2;

export interface BacktestStep {
  /** Of the target among the series' points. */
  readonly index: number;
  readonly history: readonly SeriesPoint[];
  readonly target: SeriesPoint;
  readonly forecast: SkillForecast;
  /** The skill that is not exceeded with probability p. */
  readonly quantile: (p: number) => number;
  /** Probability integral transform of what came: uniform if the method is calibrated. */
  readonly pit: number;
}

export function* backtest(
  series: BacktestSeries,
  methodFor: MethodFor,
  { horizon = 1 }: { horizon?: number } = {},
): Generator<BacktestStep> {
  const { points, chance } = series;
  const { forecast: predict } = methodFor(series.source);
  for (let index = POINTS_BEFORE_FIRST + horizon - 1; index < points.length; index += 1) {
    const history = points.slice(0, index - horizon + 1);
    const target = points[index];
    if (target === undefined) return;
    const forecast = predict(history, target.log2Compute);
    const skills = history.map(({ skill }) => skill);
    const least = Math.min(skillOfScore(0, chance), ...skills);
    const most = Math.max(1, ...skills);
    yield {
      index,
      history,
      target,
      forecast,
      quantile: (p) => quantileOf(forecast.atLeast, p, least, most),
      pit: transformed(forecast, target.skill, least, most),
    };
  }
}

/** What the distribution holds beyond the possible skills lies on the bound, and a target there is halfway in. */
function transformed({ atLeast }: SkillForecast, skill: number, least: number, most: number): number {
  const below = 1 - atLeast(skill);
  if (skill >= most) return (below + 1) / 2;
  return skill <= least ? below / 2 : below;
}

/** One line of `interlock backtest --json`: figures in score space. */
export interface BacktestLine {
  readonly series_id: string;
  readonly index: number;
  readonly flop: number;
  readonly q05: number;
  readonly q50: number;
  readonly q95: number;
  readonly q99: number;
  readonly actual: number;
  readonly pit: number;
  readonly basis: ForecastBasis;
}

export function backtestLine({ id, chance }: BacktestSeries, step: BacktestStep): BacktestLine {
  const score = (p: number): number => scoreOfSkill(step.quantile(p), chance);
  return {
    series_id: id,
    index: step.index,
    flop: step.target.flop,
    q05: score(0.05),
    q50: score(0.5),
    q95: score(0.95),
    q99: score(0.99),
    actual: step.target.value,
    pit: step.pit,
    basis: step.forecast.basis,
  };
}
