/**
 * Anchors: signed heads of the ledger kept where the database is not, one file each.
 *
 * A database that was put back from an older backup agrees with itself perfectly: heads and all. Only what is kept
 * elsewhere contradicts it. A file is written beside its place, synced and renamed, and the directory synced: a head
 * is there whole or not at all. Names rise with the time of signing; the newest speaks for all before it, because a
 * head's hash binds the chain.
 * Fails closed: an anchor that cannot be read or was not signed by one of our keys is an error, not an absence.
 * Not here: what a contradiction leads to (service/restore-guard.ts).
 */
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InterlockError } from '../errors.ts';
import type { VerifyHeadJws } from './verification.ts';

export interface Anchor {
  readonly size: number;
  readonly hash: string;
  readonly jws: string;
  readonly signedAt: Date;
}

export interface Anchors {
  write(head: { size: number; jws: string; signedAt: string }): Promise<void>;
  /** Null where nothing was ever anchored. */
  newest(): Promise<Anchor | null>;
}

/** 20261123T150102345Z-000000000001234.jws */
const NAME = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})(\d{3})Z-(\d{15})\.jws$/;
/** Older ones go, where they may: the newest says everything that they do. */
const KEPT_MAX = 1_000;

export function createAnchors(directory: string, verifyHeadJws: VerifyHeadJws): Anchors {
  async function names(): Promise<string[]> {
    const found = await readdir(directory).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw unreadable(directory, error);
    });
    return found.filter((name) => NAME.test(name)).sort();
  }

  return {
    async write({ size, jws, signedAt }) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const name = `${signedAt.replaceAll(/[-:.]/g, '')}-${String(size).padStart(15, '0')}.jws`;
      const draft = join(directory, `.${name}.${process.pid}`);
      try {
        await synced(await open(draft, 'w', 0o600), (file) => file.writeFile(`${jws}\n`));
        await rename(draft, join(directory, name));
      } catch (error) {
        await rm(draft, { force: true }).catch(() => undefined);
        throw error;
      }
      await synced(await open(directory, 'r'));
      for (const old of (await names()).slice(0, -KEPT_MAX)) {
        // A place that nothing can be removed from is the best there is.
        await rm(join(directory, old)).catch(() => undefined);
      }
    },

    async newest() {
      const name = (await names()).at(-1);
      if (name === undefined) return null;
      const file = join(directory, name);
      try {
        const jws = (await readFile(file, 'utf8')).trim();
        const { size, hash } = await verifyHeadJws(jws);
        return { size, hash, jws, signedAt: timeOf(name) };
      } catch (error) {
        throw unreadable(file, error);
      }
    },
  };
}

function timeOf(name: string): Date {
  const [, year, month, day, hour, minute, second, ms] = NAME.exec(name) ?? [];
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`);
}

async function synced(file: FileHandle, write?: (file: FileHandle) => Promise<void>): Promise<void> {
  try {
    await write?.(file);
    await file.sync();
  } finally {
    await file.close();
  }
}

const unreadable = (file: string, cause: unknown): InterlockError =>
  new InterlockError(`the anchored head ${file} cannot be read, or none of our keys signed it`, {
    code: 'ledger.anchor-unreadable',
    cause,
  });
