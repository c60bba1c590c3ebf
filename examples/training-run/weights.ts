/**
 * Checkpoint files: magic, a length-prefixed JSON header, the weights as little-endian float32, and a
 * SHA-256 over everything before it.
 *
 * Saving is atomic: written beside the target, fsynced, renamed; a reader sees the old file or the
 * whole new one. Loading trusts nothing: a file that is cut, padded, altered or of another shape is
 * refused with `BrokenCheckpoint`, for an evaluation of damaged weights would measure a weaker model
 * than the one that was trained.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Parameters, parameterLengths, parameterNames, type Shape } from './network.ts';

const magic = Buffer.from('ILKWTS01', 'ascii');
const digestLength = 32;
const headerLengthMax = 4096;

export interface CheckpointHeader {
  checkpointId: string;
  seed: number;
  step: number;
  effectiveCompute: string;
  shape: Shape;
}

export class BrokenCheckpoint extends Error {
  constructor(reason: string) {
    super(`checkpoint refused: ${reason}`);
    this.name = 'BrokenCheckpoint';
  }
}

/** Writes the file and returns its SHA-256 in hex. */
export function saveCheckpoint(file: string, header: CheckpointHeader, parameters: Parameters): string {
  const headerBytes = Buffer.from(JSON.stringify(header), 'utf8');
  const headerLength = Buffer.alloc(4);
  headerLength.writeUInt32LE(headerBytes.length);
  const arrays = parameterNames.map((name) => littleEndian(parameters[name]));
  const content = Buffer.concat([magic, headerLength, headerBytes, ...arrays]);
  const digest = createHash('sha256').update(content).digest();

  const partial = `${file}.${process.pid}.partial`;
  const handle = openSync(partial, 'w', 0o600);
  try {
    writeFileSync(handle, Buffer.concat([content, digest]));
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  renameSync(partial, file);
  syncDirectory(dirname(file));
  return digest.toString('hex');
}

export function loadCheckpoint(file: string): {
  header: CheckpointHeader;
  parameters: Parameters;
  sha256: string;
} {
  const bytes = readFileSync(file);
  const prefixLength = magic.length + 4;
  if (bytes.length < prefixLength + digestLength) throw new BrokenCheckpoint('too short');
  if (!bytes.subarray(0, magic.length).equals(magic)) throw new BrokenCheckpoint('not a checkpoint file');
  const content = bytes.subarray(0, bytes.length - digestLength);
  const digest = createHash('sha256').update(content).digest();
  if (!digest.equals(bytes.subarray(content.length))) throw new BrokenCheckpoint('SHA-256 does not match');

  const headerLength = bytes.readUInt32LE(magic.length);
  if (headerLength > headerLengthMax || prefixLength + headerLength > content.length) {
    throw new BrokenCheckpoint('header length');
  }
  const header = parseHeader(content.subarray(prefixLength, prefixLength + headerLength).toString('utf8'));
  const lengths = parameterLengths(header.shape);
  const total = Object.values(lengths).reduce((sum, length) => sum + length, 0);
  let offset = prefixLength + headerLength;
  if (content.length - offset !== total * 4) throw new BrokenCheckpoint('weights do not fit the shape');

  const take = (length: number): Float32Array => {
    const values = Float32Array.from({ length }, (_, i) => content.readFloatLE(offset + i * 4));
    offset += length * 4;
    if (!values.every(Number.isFinite)) throw new BrokenCheckpoint('weights are not finite');
    return values;
  };
  // The order of parameterNames, which is the order they were written in.
  const table = take(lengths.table);
  const bias1 = take(lengths.bias1);
  const weights2 = take(lengths.weights2);
  const bias2 = take(lengths.bias2);
  const weights3 = take(lengths.weights3);
  const bias3 = take(lengths.bias3);
  return {
    header,
    parameters: { table, bias1, weights2, bias2, weights3, bias3 },
    sha256: digest.toString('hex'),
  };
}

function littleEndian(values: Float32Array): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => {
    bytes.writeFloatLE(value, i * 4);
  });
  return bytes;
}

function parseHeader(json: string): CheckpointHeader {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new BrokenCheckpoint('header is not JSON');
  }
  const header = record(value);
  const shape = record(header['shape']);
  return {
    checkpointId: text(header['checkpointId']),
    seed: whole(header['seed']),
    step: whole(header['step']),
    effectiveCompute: text(header['effectiveCompute']),
    shape: {
      windowLength: size(shape['windowLength']),
      vocabulary: size(shape['vocabulary']),
      hidden: size(shape['hidden']),
      answers: size(shape['answers']),
    },
  };
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new BrokenCheckpoint('header is not an object');
  return { ...value };
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new BrokenCheckpoint('header field is not a string');
  return value;
}

function whole(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new BrokenCheckpoint('header field is not a whole number');
  }
  return value;
}

/** Small enough that no product of sizes can ask for an absurd amount of memory. */
function size(value: unknown): number {
  const number = whole(value);
  if (number < 1 || number > 4096) throw new BrokenCheckpoint('shape out of range');
  return number;
}

/** Makes the rename durable; some platforms cannot open a directory, and lose only the newest file. */
function syncDirectory(directory: string): void {
  try {
    const handle = openSync(directory, 'r');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  } catch {
    // Windows: EPERM or EISDIR. The content itself is already flushed.
  }
}
