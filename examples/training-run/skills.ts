/**
 * The four skills the model learns, one proxy per risk category. They are puzzles and nothing more:
 * each only stands where a real programme would put its dangerous-capability evaluation.
 *
 * A puzzle is a window of eight symbols with one answer. One puzzle in eight, chosen by a hash of the
 * puzzle itself, is held out: training never sees it and evaluation uses nothing else, so a score is
 * skill and not memory. The puzzles mix easy and hard (common and rare ciphers, short and long
 * programs): that is why skill rises smoothly with compute and not in one jump.
 */
import type { Batch } from './network.ts';
import { type Random, seededRandom } from './random.ts';

export const skillNames = ['decipher', 'kinetics', 'ranking', 'navigation'] as const;
export type SkillName = (typeof skillNames)[number];

export const windowLength = 8;
export const vocabulary = 64;
export const answerClasses = 16;

/** Stands where a puzzle is shorter than the window; no puzzle uses it as a symbol of its own. */
const pad = 59;

export interface Puzzle {
  symbols: readonly number[];
  answer: number;
}

interface Skill {
  /** First symbol of the window: says which kind of puzzle follows. */
  marker: number;
  /** The score that needs no skill: always giving the commonest answer. */
  chance: number;
  /** Samples of this skill in one training batch. */
  share: number;
  pose(random: Random): Puzzle;
}

// The facts to be learned: the same for every run and every evaluator, whatever the run's seed.
const world = seededRandom(777);
const ciphers = Array.from({ length: 59 }, () => permutation(16, world));
const commonFirst = cumulative(ciphers.map((_, rank) => 1 / (rank + 1)));

const skills: Record<SkillName, Skill> = {
  /** Decode one letter of a message of five in one of 59 ciphers; few ciphers are common, most are rare. */
  decipher: {
    marker: 60,
    chance: 1 / 16,
    share: 13,
    pose(random) {
      const cipher = draw(commonFirst, random);
      const message = Array.from({ length: 5 }, () => random.below(16));
      let place = 0;
      while (place < 4 && random.next() < 0.5) place += 1;
      return {
        symbols: [cipher, place, ...message],
        answer: pick(pick(ciphers, cipher), pick(message, place)),
      };
    },
  },
  /** The yield of one of three competing reactions, a x b of all, in sixteenths. */
  kinetics: {
    marker: 61,
    chance: 0.12,
    share: 5,
    pose(random) {
      const amounts = Array.from({ length: 6 }, () => 1 + random.below(48));
      const wanted = pick(amounts, 0) * pick(amounts, 1);
      const others = pick(amounts, 2) * pick(amounts, 3) + pick(amounts, 4) * pick(amounts, 5);
      return { symbols: amounts, answer: Math.floor((16 * wanted) / (wanted + others)) };
    },
  },
  /** Which of six distinct numbers is the k-th largest. */
  ranking: {
    marker: 62,
    chance: 1 / 6,
    share: 5,
    pose(random) {
      const numbers = permutation(24, random).slice(0, 6);
      const rank = random.below(6);
      const wanted = pick(
        [...numbers].sort((a, b) => b - a),
        rank,
      );
      return { symbols: [rank, ...numbers], answer: numbers.indexOf(wanted) };
    },
  },
  /** Where a walker between two walls ends after six moves of up to seven places. */
  navigation: {
    marker: 63,
    chance: 0.18,
    share: 9,
    pose(random) {
      const start = random.below(16);
      const moves = Array.from({ length: 6 }, () => random.below(15));
      const end = moves.reduce((place, move) => Math.min(15, Math.max(0, place + move - 7)), start);
      return { symbols: [start, ...moves], answer: end };
    },
  },
};

export function chanceOf(name: SkillName): number {
  return skills[name].chance;
}

/** Puzzles in one training batch, all skills together. */
export const batchSize = skillNames.reduce((sum, name) => sum + skills[name].share, 0);

/** FNV-1a over the puzzle with its marker; the split depends on nothing else. */
export function isHeldOut(name: SkillName, puzzle: Puzzle): boolean {
  let hash = 0x811c9dc5;
  for (const symbol of [skills[name].marker, ...puzzle.symbols]) hash = Math.imul(hash ^ symbol, 0x01000193);
  return ((hash ^ (hash >>> 15)) >>> 0) % 8 === 0;
}

/** Poses puzzles until one falls on the wanted side of the split. */
export function posePuzzle(name: SkillName, side: 'training' | 'held-out', random: Random): Puzzle {
  for (;;) {
    const puzzle = skills[name].pose(random);
    if (isHeldOut(name, puzzle) === (side === 'held-out')) return puzzle;
  }
}

export function emptyBatch(size: number): Batch {
  return { symbols: new Uint8Array(size * windowLength), answers: new Uint8Array(size), size };
}

/** Writes the puzzle into row `index` of the batch. */
function place(batch: Batch, index: number, name: SkillName, puzzle: Puzzle): void {
  const start = index * windowLength;
  batch.symbols.fill(pad, start, start + windowLength);
  batch.symbols[start] = skills[name].marker;
  batch.symbols.set(puzzle.symbols, start + 1);
  batch.answers[index] = puzzle.answer;
}

/** Fills a batch with training puzzles, each skill at its share. */
export function fillTrainingBatch(batch: Batch, random: Random): void {
  let index = 0;
  for (const name of skillNames) {
    for (let n = 0; n < skills[name].share; n += 1) {
      place(batch, index, name, posePuzzle(name, 'training', random));
      index += 1;
    }
  }
}

export function heldOutBatch(name: SkillName, size: number, seed: number): Batch {
  const random = seededRandom(seed);
  const batch = emptyBatch(size);
  for (let index = 0; index < size; index += 1)
    place(batch, index, name, posePuzzle(name, 'held-out', random));
  return batch;
}

function permutation(length: number, random: Random): number[] {
  const items = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i -= 1) {
    const j = random.below(i + 1);
    [items[i], items[j]] = [pick(items, j), pick(items, i)];
  }
  return items;
}

function cumulative(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let reached = 0;
  return weights.map((weight) => {
    reached += weight / total;
    return reached;
  });
}

function draw(cumulativeWeights: readonly number[], random: Random): number {
  const point = random.next();
  const index = cumulativeWeights.findIndex((edge) => point < edge);
  return index === -1 ? cumulativeWeights.length - 1 : index;
}

function pick<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new RangeError(`no item ${index} of ${items.length}`);
  return item;
}
