/**
 * The canonical text of a state, most of which was written before: an append changes a part of a state, and the other
 * parts are the very same objects. Their texts are kept for as long as they are.
 *
 * Two levels are remembered, the members of a state and the elements of its lists, because that is where states grow.
 * Rests on what an `Append` asks of its author: a state may not be changed once it was handed over.
 */
import { canonicalJson, type Json } from '../domain/canonical-json.ts';

const written = new WeakMap<object, string>();

export function stateText(state: Json, depthMax: number): string {
  // What is no plain object is left to the one that knows what to refuse.
  if (typeof state !== 'object' || state === null || Object.getPrototypeOf(state) !== Object.prototype) {
    return canonicalJson(state, depthMax);
  }
  const members = Object.entries(state).sort(([a], [b]) => (a < b ? -1 : 1));
  let text = '';
  for (const [key, member] of members) {
    text += `${text === '' ? '' : ','}${canonicalJson(key)}:${memberText(member, depthMax - 1)}`;
  }
  return `{${text}}`;
}

function memberText(member: Json, depthMax: number): string {
  if (!Array.isArray(member)) return remembered(member, depthMax);
  const known = written.get(member);
  if (known !== undefined) return known;
  let text = '';
  for (const element of member) text += `${text === '' ? '' : ','}${remembered(element, depthMax - 1)}`;
  return kept(member, `[${text}]`);
}

function remembered(part: Json, depthMax: number): string {
  if (typeof part !== 'object' || part === null) return canonicalJson(part, depthMax);
  const known = written.get(part);
  if (known !== undefined) return known;
  return kept(part, canonicalJson(part, depthMax));
}

/**
 * V8 holds what was put together as a tree of its pieces until somebody reads it, and a text of small pieces takes
 * seven times its length as that. Counting its bytes reads it.
 */
function kept(part: object, text: string): string {
  Buffer.byteLength(text);
  written.set(part, text);
  return text;
}
