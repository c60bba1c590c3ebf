/**
 * The synthetic set: series drawn by our own generators, so that CI can judge a forecast without anybody's data.
 *
 * Every kind of curve is a source of its own, and every series has a model (one of eight per kind) so that clustering
 * is exercised. It knows nothing of any forecasting method. One seed draws everything, the same on every machine to
 * within the last digit of Math.exp and Math.log.
 *
 * Kinds: logistic (S-shaped rises from chance), jump (plateau, then most of the way in one step), plateau (never
 * leaves chance), gradual (slow, nearly straight), reversal (rises, then falls back), noise (format effects: more
 * scatter than the sampling error says), flip (two classes' shares, changing places for no reason of ability).
 */
import { type BacktestSeries, readSeries } from '../../src/domain/forecast/backtest-series.ts';
import { createRandom, type Random } from '../simulation/random.ts';

export const SYNTHETIC_SEED = 20_260_417;
const MODELS = 8;

/** Skill at a number of doublings since the first point. */
type Curve = (doublings: number) => number;

interface Drawn {
  readonly curve: Curve;
  /** Scatter in skill beyond the sampling error. */
  readonly extra: number;
}

const KINDS: Readonly<Record<string, { count: number; draw: (random: Random, span: number) => Drawn }>> = {
  logistic: {
    count: 60,
    draw: (random, span) => {
      const middle = random.between(0.2 * span, 1.3 * span);
      const rate = random.between(0.4, 1.6);
      const top = random.between(0.4, 1);
      return { curve: (d) => top / (1 + Math.exp(-rate * (d - middle))), extra: 0.003 };
    },
  },
  jump: {
    count: 60,
    draw: (random, span) => {
      const at = random.between(2.2, 1.2 * span);
      const height = random.between(0.2, 0.95);
      const after = random.between(0, 0.02);
      return {
        curve: (d) => (d < at ? 0 : Math.min(1, height + after * (d - at))),
        extra: 0.003,
      };
    },
  },
  plateau: { count: 60, draw: () => ({ curve: () => 0, extra: 0.002 }) },
  gradual: {
    count: 60,
    draw: (random) => {
      const from = random.between(0, 0.2);
      const slope = random.between(0.005, 0.06);
      return { curve: (d) => Math.min(1, from + slope * d), extra: 0.006 };
    },
  },
  reversal: {
    count: 40,
    draw: (random, span) => {
      const peak = random.between(0.3 * span, 0.8 * span);
      const up = random.between(0.03, 0.1);
      const down = random.between(0.02, 0.1);
      return {
        curve: (d) => Math.max(0, d < peak ? up * d : up * peak - down * (d - peak)),
        extra: 0.006,
      };
    },
  },
  noise: {
    count: 40,
    draw: (random) => {
      const from = random.between(0, 0.4);
      const slope = random.between(0, 0.04);
      return { curve: (d) => Math.min(1, from + slope * d), extra: random.between(0.03, 0.08) };
    },
  },
  flip: {
    count: 40,
    draw: (random) => {
      const [low, high] = [random.between(-0.3, -0.1), random.between(0.1, 0.3)];
      const flips = Array.from({ length: 40 }, () => random.chance(0.5));
      return { curve: (d) => (flips[Math.floor(d)] === true ? high : low), extra: 0.004 };
    },
  },
};

export function synthetic(seed = SYNTHETIC_SEED): BacktestSeries[] {
  return Object.entries(KINDS).flatMap(([kind, { count, draw }], k) => {
    const random = createRandom(seed + k);
    return Array.from({ length: count }, (_, i) => series(kind, i, draw, random));
  });
}

function series(
  kind: string,
  i: number,
  draw: (random: Random, span: number) => Drawn,
  random: Random,
): BacktestSeries {
  const chance = random.pick([0, 0, 0.01, 0.25, 0.5]);
  const n = random.pick([100, 250, 1000, 5000]);
  const length = 6 + random.below(9);
  const spacings = Array.from({ length: length - 1 }, () => random.between(0.8, 1.25));
  const span = spacings.reduce((sum, each) => sum + each, 0);
  const { curve, extra } = draw(random, span);
  let doublings = 0;
  const points = Array.from({ length }, (_, j) => {
    if (j > 0) doublings += spacings[j - 1] ?? 1;
    const truth = clamp(chance + (1 - chance) * (curve(doublings) + extra * normal(random)));
    const value = clamp(Math.round(n * (truth + Math.sqrt((truth * (1 - truth)) / n) * normal(random))) / n);
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

/** Box and Muller. */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}
