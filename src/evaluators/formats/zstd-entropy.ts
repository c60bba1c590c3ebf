/**
 * Entropy coding of Zstandard (RFC 8878, section 4): bits, FSE tables, Huffman tables.
 *
 * Every table and every count comes out of a hostile file: sizes are checked before anything is filled, and a stream that asks for
 * bits beyond its beginning is broken. Bytes after a section are readable as zero (see Bits), never as what another section holds.
 */
import { LogFault } from './log-fault.ts';

export function brokenZstd(what: string): never {
  throw new LogFault('log-unreadable', `broken zstd: ${what}`);
}

/** Index of the highest bit that is set; -1 of zero. */
export const highBit = (value: number): number => 31 - Math.clz32(value);

/** Bits from the end of a section to its beginning, as sequences and Huffman codes are written. */
export class Bits {
  readonly #bytes: Uint8Array;
  /** Left to read. Below zero: more was taken than there was. */
  left: number;

  constructor(bytes: Uint8Array) {
    const last = bytes[bytes.length - 1];
    if (last === undefined || last === 0) brokenZstd('a bit stream without its end mark');
    this.#bytes = bytes;
    this.left = (bytes.length - 1) * 8 + highBit(last);
  }

  /** The next `count` (at most 24) bits without taking them. Beyond the beginning there are zeros. */
  peek(count: number): number {
    const start = this.left - count;
    if (start < 0) return this.left <= 0 ? 0 : (this.#at(0) & ((1 << this.left) - 1)) << -start;
    return (this.#at(start >> 3) >>> (start & 7)) & ((1 << count) - 1);
  }

  take(count: number): number {
    if (count > 24) return this.take(count - 16) * 65_536 + this.take(16);
    const value = this.peek(count);
    this.left -= count;
    return value;
  }

  #at(index: number): number {
    const bytes = this.#bytes;
    return (
      (bytes[index] ?? 0) |
      ((bytes[index + 1] ?? 0) << 8) |
      ((bytes[index + 2] ?? 0) << 16) |
      ((bytes[index + 3] ?? 0) << 24)
    );
  }
}

export interface FseTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly next: Uint16Array;
}

/** From probabilities whose sizes sum to 2^log; -1 is "less than one". */
export function fseTable(probabilities: readonly number[], log: number): FseTable {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const bits = new Uint8Array(size);
  const next = new Uint16Array(size);
  const upcoming = new Uint16Array(probabilities.length);
  let high = size;
  probabilities.forEach((probability, symbol) => {
    if (probability === -1) symbols[--high] = symbol;
    upcoming[symbol] = Math.abs(probability);
  });
  const step = (size >> 1) + (size >> 3) + 3;
  let at = 0;
  probabilities.forEach((probability, symbol) => {
    for (let i = 0; i < probability; i += 1) {
      symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at >= high);
    }
  });
  if (at !== 0) brokenZstd('an FSE table');
  for (let state = 0; state < size; state += 1) {
    const symbol = symbols[state] ?? 0;
    const upcomingState = upcoming[symbol] ?? 0;
    upcoming[symbol] = upcomingState + 1;
    bits[state] = log - highBit(upcomingState);
    next[state] = (upcomingState << (bits[state] ?? 0)) - size;
  }
  return { log, symbols, bits, next };
}

/** Of one symbol that needs no bits. */
export const fseOfOne = (symbol: number): FseTable => ({
  log: 0,
  symbols: Uint8Array.of(symbol),
  bits: new Uint8Array(1),
  next: new Uint16Array(1),
});

/** A table description at the beginning of `bytes`, and how many bytes it takes. */
export function readFseTable(
  bytes: Uint8Array,
  logMost: number,
  symbolMost: number,
): { table: FseTable; length: number } {
  let position = 0;
  const take = (count: number): number => {
    const index = position >> 3;
    const word = (bytes[index] ?? 0) | ((bytes[index + 1] ?? 0) << 8) | ((bytes[index + 2] ?? 0) << 16);
    const value = (word >>> (position & 7)) & ((1 << count) - 1);
    position += count;
    return value;
  };
  const log = take(4) + 5;
  if (log > logMost) brokenZstd('an FSE table of too high accuracy');
  const probabilities: number[] = [];
  for (let remaining = 1 << log; remaining > 0; ) {
    const count = highBit(remaining + 1) + 1;
    const low = (1 << (count - 1)) - 1;
    const threshold = (1 << count) - 1 - (remaining + 1);
    let value = take(count);
    if ((value & low) < threshold) {
      position -= 1;
      value &= low;
    } else if (value > low) value -= threshold;
    const probability = value - 1;
    remaining -= Math.abs(probability);
    if (remaining < 0) brokenZstd('FSE probabilities');
    probabilities.push(probability);
    if (probability === 0) {
      for (let zeros = 3; zeros === 3; ) {
        zeros = take(2);
        for (let i = 0; i < zeros; i += 1) probabilities.push(0);
        if (probabilities.length > symbolMost + 1) brokenZstd('an FSE table of too many symbols');
      }
    }
    if (probabilities.length > symbolMost + 1) brokenZstd('an FSE table of too many symbols');
  }
  const length = (position + 7) >> 3;
  if (length > bytes.length) brokenZstd('an FSE table that ends in the middle');
  return { table: fseTable(probabilities, log), length };
}

export interface HuffmanTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
}

const HUFFMAN_LOG_MOST = 11;
const WEIGHTS_MOST = 255;

export function readHuffmanTable(bytes: Uint8Array): { table: HuffmanTable; length: number } {
  const header = bytes[0];
  if (header === undefined) brokenZstd('no Huffman table');
  if (header >= 128) {
    const count = header - 127;
    const length = 1 + ((count + 1) >> 1);
    if (length > bytes.length) brokenZstd('a Huffman table that ends in the middle');
    const weights = Array.from({ length: count }, (_, i) => {
      const pair = bytes[1 + (i >> 1)] ?? 0;
      return i % 2 === 0 ? pair >> 4 : pair & 15;
    });
    return { table: huffmanTable(weights), length };
  }
  const length = 1 + header;
  if (length > bytes.length) brokenZstd('a Huffman table that ends in the middle');
  return { table: huffmanTable(readWeights(bytes.subarray(1, length))), length };
}

/** Two states take turns on one stream of bits, until it is used up. */
function readWeights(bytes: Uint8Array): number[] {
  const { table, length } = readFseTable(bytes, 6, WEIGHTS_MOST);
  const stream = new Bits(bytes.subarray(length));
  const states = [stream.take(table.log), stream.take(table.log)];
  if (stream.left < 0) brokenZstd('Huffman weights');
  const weights: number[] = [];
  for (let turn = 0; ; turn = 1 - turn) {
    const state = states[turn] ?? 0;
    weights.push(table.symbols[state] ?? 0);
    if (weights.length > WEIGHTS_MOST) brokenZstd('too many Huffman weights');
    states[turn] = (table.next[state] ?? 0) + stream.take(table.bits[state] ?? 0);
    if (stream.left < 0) {
      weights.push(table.symbols[states[1 - turn] ?? 0] ?? 0);
      return weights;
    }
  }
}

/** The last symbol's weight is what fills the table. */
function huffmanTable(weights: readonly number[]): HuffmanTable {
  let sum = 0;
  for (const weight of weights) {
    if (weight > HUFFMAN_LOG_MOST) brokenZstd('a Huffman weight');
    if (weight > 0) sum += 1 << (weight - 1);
  }
  if (sum === 0) brokenZstd('Huffman weights');
  const log = highBit(sum) + 1;
  const rest = (1 << log) - sum;
  if (log > HUFFMAN_LOG_MOST || (rest & (rest - 1)) !== 0 || weights.length > WEIGHTS_MOST)
    brokenZstd('Huffman weights');
  const all = [...weights, highBit(rest) + 1];
  const symbols = new Uint8Array(1 << log);
  const bits = new Uint8Array(1 << log);
  let at = 0;
  for (let weight = 1; weight <= log; weight += 1) {
    all.forEach((own, symbol) => {
      if (own !== weight) return;
      const end = at + (1 << (weight - 1));
      symbols.fill(symbol, at, end);
      bits.fill(log + 1 - weight, at, end);
      at = end;
    });
  }
  return { log, symbols, bits };
}

/** Fills `out` from one stream, which must come out even. */
export function readHuffman(bytes: Uint8Array, table: HuffmanTable, out: Uint8Array): void {
  const stream = new Bits(bytes);
  for (let i = 0; i < out.length; i += 1) {
    const index = stream.peek(table.log);
    out[i] = table.symbols[index] ?? 0;
    stream.left -= table.bits[index] ?? 0;
    if (stream.left < 0) brokenZstd('Huffman codes');
  }
  if (stream.left !== 0) brokenZstd('Huffman codes');
}
