/**
 * The arithmetic under the network: a handful of loops over typed arrays, where the time goes.
 *
 * Callers pass slices that lie inside their arrays; nothing here checks it. A read outside would give
 * NaN, which spreads to every later result: it cannot pass for learning.
 */

/** Typed arrays cannot have holes, so an index in range always holds a number; the compiler cannot know. */
export function at(vector: Float32Array | Uint8Array, index: number): number {
  return vector[index] as number;
}

/** Inner product of `vector` with the row of `matrix` that starts at `start`; lengths divide by four. */
export function dot(matrix: Float32Array, start: number, vector: Float32Array): number {
  // Four running sums keep the adders busy; a single one would wait for itself.
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let i = 0; i < vector.length; i += 4) {
    a += at(matrix, start + i) * at(vector, i);
    b += at(matrix, start + i + 1) * at(vector, i + 1);
    c += at(matrix, start + i + 2) * at(vector, i + 2);
    d += at(matrix, start + i + 3) * at(vector, i + 3);
  }
  return a + b + (c + d);
}

/** target += row of matrix. */
export function addRow(target: Float32Array, matrix: Float32Array, start: number): void {
  for (let i = 0; i < target.length; i += 1) target[i] = at(target, i) + at(matrix, start + i);
}

/** target += scale * row of matrix. */
export function addScaledRow(target: Float32Array, matrix: Float32Array, start: number, scale: number): void {
  for (let i = 0; i < target.length; i += 1) target[i] = at(target, i) + scale * at(matrix, start + i);
}

/** row of matrix += scale * vector. */
export function addScaledToRow(
  matrix: Float32Array,
  start: number,
  vector: Float32Array,
  scale: number,
): void {
  for (let i = 0; i < vector.length; i += 1) {
    matrix[start + i] = at(matrix, start + i) + scale * at(vector, i);
  }
}

/** Softmax in place, over the whole vector. */
export function softmax(vector: Float32Array): void {
  let highest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < vector.length; i += 1) highest = Math.max(highest, at(vector, i));
  let total = 0;
  for (let i = 0; i < vector.length; i += 1) {
    const weight = Math.exp(at(vector, i) - highest);
    vector[i] = weight;
    total += weight;
  }
  for (let i = 0; i < vector.length; i += 1) vector[i] = at(vector, i) / total;
}

export interface AdamMoments {
  first: Float32Array;
  second: Float32Array;
}

const decay1 = 0.9;
const decay2 = 0.99;

/** One Adam update of `values`; clears `gradient` for the next step. */
export function adam(
  values: Float32Array,
  gradient: Float32Array,
  moments: AdamMoments,
  step: number,
  learningRate: number,
): void {
  const { first, second } = moments;
  const rate = (learningRate * Math.sqrt(1 - decay2 ** step)) / (1 - decay1 ** step);
  for (let i = 0; i < values.length; i += 1) {
    const g = at(gradient, i);
    const m = decay1 * at(first, i) + (1 - decay1) * g;
    const v = decay2 * at(second, i) + (1 - decay2) * g * g;
    first[i] = m;
    second[i] = v;
    values[i] = at(values, i) - (rate * m) / (Math.sqrt(v) + 1e-8);
    gradient[i] = 0;
  }
}
