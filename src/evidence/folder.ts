/**
 * Evidence in a folder: one file per blob, readable by the service's own account alone.
 *
 * Written beside its place, fsynced, and linked into it, so that a crash leaves a whole blob or none, and two writers of one
 * blob leave one. Links are not followed.
 */

import { randomBytes } from 'node:crypto';
import { constants, createReadStream, createWriteStream } from 'node:fs';
import { link, lstat, mkdir, open, readdir, rm, unlink, utimes } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type BlobName, type EvidenceStore, pathOf, unavailable } from './evidence-store.ts';

const LEFT_BEHIND = '.part';

export function createFolderStore(directory: string): EvidenceStore {
  const at = (name: BlobName): string => path.join(directory, pathOf(name));

  async function has(name: BlobName): Promise<boolean> {
    const place = at(name);
    try {
      return (await lstat(place)).isFile();
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw unavailable('cannot be read', error);
    }
  }

  return {
    has,
    async write(name, file, signal) {
      const place = at(name);
      if (await has(name)) {
        // It is kept for what was evaluated last, and not only for the first that left the same bytes.
        await utimes(place, new Date(), new Date()).catch(() => undefined);
        return;
      }
      const folder = path.dirname(place);
      const part = path.join(folder, `${randomBytes(12).toString('hex')}${LEFT_BEHIND}`);
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await pipeline(createReadStream(file), createWriteStream(part, { flags: 'wx', mode: 0o600 }), {
          signal,
        });
        await synced(part);
        await link(part, place).catch((error: unknown) => {
          if (codeOf(error) !== 'EEXIST') throw error; // somebody else kept the same
        });
        // Up to the first that was there before: a folder is lost with the entry that names it.
        for (const each of [folder, path.dirname(folder), directory]) await synced(each);
      } catch (error) {
        throw unavailable('cannot be written', error);
      } finally {
        await unlink(part).catch(() => undefined);
      }
    },
    async read(name) {
      const place = at(name);
      try {
        const handle = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW);
        return handle.createReadStream();
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return null;
        throw unavailable('cannot be read', error);
      }
    },
    async remove(name) {
      try {
        await rm(at(name), { force: true });
      } catch (error) {
        throw unavailable('cannot be written', error);
      }
    },
    async expire(before) {
      let removed = 0;
      for (const kind of ['sha256', 'sealed']) {
        for (const part of await namesIn(path.join(directory, kind))) {
          const folder = path.join(directory, kind, part);
          for (const name of await namesIn(folder)) {
            const file = path.join(folder, name);
            const stats = await lstat(file).catch(() => null);
            if (stats === null || !stats.isFile() || stats.mtimeMs >= before.getTime()) continue;
            await rm(file, { force: true });
            if (!name.endsWith(LEFT_BEHIND)) removed += 1;
          }
        }
      }
      return removed;
    },
  };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw unavailable('cannot be read', error);
  }
}

async function synced(place: string): Promise<void> {
  const handle = await open(place, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : '';
