/**
 * The model: a perceptron with two hidden layers over a short window of symbols, with hand-written
 * backpropagation and Adam, in plain typed arrays on one core.
 *
 * One sample is `windowLength` symbols (each from `vocabulary`) and one answer from `answers` classes.
 * The first layer is a table: one row per (position, symbol), because its input is one-hot.
 *
 * Compute is counted, not guessed: `flopPerSample` counts two operations for every multiply-accumulate
 * with weights, forward and backward, as the usual 6ND does (here exact: a table row is only added,
 * so it counts one operation forward and one backward). Optimiser and activations are left out, as usual.
 */
import { adam, addRow, addScaledRow, addScaledToRow, at, dot, softmax } from './kernels.ts';
import { type Random, seededRandom } from './random.ts';

export interface Shape {
  windowLength: number;
  vocabulary: number;
  hidden: number;
  answers: number;
}

export interface Batch {
  /** `size x windowLength` symbols. */
  symbols: Uint8Array;
  /** `size` answers. */
  answers: Uint8Array;
  size: number;
}

export interface Parameters {
  table: Float32Array;
  bias1: Float32Array;
  weights2: Float32Array;
  bias2: Float32Array;
  weights3: Float32Array;
  bias3: Float32Array;
}

export const parameterNames = ['table', 'bias1', 'weights2', 'bias2', 'weights3', 'bias3'] as const;

export function parameterLengths(shape: Shape): Record<(typeof parameterNames)[number], number> {
  return {
    table: shape.windowLength * shape.vocabulary * shape.hidden,
    bias1: shape.hidden,
    weights2: shape.hidden * shape.hidden,
    bias2: shape.hidden,
    weights3: shape.answers * shape.hidden,
    bias3: shape.answers,
  };
}

export function flopPerSample(shape: Shape): number {
  const tableRows = shape.windowLength * shape.hidden;
  const dense = shape.hidden * shape.hidden + shape.answers * shape.hidden;
  return 2 * tableRows + 6 * dense;
}

export function parameterCount(shape: Shape): number {
  return Object.values(parameterLengths(shape)).reduce((sum, length) => sum + length, 0);
}

function gaussian(length: number, deviation: number, random: Random): Float32Array {
  return Float32Array.from({ length }, () => random.normal() * deviation);
}

export function initialParameters(shape: Shape, seed: number): Parameters {
  const random = seededRandom(seed);
  const lengths = parameterLengths(shape);
  return {
    table: gaussian(lengths.table, Math.sqrt(2 / shape.windowLength), random),
    bias1: new Float32Array(lengths.bias1),
    weights2: gaussian(lengths.weights2, Math.sqrt(2 / shape.hidden), random),
    bias2: new Float32Array(lengths.bias2),
    weights3: gaussian(lengths.weights3, Math.sqrt(1 / shape.hidden), random),
    bias3: new Float32Array(lengths.bias3),
  };
}

export interface Network {
  readonly shape: Shape;
  readonly parameters: Parameters;
  /** One optimiser step on the batch; returns the mean cross-entropy in nats before the step. */
  trainStep(batch: Batch, learningRate: number): number;
  /** The most probable answer for each sample of the batch. */
  predict(batch: Batch): Uint8Array;
}

/** Wraps parameters (fresh or loaded); optimiser state starts empty, as it is not part of a checkpoint. */
export function createNetwork(shape: Shape, parameters: Parameters): Network {
  const { windowLength, vocabulary, hidden, answers } = shape;
  const { table, bias1, weights2, bias2, weights3, bias3 } = parameters;
  const lengths = parameterLengths(shape);
  for (const name of parameterNames) {
    if (parameters[name].length !== lengths[name]) throw new RangeError(`${name} does not fit the shape`);
  }
  if (hidden % 4 !== 0) throw new RangeError('hidden must be a multiple of four');

  const gradients: Parameters = zeros(lengths);
  const first: Parameters = zeros(lengths);
  const second: Parameters = zeros(lengths);
  const hidden1 = new Float32Array(hidden);
  const hidden2 = new Float32Array(hidden);
  const outputs = new Float32Array(answers);
  const error1 = new Float32Array(hidden);
  const error2 = new Float32Array(hidden);
  let step = 0;

  const rowOf = (batch: Batch, sample: number, position: number): number =>
    (position * vocabulary + at(batch.symbols, sample * windowLength + position)) * hidden;

  const forward = (batch: Batch, sample: number): void => {
    hidden1.set(bias1);
    for (let p = 0; p < windowLength; p += 1) addRow(hidden1, table, rowOf(batch, sample, p));
    for (let i = 0; i < hidden; i += 1) hidden1[i] = Math.max(0, at(hidden1, i));
    for (let j = 0; j < hidden; j += 1) {
      hidden2[j] = Math.max(0, dot(weights2, j * hidden, hidden1) + at(bias2, j));
    }
    for (let k = 0; k < answers; k += 1) outputs[k] = dot(weights3, k * hidden, hidden2) + at(bias3, k);
  };

  const backward = (batch: Batch, sample: number, scale: number): void => {
    error2.fill(0);
    error1.fill(0);
    for (let k = 0; k < answers; k += 1) {
      const error = (at(outputs, k) - (k === at(batch.answers, sample) ? 1 : 0)) * scale;
      gradients.bias3[k] = at(gradients.bias3, k) + error;
      addScaledRow(error2, weights3, k * hidden, error);
      addScaledToRow(gradients.weights3, k * hidden, hidden2, error);
    }
    for (let j = 0; j < hidden; j += 1) {
      if (at(hidden2, j) <= 0) continue; // a silent unit passes nothing back
      const error = at(error2, j);
      gradients.bias2[j] = at(gradients.bias2, j) + error;
      addScaledRow(error1, weights2, j * hidden, error);
      addScaledToRow(gradients.weights2, j * hidden, hidden1, error);
    }
    for (let i = 0; i < hidden; i += 1) if (at(hidden1, i) <= 0) error1[i] = 0;
    addRow(gradients.bias1, error1, 0);
    for (let p = 0; p < windowLength; p += 1) {
      addScaledToRow(gradients.table, rowOf(batch, sample, p), error1, 1);
    }
  };

  return {
    shape,
    parameters,
    trainStep(batch, learningRate) {
      let loss = 0;
      for (let sample = 0; sample < batch.size; sample += 1) {
        forward(batch, sample);
        softmax(outputs);
        loss -= Math.log(at(outputs, at(batch.answers, sample)) + 1e-12);
        backward(batch, sample, 1 / batch.size);
      }
      step += 1;
      for (const name of parameterNames) {
        const moments = { first: first[name], second: second[name] };
        adam(parameters[name], gradients[name], moments, step, learningRate);
      }
      return loss / batch.size;
    },
    predict(batch) {
      return Uint8Array.from({ length: batch.size }, (_, sample) => {
        forward(batch, sample);
        return outputs.indexOf(Math.max(...outputs));
      });
    },
  };
}

function zeros(lengths: Record<(typeof parameterNames)[number], number>): Parameters {
  return {
    table: new Float32Array(lengths.table),
    bias1: new Float32Array(lengths.bias1),
    weights2: new Float32Array(lengths.weights2),
    bias2: new Float32Array(lengths.bias2),
    weights3: new Float32Array(lengths.weights3),
    bias3: new Float32Array(lengths.bias3),
  };
}
