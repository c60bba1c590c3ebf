/**
 * The verifier's quick way: reads an envelope off its bytes, without a string or a value for what it need not know.
 *
 * It only ever says yes to what `parseEnvelope` (envelope.ts) accepts; a null means "look properly", never "wrong".
 * So it may be narrower than canonical JSON (names of members are printable ASCII, numbers of the common form are
 * told by their digits), and must not be wider: a spelling let through here would let two files carry one proof.
 */
import { isUtf8 } from 'node:buffer';
import { type Envelope, isTimestamp } from './envelope.ts';

/** What places an event in the ledger and in its stream. */
export type EventPlace = Pick<Envelope, 'id' | 'prevHash' | 'recordedAt' | 'stream' | 'version'>;

/** Deeper than any event is; what is deeper is read by the slow way, which has its own end. */
const DEPTH_MAX = 64;
/** So many digits name a number exactly: no other spelling of that length means the same double. */
const DIGITS_MAX = 15;
/** V8 writes what is smaller than 0.000001 with an exponent. */
const LEADING_ZEROS_MAX = 5;
const HASH_DIGITS = 64;
const TIMESTAMP_LENGTH = 24;

const QUOTE = 0x22;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const BACKSLASH = 0x5c;
const [COMMA, COLON] = [0x2c, 0x3a];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

const tableOf = (accepts: (code: number) => boolean): Uint8Array =>
  Uint8Array.from({ length: 256 }, (_, code) => (accepts(code) ? 1 : 0));

/** Bytes that stand for themselves in a string. Above ASCII only as UTF-8, which is checked once for the line. */
const PLAIN = tableOf((code) => code >= 0x20 && code !== QUOTE && code !== BACKSLASH);
const PLAIN_ASCII = tableOf((code) => code >= 0x20 && code < 0x7f && code !== QUOTE && code !== BACKSLASH);
/** The escapes of two characters, each the only canonical spelling of what it means. */
const ESCAPED = tableOf((code) => '"\\bfnrt'.includes(String.fromCharCode(code)));
const IN_NUMBER = tableOf((code) => '0123456789.eE+-'.includes(String.fromCharCode(code)));
const HEX = tableOf((code) => '0123456789abcdef'.includes(String.fromCharCode(code)));

const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const ACTOR = bytesOf('{"actor":"');
const DATA = bytesOf('","data":');
const ID = bytesOf(',"id":"');
const KIND = bytesOf('","kind":"');
const PREV_HASH = bytesOf('","prevHash":"');
const RECORDED_AT = bytesOf('","recordedAt":"');
const STREAM = bytesOf('","stream":"');
const VERSION = bytesOf('","version":');
const [TRUE, FALSE, NULL] = [bytesOf('true'), bytesOf('false'), bytesOf('null')];

/** Every step takes where it begins and returns where it ended, or NOT where it is not certain. */
const NOT = -1;

/** The place of an event whose bytes are surely an envelope in canonical form, or null. */
export function scanEnvelope(line: Uint8Array): EventPlace | null {
  let at = expect(line, 0, ACTOR);
  at = expect(line, past(line, at, PLAIN_ASCII), DATA);
  if (at === NOT || line[at] !== OPEN_OBJECT) return null;
  at = expect(line, scanValue(line, at, 0), ID);
  const id = at;
  const idEnd = past(line, at, PLAIN_ASCII);
  at = expect(line, idEnd, KIND);
  at = expect(line, past(line, at, PLAIN_ASCII), PREV_HASH);
  const prevHash = at;
  const prevHashEnd = past(line, at, HEX);
  at = expect(line, prevHashEnd, RECORDED_AT);
  const recordedAt = at;
  at = expect(line, at === NOT ? NOT : at + TIMESTAMP_LENGTH, STREAM);
  const stream = at;
  const streamEnd = past(line, at, PLAIN_ASCII);
  at = expect(line, streamEnd, VERSION);
  if (at === NOT || prevHashEnd - prevHash !== HASH_DIGITS || streamEnd === stream) return null;
  const version = wholeNumber(line, at, line.length - 1);
  if (version === null || line[line.length - 1] !== CLOSE_OBJECT) return null;
  const text = Buffer.isBuffer(line) ? line : Buffer.from(line.buffer, line.byteOffset, line.length);
  const time = text.toString('latin1', recordedAt, recordedAt + TIMESTAMP_LENGTH);
  if (!isTimestamp(time) || !isUtf8(line)) return null;
  return {
    id: text.toString('latin1', id, idEnd),
    prevHash: text.toString('latin1', prevHash, prevHashEnd),
    recordedAt: time,
    stream: text.toString('latin1', stream, streamEnd),
    version,
  };
}

function expect(line: Uint8Array, at: number, wanted: Uint8Array): number {
  if (at === NOT || at + wanted.length > line.length) return NOT;
  for (let i = 0; i < wanted.length; i += 1) if (line[at + i] !== wanted[i]) return NOT;
  return at + wanted.length;
}

/** Past the bytes of a kind; the end of the line is of no kind. */
function past(line: Uint8Array, from: number, kind: Uint8Array): number {
  if (from === NOT) return NOT;
  let at = from;
  const end = line.length;
  while (at < end && kind[line[at] ?? 0] === 1) at += 1;
  return at;
}

/** A whole number from 1 that ends exactly at `end`. */
function wholeNumber(line: Uint8Array, from: number, end: number): number | null {
  if (end <= from || end - from > DIGITS_MAX || line[from] === ZERO) return null;
  let value = 0;
  for (let at = from; at < end; at += 1) {
    const digit = (line[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  return value;
}

function scanValue(line: Uint8Array, at: number, depth: number): number {
  const first = line[at];
  if (first === QUOTE) return scanString(line, at + 1);
  if (first === OPEN_OBJECT) return depth < DEPTH_MAX ? scanObject(line, at + 1, depth + 1) : NOT;
  if (first === OPEN_LIST) return depth < DEPTH_MAX ? scanList(line, at + 1, depth + 1) : NOT;
  if (first === 0x74) return expect(line, at, TRUE);
  if (first === 0x66) return expect(line, at, FALSE);
  if (first === 0x6e) return expect(line, at, NULL);
  return scanNumber(line, at);
}

/** From behind the opening quotation mark to behind the closing one. */
function scanString(line: Uint8Array, from: number): number {
  let at = past(line, from, PLAIN);
  while (line[at] === BACKSLASH) {
    if (ESCAPED[line[at + 1] ?? 0] !== 1) return NOT;
    at = past(line, at + 2, PLAIN);
  }
  return line[at] === QUOTE ? at + 1 : NOT;
}

function scanList(line: Uint8Array, from: number, depth: number): number {
  if (line[from] === CLOSE_LIST) return from + 1;
  let at = from;
  for (;;) {
    at = scanValue(line, at, depth);
    if (at === NOT) return NOT;
    const next = line[at];
    at += 1;
    if (next === CLOSE_LIST) return at;
    if (next !== COMMA) return NOT;
  }
}

function scanObject(line: Uint8Array, from: number, depth: number): number {
  if (line[from] === CLOSE_OBJECT) return from + 1;
  let at = from;
  let [key, keyEnd] = [0, 0];
  for (;;) {
    if (line[at] !== QUOTE) return NOT;
    const start = at + 1;
    const end = past(line, start, PLAIN_ASCII);
    if (line[end] !== QUOTE || line[end + 1] !== COLON) return NOT;
    if (at !== from && !isBefore(line, key, keyEnd, start, end)) return NOT;
    key = start;
    keyEnd = end;
    at = scanValue(line, end + 2, depth);
    if (at === NOT) return NOT;
    const next = line[at];
    at += 1;
    if (next === CLOSE_OBJECT) return at;
    if (next !== COMMA) return NOT;
  }
}

/** Whether one name sorts strictly before another, which also rules out a second of the same. */
function isBefore(line: Uint8Array, left: number, leftEnd: number, right: number, rightEnd: number): boolean {
  for (let i = 0; ; i += 1) {
    if (right + i === rightEnd) return false;
    if (left + i === leftEnd) return true;
    const difference = (line[left + i] ?? 0) - (line[right + i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
}

function scanNumber(line: Uint8Array, from: number): number {
  const start = line[from] === MINUS ? from + 1 : from;
  let at = pastDigits(line, start);
  const whole = at - start;
  if (whole === 0 || (whole > 1 && line[start] === ZERO)) return NOT;
  const next = line[at] ?? 0;
  if (IN_NUMBER[next] !== 1) {
    const isMinusZero = start !== from && line[start] === ZERO;
    return whole <= DIGITS_MAX && !isMinusZero ? at : spelledByV8(line, from, at);
  }
  if (next !== POINT) return spelledByV8(line, from, past(line, at, IN_NUMBER));
  const fraction = at + 1;
  at = pastDigits(line, fraction);
  const end = past(line, at, IN_NUMBER);
  let zeros = 0;
  while (line[fraction + zeros] === ZERO) zeros += 1;
  const isSure =
    end === at &&
    at > fraction &&
    line[at - 1] !== ZERO &&
    whole + at - fraction <= DIGITS_MAX &&
    zeros <= LEADING_ZEROS_MAX;
  return isSure ? at : spelledByV8(line, from, end);
}

function pastDigits(line: Uint8Array, from: number): number {
  let at = from;
  for (let code = line[at] ?? 0; code >= ZERO && code <= NINE; code = line[at] ?? 0) at += 1;
  return at;
}

/** RFC 8785 spells numbers as ECMAScript does. What is no number is spelled NaN, which holds none of these bytes. */
function spelledByV8(line: Uint8Array, from: number, end: number): number {
  const text = Buffer.from(line.buffer, line.byteOffset, line.length).toString('latin1', from, end);
  return String(Number(text)) === text ? end : NOT;
}
