/**
 * How deeply JSON text nests, found without recursion and before anything is parsed.
 *
 * What walks a parsed value recurses, and text of a few kilobytes nests deeply enough to use up the machine's stack.
 * That throws at best; where V8 happens to compile a pattern at the end of the stack, it ends the process.
 */

/** How deeply a message may nest, and far deeper than one does. */
export const JSON_DEPTH_MAX = 32;

/** Of text that is no JSON the answer means nothing, and costs no more. */
export function nestsDeeperThan(bytes: Uint8Array, depthMax: number): boolean {
  let depth = 0;
  let isInString = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (isInString) {
      if (byte === BACKSLASH) at += 1;
      else if (byte === QUOTE) isInString = false;
    } else if (byte === QUOTE) isInString = true;
    else if (byte === OPENING_BRACKET || byte === OPENING_BRACE) {
      depth += 1;
      if (depth > depthMax) return true;
    } else if (byte === CLOSING_BRACKET || byte === CLOSING_BRACE) depth -= 1;
  }
  return false;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
