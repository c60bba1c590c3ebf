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
  for await (const lines of lineGroups(chunks, lineBytesMax)) yield* lines;
}

/** The lines of each chunk together: waiting once per line costs as much as checking it. Good until the next group. */
export async function* lineGroups(
  chunks: AsyncIterable<Uint8Array>,
  lineBytesMax = LINE_BYTES_MAX,
): AsyncGenerator<Line[]> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    const lines: Line[] = [];
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
      const rest = chunk.subarray(start, end);
      const bytes = pieces.length === 0 ? rest : Buffer.concat([...pieces, rest]);
      lines.push({ kind: 'line', bytes, terminated: true });
      pieces = [];
      length = 0;
      start = end + 1;
    }
    if (lines.length > 0) yield lines;
    if (start === chunk.length) continue;
    // A copy: a reader may fill the same chunk again.
    pieces.push(Uint8Array.from(chunk.subarray(start)));
    length += chunk.length - start;
    if (length > lineBytesMax) {
      yield [{ kind: 'too-long' }];
      return;
    }
  }
  if (length > 0) yield [{ kind: 'line', bytes: Buffer.concat(pieces), terminated: false }];
}
