/**
 * From the bytes an evaluator wrote to a value: strict JSON in strict UTF-8, an object, or nothing.
 *
 * Strict because leniency would guess: a replaced byte or a NaN read as null is a result nobody wrote. The value is
 * untrusted until domain/native-result has parsed it.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { JSON_DEPTH_MAX, nestsDeeperThan } from '../domain/json-depth.ts';

export const RESULT_LIMIT_BYTES = 1024 * 1024;

export type ResultText =
  | { kind: 'found'; result: object }
  | { kind: 'none' }
  | { kind: 'unreadable' }
  | { kind: 'too-large' };

export function parseResult(bytes: Uint8Array): ResultText {
  if (nestsDeeperThan(bytes, JSON_DEPTH_MAX)) return { kind: 'unreadable' };
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return { kind: 'found', result: value };
  } catch {
    // Not repeated anywhere: the parser's message quotes the text.
  }
  return { kind: 'unreadable' };
}

const NEWLINE = 0x0a;
const OPENING_BRACE = 0x7b;

/**
 * The last line that begins as a JSON object. Text after it is chatter; but where that very line does not
 * parse, an earlier one is not taken for it: it may be an interim result.
 */
export function lastJsonLine(output: Buffer): ResultText {
  const start = lastObjectStart(output);
  if (start === null) return { kind: 'none' };
  const end = output.indexOf(NEWLINE, start);
  return parseResult(output.subarray(start, end === -1 ? output.length : end));
}

/** One pass over the bytes: line by line, ten megabytes of line feeds held the event loop for a second. */
function lastObjectStart(output: Buffer): number | null {
  let found: number | null = null;
  let isBlankSoFar = true;
  for (let at = 0; at < output.length; at += 1) {
    const byte = output[at];
    if (byte === NEWLINE) isBlankSoFar = true;
    else if (isBlankSoFar && byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) {
      isBlankSoFar = false;
      if (byte === OPENING_BRACE) found = at;
    }
  }
  return found;
}

/** Never follows a link and never waits on a pipe: the child made this file, and may have made it a trap. */
export async function readResultFile(file: string): Promise<ResultText> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return absent ? { kind: 'none' } : { kind: 'unreadable' };
  }
  try {
    if (!(await handle.stat()).isFile()) return { kind: 'unreadable' };
    const bytes = Buffer.alloc(RESULT_LIMIT_BYTES + 1);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return length > RESULT_LIMIT_BYTES ? { kind: 'too-large' } : parseResult(bytes.subarray(0, length));
  } catch {
    return { kind: 'unreadable' };
  } finally {
    await handle.close();
  }
}
