/**
 * The keys that a trainer believes: pinned once, then only what a believed key has signed is added.
 *
 * A key set fetched later adds nothing by itself. It carries *statements*, each signed by a key of Interlock's,
 * that name keys with their windows and revocations; a statement counts if its signer is believed here and is
 * not revoked. So a rotation reaches a trainer that was away for several of them, and whoever can only answer in
 * Interlock's place cannot bring a key of their own. A revocation is for ever.
 *
 * Which way it fails: a key in doubt signs no permit. Not here: fetching, and keeping this on disk (guard.ts).
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';

export interface KnownKey {
  kid: string;
  x: string;
  /** Seconds; permits issued outside of the window are refused. */
  notBeforeS: number | null;
  notAfterS: number | null;
  revokedAtS: number | null;
  /** When the newest statement that names it was made; 0 for a key that was pinned. */
  statedAtS: number;
}

export interface Learned {
  added: string[];
  revoked: string[];
}

const keysMax = 256;
const statementsMax = 256;
const statementLengthMax = 131_072;
const kidForm = /^[A-Za-z0-9_-]{1,128}$/;
const pointForm = /^[A-Za-z0-9_-]{43}$/;
const compactForm = /^([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/;

export class TrustedKeys {
  readonly #known = new Map<string, { key: KeyObject; known: KnownKey }>();

  /** First use: everything in the set is believed, so it must come from where it can be. */
  static async pin(jwks: unknown): Promise<TrustedKeys> {
    const keys = new TrustedKeys();
    const listed = isRecord(jwks) && Array.isArray(jwks['keys']) ? jwks['keys'] : [];
    for (const entry of listed) {
      if (!isRecord(entry) || entry['kty'] !== 'OKP' || entry['crv'] !== 'Ed25519') continue;
      const stated = readKey({ ...entry, revokedAt: revocationOf(entry) });
      if (stated !== null) await keys.#add({ ...stated, statedAtS: 0 });
    }
    if (keys.#known.size === 0) throw new TypeError('the key set holds no Ed25519 key');
    return keys;
  }

  /** As they were remembered. */
  static async recall(remembered: readonly KnownKey[]): Promise<TrustedKeys> {
    const keys = new TrustedKeys();
    for (const known of remembered) await keys.#add(known);
    if (keys.#known.size === 0) throw new TypeError('no key is remembered');
    return keys;
  }

  get(kid: string): { key: KeyObject; known: KnownKey } | undefined {
    return this.#known.get(kid);
  }

  remembered(): KnownKey[] {
    return [...this.#known.values()].map(({ known }) => ({ ...known }));
  }

  /** What was revoked stays so, whatever the keys were pinned from. */
  revokeRemembered(remembered: readonly KnownKey[]): void {
    for (const { kid, revokedAtS } of remembered) if (revokedAtS !== null) this.#revoke(kid, revokedAtS);
  }

  /** Takes over what believed keys say in `document.statements`; again while that makes more of them believed. */
  async learn(document: unknown): Promise<Learned> {
    const learned: Learned = { added: [], revoked: [] };
    const listed = isRecord(document) && Array.isArray(document['statements']) ? document['statements'] : [];
    let open = listed.filter((jws) => typeof jws === 'string').slice(0, statementsMax);
    for (let before = -1; open.length !== before; ) {
      before = open.length;
      const unread: string[] = [];
      for (const jws of open) {
        const claims = await this.#verified(jws);
        if (claims === null) unread.push(jws);
        else await this.#apply(claims, learned);
      }
      open = unread;
    }
    return learned;
  }

  async #verified(jws: string): Promise<{ iat: number; keys: readonly unknown[] } | null> {
    if (jws.length > statementLengthMax) return null;
    const parts = compactForm.exec(jws);
    const header = decodeRecord(Buffer.from(parts?.[1] ?? '', 'base64url'));
    if (header === null || Object.keys(header).sort().join(' ') !== 'alg kid typ') return null;
    if (header['alg'] !== 'EdDSA' || header['typ'] !== 'keys+jwt' || typeof header['kid'] !== 'string') {
      return null;
    }
    const signer = this.#known.get(header['kid']);
    if (signer === undefined || signer.known.revokedAtS !== null) return null;
    const claims = signedBy(signer.key, jws)
      ? decodeRecord(Buffer.from(parts?.[2] ?? '', 'base64url'))
      : null;
    if (claims === null || claims['aud'] !== 'interlock/keys') return null;
    const { iat, keys } = claims;
    if (typeof iat !== 'number' || !Number.isSafeInteger(iat) || !Array.isArray(keys)) return null;
    return { iat, keys };
  }

  async #apply({ iat, keys }: { iat: number; keys: readonly unknown[] }, learned: Learned): Promise<void> {
    for (const entry of keys) {
      const stated = isRecord(entry) ? readKey(entry) : null;
      if (stated === null) continue;
      const held = this.#known.get(stated.kid);
      if (held === undefined) {
        if (this.#known.size >= keysMax) continue;
        await this.#add({ ...stated, statedAtS: iat });
        learned.added.push(stated.kid);
      } else if (held.known.x === stated.x) {
        if (iat >= held.known.statedAtS) {
          const { notBeforeS, notAfterS } = stated;
          held.known = { ...held.known, notBeforeS, notAfterS, statedAtS: iat };
        }
        if (stated.revokedAtS !== null && held.known.revokedAtS === null) learned.revoked.push(stated.kid);
        if (stated.revokedAtS !== null) this.#revoke(stated.kid, stated.revokedAtS);
      }
    }
  }

  #revoke(kid: string, atS: number): void {
    const held = this.#known.get(kid);
    if (held !== undefined) held.known = { ...held.known, revokedAtS: held.known.revokedAtS ?? atS };
  }

  async #add(known: KnownKey): Promise<void> {
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: known.x }, format: 'jwk' });
    this.#known.set(known.kid, { key, known });
  }
}

/** Whether the last part of a compact JWS is the key's Ed25519 signature of the rest. */
export function signedBy(key: KeyObject, jws: string): boolean {
  const end = jws.lastIndexOf('.');
  return verify(null, Buffer.from(jws.slice(0, end)), key, Buffer.from(jws.slice(end + 1), 'base64url'));
}

function readKey(entry: Record<string, unknown>): Omit<KnownKey, 'statedAtS'> | null {
  const { kid, x, nbf, exp, revokedAt } = entry;
  if (typeof kid !== 'string' || !kidForm.test(kid) || typeof x !== 'string' || !pointForm.test(x)) {
    return null;
  }
  return { kid, x, notBeforeS: second(nbf), notAfterS: second(exp), revokedAtS: second(revokedAt) };
}

/** In a key set a revocation is a member of its own, as in OpenID Federation's historical keys. */
function revocationOf(entry: Record<string, unknown>): unknown {
  return isRecord(entry['revoked']) ? entry['revoked']['revoked_at'] : undefined;
}

function second(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

export function isKnownKey(value: unknown): value is KnownKey {
  return (
    isRecord(value) &&
    typeof value['kid'] === 'string' &&
    typeof value['x'] === 'string' &&
    Number.isSafeInteger(value['statedAtS']) &&
    ['notBeforeS', 'notAfterS', 'revokedAtS'].every(
      (name) => value[name] === null || Number.isSafeInteger(value[name]),
    )
  );
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function decodeRecord(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}
