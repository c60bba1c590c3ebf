/**
 * Strict JSON: the only way a request body becomes a value.
 *
 * JSON.parse decides what is JSON; a scan over the same, then known to be valid, text refuses what it
 * lets through silently: duplicate keys (also in escaped spelling), numbers that a double changes,
 * deep or crowded structures, NUL and lone surrogates, and keys that poison prototypes. Two readers
 * that understand one body differently is how a signed 1e21 becomes an evaluated 1e25.
 * Unreadable is 400; readable with an unacceptable value is 422; both name the place.
 * Linear in the body's length; the caller caps that (64 KiB).
 * Never echoes a value: a body may hold secrets or a model's words. Keys are shown shortened.
 */

import type { JsonObject } from '../domain/canonical-json.ts';
import { fieldPath, type PathPart } from '../domain/field-errors.ts';
import { JSON_DEPTH_MAX } from '../domain/json-depth.ts';
import { invalid, malformed, type Refusal } from './refusal.ts';

export interface StrictJsonLimits {
  depthMax: number;
  /** Object members and array elements in the whole body. */
  membersMax: number;
}

export const STRICT_JSON_LIMITS: StrictJsonLimits = { depthMax: JSON_DEPTH_MAX, membersMax: 5_000 };

/** Throws a Refusal. */
export function parseStrictJson(raw: Uint8Array, limits: StrictJsonLimits = STRICT_JSON_LIMITS): JsonObject {
  const text = decode(raw);
  const value = parse(text);
  scan(text, limits);
  if (!isObject(value)) {
    throw malformed('malformed-json', 'the body must be a JSON object', [
      { path: 'body', message: 'must be a JSON object' },
    ]);
  }
  return value;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function decode(raw: Uint8Array): string {
  if (raw.length === 0) throw malformed('malformed-json', 'the body is empty; a JSON object is expected');
  if (raw[0] === 0xef && raw[1] === 0xbb && raw[2] === 0xbf) {
    throw malformed('malformed-json', 'the body begins with a byte order mark; send plain UTF-8');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
  } catch {
    throw malformed('malformed-json', 'the body is not valid UTF-8');
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // V8 quotes the body in its message, so only the position is taken over.
    const position =
      error instanceof SyntaxError ? /at position (\d{1,9})/.exec(error.message)?.[1] : undefined;
    const where = position === undefined ? '' : ` (at character ${position})`;
    throw malformed('malformed-json', `the body is not valid JSON${where}`);
  }
}

type Frame =
  | { kind: 'object'; keys: Set<string>; key: string; wantsKey: boolean }
  | { kind: 'array'; index: number };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

function scan(text: string, limits: StrictJsonLimits): void {
  const stack: Frame[] = [];
  let members = 0;
  let at = 0;
  const count = (): void => {
    members += 1;
    if (members > limits.membersMax) {
      throw malformed('too-many-members', `the body has more than ${limits.membersMax} members and elements`);
    }
  };
  while (at < text.length) {
    const top = stack.at(-1);
    switch (text[at]) {
      case '{':
      case '[':
        if (stack.length >= limits.depthMax) {
          throw malformed('too-deep', `the body is nested deeper than ${limits.depthMax} levels`, [
            { path: pathOf(stack), message: `nested deeper than ${limits.depthMax} levels` },
          ]);
        }
        count();
        stack.push(
          text[at] === '{'
            ? { kind: 'object', keys: new Set(), key: '', wantsKey: true }
            : { kind: 'array', index: 0 },
        );
        at += 1;
        break;
      case '}':
      case ']':
        stack.pop();
        at += 1;
        break;
      case ',':
        if (top?.kind === 'array') {
          top.index += 1;
          count();
        } else if (top?.kind === 'object') top.wantsKey = true;
        at += 1;
        break;
      case '"': {
        const end = endOfString(text, at);
        const literal = text.slice(at, end);
        const string = literal.includes('\\') ? String(JSON.parse(literal)) : literal.slice(1, -1);
        if (top?.kind === 'object' && top.wantsKey) {
          count();
          enterKey(top, string, stack);
        }
        if (string.includes('\0') || !string.isWellFormed()) {
          throw invalid([
            { path: pathOf(stack), message: 'holds a NUL or a lone surrogate, which no text may' },
          ]);
        }
        at = end;
        break;
      }
      case '-':
      case '0':
      case '1':
      case '2':
      case '3':
      case '4':
      case '5':
      case '6':
      case '7':
      case '8':
      case '9': {
        NUMBER.lastIndex = at;
        const literal = NUMBER.exec(text)?.[0] ?? '';
        const refusal = refuseNumber(literal, stack);
        if (refusal !== null) throw refusal;
        at += Math.max(1, literal.length);
        break;
      }
      default:
        // White space, colons, and the letters of true, false and null.
        at += 1;
    }
  }
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length) {
    const unit = text.charCodeAt(at);
    if (unit === QUOTE) return at + 1;
    at += unit === BACKSLASH ? 2 : 1;
  }
  return at;
}

function enterKey(frame: Extract<Frame, { kind: 'object' }>, key: string, stack: readonly Frame[]): void {
  const isInConstructor = frameKey(stack.at(-2)) === 'constructor';
  frame.key = key;
  frame.wantsKey = false;
  if (key === '__proto__' || (key === 'prototype' && isInConstructor)) {
    throw malformed('malformed-json', 'the body has a key that is not allowed', [
      { path: pathOf(stack), message: 'this key is not allowed' },
    ]);
  }
  if (frame.keys.has(key)) {
    throw malformed('duplicate-key', 'the body states a key twice', [
      { path: pathOf(stack), message: 'stated twice' },
    ]);
  }
  frame.keys.add(key);
}

function frameKey(frame: Frame | undefined): string | null {
  return frame?.kind === 'object' ? frame.key : null;
}

function pathOf(stack: readonly Frame[]): string {
  const parts: PathPart[] = stack.map((frame) => (frame.kind === 'object' ? frame.key : frame.index));
  return parts.length === 0 ? 'body' : fieldPath(parts);
}

function refuseNumber(literal: string, stack: readonly Frame[]): Refusal | null {
  if (!Number.isFinite(Number(literal))) {
    return invalid([{ path: pathOf(stack), message: 'must be a finite number' }]);
  }
  if (!isHeldExactly(literal)) {
    return invalid([
      {
        path: pathOf(stack),
        message: 'has more digits than a JSON number keeps; send as string, or with at most 17 digits',
      },
    ]);
  }
  return null;
}

/**
 * Whether nothing is lost when the literal becomes a double and is printed again. A whole number beyond 2^53 must
 * come back as it was, because that is how it is recorded: 9007199254740993 does not pass. Below, %.17g output
 * passes too, which is longer than the shortest text of its double.
 */
export function isHeldExactly(literal: string): boolean {
  const stated = decimal(literal);
  if (stated.digits.length > 100) return false;
  const value = Number(literal);
  if (isSame(stated, decimal(String(value)))) return true;
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return false;
  return isSame(stated, decimal(value.toPrecision(Math.max(1, stated.digits.length))));
}

function isSame(a: ReturnType<typeof decimal>, b: ReturnType<typeof decimal>): boolean {
  return a.digits === b.digits && (a.digits === '' || a.exponent === b.exponent);
}

/** value = digits x 10^exponent, digits without zeros at either end; zero is ''. */
function decimal(literal: string): { digits: string; exponent: number } {
  const [mantissa, power] = splitExponent(literal);
  const [whole = '', fraction = ''] = mantissa.split('.');
  const all = whole + fraction;
  // Loops, not /0+$/: that regular expression is quadratic on 1000…0001.
  let start = 0;
  while (all.charCodeAt(start) === 0x30) start += 1;
  let end = all.length;
  while (end > start && all.charCodeAt(end - 1) === 0x30) end -= 1;
  return { digits: all.slice(start, end), exponent: Number(power) - fraction.length + (all.length - end) };
}

function splitExponent(literal: string): [string, string] {
  const unsigned = literal.startsWith('-') ? literal.slice(1) : literal;
  const at = unsigned.search(/[eE]/);
  return at === -1 ? [unsigned, '0'] : [unsigned.slice(0, at), unsigned.slice(at + 1)];
}
