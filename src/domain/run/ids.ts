/** Ids made by Interlock: a prefix and 26 characters of base32 of a SHA-256, so the same facts give the same id. */

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const LENGTH = 26;

/** SHA-256 of UTF-8 text as lower-case hex. Comes from outside: the domain imports no crypto. */
export type Digest = (text: string) => string;

/** `parts` are joined by a separator that ids cannot hold, so different parts never make the same text. */
export function idOf(prefix: string, digest: Digest, ...parts: readonly (string | number)[]): string {
  const hex = digest(parts.join('\n'));
  let text = '';
  // Five hex digits are four of base32; the last of them are cut in the middle.
  for (let at = 0; text.length < LENGTH; at += 5) text += base32(Number.parseInt(hex.slice(at, at + 5), 16));
  return `${prefix}_${text.slice(0, LENGTH)}`;
}

/** Of ten bits each: ids are made and checked for every event. */
const PAIRS = [...ALPHABET].flatMap((first) => [...ALPHABET].map((second) => first + second));
const base32 = (twentyBits: number): string => `${PAIRS[twentyBits >> 10]}${PAIRS[twentyBits & 1023]}`;
