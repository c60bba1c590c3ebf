/**
 * Reports of checkpoints that Interlock does not have yet, on disk: one file each, named by their order and the digest
 * of their bytes. The same form as the Python client's, so either may send what the other left.
 *
 * A file is there whole or not at all: written beside, fsynced, renamed. One whose bytes do not fit its name is set
 * aside. The same report twice is one file, and sending one twice is harmless. What Interlock refuses for good goes to
 * `rejected/`, with the code in its name, and does not hold up the next.
 *
 * Bounded: a report beyond the bound is refused to who makes it, for none that was taken may be dropped.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from './durable-file.ts';
import { InterlockClientError } from './errors.ts';
import { isRecord } from './trusted-keys.ts';

const queuedForm = /^([0-9]{20})-([A-Za-z0-9_-]{43})\.json$/;
const partialAgeMaxMs = 86_400_000;
export const queuedMax = 4_096;

export class CheckpointQueue {
  readonly #directory: string;
  readonly #rejected: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.#rejected = join(directory, 'rejected');
    mkdirSync(this.#rejected, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(directory)) {
      // A crash left it; a young one may be another process's, at work.
      if (name.endsWith('.partial') && isOld(join(directory, name)))
        rmSync(join(directory, name), { force: true });
    }
  }

  /** On disk when it returns. Throws where the disk refuses it, or too many wait. */
  put(body: Uint8Array): string {
    const digest = digestOf(body);
    const queued = this.pending();
    const same = queued.find((name) => queuedForm.exec(name)?.[2] === digest);
    if (same !== undefined) return same;
    if (queued.length >= queuedMax) {
      throw new InterlockClientError(
        `${queuedMax} checkpoint reports wait in ${this.#directory}, which is the most: see why Interlock takes none`,
        { code: 'queue-full', retryable: true },
      );
    }
    // After whatever waits, whichever way the clock went.
    const now = BigInt(Date.now()) * 1_000_000n;
    const after = BigInt(queued.at(-1)?.slice(0, 20) ?? '0') + 1n;
    const order = now > after ? now : after;
    const name = `${order.toString().padStart(20, '0')}-${digest}.json`;
    writeDurably(join(this.#directory, name), body);
    return name;
  }

  /** The oldest first. */
  pending(): string[] {
    return readdirSync(this.#directory)
      .filter((name) => queuedForm.test(name))
      .sort();
  }

  /** null where it was damaged, and is set aside, or where another process was faster. */
  read(name: string): Buffer | null {
    let body: Buffer;
    try {
      body = readFileSync(join(this.#directory, name));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
    if (digestOf(body) === queuedForm.exec(name)?.[2]) return body;
    this.reject(name, 'damaged');
    return null;
  }

  /** Of what waits. */
  checkpointIds(): string[] {
    return this.pending().flatMap((name) => {
      const body = this.read(name);
      const report: unknown = body === null ? null : JSON.parse(body.toString('utf8'));
      return isRecord(report) && typeof report['checkpointId'] === 'string' ? [report['checkpointId']] : [];
    });
  }

  done(name: string): void {
    rmSync(join(this.#directory, name), { force: true });
  }

  reject(name: string, code: string): void {
    try {
      renameSync(join(this.#directory, name), join(this.#rejected, `${code}-${name}`));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}

function digestOf(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('base64url');
}

function isOld(path: string): boolean {
  try {
    return Date.now() - statSync(path).mtimeMs > partialAgeMaxMs;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return isRecord(error) && error['code'] === 'ENOENT';
}
