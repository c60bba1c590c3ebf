import { isUtf8 } from 'node:buffer';

/** Validity of UTF-8 over the borders of chunks. */
export class Utf8Check {
  #carry = Buffer.alloc(0);

  get complete(): boolean {
    return this.#carry.length === 0;
  }

  write(chunk: Uint8Array): boolean {
    let from = 0;
    if (this.#carry.length > 0) {
      from = Math.min(chunk.length, sequenceLength(this.#carry[0] ?? 0) - this.#carry.length);
      const whole = Buffer.concat([this.#carry, chunk.subarray(0, from)]);
      if (whole.length < sequenceLength(whole[0] ?? 0)) {
        this.#carry = whole;
        return true;
      }
      this.#carry = Buffer.alloc(0);
      if (!isUtf8(whole)) return false;
    }
    const to = chunk.length - openTail(chunk, from);
    this.#carry = Buffer.from(chunk.subarray(to));
    return isUtf8(chunk.subarray(from, to));
  }
}

function sequenceLength(lead: number): number {
  if (lead >= 0xf0) return 4;
  if (lead >= 0xe0) return 3;
  return lead >= 0xc0 ? 2 : 1;
}

/** Bytes at the end that begin a character which goes on in the next chunk. */
function openTail(chunk: Uint8Array, from: number): number {
  for (let back = 1; back <= 3 && chunk.length - back >= from; back += 1) {
    const byte = chunk[chunk.length - back] ?? 0;
    if (byte >= 0xc0) return sequenceLength(byte) > back ? back : 0;
    if (byte < 0x80) return 0;
  }
  return 0;
}
