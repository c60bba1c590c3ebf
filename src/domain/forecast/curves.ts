/**
 * Curves of capability as our own generators draw them: skill (0 at chance, 1 at best) over doublings of compute.
 *
 * They know nothing of any forecasting method or policy. logistic: S-shaped rises from chance. jump: a plateau, then most
 * of the way in one step. plateau: never leaves chance. gradual: slow, nearly straight. reversal: rises, then falls back.
 * noise: format effects, more scatter than the sampling error says. flip: two classes' shares, changing places for no
 * reason of ability.
 */
import type { Random } from '../statistics/random.ts';

/** Skill at a number of doublings since the first point. */
export type Curve = (doublings: number) => number;

export interface DrawnCurve {
  readonly curve: Curve;
  /** Scatter in skill beyond the sampling error. */
  readonly extra: number;
}

/** `span`: doublings from the first point to the last. */
export type DrawCurve = (random: Random, span: number) => DrawnCurve;

export const CURVES = {
  logistic: (random, span) => {
    const middle = random.between(0.2 * span, 1.3 * span);
    const rate = random.between(0.4, 1.6);
    const top = random.between(0.4, 1);
    return { curve: (d) => top / (1 + Math.exp(-rate * (d - middle))), extra: 0.003 };
  },
  jump: (random, span) => {
    const at = random.between(2.2, 1.2 * span);
    const height = random.between(0.2, 0.95);
    const after = random.between(0, 0.02);
    return { curve: (d) => (d < at ? 0 : Math.min(1, height + after * (d - at))), extra: 0.003 };
  },
  plateau: () => ({ curve: () => 0, extra: 0.002 }),
  gradual: (random) => {
    const from = random.between(0, 0.2);
    const slope = random.between(0.005, 0.06);
    return { curve: (d) => Math.min(1, from + slope * d), extra: 0.006 };
  },
  reversal: (random, span) => {
    const peak = random.between(0.3 * span, 0.8 * span);
    const up = random.between(0.03, 0.1);
    const down = random.between(0.02, 0.1);
    return {
      curve: (d) => Math.max(0, d < peak ? up * d : up * peak - down * (d - peak)),
      extra: 0.006,
    };
  },
  noise: (random) => {
    const from = random.between(0, 0.4);
    const slope = random.between(0, 0.04);
    return { curve: (d) => Math.min(1, from + slope * d), extra: random.between(0.03, 0.08) };
  },
  flip: (random) => {
    const [low, high] = [random.between(-0.3, -0.1), random.between(0.1, 0.3)];
    const flips = Array.from({ length: 40 }, () => random.chance(0.5));
    return { curve: (d) => (flips[Math.floor(d)] === true ? high : low), extra: 0.004 };
  },
} as const satisfies Readonly<Record<string, DrawCurve>>;
