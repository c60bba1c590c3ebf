/**
 * The keyring's file: its exact shape, and reading and replacing it.
 *
 * Fails closed: a file that group or others can read, that is not exactly the expected shape, or whose `kid` is not
 * the RFC 7638 thumbprint of its key is refused with a sentence that names the file, never its content. Replaced
 * by renaming, under a lock file: two changes at once would leave one process signing with a key that no set names.
 */
import { constants } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { calculateJwkThumbprint } from 'jose';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import { faultPoint } from '../fault-points.ts';

/** Twenty years of monthly rotation; the oldest beyond that are forgotten. */
export const RETIRED_MAX = 254;
/** A trainer that was away for more rotations than that must be given the keys by hand. */
export const STATEMENTS_MAX = 32;

export const base64url32 = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const instant = z.iso.datetime();

const storedKeySchema = z.strictObject({ kid: base64url32, x: base64url32, createdAt: instant });
const signingKeySchema = storedKeySchema.extend({ d: base64url32, notBefore: instant.optional() });
const retiredKeySchema = storedKeySchema.extend({
  notBefore: instant.optional(),
  retiredAt: instant,
  revokedAt: instant.optional(),
  revokedBecause: z.string().max(200).optional(),
});

export const keyringFileSchema = z.strictObject({
  format: z.literal('interlock-keyring/1'),
  active: signingKeySchema,
  /** Published already, signs from its `notBefore` on; then `active` counts as retired at that instant. */
  next: signingKeySchema.extend({ notBefore: instant }).optional(),
  retired: z.array(retiredKeySchema).max(RETIRED_MAX),
  /** Signed by the key of their time: what introduces a key to whoever believes an earlier one. */
  statements: z.array(z.string().max(131_072)).max(STATEMENTS_MAX).optional(),
});
export type KeyringFile = z.infer<typeof keyringFileSchema>;
export type SigningKey = KeyringFile['active'];
export type RetiredKey = KeyringFile['retired'][number];

export function thumbprint(x: string): Promise<string> {
  return calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x }, 'sha256');
}

export async function readKeyringFile(path: string): Promise<KeyringFile> {
  const text = await readPrivateFile(path);
  const parsed = keyringFileSchema.safeParse(parseJson(path, text));
  if (!parsed.success) {
    const where = parsed.error.issues[0]?.path.join('.') || 'top level';
    throw invalid(path, `its content is not a keyring (at ${where})`);
  }
  const { active, next, retired } = parsed.data;
  for (const key of [active, ...(next === undefined ? [] : [next]), ...retired]) {
    if (key.kid !== (await thumbprint(key.x))) throw invalid(path, 'a kid is not the thumbprint of its key');
  }
  return parsed.data;
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid(path, 'it is not JSON');
  }
}

/** Checks the mode on the open handle, so that the file checked is the file read. */
async function readPrivateFile(path: string): Promise<string> {
  const handle = await open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw new InterlockError(`the keyring ${path} cannot be opened`, {
      code: 'signing.keyring-missing',
      cause,
    });
  });
  try {
    const { mode } = await handle.stat();
    // Windows has no such bits; there the directory's access list has to do.
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new InterlockError(
        `the keyring ${path} can be read by others than its owner: run chmod 600 on it`,
        { code: 'signing.keyring-exposed' },
      );
    }
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

/** The file is read afresh under the lock, so that a change by another process is not undone. */
export async function replaceKeyringFile(
  path: string,
  change: (current: KeyringFile) => Promise<KeyringFile>,
): Promise<KeyringFile> {
  const pending = `${path}.rotating`;
  await writeExclusively(pending, null);
  try {
    const changed = keyringFileSchema.parse(await change(await readKeyringFile(path)));
    await overwrite(pending, changed);
    faultPoint('keys.written');
    await rename(pending, path); // the commit point
    await syncDirectory(path);
    faultPoint('keys.replaced');
    return changed;
  } catch (error) {
    await unlink(pending).catch(() => undefined); // gone already if the rename was what succeeded
    throw error;
  }
}

/** A new file. Refuses to replace one that is there. */
export async function createFile(path: string, file: KeyringFile): Promise<void> {
  await writeExclusively(path, file);
  await syncDirectory(path);
}

async function writeExclusively(path: string, file: KeyringFile | null): Promise<void> {
  const handle = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    throw new InterlockError(
      `${path} exists already or cannot be created; a .rotating file is left only by a rotation that died, and can go`,
      { code: 'signing.keyring-not-written', cause },
    );
  });
  try {
    if (file !== null) await handle.writeFile(`${JSON.stringify(file, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function overwrite(path: string, file: KeyringFile): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.writeFile(`${JSON.stringify(file, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return; // a directory cannot be opened there
  const handle = await open(dirname(path), constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function invalid(path: string, why: string): InterlockError {
  return new InterlockError(`the keyring ${path} is refused: ${why}`, { code: 'signing.keyring-invalid' });
}
