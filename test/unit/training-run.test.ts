import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluateCommand } from '../../examples/training-run/commands.ts';
import {
  computeAt,
  createLearner,
  firstCheckpointStep,
  flopPerStep,
  type Learner,
  shape,
} from '../../examples/training-run/learner.ts';
import { measureSkill } from '../../examples/training-run/measurement.ts';
import {
  createNetwork,
  flopPerSample,
  initialParameters,
  parameterCount,
  parameterNames,
} from '../../examples/training-run/network.ts';
import { demoPolicy, proxies } from '../../examples/training-run/policy.ts';
import { seededRandom } from '../../examples/training-run/random.ts';
import {
  batchSize,
  chanceOf,
  emptyBatch,
  fillTrainingBatch,
  heldOutBatch,
  isHeldOut,
  posePuzzle,
  skillNames,
  windowLength,
} from '../../examples/training-run/skills.ts';
import { BrokenCheckpoint, loadCheckpoint, saveCheckpoint } from '../../examples/training-run/weights.ts';
import { checkPolicy } from '../../src/domain/policy/check.ts';

function trained(seed: number, steps: number): Learner {
  const learner = createLearner(seed);
  while (learner.step < steps) learner.train();
  return learner;
}

describe('learning', () => {
  it('raises the held-out score of skills over blind guessing, more with more compute', () => {
    const learner = trained(4, firstCheckpointStep);
    const early = skillNames.map((skill) => measureSkill(learner.network, skill).score);
    while (learner.step < 2400) learner.train();
    const late = skillNames.map((skill) => measureSkill(learner.network, skill));

    const [decipher, kinetics, , navigation] = late;
    expect(decipher?.score).toBeGreaterThan((early[0] ?? 1) + 0.05);
    expect(kinetics?.score).toBeGreaterThan((early[1] ?? 1) + 0.1);
    expect(navigation?.score).toBeGreaterThan((early[3] ?? 1) + 0.1);
    expect(decipher?.n).toBe(2000);
    const p = decipher?.score ?? 0;
    expect(decipher?.stderr).toBeCloseTo(Math.sqrt((p * (1 - p)) / 2000), 12);
  });

  it('scores an untrained network no better than guessing', () => {
    const network = createNetwork(shape, initialParameters(shape, 1));
    for (const skill of skillNames) {
      expect(measureSkill(network, skill).score, skill).toBeLessThan(chanceOf(skill) + 0.05);
    }
  });

  it('follows the gradient: backpropagation agrees with finite differences', () => {
    const small = { windowLength, vocabulary: shape.vocabulary, hidden: 8, answers: shape.answers };
    const batch = emptyBatch(batchSize);
    fillTrainingBatch(batch, seededRandom(5));
    const lossAt = (nudge: (parameters: ReturnType<typeof initialParameters>) => void): number => {
      const parameters = initialParameters(small, 3);
      nudge(parameters);
      return createNetwork(small, parameters).trainStep(batch, 0);
    };
    // Adam's first step moves each weight by the learning rate against the sign of its gradient.
    const before = initialParameters(small, 3);
    const after = initialParameters(small, 3);
    createNetwork(small, after).trainStep(batch, 1e-3);
    for (const name of parameterNames) {
      const moved = [...after[name].keys()].filter((i) => after[name][i] !== before[name][i]).slice(0, 6);
      expect(moved.length, name).toBeGreaterThan(0);
      for (const i of moved) {
        const change = (amount: number) =>
          lossAt((parameters) => {
            parameters[name][i] = (before[name][i] ?? 0) + amount;
          });
        const slope = change(1e-2) - change(-1e-2);
        if (Math.abs(slope) < 1e-5) continue; // flat to the precision of float32: no sign to compare
        expect(Math.sign((after[name][i] ?? 0) - (before[name][i] ?? 0)), `${name}[${i}]`).toBe(
          -Math.sign(slope),
        );
      }
    }
  });

  it('is a function of the seed', () => {
    const [a, b, c] = [trained(7, 20), trained(7, 20), trained(8, 20)].map((learner) =>
      Buffer.from(learner.network.parameters.weights2.buffer).toString('base64'),
    );
    expect(a).toBe(b);
    expect(a).not.toBe(c);
  });

  it('never trains on a held-out puzzle and never examines on another', () => {
    const random = seededRandom(11);
    for (const skill of skillNames) {
      for (let i = 0; i < 500; i += 1) {
        expect(isHeldOut(skill, posePuzzle(skill, 'training', random))).toBe(false);
        expect(isHeldOut(skill, posePuzzle(skill, 'held-out', random))).toBe(true);
      }
    }
  });

  it('has a stated chance that the commonest answer really reaches', () => {
    for (const skill of skillNames) {
      const counts = new Map<number, number>();
      const { answers } = heldOutBatch(skill, 8000, 99);
      for (const answer of answers) counts.set(answer, (counts.get(answer) ?? 0) + 1);
      expect(Math.max(...counts.values()) / 8000, skill).toBeCloseTo(chanceOf(skill), 1);
    }
  });
});

describe('compute', () => {
  it('counts two operations per multiply-accumulate, forward and backward', () => {
    const tiny = { windowLength: 2, vocabulary: 5, hidden: 4, answers: 3 };
    // Dense: 4x4 + 3x4 weights, 2 operations each in one forward and two backward products;
    // the table: 2 rows of 4, added once forward and once backward.
    expect(flopPerSample(tiny)).toBe(6 * (16 + 12) + 2 * 8);
    expect(parameterCount(tiny)).toBe(2 * 5 * 4 + 4 + 16 + 4 + 12 + 3);
  });

  it('is stated as an exact decimal string that doubles with the steps', () => {
    expect(computeAt(1)).toBe(String(flopPerStep));
    expect(flopPerStep).toBe(batchSize * flopPerSample(shape));
    expect(BigInt(computeAt(600))).toBe(2n * BigInt(computeAt(300)));
  });
});

describe('checkpoint files', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'interlock-weights-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const header = { checkpointId: 'step-5', seed: 2, step: 5, effectiveCompute: computeAt(5), shape };

  it('come back as they were saved, with the same skill, and leave nothing else behind', () => {
    const learner = trained(2, 5);
    const file = join(directory, 'a.weights');
    const sha256 = saveCheckpoint(file, header, learner.network.parameters);
    const loaded = loadCheckpoint(file);

    expect(loaded.header).toEqual(header);
    expect(loaded.sha256).toBe(sha256);
    for (const name of parameterNames)
      expect(loaded.parameters[name]).toEqual(learner.network.parameters[name]);
    const restored = createNetwork(loaded.header.shape, loaded.parameters);
    expect(measureSkill(restored, 'decipher', 400)).toEqual(measureSkill(learner.network, 'decipher', 400));
    expect(readdirSync(directory)).toEqual(['a.weights']);
  });

  it.each([
    ['one weight bit flipped', (bytes: Buffer) => flip(bytes, bytes.length - 100)],
    ['the header altered', (bytes: Buffer) => flip(bytes, 20)],
    ['the digest altered', (bytes: Buffer) => flip(bytes, bytes.length - 1)],
    ['cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length - 4)],
    ['something appended', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('x')])],
    ['empty', () => Buffer.alloc(0)],
    ['another kind of file', () => Buffer.from('PK'.repeat(100))],
  ])('are refused: %s', (_, damage) => {
    const file = join(directory, 'damaged.weights');
    saveCheckpoint(file, header, initialParameters(shape, 1));
    writeFileSync(file, damage(readFileSync(file)));
    expect(() => loadCheckpoint(file)).toThrow(BrokenCheckpoint);
  });

  it('are refused when authentic weights are not finite', () => {
    const parameters = initialParameters(shape, 1);
    parameters.bias2[3] = Number.NaN;
    const file = join(directory, 'nan.weights');
    saveCheckpoint(file, header, parameters);
    expect(() => loadCheckpoint(file)).toThrow('not finite');
  });
});

describe('the demo policy', () => {
  it('passes the policy check without a warning, with one required evaluation for each of the four categories', () => {
    const check = checkPolicy(demoPolicy({ evaluateCommand: evaluateCommand() }));
    if (!check.ok) throw new Error(JSON.stringify(check.problems));
    const { categories, evaluations } = check.policy;
    expect(check.warnings).toEqual([]);
    expect(categories.map(({ id }) => id)).toEqual(proxies.map(({ category }) => category));
    expect(evaluations.every(({ required, stage }) => required && stage === 'pre-mitigation')).toBe(true);
  });

  it('lets the first checkpoint be reached under the first permit', () => {
    const { cadence } = demoPolicy({ evaluateCommand: ['node'] });
    expect(BigInt(cadence.firstCheckpointBy)).toBeGreaterThan(BigInt(computeAt(firstCheckpointStep)));
  });
});

function flip(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}
