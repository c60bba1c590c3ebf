/**
 * Which model URIs a local program may be given.
 *
 * A URI comes with an event, so one that names a local path must lie under a root of the configuration, after
 * every symbolic link is resolved; the program gets the resolved path, not the one that could still be relinked.
 * Fails closed: what is not plainly `scheme://` of somewhere else counts as a path, and a path that cannot be
 * resolved is refused. Not covered: links inside a directory of weights, and what a program fetches itself.
 */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export type ModelUri = { ok: true; uri: string } | { ok: false; detail: string };

export async function resolveModelUri(uri: string, roots: readonly string[]): Promise<ModelUri> {
  const isFileUrl = /^file:/i.test(uri);
  if (!isFileUrl && /^[a-z][a-z0-9+.-]*:\/\//i.test(uri)) return { ok: true, uri };

  const local = isFileUrl ? fileUrlPath(uri) : uri;
  if (local === null) return { ok: false, detail: 'not a local file URL' };
  if (!path.isAbsolute(local)) return { ok: false, detail: 'a local path must be absolute' };
  const resolved = await realpath(local).catch(() => null);
  if (resolved === null) return { ok: false, detail: 'the local path does not exist' };
  for (const root of roots) {
    const resolvedRoot = await realpath(root).catch(() => null);
    if (resolvedRoot !== null && isUnder(resolved, resolvedRoot)) {
      return { ok: true, uri: isFileUrl ? pathToFileURL(resolved).href : resolved };
    }
  }
  return { ok: false, detail: 'the local path lies under none of models.roots' };
}

function isUnder(file: string, root: string): boolean {
  const relative = path.relative(root, file);
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

function fileUrlPath(uri: string): string | null {
  try {
    return fileURLToPath(uri);
  } catch {
    return null;
  }
}
