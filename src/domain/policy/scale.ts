/** The scale of a score: what its metric can be at all, and what the score made of it can be. */
import type { Evaluation } from './schema.ts';

type Scaled = Pick<Evaluation, 'score'>;

/** Of the metric; with a control, of either arm. A proportion lives on [0, 1] whatever its chance level is. */
export function metricRange({ score }: Scaled): readonly [number, number] {
  if (score.range !== undefined) return score.range;
  if (score.kind === 'proportion') return [0, 1];
  return [Math.min(score.chance, score.best), Math.max(score.chance, score.best)];
}

/** Of the score: a difference of two arms goes as far down as up. */
export function scoreRange(spec: Scaled): readonly [number, number] {
  const [least, greatest] = metricRange(spec);
  return spec.score.control === undefined ? [least, greatest] : [least - greatest, greatest - least];
}
