/**
 * JSON as Python writes it, read as a stream: values at selected paths are held one at a time, everything else is checked and passed over.
 *
 * Python's writers leave bare `NaN`, `Infinity` and `-Infinity`, which no JSON reader takes: a held value has them as these strings, and
 * a number too large for a double is the Infinity that Python reads it as. Otherwise strict: UTF-8, the grammar to its last byte, no
 * name twice in an object that is looked at (readers differ in which one counts), bounded depth.
 * Memory: one held value of at most `valueBytes`, and the names of the objects on a selected path. A skipped string of a gigabyte costs nothing.
 * Throws LogFault only: `log-truncated` where the text stops in the middle, `log-unreadable` where it is broken,
 * `log-too-large` over a bound. Known parsers hold whole strings, take no NaN, or cannot tell the first two apart: hence our own.
 */
import { HeldJson } from './json-held.ts';
import { LogFault } from './log-fault.ts';
import { Utf8Check } from './utf8-check.ts';

export type JsonValue = null | boolean | number | string | JsonValue[] | { [name: string]: JsonValue };
export type JsonKind = 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null';
export type JsonPath = readonly (string | number)[];

/** Any name or index. */
export const ANY: unique symbol = Symbol('any');

/** The path that is passed is the reader's own: valid during the call. Below a held value nothing else is selected. */
export interface Selection {
  readonly path: readonly (string | typeof ANY)[];
  readonly onStart?: ((kind: JsonKind, path: JsonPath) => void) | undefined;
  /** Has the value held. */
  readonly onValue?: ((value: JsonValue, path: JsonPath) => void) | undefined;
  readonly onEnd?: ((path: JsonPath) => void) | undefined;
}

export interface JsonLimits {
  /** Of one held value, in the bytes of the file. */
  readonly valueBytes: number;
  readonly depth?: number | undefined;
}

/** Deeper than anything that a harness writes; Python itself stops at about a thousand. */
const DEPTH = 1_000;
/** Of a held value: what comes after walks it recursively. */
const HELD_DEPTH = 128;
const NUMBER_CHARACTERS = 4_096;
const NAME_BYTES = 64 * 1024;
const NAMES = 1_000_000;

/** Reads the chunks to their end. */
export async function selectJson(
  chunks: AsyncIterable<Uint8Array>,
  selections: readonly Selection[],
  limits: JsonLimits,
): Promise<void> {
  const scanner = new JsonScanner(selections, limits);
  for await (const chunk of chunks) scanner.write(chunk);
  scanner.end();
}

type State =
  | 'value'
  | 'first-element'
  | 'first-name'
  | 'name'
  | 'colon'
  | 'after'
  | 'done'
  | 'string'
  | 'number'
  | 'literal';

interface PathNode {
  readonly names: Map<string, PathNode>;
  wildcard: PathNode | null;
  readonly selections: Selection[];
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Bytes that stand for themselves inside of a string. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x20 && byte !== QUOTE && byte !== BACKSLASH ? 1 : 0,
);
const NO_NODES: readonly PathNode[] = [];
const LITERALS: ReadonlyMap<number, string> = new Map(
  ['true', 'false', 'null', 'NaN', 'Infinity'].map((literal) => [literal.charCodeAt(0), literal]),
);
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$/;
const IN_NUMBER = oneOf('+-.0123456789eE');
const ESCAPED = oneOf('"\\/bfnrt');
const SPACE = oneOf(' \n\r\t');

/** One at the codes of these characters, for loops that look at every byte. */
function oneOf(characters: string): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) =>
    characters.includes(String.fromCharCode(byte)) ? 1 : 0,
  );
}

export class JsonScanner {
  readonly #root: PathNode;
  readonly #depthMax: number;
  readonly #utf8 = new Utf8Check();
  readonly #path: (string | number)[] = [];
  /** By the depth of a value: which selections it meets, whether it is an object, and the names it had so far. */
  readonly #nodes: (readonly PathNode[])[] = [];
  readonly #isObject: boolean[] = [];
  readonly #names: (Set<string> | null)[] = [];
  #state: State = 'value';
  /** Open objects and arrays. */
  #depth = 0;
  #offset = 0;
  /** Of a string: whether it is a name, and where an escape stands (-1: after the backslash, 1 to 4: hex digits to come). */
  #isName = false;
  #escape = 0;
  #literal = '';
  #token = '';
  readonly #held: HeldJson;
  #heldDepth = -1;
  readonly #name: HeldJson;
  #nameWanted = false;

  constructor(selections: readonly Selection[], limits: JsonLimits) {
    this.#root = compile(selections);
    this.#depthMax = limits.depth ?? DEPTH;
    this.#held = new HeldJson(limits.valueBytes, 'a value');
    this.#name = new HeldJson(NAME_BYTES, 'a name');
  }

  /** Whether the document has come to its end; only space may follow. */
  get complete(): boolean {
    return this.#state === 'done' || (this.#state === 'number' && this.#depth === 0);
  }

  write(chunk: Uint8Array): void {
    if (!this.#utf8.write(chunk)) throw new LogFault('log-unreadable', `not UTF-8 ${this.#near(0)}`);
    this.#held.chunk(chunk);
    this.#name.chunk(chunk);
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === 'string') at = this.#inString(chunk, at);
      else if (this.#state === 'number') at = this.#inNumber(chunk, at);
      else if (this.#state === 'literal') at = this.#inLiteral(chunk, at);
      else at = this.#between(chunk, at);
    }
    this.#held.chunkEnd();
    this.#name.chunkEnd();
    this.#offset += chunk.length;
  }

  end(): void {
    if (this.#offset === 0) throw new LogFault('log-empty', 'no text');
    if (this.#state === 'number' && this.#depth === 0) this.#numberEnd(0);
    if (this.#state !== 'done' || !this.#utf8.complete)
      throw new LogFault('log-truncated', `ends in the middle after ${this.#offset} bytes`);
  }

  #near(at: number): string {
    return `near byte ${this.#offset + at}`;
  }

  #broken(at: number): never {
    throw new LogFault('log-unreadable', `broken JSON ${this.#near(at)}`);
  }

  /** Between tokens: the byte decides what begins or ends. */
  #between(chunk: Uint8Array, at: number): number {
    const byte = chunk[at] ?? 0;
    if (SPACE[byte] === 1) {
      let next = at + 1;
      while (next < chunk.length && SPACE[chunk[next] ?? 0] === 1) next += 1;
      return next;
    }
    switch (this.#state) {
      case 'first-element':
        if (byte === 0x5d) return this.#close(at, false);
        return this.#begin(byte, at);
      case 'value':
        return this.#begin(byte, at);
      case 'first-name':
        if (byte === 0x7d) return this.#close(at, true);
        return this.#beginName(byte, at);
      case 'name':
        return this.#beginName(byte, at);
      case 'colon':
        if (byte !== 0x3a) this.#broken(at);
        this.#state = 'value';
        return at + 1;
      case 'after':
        return this.#after(byte, at);
      default:
        return this.#broken(at);
    }
  }

  #after(byte: number, at: number): number {
    const isObject = this.#isObject[this.#depth - 1] === true;
    if (byte === 0x2c) {
      this.#state = isObject ? 'name' : 'value';
      const index = this.#path[this.#depth - 1];
      if (!isObject && typeof index === 'number') this.#path[this.#depth - 1] = index + 1;
      return at + 1;
    }
    if (byte === (isObject ? 0x7d : 0x5d)) return this.#close(at, isObject);
    return this.#broken(at);
  }

  #close(at: number, isObject: boolean): number {
    if (this.#isObject[this.#depth - 1] !== isObject) this.#broken(at);
    this.#depth -= 1;
    this.#names[this.#depth] = null;
    this.#path.length = Math.min(this.#path.length, this.#depth);
    this.#ended(at + 1);
    return at + 1;
  }

  #beginName(byte: number, at: number): number {
    if (byte !== QUOTE) this.#broken(at);
    this.#state = 'string';
    this.#isName = true;
    this.#nameWanted = this.#heldDepth >= 0 || (this.#nodes[this.#depth - 1]?.length ?? 0) > 0;
    if (this.#nameWanted) this.#name.start(at);
    return at + 1;
  }

  #nameEnded(end: number): void {
    this.#state = 'colon';
    if (!this.#nameWanted) return;
    const name = this.#name.finish(end);
    if (typeof name !== 'string') return;
    const level = this.#depth - 1;
    const names = this.#names[level] ?? new Set<string>();
    this.#names[level] = names;
    if (names.has(name))
      throw new LogFault('log-unreadable', `a name twice in one object ${this.#near(end)}`);
    if (names.size >= NAMES) throw new LogFault('log-too-large', `over ${NAMES} names in one object`);
    names.add(name);
    if (this.#heldDepth < 0) this.#path[level] = name;
  }

  #begin(byte: number, at: number): number {
    const nodes = this.#meets();
    this.#nodes[this.#depth] = nodes;
    const kind = kindOf(byte);
    if (kind === null) this.#broken(at);
    let hold = false;
    for (const node of nodes) {
      for (const selection of node.selections) {
        selection.onStart?.(kind, this.#path);
        if (selection.onValue !== undefined) hold = true;
      }
    }
    if (hold) {
      this.#heldDepth = this.#depth;
      this.#held.start(at);
    }
    switch (kind) {
      case 'object':
      case 'array':
        return this.#open(at, kind === 'object');
      case 'string':
        this.#state = 'string';
        this.#isName = false;
        return at + 1;
      default:
        if (this.#heldDepth >= 0) this.#held.pause(at);
        this.#token = '';
        this.#literal = LITERALS.get(byte) ?? '';
        this.#state = this.#literal === '' ? 'number' : 'literal';
        return at;
    }
  }

  #open(at: number, isObject: boolean): number {
    const most =
      this.#heldDepth >= 0 ? Math.min(this.#heldDepth + HELD_DEPTH, this.#depthMax) : this.#depthMax;
    if (this.#depth >= most)
      throw new LogFault('log-too-large', `over ${most} levels deep ${this.#near(at)}`);
    this.#isObject[this.#depth] = isObject;
    const live = this.#heldDepth < 0 && (this.#nodes[this.#depth]?.length ?? 0) > 0;
    if (live && !isObject) this.#path[this.#depth] = 0;
    this.#depth += 1;
    this.#state = isObject ? 'first-name' : 'first-element';
    return at + 1;
  }

  /** Which selections the value that begins now meets. */
  #meets(): readonly PathNode[] {
    if (this.#heldDepth >= 0) return NO_NODES;
    if (this.#depth === 0) return [this.#root];
    const parents = this.#nodes[this.#depth - 1] ?? NO_NODES;
    if (parents.length === 0) return NO_NODES;
    const step = this.#path[this.#depth - 1];
    const met: PathNode[] = [];
    for (const parent of parents) {
      const named = typeof step === 'string' ? parent.names.get(step) : undefined;
      if (named !== undefined) met.push(named);
      if (parent.wildcard !== null) met.push(parent.wildcard);
    }
    return met;
  }

  /** The value at this depth is complete, and its last byte stands before `end`. */
  #ended(end: number): void {
    this.#state = this.#depth === 0 ? 'done' : 'after';
    const wasHeld = this.#heldDepth === this.#depth;
    if (this.#heldDepth >= 0 && !wasHeld) return;
    const nodes = this.#nodes[this.#depth] ?? NO_NODES;
    if (nodes.length === 0) return;
    const held = wasHeld ? this.#held.finish(end) : null;
    this.#heldDepth = -1;
    for (const node of nodes) {
      for (const selection of node.selections) {
        if (wasHeld) selection.onValue?.(held, this.#path);
        selection.onEnd?.(this.#path);
      }
    }
  }

  #inString(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.length) {
      const byte = chunk[at] ?? 0;
      if (this.#escape !== 0) this.#inEscape(byte, at);
      else if (byte === QUOTE) {
        if (this.#isName) this.#nameEnded(at + 1);
        else this.#ended(at + 1);
        return at + 1;
      } else if (byte === BACKSLASH) this.#escape = -1;
      else if (PLAIN[byte] === 1) {
        do at += 1;
        while (at < chunk.length && PLAIN[chunk[at] ?? 0] === 1);
        continue;
      } else this.#broken(at);
      at += 1;
    }
    return at;
  }

  #inEscape(byte: number, at: number): void {
    if (this.#escape === -1) {
      if (byte === 0x75) this.#escape = 4;
      else if (ESCAPED[byte] === 1) this.#escape = 0;
      else this.#broken(at);
      return;
    }
    const isHex = (byte >= 0x30 && byte <= 0x39) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
    if (!isHex) this.#broken(at);
    this.#escape -= 1;
  }

  #inNumber(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.length && IN_NUMBER[chunk[at] ?? 0] === 1) at += 1;
    this.#token += latin(chunk.subarray(from, at));
    if (this.#token.length > NUMBER_CHARACTERS)
      throw new LogFault('log-too-large', `a number of over ${NUMBER_CHARACTERS} characters`);
    if (at === chunk.length) return at;
    if (this.#token === '-' && chunk[at] === 0x49) {
      this.#literal = '-Infinity';
      this.#state = 'literal';
      return at;
    }
    this.#numberEnd(at);
    return at;
  }

  #numberEnd(at: number): void {
    if (!NUMBER.test(this.#token)) this.#broken(at);
    const value = Number(this.#token);
    this.#tokenEnded(Number.isFinite(value) ? this.#token : JSON.stringify(String(value)), at);
  }

  #inLiteral(chunk: Uint8Array, from: number): number {
    const rest = this.#literal.length - this.#token.length;
    const at = Math.min(chunk.length, from + rest);
    this.#token += latin(chunk.subarray(from, at));
    if (!this.#literal.startsWith(this.#token)) this.#broken(from);
    if (this.#token !== this.#literal) return at;
    const isJson = this.#token === 'true' || this.#token === 'false' || this.#token === 'null';
    this.#tokenEnded(isJson ? this.#token : JSON.stringify(this.#token), at);
    return at;
  }

  #tokenEnded(text: string, at: number): void {
    if (this.#heldDepth >= 0) this.#held.resume(text, at);
    this.#ended(at);
  }
}

function compile(selections: readonly Selection[]): PathNode {
  const root: PathNode = { names: new Map(), wildcard: null, selections: [] };
  for (const selection of selections) {
    let node = root;
    for (const step of selection.path) {
      if (step === ANY) {
        node.wildcard ??= { names: new Map(), wildcard: null, selections: [] };
        node = node.wildcard;
      } else {
        const next = node.names.get(step) ?? { names: new Map(), wildcard: null, selections: [] };
        node.names.set(step, next);
        node = next;
      }
    }
    node.selections.push(selection);
  }
  return root;
}

function kindOf(byte: number): JsonKind | null {
  switch (byte) {
    case 0x7b:
      return 'object';
    case 0x5b:
      return 'array';
    case QUOTE:
      return 'string';
    case 0x74:
    case 0x66:
      return 'boolean';
    case 0x6e:
      return 'null';
    case 0x4e: // NaN
    case 0x49: // Infinity
    case 0x2d:
      return 'number';
    default:
      return byte >= 0x30 && byte <= 0x39 ? 'number' : null;
  }
}

function latin(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, NUMBER_CHARACTERS + 1));
}
