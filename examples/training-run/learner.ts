/**
 * The learning itself, without files, clocks or network: a deterministic function of seed and steps.
 *
 * Effective compute here is the FLOP really spent: steps x batch x `flopPerSample` (see network.ts).
 * One step costs a fixed amount, so checkpoints at doublings of steps are exact doublings of FLOP.
 */
import { createNetwork, flopPerSample, initialParameters, type Network, type Shape } from './network.ts';
import { seededRandom } from './random.ts';
import {
  answerClasses,
  batchSize,
  emptyBatch,
  fillTrainingBatch,
  vocabulary,
  windowLength,
} from './skills.ts';

export const shape: Shape = { windowLength, vocabulary, hidden: 96, answers: answerClasses };
export const learningRate = 0.002;
export const flopPerStep = batchSize * flopPerSample(shape);

/** Steps to the first checkpoint; every later one comes at twice the steps of the one before. */
export const firstCheckpointStep = 300;

export interface Learner {
  readonly network: Network;
  readonly step: number;
  /** One optimiser step; returns the loss before it. */
  train(): number;
}

export function createLearner(seed: number): Learner {
  const network = createNetwork(shape, initialParameters(shape, seed));
  const random = seededRandom(seed * 7919 + 1);
  const batch = emptyBatch(batchSize);
  let step = 0;
  return {
    network,
    get step() {
      return step;
    },
    train() {
      fillTrainingBatch(batch, random);
      const loss = network.trainStep(batch, learningRate);
      step += 1;
      return loss;
    },
  };
}

/** FLOP spent after `step` steps, as the decimal string that Interlock takes. */
export function computeAt(step: number): string {
  return (BigInt(step) * BigInt(flopPerStep)).toString();
}
