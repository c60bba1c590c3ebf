/**
 * A byte stream cut at line feeds, and at nothing else: a carriage return, U+2028 or a byte order mark belongs to
 * the line, where the verifier finds it. Readers that decode first and split later mend what they should report.
 */
export type Line = { kind: 'line'; bytes: Uint8Array; terminated: boolean } | { kind: 'too-long' };

/** Far above what the writer accepts: only there so that a file of one endless line cannot fill the memory. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;

const LINE_FEED = 0x0a;

export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  lineBytesMax = LINE_BYTES_MAX,
): AsyncGenerator<Line> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
      yield { kind: 'line', bytes: Buffer.concat([...pieces, chunk.subarray(start, end)]), terminated: true };
      pieces = [];
      length = 0;
      start = end + 1;
    }
    if (start === chunk.length) continue;
    // A copy: a reader may fill the same chunk again.
    pieces.push(Uint8Array.from(chunk.subarray(start)));
    length += chunk.length - start;
    if (length > lineBytesMax) {
      yield { kind: 'too-long' };
      return;
    }
  }
  if (length > 0) yield { kind: 'line', bytes: Buffer.concat(pieces), terminated: false };
}
