/**
 * The envelope: one event as the bytes that are stored, hashed, exported and verified.
 *
 * Canonical JSON (RFC 8785) of `{actor, data, id, kind, prevHash, recordedAt, stream, version}`; its hash is
 * SHA-256(0x00 || bytes), which is also its leaf in the Merkle tree; `prevHash` names the event before it in the
 * whole ledger, so that one hash binds all that came before.
 *
 * Reading is strict: what is not byte for byte the canonical form is refused, never repaired, because a verifier
 * that forgives a spelling lets two different files carry the same proof.
 */
import { hash } from 'node:crypto';
import { canonicalJson, type Json, type JsonObject } from '../domain/canonical-json.ts';
import { idOf } from '../domain/run/ids.ts';
import { leafHash } from './merkle.ts';

/** Before the first event, and the hash of an empty ledger. */
export const GENESIS_HASH = '0'.repeat(64);

export interface Envelope {
  actor: string;
  data: JsonObject;
  id: string;
  kind: string;
  prevHash: string;
  recordedAt: string;
  stream: string;
  version: number;
}

const MEMBERS = ['actor', 'data', 'id', 'kind', 'prevHash', 'recordedAt', 'stream', 'version'];

const sha256Hex = (text: string): string => hash('sha256', text, 'hex');

/** An event's id follows from its place, so that nobody can give one event two ids or two events one. */
export const eventId = (stream: string, version: number): string =>
  idOf('evt', sha256Hex, `${stream}:${version}`);

/** `dataJson` is the data already in canonical form: it was checked and written once, when it was accepted. */
export function sealEnvelope(event: {
  actor: string;
  dataJson: string;
  id: string;
  kind: string;
  prevHash: string;
  recordedAt: string;
  stream: string;
  version: number;
}): { text: string; leaf: Buffer } {
  const { dataJson, version } = event;
  const text = `{"actor":${canonicalJson(event.actor)},"data":${dataJson},"id":${canonicalJson(event.id)},"kind":${canonicalJson(event.kind)},"prevHash":"${event.prevHash}","recordedAt":"${event.recordedAt}","stream":${canonicalJson(event.stream)},"version":${version}}`;
  return { text, leaf: leafHash(text) };
}

export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function parseJson(text: string): Json {
  const value: Json = JSON.parse(text);
  return value;
}

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

export type ParsedEnvelope =
  | { ok: true; envelope: Envelope }
  | { ok: false; code: 'unreadable' | 'not-canonical'; message: string };

/** Reads an envelope, and says whether its text is exactly the canonical form of what it says. */
export function parseEnvelope(text: string): ParsedEnvelope {
  const parsed = parseCanonical(text);
  return parsed.ok ? readEnvelope(parsed.value) : parsed;
}

/** Strict JSON (`value` is what a lax reader would have seen): duplicate members, other spellings of a number and white space all end in other bytes. */
export function parseCanonical(
  text: string,
):
  | { ok: true; value: Json }
  | { ok: false; code: 'unreadable' | 'not-canonical'; message: string; value?: Json } {
  let value: Json;
  try {
    value = parseJson(text);
  } catch {
    return { ok: false, code: 'unreadable', message: 'is not JSON' };
  }
  let canonical: string;
  try {
    if (isSurelyCanonical(value, text)) return { ok: true, value };
    canonical = canonicalJson(value);
  } catch {
    const message = 'holds a value that canonical JSON cannot carry';
    return { ok: false, code: 'not-canonical', value, message };
  }
  if (canonical === text) return { ok: true, value };
  return {
    ok: false,
    code: 'not-canonical',
    value,
    message: `is not in canonical form: it differs at character ${firstDifference(canonical, text) + 1}`,
  };
}

/**
 * The quick way to a yes; a no is left to the slow one. What V8 writes is RFC 8785 but for the order of keys (which it
 * keeps, so it must be right already) and for half surrogates (which it writes escaped, as `\\ud` and two digits).
 */
function isSurelyCanonical(value: Json, text: string): boolean {
  return JSON.stringify(value) === text && !text.includes('\\ud') && hasOrderedKeys(value);
}

function hasOrderedKeys(value: Json | undefined): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(hasOrderedKeys);
  let previous: string | null = null;
  for (const key of Object.keys(value)) {
    if ((previous !== null && previous >= key) || !hasOrderedKeys(value[key])) return false;
    previous = key;
  }
  return true;
}

function firstDifference(left: string, right: string): number {
  let at = 0;
  while (at < left.length && left[at] === right[at]) at += 1;
  return at;
}

/** Shape only, for text that is known to be canonical (this code wrote it). */
export function readEnvelope(value: Json): ParsedEnvelope {
  if (!isJsonObject(value)) return unreadable('is not an object');
  const members = Object.keys(value);
  const unknown = members.find((name) => !MEMBERS.includes(name));
  if (unknown !== undefined || members.length !== MEMBERS.length) {
    return unreadable(`has not exactly the members ${MEMBERS.join(', ')}`);
  }
  const { actor, data, id, kind, prevHash, recordedAt, stream, version } = value;
  if (!isJsonObject(data)) return unreadable('has data that is not an object');
  if (typeof actor !== 'string' || typeof id !== 'string' || typeof kind !== 'string') {
    return unreadable('has an actor, id or kind that is not text');
  }
  if (typeof stream !== 'string' || stream === '') return unreadable('names no stream');
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1) {
    return unreadable('has a version that is not a whole number from 1');
  }
  if (typeof prevHash !== 'string' || !/^[0-9a-f]{64}$/.test(prevHash)) {
    return unreadable('has a prevHash that is not 64 hexadecimal digits');
  }
  if (typeof recordedAt !== 'string' || !isTimestamp(recordedAt)) {
    return unreadable('has a recordedAt that is not a UTC time with milliseconds');
  }
  return { ok: true, envelope: { actor, data, id, kind, prevHash, recordedAt, stream, version } };
}

/** Events of one transaction share their time. */
let lastTimestamp = '';

export function isTimestamp(text: string): boolean {
  if (text === lastTimestamp) return true;
  if (!TIMESTAMP.test(text)) return false;
  const time = new Date(text);
  if (Number.isNaN(time.getTime()) || time.toISOString() !== text) return false;
  lastTimestamp = text;
  return true;
}

const unreadable = (message: string): ParsedEnvelope => ({ ok: false, code: 'unreadable', message });
