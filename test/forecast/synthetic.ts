/**
 * The synthetic set: series drawn by our own generators, so that CI can judge a forecast without anybody's data.
 *
 * Every kind of curve is a source of its own, and every series has a model (one of eight per kind) so that clustering
 * is exercised. It knows nothing of any forecasting method. One seed draws everything, the same on every machine to
 * within the last digit of Math.exp and Math.log.
 * The kinds are those of src/domain/forecast/curves.ts.
 */
import { type BacktestSeries, readSeries } from '../../src/domain/forecast/backtest-series.ts';
import { CURVES, type DrawCurve } from '../../src/domain/forecast/curves.ts';
import { createRandom, type Random, standardNormal } from '../../src/domain/statistics/random.ts';

export const SYNTHETIC_SEED = 20_260_417;
const MODELS = 8;

const KINDS = [
  { kind: 'logistic', count: 60 },
  { kind: 'jump', count: 60 },
  { kind: 'plateau', count: 60 },
  { kind: 'gradual', count: 60 },
  { kind: 'reversal', count: 40 },
  { kind: 'noise', count: 40 },
  { kind: 'flip', count: 40 },
] as const;

export function synthetic(seed = SYNTHETIC_SEED): BacktestSeries[] {
  return KINDS.flatMap(({ kind, count }, k) => {
    const random = createRandom(seed + k);
    return Array.from({ length: count }, (_, i) => series(kind, i, CURVES[kind], random));
  });
}

function series(kind: string, i: number, draw: DrawCurve, random: Random): BacktestSeries {
  const chance = random.pick([0, 0, 0.01, 0.25, 0.5]);
  const n = random.pick([100, 250, 1000, 5000]);
  const length = 6 + random.below(9);
  const spacings = Array.from({ length: length - 1 }, () => random.between(0.8, 1.25));
  const span = spacings.reduce((sum, each) => sum + each, 0);
  const { curve, extra } = draw(random, span);
  let doublings = 0;
  const points = Array.from({ length }, (_, j) => {
    if (j > 0) doublings += spacings[j - 1] ?? 1;
    const truth = clamp(chance + (1 - chance) * (curve(doublings) + extra * standardNormal(random)));
    const value = clamp(
      Math.round(n * (truth + Math.sqrt((truth * (1 - truth)) / n) * standardNormal(random))) / n,
    );
    return { flop: 2 ** (60 + doublings), value, stderr: Math.sqrt((value * (1 - value)) / n), n };
  });
  const read = readSeries(
    {
      series_id: `synthetic/${kind}/${i}`,
      source: kind,
      model: `${kind}-${i % MODELS}`,
      task: kind,
      metric: 'acc',
      chance,
      points,
    },
    i,
  );
  if (!read.ok) throw new Error(read.problems.join('; '));
  return read.series;
}

const clamp = (score: number): number => Math.min(1, Math.max(0, score));
