/**
 * JSON lines as Python writes them, one at a time, each of bounded length.
 *
 * A last line without a newline counts if it is a whole document: writers differ. One that stops in the middle is the mark of a writer
 * that died or still writes, and comes as `truncated`; the reader of the format knows what that means. Empty lines are passed over.
 */
import type { JsonValue } from './json-select.ts';
import { parseHarnessJson } from './json-text.ts';
import { LogFault } from './log-fault.ts';

export type JsonLine =
  | { readonly kind: 'value'; readonly line: number; readonly value: JsonValue }
  | { readonly kind: 'truncated'; readonly line: number };

const NEWLINE = 0x0a;

/** Lines are counted from 1. Throws LogFault, with the line's number in its detail. */
export async function* jsonLines(
  chunks: AsyncIterable<Uint8Array>,
  lineBytes: number,
): AsyncGenerator<JsonLine> {
  let line = 1;
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      const value = whole([...parts, chunk.subarray(from, end)], line, lineBytes);
      if (value !== undefined) yield { kind: 'value', line, value };
      parts = [];
      length = 0;
      line += 1;
      from = end + 1;
    }
    // Copied: the chunk may be part of a larger buffer, which would be held as long as its tail.
    if (from < chunk.length) parts.push(Uint8Array.from(chunk.subarray(from)));
    length += chunk.length - from;
    if (length > lineBytes) throw new LogFault('log-too-large', `line ${line} has over ${lineBytes} bytes`);
  }
  try {
    const value = parsed(parts, line, lineBytes);
    if (value !== undefined) yield { kind: 'value', line, value };
  } catch (error) {
    if (!(error instanceof LogFault) || error.problem !== 'log-truncated') throw error;
    yield { kind: 'truncated', line };
  }
}

/** A line that its newline ends: what stops in its middle is broken, for nobody writes on there. */
function whole(parts: readonly Uint8Array[], line: number, lineBytes: number): JsonValue | undefined {
  try {
    return parsed(parts, line, lineBytes);
  } catch (error) {
    if (error instanceof LogFault && error.problem === 'log-truncated')
      throw new LogFault('log-unreadable', error.detail);
    throw error;
  }
}

/** Undefined: nothing but space. */
function parsed(parts: readonly Uint8Array[], line: number, lineBytes: number): JsonValue | undefined {
  const bytes = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  if (bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d)) return undefined;
  try {
    return parseHarnessJson(bytes, lineBytes);
  } catch (error) {
    if (error instanceof LogFault) throw new LogFault(error.problem, `line ${line}: ${error.detail}`);
    throw error;
  }
}
