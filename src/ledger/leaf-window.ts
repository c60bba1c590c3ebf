/**
 * The newest leaves of a ledger that streams by, so that a signed head at the end of a file can still be checked
 * against the tree as it was when that head was signed.
 *
 * Memory is bounded: past `CHUNKS_MAX` chunks the oldest leaves fold into a compact range, and heads older than
 * that can no longer be checked (`stateAt` says null).
 */
import { GENESIS_HASH } from './envelope.ts';
import { CompactRange, HASH_BYTES } from './merkle.ts';

export interface TreeState {
  size: number;
  root: string;
  hash: string;
}

export const stateOf = (tree: CompactRange, hash: string): TreeState => ({
  size: tree.size,
  root: tree.root().toString('hex'),
  hash,
});

export class LeafWindow {
  readonly #chunkLeaves: number;
  readonly #chunksMax: number;
  readonly #chunks: Buffer[] = [];
  readonly #base = new CompactRange();
  #baseHash = GENESIS_HASH;
  #size = 0;
  /** Where the last question was answered: heads come in rising order, so that all of them cost one pass. */
  #cursor = new CompactRange();

  /** By default two million leaves in 64 MB. */
  constructor({ chunkLeaves = 65_536, chunksMax = 32 } = {}) {
    this.#chunkLeaves = chunkLeaves;
    this.#chunksMax = chunksMax;
  }

  push(leaf: Buffer): void {
    const at = (this.#size - this.#base.size) % this.#chunkLeaves;
    if (at === 0) {
      if (this.#chunks.length === this.#chunksMax) this.#forgetOldest();
      this.#chunks.push(Buffer.alloc(this.#chunkLeaves * HASH_BYTES));
    }
    leaf.copy(this.#chunks[this.#chunks.length - 1] ?? leaf, at * HASH_BYTES);
    this.#size += 1;
  }

  /** The tree when it had `size` leaves, or null where that is too long ago (or still to come). */
  stateAt(size: number): TreeState | null {
    if (size < this.#base.size || size > this.#size) return null;
    if (this.#cursor.size > size || this.#cursor.size < this.#base.size) this.#cursor = this.#base.clone();
    while (this.#cursor.size < size) this.#cursor.append(this.#leaf(this.#cursor.size));
    const hash = size === this.#base.size ? this.#baseHash : this.#leaf(size - 1).toString('hex');
    return stateOf(this.#cursor, hash);
  }

  isAmongLast(count: number, leaf: Buffer): boolean {
    const oldest = Math.max(this.#base.size, this.#size - count);
    for (let index = this.#size - 1; index >= oldest; index -= 1) {
      if (this.#leaf(index).equals(leaf)) return true;
    }
    return false;
  }

  #leaf(index: number): Buffer {
    const inWindow = index - this.#base.size;
    const chunk = this.#chunks[Math.floor(inWindow / this.#chunkLeaves)];
    if (chunk === undefined) throw new RangeError('the leaf is not in the window');
    const at = (inWindow % this.#chunkLeaves) * HASH_BYTES;
    // A copy: the tree keeps what it is given, and a slice would keep the whole chunk alive.
    return Buffer.from(chunk.subarray(at, at + HASH_BYTES));
  }

  #forgetOldest(): void {
    let last = Buffer.alloc(0);
    const first = this.#base.size;
    for (let index = 0; index < this.#chunkLeaves; index += 1) {
      last = Buffer.from(this.#chunks[0]?.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES) ?? last);
      this.#base.append(last);
    }
    this.#baseHash = last.toString('hex');
    if (this.#base.size !== first + this.#chunkLeaves) throw new RangeError('a chunk was folded in part');
    this.#chunks.shift();
  }
}
