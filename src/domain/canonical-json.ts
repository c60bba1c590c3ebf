/**
 * Canonical JSON (RFC 8785): one text per value, so that a digest or a hash names the value.
 *
 * Refuses what JSON cannot carry faithfully (undefined, NaN, Infinity, lone surrogates) instead of
 * dropping it: a digest over a silently changed value would bind people to something they never saw.
 */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** `depthMax`: how deep lists and objects may be nested. */
export function canonicalJson(value: Json, depthMax = Number.POSITIVE_INFINITY): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new RangeError('canonical JSON has no NaN or Infinity');
    return String(value);
  }
  if (typeof value === 'string') return quoted(value);
  if (depthMax <= 0) throw new RangeError('nested too deep for this canonical JSON');
  // By concatenation: every event, state and view is written by this, and it is twice as fast as joining lists.
  let text = '';
  if (Array.isArray(value)) {
    for (const item of value) text += `${text === '' ? '' : ','}${canonicalJson(item, depthMax - 1)}`;
    return `[${text}]`;
  }
  // A Date or a Map has no members of its own: it would be written as {}.
  if (Object.prototype.toString.call(value) !== '[object Object]') {
    throw new RangeError('canonical JSON has no objects but plain ones');
  }
  for (const key of sortedKeys(value)) {
    const member = value[key];
    if (member === undefined) throw new RangeError(`canonical JSON has no undefined (at ${key})`);
    text += `${text === '' ? '' : ','}${quoted(key)}:${canonicalJson(member, depthMax - 1)}`;
  }
  return `{${text}}`;
}

/** Printable ASCII that stands for itself: most text, and far cheaper to look at than to hand to `JSON.stringify`. */
const PLAIN_TEXT = /^[ !#-[\]-~]*$/;

function quoted(text: string): string {
  if (PLAIN_TEXT.test(text)) return `"${text}"`;
  if (!text.isWellFormed()) throw new RangeError('canonical JSON has no lone surrogates');
  return JSON.stringify(text);
}

/** RFC 8785 3.2.3: sorted by UTF-16 code units, which is how `sort` and `<` compare strings. */
function sortedKeys(value: JsonObject): string[] {
  const keys = Object.keys(value);
  let previous = '';
  for (const key of keys) {
    if (key < previous) return keys.sort();
    previous = key;
  }
  return keys;
}

/**
 * A value as JSON leaves it: without members that are undefined. Where there is nothing to leave out it is the value
 * itself, which from then on nobody may change: looking is far cheaper than writing every state and reading it back.
 */
export function plainJson(value: readonly unknown[]): Json[];
export function plainJson(value: object): JsonObject;
export function plainJson(value: object): Json {
  return isPlain(value) ? value : JSON.parse(JSON.stringify(value));
}

/**
 * Parts that were looked at before: the members of a state and the elements of its lists, which an event leaves as
 * they were. Not what is in them: of every object there is, the set would cost the collector more than it saves.
 */
const knownPlain = new WeakSet<object>();
const REMEMBERED_DEPTH = 2;

/** Whether writing it as JSON and reading it back gives the same again. */
function isPlain(value: unknown, depth = 0): value is Json {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return true;
  // JSON has no minus zero: it comes back without the minus.
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== 'object') return false;
  if (knownPlain.has(value)) return true;
  // Not by `every`, which passes over the holes of a list.
  const members: Iterable<unknown> = Array.isArray(value) ? value : Object.values(value);
  if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) return false;
  for (const member of members) if (!isPlain(member, depth + 1)) return false;
  if (depth <= REMEMBERED_DEPTH) knownPlain.add(value);
  return true;
}

/** Whether both are the same as JSON: members that are undefined count as absent, as JSON leaves them out. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    return nullIfNotFinite(a) === nullIfNotFinite(b);
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, i) => sameJson(item, b[i]))
    );
  }
  const members = new Map(Object.entries(b).filter(([, member]) => member !== undefined));
  const mine = Object.entries(a).filter(([, member]) => member !== undefined);
  return (
    mine.length === members.size &&
    mine.every(([key, member]) => members.has(key) && sameJson(member, members.get(key)))
  );
}

/** JSON has no other numbers, and writes these as null. */
function nullIfNotFinite(value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? null : value;
}
