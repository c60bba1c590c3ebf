/**
 * The keyring: Ed25519 keys that sign permits, halt orders and ledger heads, in one JSON file.
 *
 * One key signs at a time. A rotation with an overlap publishes the next key first and lets it sign from its
 * `notBefore` on, so that whoever verifies knows it by then. Retired keys keep only their public half and their
 * window, because a halt order or a head outlives the key that signed it and must stay verifiable; a revoked key
 * says since when it is not to be believed. Each change is stated by a signature of the key that signed before, so
 * that a trainer with pinned keys learns of it without trusting the network (ADR 0012).
 *
 * A running service sees a changed file through `refresh`. Fails closed at the start (keyring-file.ts); later a
 * file that cannot be used changes nothing: the keys in memory go on, for a halt must be signed.
 *
 * Not here: sharing the file between replicas (a deployment mounts the same secret).
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { CryptoKey } from 'jose';
import { CompactSign, compactVerify, exportJWK, generateKeyPair, importJWK } from 'jose';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import {
  base64url32,
  createFile,
  invalid,
  type KeyringFile,
  RETIRED_MAX,
  type RetiredKey,
  readKeyringFile,
  replaceKeyringFile,
  type SigningKey,
  STATEMENTS_MAX,
  thumbprint,
} from './keyring-file.ts';

const seconds = z.int().min(0);

const publicJwkSchema = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: base64url32,
  kid: base64url32,
  alg: z.literal('EdDSA').default('EdDSA'),
  use: z.literal('sig').default('sig'),
  /** The window in which it signs; and, as in OpenID Federation's historical keys, since when it is revoked. */
  nbf: seconds.optional(),
  exp: seconds.optional(),
  revoked: z.object({ revoked_at: seconds, reason: z.string().optional() }).optional(),
});
export type PublicJwk = z.infer<typeof publicJwkSchema>;

/** What `/.well-known/jwks.json` serves, and what an offline verifier reads. */
export const publicJwksSchema = z.object({
  keys: z
    .array(publicJwkSchema)
    .min(1)
    .max(RETIRED_MAX + 2),
  statements: z.array(z.string()).max(STATEMENTS_MAX).optional(),
});
export type PublicJwks = z.infer<typeof publicJwksSchema>;

export interface KeyStatus {
  readonly kid: string;
  readonly state: 'active' | 'next' | 'retired' | 'revoked';
  readonly notBefore: string;
  readonly notAfter: string | null;
  readonly revokedAt: string | null;
  readonly revokedBecause: string | null;
}

export interface Keyring {
  /** The key that signs now. */
  active(): { kid: string; privateKey: CryptoKey };
  /** Public halves only: the active key first, then the next one, then the retired ones. */
  jwks(): PublicJwks;
  /** Changes when the set of keys, a window or a revocation does. */
  keySet(): string;
  status(): KeyStatus[];
  /** Brings the next key, on disk first; it signs after the overlap. Tokens signed before stay verifiable. */
  rotate(options?: { overlapMs?: number }): Promise<{ kid: string; retiredKid: string; activeFrom: string }>;
  /** From now on nothing that this key signs is to be believed. The active key is replaced at once. */
  revoke(kid: string, reason: string): Promise<{ activeKid: string }>;
  /** Takes over a file that another process changed. True where it did. */
  refresh(): Promise<boolean>;
}

/** How long a file may keep the private half of a key that signs no more, before a service takes it out. */
const SETTLE_AFTER_MS = 60_000;

/** Writes a new keyring with one fresh key. Refuses to replace a file that is there. */
export async function createKeyringFile(path: string): Promise<{ kid: string }> {
  const active = await generateKey(new Date());
  await createFile(path, { format: 'interlock-keyring/1', active, retired: [] });
  return { kid: active.kid };
}

interface Loaded {
  readonly file: KeyringFile;
  readonly privateKeys: ReadonlyMap<string, CryptoKey>;
  readonly mark: string;
}

export async function loadKeyring(
  path: string,
  { now = () => new Date() }: { now?: () => Date } = {},
): Promise<Keyring> {
  let loaded = await load(path);

  async function change(
    work: (
      current: KeyringFile,
      sign: (by: SigningKey, of: KeyringFile) => Promise<string>,
    ) => Promise<KeyringFile>,
  ): Promise<void> {
    await replaceKeyringFile(path, async (stored) => {
      const changed = await work(settled(stored, now()), (by, of) => statement(path, by, of, now()));
      // Proves every private key before the file counts.
      await importPrivateKeys(path, changed);
      return changed;
    });
    loaded = await load(path);
  }

  return {
    active() {
      const { kid } = signing(loaded.file, now());
      const privateKey = loaded.privateKeys.get(kid);
      if (privateKey === undefined) throw invalid(path, 'its active key has no private half');
      return { kid, privateKey };
    },
    jwks: () => publicSet(settled(loaded.file, now())),
    keySet: () => digestOf(publicSet(loaded.file)),
    status: () => statusOf(settled(loaded.file, now())),
    async rotate({ overlapMs = 0 } = {}) {
      const at = now();
      const activeFrom = new Date(at.getTime() + overlapMs).toISOString();
      const fresh = { ...(await generateKey(at)), notBefore: activeFrom };
      let retiredKid = '';
      await change(async (current, sign) => {
        if (current.next !== undefined) {
          throw new InterlockError(
            `a rotation is under way: ${current.next.kid} signs from ${current.next.notBefore} on`,
            { code: 'signing.rotation-under-way' },
          );
        }
        const before = current.active;
        retiredKid = before.kid;
        const rotated: KeyringFile =
          overlapMs > 0
            ? { ...current, next: fresh }
            : { ...current, active: fresh, retired: shelved(current.retired, retire(before, activeFrom)) };
        return stated(rotated, [await sign(before, rotated)]);
      });
      return { kid: fresh.kid, retiredKid, activeFrom };
    },
    async revoke(kid, reason) {
      const at = now().toISOString();
      const fresh = { ...(await generateKey(now())), notBefore: at };
      await change(async (current, sign) => {
        const because = { revokedAt: at, revokedBecause: reason };
        if (current.retired.some((each) => each.kid === kid)) {
          const revoked: KeyringFile = {
            ...current,
            retired: current.retired.map((each) =>
              each.kid === kid && each.revokedAt === undefined ? { ...each, ...because } : each,
            ),
          };
          return stated(revoked, [await sign(current.active, revoked)]);
        }
        const { next, ...rest } = current;
        if (next?.kid === kid) {
          const revoked = { ...rest, retired: shelved(current.retired, { ...retire(next, at), ...because }) };
          return stated(revoked, [await sign(current.active, revoked)]);
        }
        if (current.active.kid !== kid) {
          throw new InterlockError(`the keyring has no key ${kid}`, { code: 'signing.unknown-key' });
        }
        // The published next key takes over early; without one a fresh key does. The old key introduces it, for
        // trainers know no other; the new one then says what the old one is worth.
        const successor = next === undefined ? fresh : { ...next, notBefore: at };
        const introduced: KeyringFile = {
          ...rest,
          active: successor,
          retired: shelved(current.retired, retire(current.active, at)),
        };
        const revoked = {
          ...introduced,
          retired: introduced.retired.map((each) => (each.kid === kid ? { ...each, ...because } : each)),
        };
        return stated(revoked, [await sign(current.active, introduced), await sign(successor, revoked)]);
      });
      return { activeKid: signing(loaded.file, now()).kid };
    },
    async refresh() {
      const { next } = loaded.file;
      if (next !== undefined && now().getTime() > Date.parse(next.notBefore) + SETTLE_AFTER_MS) {
        // Where the file is mounted read-only, the private half stays until somebody rewrites the secret.
        await change(async (current) => current).catch(() => undefined);
      }
      if ((await markOf(path)) === loaded.mark) return false;
      const before = digestOf(publicSet(loaded.file));
      loaded = await load(path);
      return digestOf(publicSet(loaded.file)) !== before;
    },
  };
}

async function load(path: string): Promise<Loaded> {
  // The mark first: a change in between is then seen at the next look.
  const mark = await markOf(path);
  const file = await readKeyringFile(path);
  return { file, mark, privateKeys: await importPrivateKeys(path, file) };
}

async function markOf(path: string): Promise<string> {
  const { mtimeMs, ino, size } = await stat(path).catch((cause: unknown) => {
    throw new InterlockError(`the keyring ${path} cannot be opened`, {
      code: 'signing.keyring-missing',
      cause,
    });
  });
  return `${mtimeMs} ${ino} ${size}`;
}

// --- what the file says at an instant --------------------------------------------------------------------

function signing({ active, next }: KeyringFile, at: Date): SigningKey {
  return next !== undefined && at.getTime() >= Date.parse(next.notBefore) ? next : active;
}

/** The file as it would be written now: once the next key signs, the one before it is retired and has no private half. */
function settled(file: KeyringFile, at: Date): KeyringFile {
  const { next, ...rest } = file;
  if (next === undefined || signing(file, at) !== next) return file;
  return { ...rest, active: next, retired: shelved(file.retired, retire(file.active, next.notBefore)) };
}

function retire({ kid, x, createdAt, notBefore }: SigningKey, retiredAt: string): RetiredKey {
  return { kid, x, createdAt, retiredAt, ...(notBefore === undefined ? {} : { notBefore }) };
}

function shelved(retired: readonly RetiredKey[], key: RetiredKey): RetiredKey[] {
  return [key, ...retired].slice(0, RETIRED_MAX);
}

function stated(file: KeyringFile, statements: readonly string[]): KeyringFile {
  return { ...file, statements: [...(file.statements ?? []), ...statements].slice(-STATEMENTS_MAX) };
}

const secondOf = (instant: string): number => Math.floor(Date.parse(instant) / 1000);

function publicSet(file: KeyringFile): PublicJwks {
  const { active, next, retired, statements } = file;
  const keys = [
    publicJwk(active, next === undefined ? {} : { exp: secondOf(next.notBefore) }),
    ...(next === undefined ? [] : [publicJwk(next)]),
    ...retired.map((key) =>
      publicJwk(key, {
        exp: secondOf(key.retiredAt),
        ...(key.revokedAt === undefined
          ? {}
          : {
              revoked: {
                revoked_at: secondOf(key.revokedAt),
                ...(key.revokedBecause === undefined ? {} : { reason: key.revokedBecause }),
              },
            }),
      }),
    ),
  ];
  return statements === undefined ? { keys } : { keys, statements };
}

function publicJwk(
  { x, kid, createdAt, notBefore }: Pick<RetiredKey, 'x' | 'kid' | 'createdAt' | 'notBefore'>,
  more: Pick<PublicJwk, 'exp' | 'revoked'> = {},
): PublicJwk {
  const nbf = secondOf(notBefore ?? createdAt);
  return { kty: 'OKP', crv: 'Ed25519', x, kid, alg: 'EdDSA', use: 'sig', nbf, ...more };
}

function statusOf({ active, next, retired }: KeyringFile): KeyStatus[] {
  const open = { revokedAt: null, revokedBecause: null };
  const from = (key: Pick<SigningKey, 'notBefore' | 'createdAt'>): string => key.notBefore ?? key.createdAt;
  return [
    { kid: active.kid, state: 'active', notBefore: from(active), notAfter: next?.notBefore ?? null, ...open },
    ...(next === undefined
      ? []
      : [{ kid: next.kid, state: 'next' as const, notBefore: next.notBefore, notAfter: null, ...open }]),
    ...retired.map((key) => ({
      kid: key.kid,
      state: key.revokedAt === undefined ? ('retired' as const) : ('revoked' as const),
      notBefore: from(key),
      notAfter: key.retiredAt,
      revokedAt: key.revokedAt ?? null,
      revokedBecause: key.revokedBecause ?? null,
    })),
  ];
}

const digestOf = (set: PublicJwks): string =>
  createHash('sha256').update(JSON.stringify(set)).digest('hex').slice(0, 32);

// --- keys ------------------------------------------------------------------------------------------------

/** Retired keys that a statement still names; the revoked are named always. */
const RETIRED_STATED = 8;

/** What a key says about the keys of its keyring. Bound by its own `typ` and audience, as every token is. */
async function statement(path: string, by: SigningKey, file: KeyringFile, at: Date): Promise<string> {
  const keys = publicSet(file)
    .keys.filter(({ exp, revoked }, i) => exp === undefined || revoked !== undefined || i < RETIRED_STATED)
    .map(({ kid, x, nbf, exp, revoked }) => ({
      kid,
      x,
      ...(nbf === undefined ? {} : { nbf }),
      ...(exp === undefined ? {} : { exp }),
      ...(revoked === undefined ? {} : { revokedAt: revoked.revoked_at }),
    }));
  const claims = { aud: 'interlock/keys', iat: Math.floor(at.getTime() / 1000), keys };
  return new CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: 'EdDSA', typ: 'keys+jwt', kid: by.kid })
    .sign(await importPrivateKey(path, by));
}

async function generateKey(at: Date): Promise<SigningKey> {
  const pair = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
  const { x, d } = z.object({ x: base64url32, d: base64url32 }).parse(await exportJWK(pair.privateKey));
  return { kid: await thumbprint(x), x, d, createdAt: at.toISOString() };
}

async function importPrivateKeys(
  path: string,
  { active, next }: KeyringFile,
): Promise<ReadonlyMap<string, CryptoKey>> {
  const keys = new Map([[active.kid, await importPrivateKey(path, active)]]);
  if (next !== undefined) keys.set(next.kid, await importPrivateKey(path, next));
  return keys;
}

/** Proves by a round trip that the private key fits its public one: a mismatch would sign what nobody accepts. */
async function importPrivateKey(path: string, { x, d }: SigningKey): Promise<CryptoKey> {
  try {
    const privateKey = await importEd25519({ kty: 'OKP', crv: 'Ed25519', x, d });
    const publicKey = await importEd25519({ kty: 'OKP', crv: 'Ed25519', x });
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
