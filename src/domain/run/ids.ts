/** Ids made by Interlock: a prefix and 26 characters of base32 of a SHA-256, so the same facts give the same id. */

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const LENGTH = 26;

/** SHA-256 of UTF-8 text as lower-case hex. Comes from outside: the domain imports no crypto. */
export type Digest = (text: string) => string;

/** `parts` are joined by a separator that ids cannot hold, so different parts never make the same text. */
export function idOf(prefix: string, digest: Digest, ...parts: readonly (string | number)[]): string {
  let value = BigInt(`0x${digest(parts.join('\n'))}`) >> BigInt(256 - 5 * LENGTH);
  let text = '';
  for (let i = 0; i < LENGTH; i += 1) {
    text = (ALPHABET[Number(value & 31n)] ?? '') + text;
    value >>= 5n;
  }
  return `${prefix}_${text}`;
}
