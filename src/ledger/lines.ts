/**
 * A byte stream cut at line feeds, and at nothing else: a carriage return, U+2028 or a byte order mark belongs to
 * the line, where the verifier finds it. Readers that decode first and split later mend what they should report.
 */
export type Line = { kind: 'line'; bytes: Uint8Array; terminated: boolean } | { kind: 'too-long' };

export type LineBlock =
  /** Whole lines, each with its line feed, in a buffer that is nobody else's. */
  | { kind: 'lines'; bytes: Uint8Array<ArrayBuffer> }
  /** What comes after the last line feed. */
  | { kind: 'rest'; bytes: Uint8Array<ArrayBuffer> }
  | { kind: 'too-long' };

/** Far above what the writer accepts: only there so that a file of one endless line cannot fill the memory. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;

const LINE_FEED = 0x0a;

/** The lines of each chunk together: waiting once per line costs as much as checking it. */
export async function* lineBlocks(
  chunks: AsyncIterable<Uint8Array>,
  lineBytesMax = LINE_BYTES_MAX,
): AsyncGenerator<LineBlock> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    const end = asBuffer(chunk).lastIndexOf(LINE_FEED) + 1;
    if (end > 0) {
      yield { kind: 'lines', bytes: joined([...pieces, chunk.subarray(0, end)], length + end) };
      pieces = [];
      length = 0;
    }
    if (end === chunk.length) continue;
    // A copy: a reader may fill the same chunk again.
    pieces.push(Uint8Array.from(chunk.subarray(end)));
    length += chunk.length - end;
    if (length > lineBytesMax) {
      yield { kind: 'too-long' };
      return;
    }
  }
  if (length > 0) yield { kind: 'rest', bytes: joined(pieces, length) };
}

export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  lineBytesMax = LINE_BYTES_MAX,
): AsyncGenerator<Line> {
  for await (const block of lineBlocks(chunks, lineBytesMax)) {
    if (block.kind === 'too-long') yield block;
    else if (block.kind === 'rest') yield { kind: 'line', bytes: block.bytes, terminated: false };
    else for (const bytes of linesIn(block.bytes)) yield { kind: 'line', bytes, terminated: true };
  }
}

/** Without their line feeds, and without copying them. */
export function* linesIn(block: Uint8Array): Generator<Uint8Array> {
  const bytes = asBuffer(block);
  let start = 0;
  for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED, start)) {
    yield bytes.subarray(start, end);
    start = end + 1;
  }
}

/** The same bytes: a `Buffer` looks for a byte several times as fast as its parent class. */
const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
