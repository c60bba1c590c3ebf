/**
 * The keyring: Ed25519 keys that sign permits, halt orders and ledger heads, in one JSON file.
 *
 * One key is active and signs; retired keys keep only their public half, because a halt order or a head
 * outlives the key that signed it and must stay verifiable. `kid` is the RFC 7638 thumbprint, checked on
 * load, so a damaged or edited file is refused rather than half believed.
 *
 * Fails closed: a file that group or others can read, that is not exactly the expected shape, or whose
 * private key does not belong to its public key is refused with a sentence that names the file, never its
 * content. Rotation destroys the old private key.
 *
 * Not here: sharing the file between replicas (a deployment mounts the same secret), and key validity
 * windows (a halt order signed by a key retired a minute ago must still stop a run).
 */
import { constants } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CryptoKey } from 'jose';
import {
  CompactSign,
  calculateJwkThumbprint,
  compactVerify,
  exportJWK,
  generateKeyPair,
  importJWK,
} from 'jose';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import { faultPoint } from '../fault-points.ts';

/** Twenty years of monthly rotation; the oldest beyond that are forgotten. */
const RETIRED_MAX = 255;

const base64url32 = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

const publicJwkSchema = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: base64url32,
  kid: base64url32,
  alg: z.literal('EdDSA').default('EdDSA'),
  use: z.literal('sig').default('sig'),
});
export type PublicJwk = z.infer<typeof publicJwkSchema>;

/** What `/.well-known/jwks.json` serves, and what an offline verifier reads. */
export const publicJwksSchema = z.object({
  keys: z
    .array(publicJwkSchema)
    .min(1)
    .max(RETIRED_MAX + 1),
});
export type PublicJwks = z.infer<typeof publicJwksSchema>;

const storedKeySchema = z.strictObject({ kid: base64url32, x: base64url32, createdAt: z.iso.datetime() });
const keyringFileSchema = z.strictObject({
  format: z.literal('interlock-keyring/1'),
  active: storedKeySchema.extend({ d: base64url32 }),
  retired: z.array(storedKeySchema.extend({ retiredAt: z.iso.datetime() })).max(RETIRED_MAX),
});
type KeyringFile = z.infer<typeof keyringFileSchema>;
type ActiveKey = KeyringFile['active'];

export interface Keyring {
  /** The key that signs now. */
  active(): { kid: string; privateKey: CryptoKey };
  /** Public halves only: the active key first, then the retired ones. */
  jwks(): PublicJwks;
  /** Replaces the active key, on disk first; tokens signed before stay verifiable. */
  rotate(): Promise<{ kid: string; retiredKid: string }>;
}

/** Writes a new keyring with one fresh key. Refuses to replace a file that is there. */
export async function createKeyringFile(path: string): Promise<{ kid: string }> {
  const active = await generateKey();
  await writeExclusively(path, { format: 'interlock-keyring/1', active, retired: [] });
  await syncDirectory(path);
  return { kid: active.kid };
}

export async function loadKeyring(path: string): Promise<Keyring> {
  let file = await readKeyringFile(path);
  let privateKey = await importPrivateKey(path, file.active);

  return {
    active: () => ({ kid: file.active.kid, privateKey }),
    jwks: () => ({ keys: [file.active, ...file.retired].map(toPublicJwk) }),
    async rotate() {
      const next = await generateKey();
      const nextPrivateKey = await importPrivateKey(path, next);
      const rotated = await replaceKeyringFile(path, next);
      const retiredKid = rotated.retired[0]?.kid ?? file.active.kid;
      file = rotated;
      privateKey = nextPrivateKey;
      return { kid: next.kid, retiredKid };
    },
  };
}

async function generateKey(): Promise<ActiveKey> {
  const pair = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
  const { x, d } = z.object({ x: base64url32, d: base64url32 }).parse(await exportJWK(pair.privateKey));
  return { kid: await thumbprint(x), x, d, createdAt: new Date().toISOString() };
}

function thumbprint(x: string): Promise<string> {
  return calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x }, 'sha256');
}

function toPublicJwk({ x, kid }: { x: string; kid: string }): PublicJwk {
  return { kty: 'OKP', crv: 'Ed25519', x, kid, alg: 'EdDSA', use: 'sig' };
}

/** Proves by a round trip that the private key fits its public one: a mismatch would sign what nobody accepts. */
async function importPrivateKey(path: string, { x, d, kid }: ActiveKey): Promise<CryptoKey> {
  try {
    const privateKey = await importEd25519({ kty: 'OKP', crv: 'Ed25519', x, d });
    const publicKey = await importEd25519(toPublicJwk({ x, kid }));
    const probe = await new CompactSign(new Uint8Array([0]))
      .setProtectedHeader({ alg: 'EdDSA', typ: 'probe' })
      .sign(privateKey);
    await compactVerify(probe, publicKey, { algorithms: ['EdDSA'] });
    return privateKey;
  } catch {
    // The cause is dropped on purpose: it may quote the key.
    throw invalid(path, 'its private key does not belong to its public key');
  }
}

export async function importEd25519(jwk: {
  kty: string;
  crv: string;
  x: string;
  d?: string;
}): Promise<CryptoKey> {
  const key = await importJWK(jwk, 'EdDSA');
  if (key instanceof Uint8Array) throw new TypeError('an Ed25519 key was expected');
  return key;
}

async function readKeyringFile(path: string): Promise<KeyringFile> {
  const text = await readPrivateFile(path);
  const parsed = keyringFileSchema.safeParse(parseJson(path, text));
  if (!parsed.success) {
    const where = parsed.error.issues[0]?.path.join('.') || 'top level';
    throw invalid(path, `its content is not a keyring (at ${where})`);
  }
  for (const key of [parsed.data.active, ...parsed.data.retired]) {
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
        {
          code: 'signing.keyring-exposed',
        },
      );
    }
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

/**
 * Reads, changes and renames under a lock file: two rotations at once would leave one process signing with
 * a key that no JWKS names. The file is read afresh, so a rotation by another process is not undone.
 */
async function replaceKeyringFile(path: string, next: ActiveKey): Promise<KeyringFile> {
  const pending = `${path}.rotating`;
  await writeExclusively(pending, null);
  try {
    const current = await readKeyringFile(path);
    const { kid, x, createdAt } = current.active;
    const rotated: KeyringFile = {
      format: 'interlock-keyring/1',
      active: next,
      retired: [{ kid, x, createdAt, retiredAt: new Date().toISOString() }, ...current.retired].slice(
        0,
        RETIRED_MAX,
      ),
    };
    await overwrite(pending, rotated);
    faultPoint('keys.written');
    await rename(pending, path); // the commit point
    await syncDirectory(path);
    faultPoint('keys.replaced');
    return rotated;
  } catch (error) {
    await unlink(pending).catch(() => undefined); // gone already if the rename was what succeeded
    throw error;
  }
}

async function writeExclusively(path: string, file: KeyringFile | null): Promise<void> {
  const handle = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    throw new InterlockError(
      `${path} exists already or cannot be created; a .rotating file is left only by a rotation that died, and can go`,
      {
        code: 'signing.keyring-not-written',
        cause,
      },
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

function invalid(path: string, why: string): InterlockError {
  return new InterlockError(`the keyring ${path} is refused: ${why}`, { code: 'signing.keyring-invalid' });
}
