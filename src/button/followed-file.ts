/**
 * Reads a growing file of record lines piece by piece, cheaply enough to do it at every press.
 *
 * Synchronous: the red button asks in the moment when it is pressed and must not be overtaken by what it asks about.
 * A file that was replaced (another inode) or became shorter is read from its beginning. One that is away or cannot be
 * read gives nothing new: whoever follows it keeps what was known.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { readRecordLines } from './record-line.ts';

export interface Followed {
  readonly records: readonly unknown[];
  /** The file is another one than at the last look: these records are all of it. */
  readonly isWhole: boolean;
  readonly modifiedAtMs: number;
  readonly damaged: number;
}

export class FollowedFile {
  readonly #path: string;
  #inode: bigint | null = null;
  #offset = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** What came since the last look; null where there is no such file to be read. */
  read(): Followed | null {
    let handle: number;
    try {
      handle = openSync(this.#path, 'r');
    } catch {
      return null;
    }
    try {
      const { ino, size, mtimeMs } = fstatSync(handle, { bigint: true });
      const isWhole = ino !== this.#inode || size < BigInt(this.#offset);
      const from = isWhole ? 0 : this.#offset;
      const bytes = readFrom(handle, from, Number(size) - from);
      const { records, consumed, damaged } = readRecordLines(bytes);
      this.#inode = ino;
      this.#offset = from + consumed;
      return { records, isWhole, modifiedAtMs: Number(mtimeMs), damaged };
    } catch {
      return null;
    } finally {
      closeSync(handle);
    }
  }
}

function readFrom(handle: number, position: number, length: number): Buffer {
  if (length <= 0) return Buffer.alloc(0);
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const got = readSync(handle, bytes, filled, length - filled, position + filled);
    if (got === 0) break;
    filled += got;
  }
  return bytes.subarray(0, filled);
}
