/**
 * The digest of weights that lie in a local path, and a fingerprint that tells whether they have to be read again.
 *
 * Of one file it is the SHA-256 of its bytes. Of a directory it is the SHA-256 of a manifest: one line
 * `<hexadecimal digest of the file>  <path below the directory>\n` for every file below it, sorted by the bytes of the path:
 * what `sha256sum` prints, so that anybody can work it out without Interlock (docs/clients.md). Links are followed, since
 * whoever loads the weights follows them, and must stay under the roots; empty directories do not count.
 * Fails closed: what cannot be read, is neither file nor directory, or changes while it is read has no digest.
 */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';

export interface WeightsFile {
  /** Below the directory, with `/` between parts; empty where the weights are one file. */
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
}

export interface Inventory {
  readonly files: readonly WeightsFile[];
  readonly bytes: number;
  readonly fingerprint: string;
}

export interface WeightsDigest {
  /** `sha256:` and 64 hexadecimal digits. */
  readonly digest: string;
  readonly files: number;
  readonly bytes: number;
  readonly fingerprint: string;
}

export const WEIGHTS_PROBLEMS = [
  'weights-gone', // nothing lies there any more
  'weights-unreadable', // no permission, a link that leads out, a name that no manifest line can hold, too many files
  'weights-unstable', // written to while they were read
] as const;
export type WeightsProblem = (typeof WEIGHTS_PROBLEMS)[number];

export class WeightsError extends Error {
  override readonly name = 'WeightsError';
  readonly problem: WeightsProblem;

  constructor(problem: WeightsProblem, message: string) {
    super(message);
    this.problem = problem;
  }
}

export interface DigestOptions {
  /** Where links may lead, resolved; left out: anywhere. */
  readonly roots?: readonly string[] | undefined;
  /** After every chunk: bytes read so far, and in all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Files, directories and links to them; a test lowers it. */
  readonly entriesMax?: number | undefined;
}

const CHUNK_BYTES = 4 * 1024 * 1024;
const FILES_MAX = 100_000;
const DEPTH_MAX = 64;
/** A few directories full of links to each other are as many paths as nobody ever walks to their end. */
const ENTRIES_MAX = 2 * FILES_MAX;

/** Rejects with a WeightsError where there is no digest to be had. */
export async function digestWeights(root: string, options: DigestOptions = {}): Promise<WeightsDigest> {
  const before = await inventory(root, options);
  const manifest = createHash('sha256');
  const progress = { done: 0, total: before.bytes };
  let only = '';
  for (const file of before.files) {
    const hex = await digestFile(file, progress, options);
    if (file.name === '') only = hex;
    else manifest.update(`${hex}  ${file.name}\n`);
  }
  const after = await inventory(root, options);
  if (after.fingerprint !== before.fingerprint) {
    throw new WeightsError('weights-unstable', 'the weights were written to while they were read');
  }
  const hex = only === '' ? manifest.digest('hex') : only;
  const { files, bytes, fingerprint } = before;
  return { digest: `sha256:${hex}`, files: files.length, bytes, fingerprint };
}

/** What lies there, without reading it. The inode and the time of its last change are what no owner can set back. */
export async function inventory(root: string, options: DigestOptions = {}): Promise<Inventory> {
  const found: { file: WeightsFile; mark: string }[] = [];
  const allowed = await Promise.all((options.roots ?? []).map((each) => realpath(each).catch(() => each)));
  const { entriesMax = ENTRIES_MAX } = options;
  let entries = 0;
  const isAllowed = (real: string): boolean =>
    options.roots === undefined || allowed.some((each) => isUnder(real, each));

  async function visit(at: string, name: string, above: readonly string[]): Promise<void> {
    options.signal?.throwIfAborted();
    entries += 1;
    if (entries > entriesMax) throw unreadable('', `has more than ${entriesMax} files and directories`);
    const real = await resolved(at, name);
    if (!isAllowed(real)) throw unreadable(name, 'leads out of models.roots');
    const stats = await statOf(real, name);
    if (stats.isDirectory()) {
      if (above.includes(real) || above.length > DEPTH_MAX) throw unreadable(name, 'leads back to itself');
      const entries = await readdir(real).catch((error: unknown) => {
        throw problemOf(error, name);
      });
      for (const entry of entries) {
        await visit(path.join(real, entry), name === '' ? entry : `${name}/${entry}`, [...above, real]);
      }
      return;
    }
    if (!stats.isFile()) throw unreadable(name, 'is neither a file nor a directory');
    // Such a line would be written otherwise by sha256sum, and could be read as two.
    if (/[\n\r\\]/.test(name)) throw unreadable(name, 'has a line break or backslash in its name');
    if (found.length >= FILES_MAX) throw unreadable(name, `is one of more than ${FILES_MAX} files`);
    const { size, mtimeNs, ctimeNs, ino, dev } = stats;
    const file = { name: above.length === 0 ? '' : name, path: real, bytes: Number(size) };
    found.push({ file, mark: [name, size, mtimeNs, ctimeNs, ino, dev].join('\0') });
  }

  await visit(root, '', []);
  if (found.length === 0) throw new WeightsError('weights-gone', 'there is no file in the directory');
  found.sort((a, b) => Buffer.compare(Buffer.from(a.file.name), Buffer.from(b.file.name)));
  const hash = createHash('sha256');
  for (const { mark } of found) hash.update(`${mark}\n`);
  const files = found.map(({ file }) => file);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return { files, bytes, fingerprint: hash.digest('hex') };
}

async function digestFile(
  file: WeightsFile,
  progress: { done: number; readonly total: number },
  { onProgress, signal }: DigestOptions,
): Promise<string> {
  const handle = await open(file.path, 'r').catch((error: unknown) => {
    throw problemOf(error, file.name);
  });
  try {
    const hash = createHash('sha256');
    let left = file.bytes;
    const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(CHUNK_BYTES, file.bytes)));
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null).catch((error: unknown) => {
        throw problemOf(error, file.name);
      });
      if (bytesRead === 0) return hash.digest('hex');
      left -= bytesRead;
      // Told at once: what grows as fast as it is read has no end.
      if (left < 0) throw new WeightsError('weights-unstable', 'the weights grew while they were read');
      hash.update(buffer.subarray(0, bytesRead));
      progress.done += bytesRead;
      onProgress?.(progress.done, progress.total);
    }
  } finally {
    await handle.close();
  }
}

const resolved = (at: string, name: string): Promise<string> =>
  realpath(at).catch((error: unknown) => {
    throw problemOf(error, name);
  });

const statOf = (at: string, name: string): Promise<BigIntStats> =>
  stat(at, { bigint: true }).catch((error: unknown) => {
    throw problemOf(error, name);
  });

/** Only the weights as a whole are gone; a link in them that leads nowhere is damage. */
function problemOf(error: unknown, name: string): WeightsError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  if (code === 'ENOENT' && name === '') return new WeightsError('weights-gone', 'nothing lies there');
  return unreadable(name, `cannot be read (${code})`);
}

const unreadable = (name: string, why: string): WeightsError =>
  new WeightsError('weights-unreadable', `${name === '' ? 'the path' : JSON.stringify(name)} ${why}`);

function isUnder(file: string, root: string): boolean {
  const relative = path.relative(root, file);
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}
