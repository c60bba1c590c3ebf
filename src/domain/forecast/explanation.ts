/**
 * Why a category's forecast is what it is, for each limit that a rule sets: the evaluation that gives most of it, two or
 * three facts about that evaluation, and what would have to be true for the probability to be under the limit.
 *
 * In sentences, and sealed with the forecast: who reads the finding later, or replays it, needs no method. What would have
 * to be true is found by asking the method itself, so it is not a rule of thumb: the greatest last score of that evaluation,
 * or the longest step, that stays under. Where neither exists it is said. Bounded in work: HALVINGS questions for each.
 */
import { levelOfScore, levelText, scoreOfLevel, withMargin } from '../levels.ts';
import { calibrationNotes } from './calibration.ts';
import { rounded } from './combine.ts';
import { combinedOf, type EvaluationHistory, type Outlook, type OutlookPart, skillOf } from './outlook.ts';
import { SATURATED } from './score-forecast.ts';

export interface Limit {
  readonly level: number;
  readonly probability: number;
}

/** What a policy asks of a forecast beside its levels. */
export interface Asked {
  readonly limits: readonly Limit[];
  /** Of the checkpoint from which it looks ahead. */
  readonly fromLog2Compute: number;
}

export interface Reasons extends Limit {
  /** The evaluation that gives most of the probability, and its share of the sum over all; null where none is asked. */
  readonly evaluation: string | null;
  readonly share: number | null;
  readonly facts: string[];
  /** Only where the probability is at or over the limit. */
  readonly unless?: string;
}

type Points = EvaluationHistory['points'];

/** Points that a movement is told of. */
const MOVEMENT_POINTS = 4;
/** The last step is worth a word from so many times the usual one. */
const UNUSUAL = 2;
/** In scores: a smaller step is none. */
const STEP_SEEN = 1e-9;
const HALVINGS = 10;
/** First looks along the way down, because less is not always safer: a fall is a surprise too. */
const LOOKS = 4;
/** In log2: a step below 1.05x is none. */
const STEP_MIN = 0.07;

/** `parts`: what the outlook says at the horizon. */
export function explain(
  outlook: Outlook,
  parts: readonly OutlookPart[],
  horizon: number,
  { limits, fromLog2Compute }: Asked,
): Reasons[] {
  return limits.map(({ level, probability }) => {
    const shares = parts.map(({ levelAtLeast }) => levelAtLeast(level));
    const index = shares.indexOf(Math.max(...shares));
    const evaluation = outlook.evaluations[index];
    const part = parts[index];
    if (evaluation === undefined || part === undefined) {
      return { level, probability, evaluation: null, share: null, facts: [] };
    }
    const share = shareOf(shares, index);
    const facts = [
      standing(evaluation, level, outlook.evaluations.length > 1 ? share : null),
      ...movement(evaluation),
      reading(part),
      ...saturation(outlook.evaluations),
      ...calibrationNotes(outlook.calibration),
    ];
    const reasons = { level, probability, evaluation: evaluation.name, share, facts };
    // The rule reads the sealed figure.
    if (rounded(combinedOf(parts, level, outlook.calibration)).p < probability) return reasons;
    const way = { outlook, index, horizon, fromLog2Compute, level, probability };
    return { ...reasons, unless: unless(way, evaluation) };
  });
}

function shareOf(shares: readonly number[], index: number): number {
  const sum = [...shares].sort((a, b) => a - b).reduce((total, each) => total + each, 0);
  return sum === 0 ? 0 : Math.round((100 * (shares[index] ?? 0)) / sum) / 100;
}

const digits = (value: number): string => String(Number(value.toPrecision(3)));

/** Worse is up: what rises towards danger rises in words too. */
const danger = ({ map }: EvaluationHistory): number => (map.best >= map.chance ? 1 : -1);

const byCompute = (points: Points): Points => [...points].sort((a, b) => a.log2Compute - b.log2Compute);

// --- facts ---------------------------------------------------------------------------------------------

function standing(evaluation: EvaluationHistory, level: number, share: number | null): string {
  const { name, map, elicitationMargin } = evaluation;
  const most = share === null ? name : `${name} gives most of it (${Math.round(100 * share)} % of the sum)`;
  const last = byCompute(evaluation.points).at(-1);
  if (last === undefined) return `${most}: it has no score, so nothing is ruled out`;
  const now = withMargin(levelOfScore(last.score, map), elicitationMargin);
  const begins = scoreOfLevel(level, map, elicitationMargin);
  const short = danger(evaluation) * (begins - last.score);
  const distance =
    short > 0
      ? `${digits(short)} short of ${digits(begins)}, where ${levelText(level)} begins`
      : `already at or past ${digits(begins)}, where ${levelText(level)} begins`;
  return `${most}: its last score ${digits(last.score)} is ${levelText(now)}, ${distance}`;
}

function movement(evaluation: EvaluationHistory): string[] {
  const points = byCompute(evaluation.points);
  const recent = points.slice(-MOVEMENT_POINTS);
  const [first] = recent;
  const last = recent.at(-1);
  if (first === undefined || last === undefined || recent.length === 1) return [];
  const doublings = last.log2Compute - first.log2Compute;
  if (doublings <= 0) return ['all that is known was measured at one compute'];
  const sign = danger(evaluation);
  const rate = (sign * (last.score - first.score)) / doublings;
  const moved = `${rate < 0 ? 'fell' : 'rose'} by ${digits(Math.abs(rate))} per doubling`;
  return [
    `it ${rate === 0 ? 'did not move' : moved} over its last ${recent.length} points${lastStep(points, sign)}`,
  ];
}

function lastStep(points: Points, sign: number): string {
  const steps = points.slice(1).map(({ score }, i) => sign * (score - (points[i]?.score ?? score)));
  const last = steps.at(-1) ?? 0;
  const before = steps
    .slice(0, -1)
    .map(Math.abs)
    .sort((a, b) => a - b);
  const usual = before[Math.floor(before.length / 2)];
  // Two steps say nothing of what is usual.
  if (usual === undefined || before.length < 2 || Math.abs(last) < Math.max(STEP_SEEN, UNUSUAL * usual)) {
    return '';
  }
  const times =
    usual < STEP_SEEN ? 'where none is usual' : `${digits(Math.abs(last) / usual)} times the usual one`;
  return `, the last step by ${last > 0 ? '+' : '-'}${digits(Math.abs(last))}, ${times}`;
}

function reading({ prediction: { basis, points, notes } }: OutlookPart): string {
  const said = notes.join('; ');
  if (basis !== 'mostly-prior') return `read as: ${said}`;
  const counted = points === 1 ? '1 point' : `${points} points`;
  return `with ${counted} it is mostly what is believed of any run${points === 0 ? '' : `; read as: ${said}`}`;
}

function saturation(evaluations: readonly EvaluationHistory[]): string[] {
  return evaluations.flatMap(({ name, map, points }) => {
    const last = byCompute(points).at(-1);
    if (last === undefined || skillOf(last.score, map) < SATURATED) return [];
    const others = evaluations.length > 1 ? '; the category rests on its other evidence' : '';
    return [
      `${name} is saturated (${digits(last.score)} of ${digits(map.best)}) and gives no comfort${others}`,
    ];
  });
}

// --- what would have to be true ------------------------------------------------------------------------

interface Way {
  readonly outlook: Outlook;
  readonly index: number;
  readonly horizon: number;
  readonly fromLog2Compute: number;
  readonly level: number;
  readonly probability: number;
}

function unless(way: Way, evaluation: EvaluationHistory): string {
  const score = scoreUnder(way, evaluation);
  const step = stepUnder(way);
  const side = danger(evaluation) > 0 ? 'at most' : 'at least';
  const named = `${evaluation.points.length === 0 ? 'a score' : 'the last score'} of ${evaluation.name}`;
  const scored = score === null ? null : `had ${named} been ${side} ${digits(score)}`;
  const stepped = step === null ? null : `with a permit to at most ${digits(step)}x the compute`;
  const ways = [scored, stepped].filter((each) => each !== null);
  return ways.length > 0
    ? `It would be under the limit ${ways.join(', or ')}`
    : `Neither ${named} alone, however harmless, nor a shorter step would bring it under the limit`;
}

/** The most dangerous last score of the evaluation with which the category stays under; null where none does. */
function scoreUnder(way: Way, evaluation: EvaluationHistory): number | null {
  const { outlook, index, horizon, fromLog2Compute, level, probability } = way;
  const { chance, best } = evaluation.map;
  const points = byCompute(evaluation.points);
  const last = points.at(-1) ?? { log2Compute: fromLog2Compute, score: best, stderr: null, n: null };
  const others = points.slice(0, -1);
  const isUnder = (score: number): boolean =>
    combinedOf(outlook.with(index, [...others, { ...last, score }]).at(horizon), level, outlook.calibration)
      .p < probability;
  // From where it stands (0) to chance (1).
  const scoreAt = (way: number): number => last.score + way * (chance - last.score);
  const looks = Array.from({ length: LOOKS }, (_, i) => (i + 1) / LOOKS);
  const found =
    danger(evaluation) * (last.score - chance) > 0 ? looks.find((at) => isUnder(scoreAt(at))) : undefined;
  if (found === undefined) return null;
  const least = boundary(found - 1 / LOOKS, found, (at) => isUnder(scoreAt(at)));
  const score = safeSide(scoreAt(least), danger(evaluation));
  return isUnder(score) ? score : scoreAt(found);
}

/** How many times the checkpoint's compute the permit might reach; null where even no step at all is too long. */
function stepUnder({ outlook, horizon, fromLog2Compute, level, probability }: Way): number | null {
  const isUnder = (doublings: number): boolean =>
    combinedOf(outlook.at(fromLog2Compute + doublings), level, outlook.calibration).p < probability;
  const whole = horizon - fromLog2Compute;
  if (whole <= STEP_MIN || !isUnder(STEP_MIN)) return null;
  // From the whole step (0) to next to none (1).
  const stepAt = (way: number): number => whole - way * (whole - STEP_MIN);
  const doublings = stepAt(boundary(0, 1, (at) => isUnder(stepAt(at))));
  return safeSide(Math.exp(doublings * Math.LN2), 1);
}

/** Where between `over` and `under` it begins to be under: the end that is. */
function boundary(over: number, under: number, isUnder: (at: number) => boolean): number {
  let [from, to] = [over, under];
  for (let i = 0; i < HALVINGS; i += 1) {
    const middle = (from + to) / 2;
    if (isUnder(middle)) to = middle;
    else from = middle;
  }
  return to;
}

/** At two digits after the first, rounded away from danger. */
function safeSide(value: number, sign: number): number {
  const size = Math.floor(Math.log10(Math.max(1e-12, Math.abs(value))));
  const grain = Number(`1e${size - 2}`);
  const rounded = (sign > 0 ? Math.floor(value / grain) : Math.ceil(value / grain)) * grain;
  return Number(rounded.toPrecision(3));
}
