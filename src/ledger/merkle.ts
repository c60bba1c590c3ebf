/**
 * The Merkle tree of RFC 6962 (certificate transparency) over the ledger's events.
 *
 * One leaf per event: SHA-256(0x00 || envelope bytes), which is the event's own hash. A node is
 * SHA-256(0x01 || left || right). The tree is never held: a compact range (the roots of the perfect subtrees,
 * largest first, at most one per bit of the size) is enough to append in O(log n) and to tell the root.
 *
 * Pure. Positions and sizes are counted with plain arithmetic, not with bit operations, which end at 2^31.
 */
import { hash } from 'node:crypto';

export const HASH_BYTES = 32;
const LEAF_PREFIX = 0x00;
const NODE_PREFIX = 0x01;

/** Where prefix and content are put side by side: one call for both costs half of what a stream of them does. */
let scratch = Buffer.alloc(8_192);
const pair = Buffer.alloc(1 + 2 * HASH_BYTES, NODE_PREFIX);

/** By way of its text: V8 makes sixty-four characters in half the time of a small buffer. */
const sha256 = (bytes: Uint8Array): Buffer => Buffer.from(hash('sha256', bytes, 'hex'), 'hex');

export function leafHash(entry: string | Uint8Array): Buffer {
  const bytes = typeof entry === 'string' ? Buffer.from(entry) : entry;
  if (scratch.length <= bytes.length) scratch = Buffer.alloc(2 * bytes.length + 1);
  scratch[0] = LEAF_PREFIX;
  scratch.set(bytes, 1);
  return sha256(scratch.subarray(0, bytes.length + 1));
}

function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  if (left.length !== HASH_BYTES || right.length !== HASH_BYTES) throw new RangeError('a hash has 32 bytes');
  pair.set(left, 1);
  pair.set(right, 1 + HASH_BYTES);
  return sha256(pair);
}

/** RFC 6962 2.1: the root of the empty tree is the hash of nothing. */
const emptyRoot = (): Buffer => hash('sha256', '', 'buffer');

/** The roots of the perfect subtrees that make up the first `size` leaves, and nothing else of the tree. */
export class CompactRange {
  #size: number;
  readonly #frontier: Buffer[];

  constructor(size = 0, frontier: readonly Buffer[] = []) {
    if (!Number.isSafeInteger(size) || size < 0) throw new RangeError('a tree has a whole number of leaves');
    if (frontier.length !== subtreeCount(size)) {
      throw new RangeError(`a tree of ${size} leaves has ${subtreeCount(size)} perfect subtrees`);
    }
    if (frontier.some((hash) => hash.length !== HASH_BYTES))
      throw new RangeError('a subtree hash has 32 bytes');
    this.#size = size;
    this.#frontier = [...frontier];
  }

  static fromHex(size: number, frontier: readonly string[]): CompactRange {
    return new CompactRange(
      size,
      frontier.map((hash) => Buffer.from(hash, 'hex')),
    );
  }

  get size(): number {
    return this.#size;
  }

  frontierHex(): string[] {
    return this.#frontier.map((hash) => hash.toString('hex'));
  }

  append(leaf: Buffer): void {
    let merged = leaf;
    // Every trailing one of the size in binary is a subtree as large as what is being added: merge them.
    for (let rest = this.#size; rest % 2 === 1; rest = (rest - 1) / 2) {
      const left = this.#frontier.pop();
      if (left === undefined) throw new RangeError('the frontier does not fit the size');
      merged = nodeHash(left, merged);
    }
    this.#frontier.push(merged);
    this.#size += 1;
  }

  root(): Buffer {
    if (this.#frontier.length === 0) return emptyRoot();
    return this.#frontier.reduceRight((right, left) => nodeHash(left, right));
  }

  clone(): CompactRange {
    return new CompactRange(this.#size, this.#frontier);
  }
}

function subtreeCount(size: number): number {
  let ones = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) ones += rest % 2;
  return ones;
}

/** The largest power of two below `size` (RFC 6962's k); `size` is at least 2. */
function splitPoint(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}

/** The siblings on the way from leaf `index` up to the root of `size` leaves, as ranges, lowest first. */
function auditRanges(index: number, size: number): { start: number; end: number }[] {
  const ranges: { start: number; end: number }[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitPoint(end - start);
    if (index < middle) {
      ranges.unshift({ start: middle, end });
      end = middle;
    } else {
      ranges.unshift({ start, end: middle });
      start = middle;
    }
  }
  return ranges;
}

/**
 * Proves that leaf `index` (from 0) stands in the tree of `size` leaves, from one pass over those leaves.
 * O(n) time and O(log n) memory: a proof is asked for by people, not by the writer.
 */
export async function inclusionProof(
  leaves: AsyncIterable<Buffer> | Iterable<Buffer>,
  index: number,
  size: number,
): Promise<Buffer[]> {
  if (!(index >= 0 && index < size)) throw new RangeError('the leaf is not in the tree');
  const siblings = auditRanges(index, size).map((range) => ({ ...range, tree: new CompactRange() }));
  let position = 0;
  for await (const leaf of leaves) {
    if (position >= size) break;
    const here = position;
    siblings.find(({ start, end }) => here >= start && here < end)?.tree.append(leaf);
    position += 1;
  }
  if (position < size) throw new RangeError(`the tree has ${position} leaves, not ${size}`);
  return siblings.map(({ tree }) => tree.root());
}

export interface Inclusion {
  leaf: Buffer;
  index: number;
  size: number;
  proof: readonly Buffer[];
  root: Buffer;
}

/** RFC 9162 2.1.3.2, by replaying the ranges. A proof of the wrong length proves nothing. */
export function verifyInclusion({ leaf, index, size, proof, root }: Inclusion): boolean {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false;
  const ranges = auditRanges(index, size);
  if (ranges.length !== proof.length) return false;
  let hash = leaf;
  for (const [level, { start }] of ranges.entries()) {
    const sibling = proof[level];
    if (sibling === undefined || sibling.length !== HASH_BYTES) return false;
    hash = start > index ? nodeHash(hash, sibling) : nodeHash(sibling, hash);
  }
  return hash.equals(root);
}
