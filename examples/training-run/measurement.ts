/**
 * Measures one skill of a network on held-out puzzles.
 *
 * The puzzles depend on the skill alone, not on the run: every checkpoint sits the same examination.
 */
import type { Network } from './network.ts';
import { heldOutBatch, type SkillName } from './skills.ts';

export const sampleCount = 2000;
const examinationSeed = 4242;

export interface Measurement {
  score: number;
  stderr: number;
  n: number;
}

export function measureSkill(network: Network, skill: SkillName, n = sampleCount): Measurement {
  const batch = heldOutBatch(skill, n, examinationSeed);
  const predicted = network.predict(batch);
  const right = predicted.reduce((count, answer, i) => count + (answer === batch.answers[i] ? 1 : 0), 0);
  const score = right / n;
  return { score, stderr: Math.sqrt((score * (1 - score)) / n), n };
}
