/**
 * What any method has to beat: three forecasts that a careful person makes on paper.
 *
 * They are judged beside the method and used for nothing else. No measurement is believed to be better than
 * NOISE_FLOOR, known sampling error or not: without it scores of exactly 0 or 1 (no sampling error) make all three
 * far worse, and a baseline should be the best of its kind. Where nothing at all is known the answer is uniform
 * between chance and best.
 */
import { mean } from '../statistics/mean.ts';
import { normalCdf, studentCdf } from '../statistics/normal.ts';
import type { ForecastMethod, SkillForecast, SkillPoint } from './score-forecast.ts';

/** In skill. */
const NOISE_FLOOR = 0.01;

/** The last value, with the sampling error of both measurements. */
export const lastValue: ForecastMethod = {
  method: 'last-value/1',
  forecast: (history) => {
    const last = believable(history).at(-1);
    if (last === undefined) return unknown();
    const scale = Math.SQRT2 * noise(last);
    return predicted(history, (skill) => normalCdf((last.skill - skill) / scale));
  },
};

const LINE_POINTS = 4;

/** A straight line in log2 compute through the last four points, with the t interval of a prediction. */
export const linearLastFour: ForecastMethod = {
  method: 'linear-last-four/1',
  forecast: (history, horizonLog2Compute) => {
    if (history.length === 0) return unknown();
    const points = believable(history).slice(-LINE_POINTS);
    const m = points.length;
    const meanX = mean(points.map(({ log2Compute }) => log2Compute));
    const meanY = mean(points.map(({ skill }) => skill));
    const sxx = mean(points.map((p) => square(p.log2Compute - meanX))) * m;
    const sxy = mean(points.map((p) => (p.log2Compute - meanX) * (p.skill - meanY))) * m;
    const slope = sxx > 0 ? sxy / sxx : 0;
    const residuals = points.map((p) => p.skill - meanY - slope * (p.log2Compute - meanX));
    const degreesOfFreedom = Math.max(1, m - 2);
    const sampling = mean(points.map((p) => square(noise(p))));
    const variance = Math.max((mean(residuals.map(square)) * m) / degreesOfFreedom, sampling);
    const reach = horizonLog2Compute - meanX;
    const centre = meanY + slope * reach;
    const scale = Math.sqrt(variance * (1 + 1 / m + (sxx > 0 ? square(reach) / sxx : 0)));
    return predicted(history, (skill) => studentCdf((centre - skill) / scale, degreesOfFreedom));
  },
};

/** Steps can be so short that any number of them fits in. */
const STEPS_MAX = 100;

/** The last value and whatever the series has done in one step so far, all of them equally likely. */
export const lastAndJumps: ForecastMethod = {
  method: 'last-and-jumps/1',
  forecast: (history, horizonLog2Compute) => {
    const points = believable(history);
    const last = points.at(-1);
    if (last === undefined) return unknown();
    const steps = points.slice(1).map((point, i) => ({
      rise: point.skill - (points[i]?.skill ?? point.skill),
      doublings: point.log2Compute - (points[i]?.log2Compute ?? point.log2Compute),
    }));
    // Several checkpoints ahead, a step counts as often as it fits in.
    const usual = mean(steps.map(({ doublings }) => doublings));
    const fits = usual > 0 ? Math.round((horizonLog2Compute - last.log2Compute) / usual) : 1;
    const times = Math.min(STEPS_MAX, Math.max(1, fits));
    const rises = steps.length === 0 ? [0] : steps.map(({ rise }) => Math.max(0, rise) * times);
    const scale = Math.SQRT2 * noise(last);
    return predicted(history, (skill) =>
      mean(rises.map((rise) => normalCdf((last.skill + rise - skill) / scale))),
    );
  },
};

export const BASELINES = [linearLastFour, lastAndJumps, lastValue] as const;

function predicted(history: readonly SkillPoint[], atLeast: SkillForecast['atLeast']): SkillForecast {
  const basis = history.length < 4 ? 'mostly-prior' : history.length < 6 ? 'mixed' : 'data';
  return { basis, points: history.length, notes: [], atLeast: (skill) => atLeast(bounded(skill)) };
}

/** Far beyond any skill, and small enough that squares and their sums stay finite. */
const SKILL_LIMIT = 1e9;
const bounded = (skill: number): number => Math.min(SKILL_LIMIT, Math.max(-SKILL_LIMIT, skill));

function believable(history: readonly SkillPoint[]): SkillPoint[] {
  return history.map(({ log2Compute, skill, stderr }) => ({
    log2Compute,
    skill: bounded(skill),
    stderr: stderr === null ? null : bounded(stderr),
  }));
}

function unknown(): SkillForecast {
  return predicted([], (skill) => Math.min(1, Math.max(0, 1 - skill)));
}

const noise = ({ stderr }: SkillPoint): number => Math.max(NOISE_FLOOR, stderr ?? 0);
const square = (x: number): number => x * x;
