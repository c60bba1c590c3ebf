/**
 * Zstandard (RFC 8878) as a stream: however many frames, block by block, in bounded memory.
 *
 * Node 20 has no zstd of its own, and what npm has in plain JavaScript or WebAssembly does not hold against hostile files: a block may
 * write past its bound (hours of work out of a megabyte), a window of 2 GB is allocated on a header's word, or an error never ends.
 * Here a block gives at most 128 KiB, a window at most WINDOW_BYTES, which is allocated only as it fills, and every byte is accounted for.
 * Not here: the frame's XXH64 checksum is passed over, because the archive's CRC-32 of the same bytes is checked
 * (zip.ts); dictionaries, which no harness uses, are refused.
 * Throws LogFault: `log-truncated` where a frame stops in the middle, `log-unreadable`, `log-too-large`.
 */
import { LogFault } from './log-fault.ts';
import {
  Bits,
  brokenZstd,
  type FseTable,
  fseOfOne,
  fseTable,
  type HuffmanTable,
  readFseTable,
  readHuffman,
  readHuffmanTable,
} from './zstd-entropy.ts';

/** Level 19 takes 8 MiB; level 22 asks for this much, and nothing but a "long" mode for more. */
export const WINDOW_BYTES = 128 * 1024 * 1024;
const BLOCK_BYTES = 128 * 1024;
const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;

export async function* decompressZstd(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const input = new Input(chunks);
  let frames = 0;
  while (frames === 0 || !(await input.ended())) {
    const magic = number(await input.take(4), 4);
    if (magic === MAGIC) yield* readFrame(input);
    else if (magic - (magic % 16) === SKIPPABLE) await input.skip(number(await input.take(4), 4));
    else brokenZstd('no frame where one begins');
    frames += 1;
  }
}

async function* readFrame(input: Input): AsyncGenerator<Uint8Array> {
  const { windowBytes, contentBytes, hasChecksum } = await readHeader(input);
  const frame = new Frame(windowBytes);
  const blockMost = Math.min(windowBytes, BLOCK_BYTES);
  for (let last = false; !last; ) {
    const header = number(await input.take(3), 3);
    last = (header & 1) === 1;
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === 3 || size > blockMost) brokenZstd('a block');
    const bytes = await input.take(type === 1 ? 1 : size);
    const begin = frame.beginBlock(blockMost);
    if (type === 0) frame.literals(bytes, 0, size);
    else if (type === 1) frame.repeat(bytes[0] ?? 0, size);
    else readBlock(bytes, frame, blockMost);
    const content = frame.since(begin);
    if (contentBytes !== null && frame.total > contentBytes) brokenZstd('more content than the frame states');
    if (content.length > 0) yield content;
  }
  if (contentBytes !== null && frame.total !== contentBytes) brokenZstd('less content than the frame states');
  if (hasChecksum) await input.take(4);
}

async function readHeader(
  input: Input,
): Promise<{ windowBytes: number; contentBytes: number | null; hasChecksum: boolean }> {
  const descriptor = (await input.take(1))[0] ?? 0;
  if ((descriptor & 8) !== 0) brokenZstd('a reserved bit in a frame header');
  const isSingle = (descriptor & 32) !== 0;
  const window = isSingle ? null : ((await input.take(1))[0] ?? 0);
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  if (number(await input.take(dictionaryBytes), dictionaryBytes) !== 0) brokenZstd('a dictionary');
  const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const size = number(await input.take(sizeBytes), sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  const contentBytes = sizeBytes === 0 ? null : size;
  const base = window === null ? size : 2 ** (10 + (window >> 3));
  const windowBytes = window === null ? size : base + (base / 8) * (window & 7);
  if (windowBytes > WINDOW_BYTES)
    throw new LogFault('log-too-large', `a zstd window of over ${WINDOW_BYTES} bytes`);
  return { windowBytes, contentBytes, hasChecksum: (descriptor & 4) !== 0 };
}

/** What a frame has given so far, as far back as its window reaches. */
class Frame {
  readonly #windowBytes: number;
  #buffer: Uint8Array = new Uint8Array(0);
  #at = 0;
  #blockEnd = 0;
  /** Bytes given in all. */
  total = 0;
  huffman: HuffmanTable | null = null;
  /** Of literal lengths, offsets, match lengths: kept for the next block. */
  tables: [FseTable | null, FseTable | null, FseTable | null] = [null, null, null];
  readonly offsets: [number, number, number] = [1, 4, 8];

  constructor(windowBytes: number) {
    this.#windowBytes = windowBytes;
  }

  /** Makes room, and tells where the block begins. */
  beginBlock(most: number): number {
    if (this.#at + most > this.#buffer.length) {
      const kept = Math.min(this.#at, this.#windowBytes);
      const needed = kept + Math.max(4 * most, Math.min(kept, WINDOW_BYTES / 4));
      const old = this.#buffer.subarray(this.#at - kept, this.#at);
      if (needed > this.#buffer.length) {
        const larger = new Uint8Array(needed);
        larger.set(old);
        this.#buffer = larger;
      } else this.#buffer.copyWithin(0, this.#at - kept, this.#at);
      this.#at = kept;
    }
    this.#blockEnd = this.#at + most;
    return this.#at;
  }

  /** A copy: the buffer moves on. */
  since(begin: number): Uint8Array {
    return this.#buffer.slice(begin, this.#at);
  }

  literals(bytes: Uint8Array, from: number, to: number): void {
    this.#fits(to - from);
    if (to > bytes.length) brokenZstd('more literals than there are');
    for (let i = from, at = this.#at; i < to; i += 1, at += 1) this.#buffer[at] = bytes[i] ?? 0;
    this.#advance(to - from);
  }

  repeat(byte: number, count: number): void {
    this.#fits(count);
    this.#buffer.fill(byte, this.#at, this.#at + count);
    this.#advance(count);
  }

  match(offset: number, length: number): void {
    if (offset < 1 || offset > this.total || offset > this.#windowBytes)
      brokenZstd('a match before the window');
    this.#fits(length);
    const buffer = this.#buffer;
    const end = this.#at + length;
    if (offset >= length && length > 32) buffer.copyWithin(this.#at, this.#at - offset, end - offset);
    else for (let at = this.#at; at < end; at += 1) buffer[at] = buffer[at - offset] ?? 0;
    this.#advance(length);
  }

  #fits(length: number): void {
    if (this.#at + length > this.#blockEnd) brokenZstd('a block that gives more than a block may');
  }

  #advance(length: number): void {
    this.#at += length;
    this.total += length;
  }
}

function readBlock(bytes: Uint8Array, frame: Frame, blockMost: number): void {
  const { literals, length } = readLiterals(bytes, frame, blockMost);
  readSequences(bytes.subarray(length), literals, frame);
}

function readLiterals(
  bytes: Uint8Array,
  frame: Frame,
  blockMost: number,
): { literals: Uint8Array; length: number } {
  const first = bytes[0];
  if (first === undefined) brokenZstd('an empty block');
  const type = first & 3;
  const format = (first >> 2) & 3;
  if (type < 2) {
    const headerBytes = [1, 2, 1, 3][format] ?? 1;
    const size = number(bytes, Math.min(headerBytes, bytes.length)) >> (headerBytes === 1 ? 3 : 4);
    const length = headerBytes + (type === 0 ? size : 1);
    if (size > blockMost || length > bytes.length) brokenZstd('literals');
    const literals =
      type === 0 ? bytes.subarray(headerBytes, length) : new Uint8Array(size).fill(bytes[headerBytes] ?? 0);
    return { literals, length };
  }
  const headerBytes = [3, 3, 4, 5][format] ?? 3;
  const sizeBits = [10, 10, 14, 18][format] ?? 10;
  if (bytes.length < headerBytes) brokenZstd('literals');
  const sizes = Math.floor(number(bytes, headerBytes) / 16);
  const size = sizes % 2 ** sizeBits;
  const length = headerBytes + Math.floor(sizes / 2 ** sizeBits);
  if (size > blockMost || length > bytes.length) brokenZstd('literals');
  let coded = bytes.subarray(headerBytes, length);
  if (type === 2) {
    const read = readHuffmanTable(coded);
    frame.huffman = read.table;
    coded = coded.subarray(read.length);
  }
  if (frame.huffman === null) brokenZstd('literals without a Huffman table');
  const literals = new Uint8Array(size);
  if (format === 0) readHuffman(coded, frame.huffman, literals);
  else readFourStreams(coded, frame.huffman, literals);
  return { literals, length };
}

function readFourStreams(coded: Uint8Array, table: HuffmanTable, out: Uint8Array): void {
  const each = (out.length + 3) >> 2;
  if (coded.length < 6 || each * 3 > out.length) brokenZstd('literals in four streams');
  let from = 6;
  for (let stream = 0; stream < 4; stream += 1) {
    const to = stream === 3 ? coded.length : from + number(coded.subarray(stream * 2), 2);
    if (to > coded.length) brokenZstd('literals in four streams');
    const end = stream === 3 ? out.length : each * (stream + 1);
    readHuffman(coded.subarray(from, to), table, out.subarray(each * stream, end));
    from = to;
  }
}

// Literal lengths and match lengths by their codes: base and additional bits (RFC 8878, 3.1.1.3.2.1.1).
const LITERAL_BITS = [
  ...new Array<number>(16).fill(0),
  ...[1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
];
const MATCH_BITS = [
  ...new Array<number>(32).fill(0),
  ...[1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
];
const LITERAL_BASES = bases(LITERAL_BITS, 0);
const MATCH_BASES = bases(MATCH_BITS, 3);

function bases(bits: readonly number[], first: number): number[] {
  let next = first;
  return bits.map((count) => {
    const base = next;
    next += 1 << count;
    return base;
  });
}

interface TableKind {
  readonly logMost: number;
  readonly symbolMost: number;
  readonly predefined: FseTable;
}

const ones = (count: number): number[] => new Array<number>(count).fill(1);
const LITERAL_LENGTHS: TableKind = {
  logMost: 9,
  symbolMost: 35,
  predefined: fseTable(
    [
      ...[4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1],
      ...[-1, -1, -1, -1],
    ],
    6,
  ),
};
const OFFSETS: TableKind = {
  logMost: 8,
  symbolMost: 31,
  predefined: fseTable([...ones(6), 2, 2, 2, ...ones(15), -1, -1, -1, -1, -1], 5),
};
const MATCH_LENGTHS: TableKind = {
  logMost: 9,
  symbolMost: 52,
  predefined: fseTable([1, 4, 3, 2, 2, 2, 2, 2, 2, ...ones(37), -1, -1, -1, -1, -1, -1, -1], 6),
};

function readSequences(bytes: Uint8Array, literals: Uint8Array, frame: Frame): void {
  const { count, length } = sequenceCount(bytes);
  if (count === 0) {
    if (length !== bytes.length) brokenZstd('bytes after a block of literals');
    frame.literals(literals, 0, literals.length);
    return;
  }
  const modes = bytes[length] ?? 3;
  if ((modes & 3) !== 0) brokenZstd('reserved bits of sequence tables');
  let at = length + 1;
  const tableOf = (index: 0 | 1 | 2, kind: TableKind): FseTable => {
    const read = sequenceTable((modes >> (6 - 2 * index)) & 3, bytes.subarray(at), kind, frame.tables[index]);
    at += read.length;
    frame.tables[index] = read.table;
    return read.table;
  };
  const literalTable = tableOf(0, LITERAL_LENGTHS);
  const offsetTable = tableOf(1, OFFSETS);
  const matchTable = tableOf(2, MATCH_LENGTHS);
  const stream = new Bits(bytes.subarray(at));
  let literalState = stream.take(literalTable.log);
  let offsetState = stream.take(offsetTable.log);
  let matchState = stream.take(matchTable.log);
  let used = 0;
  for (let left = count; left > 0; left -= 1) {
    const offsetCode = offsetTable.symbols[offsetState] ?? 0;
    const matchCode = matchTable.symbols[matchState] ?? 0;
    const literalCode = literalTable.symbols[literalState] ?? 0;
    const offsetValue = 2 ** offsetCode + stream.take(offsetCode);
    const matchLength = (MATCH_BASES[matchCode] ?? 0) + stream.take(MATCH_BITS[matchCode] ?? 0);
    const literalLength = (LITERAL_BASES[literalCode] ?? 0) + stream.take(LITERAL_BITS[literalCode] ?? 0);
    if (left > 1) {
      literalState =
        (literalTable.next[literalState] ?? 0) + stream.take(literalTable.bits[literalState] ?? 0);
      matchState = (matchTable.next[matchState] ?? 0) + stream.take(matchTable.bits[matchState] ?? 0);
      offsetState = (offsetTable.next[offsetState] ?? 0) + stream.take(offsetTable.bits[offsetState] ?? 0);
    }
    if (stream.left < 0) brokenZstd('sequences that end in the middle');
    frame.literals(literals, used, used + literalLength);
    used += literalLength;
    frame.match(actualOffset(offsetValue, literalLength, frame.offsets), matchLength);
  }
  if (stream.left !== 0) brokenZstd('bits after the last sequence');
  frame.literals(literals, used, literals.length);
}

function sequenceCount(bytes: Uint8Array): { count: number; length: number } {
  const [first, second = 0, third = 0] = bytes;
  if (first === undefined) brokenZstd('a block without sequences');
  if (first < 128) return { count: first, length: 1 };
  if (first < 255) return { count: (first - 128) * 256 + second, length: 2 };
  return { count: second + third * 256 + 0x7f00, length: 3 };
}

function sequenceTable(
  mode: number,
  bytes: Uint8Array,
  kind: TableKind,
  previous: FseTable | null,
): { table: FseTable; length: number } {
  switch (mode) {
    case 0:
      return { table: kind.predefined, length: 0 };
    case 1: {
      const symbol = bytes[0];
      if (symbol === undefined || symbol > kind.symbolMost) brokenZstd('a sequence code');
      return { table: fseOfOne(symbol), length: 1 };
    }
    case 2:
      return readFseTable(bytes, kind.logMost, kind.symbolMost);
    default:
      if (previous === null) brokenZstd('a repeated table without one before');
      return { table: previous, length: 0 };
  }
}

/** Values up to three name one of the offsets used last (RFC 8878, 3.1.1.5). */
function actualOffset(value: number, literalLength: number, recent: [number, number, number]): number {
  if (value > 3) {
    recent[2] = recent[1];
    recent[1] = recent[0];
    recent[0] = value - 3;
    return recent[0];
  }
  const index = value - 1 + (literalLength === 0 ? 1 : 0);
  if (index === 0) return recent[0];
  const offset = index === 3 ? recent[0] - 1 : (recent[index] ?? 0);
  if (index > 1) recent[2] = recent[1];
  recent[1] = recent[0];
  recent[0] = offset;
  return offset;
}

/** Little-endian; up to eight bytes, where only a hostile size loses precision. */
function number(bytes: Uint8Array, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i -= 1) value = value * 256 + (bytes[i] ?? 0);
  return value;
}

/** Exactly as many bytes as asked for, out of chunks of any size. */
class Input {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  #done = false;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async ended(): Promise<boolean> {
    while (this.#rest.length === 0 && !this.#done) await this.#more();
    return this.#rest.length === 0;
  }

  async take(count: number): Promise<Uint8Array> {
    while (this.#rest.length < count) {
      if (this.#done) throw new LogFault('log-truncated', 'a zstd frame ends in the middle');
      await this.#more();
    }
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      if (await this.ended()) throw new LogFault('log-truncated', 'a zstd frame ends in the middle');
      const step = Math.min(left, this.#rest.length);
      this.#rest = this.#rest.subarray(step);
      left -= step;
    }
  }

  async #more(): Promise<void> {
    const next = await this.#chunks.next();
    if (next.done === true) this.#done = true;
    else this.#rest = this.#rest.length === 0 ? next.value : Buffer.concat([this.#rest, next.value]);
  }
}
