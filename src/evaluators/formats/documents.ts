/**
 * Reading a file whole, or line by line, into values: the part of every reader that touches the file.
 */
import { READ_LIMITS } from './format.ts';
import { type Refusal, refusal } from './harness-values.ts';
import type { LogSource } from './log-source.ts';

export type Document = { readonly ok: true; readonly value: unknown } | Refusal;

/** Python writes NaN and Infinity bare. */
function parse(text: string): unknown {
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/gs, (part) =>
    part.startsWith('"') ? part : JSON.stringify(`\u0000${part}`),
  );
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith('\u0000') ? Number(value.slice(1)) : value,
  );
}

export async function readDocument(source: LogSource): Promise<Document> {
  if (source.size > READ_LIMITS.documentBytes) {
    return refusal('log-too-large', `is over ${READ_LIMITS.documentBytes} bytes`);
  }
  const bytes = await source.read(0, source.size);
  try {
    return { ok: true, value: parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) };
  } catch {
    return refusal('log-unreadable', 'is no JSON');
  }
}

/**
 * Every line, parsed, in order. `visit` may refuse. A last line without an end that does not parse is where a run that goes on, or
 * one that died, was writing: `isCut`.
 */
export async function readLines(
  source: LogSource,
  visit: (value: unknown, line: number) => Refusal | undefined,
): Promise<{ readonly ok: true; readonly lines: number; readonly isCut: boolean } | Refusal> {
  const whole = new TextDecoder().decode(await source.read(0, source.size));
  const list = whole.split('\n');
  let lines = 0;
  for (const [index, line] of list.entries()) {
    if (line.trim() === '') continue;
    let value: unknown;
    try {
      value = parse(line);
    } catch {
      if (index === list.length - 1) return { ok: true, lines, isCut: true };
      return refusal('log-unreadable', `line ${index + 1} is no JSON`);
    }
    lines += 1;
    const refused = visit(value, index + 1);
    if (refused !== undefined) return refused;
  }
  return { ok: true, lines, isCut: false };
}
