/**
 * Verifies permits and halt orders offline, with keys that were pinned once.
 *
 * Pinned by us because jose leaves them to the caller: EdDSA only, exactly the header keys
 * `alg kid typ`, one `typ` and audience per kind, every claim required and typed, no clock tolerance,
 * a permit's life capped at one hour. Nothing that a token names is ever fetched.
 *
 * Which way it fails: a permit in doubt is no permit. A halt order has no expiry and is compared with
 * no clock, because a wrong clock must not keep a run going; its signature, kind and run are checked.
 *
 * Not here: whether a valid permit is fresh (nonce, epoch, sequence): that needs memory, see guard.ts.
 */
import { type CryptoKey, compactVerify, importJWK, type JWK } from 'jose';
import { isDecimal } from './decimal.ts';

export const permitLifetimeMaxS = 3600;
const issuedAheadMaxS = 60;
const tokenLengthMax = 16_384;
const compactForm = /^([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/;
const haltIdForm = /^[A-Za-z0-9_-]{1,128}$/;
const latestInstantS = 253_402_300_799; // the year 9999: an `exp` of 1e18 is not a time

export interface Permit {
  issuer: string;
  issuedAtS: number;
  expiresAtS: number;
  epoch: number;
  seq: number;
  ceiling: string;
  nonce: string | null;
  clearedHalts: readonly string[];
}

export interface HaltOrder {
  issuer: string;
  haltId: string;
  action: 'halt' | 'quarantine';
  epoch: number;
}

export type TokenRefusal =
  | 'malformed'
  | 'header'
  | 'unknown-key'
  | 'signature'
  | 'claims'
  | 'wrong-run'
  | 'issuer'
  | 'lifetime'
  | 'issued-ahead'
  | 'expired';
export type Verified<T> = { ok: true; value: T } | { ok: false; reason: TokenRefusal };

export interface TokenVerifier {
  permit(token: string, now: Date): Promise<Verified<Permit>>;
  haltOrder(token: string): Promise<Verified<HaltOrder>>;
}

export interface TokenVerifierOptions {
  runId: string;
  /** The key set as served at `/.well-known/jwks.json`. */
  jwks: unknown;
  /** Without it the issuer of the first valid token is kept, as the keys were. */
  issuer?: string;
}

export async function createTokenVerifier({
  runId,
  jwks,
  issuer,
}: TokenVerifierOptions): Promise<TokenVerifier> {
  const keys = await importKeys(jwks);
  let pinnedIssuer = issuer;

  async function open(
    token: string,
    typ: string,
    audience: string,
  ): Promise<Verified<Record<string, unknown>>> {
    // Size and form come before any decoding: a hostile megabyte costs one comparison.
    const parts = token.length > tokenLengthMax ? null : compactForm.exec(token);
    if (parts === null) return refuse('malformed');
    const header = decode(Buffer.from(parts[1] ?? '', 'base64url'));
    // `crit`, `jwk`, `jku`, `x5u` and whatever else a header may carry refuse the token.
    if (header === null || Object.keys(header).sort().join(' ') !== 'alg kid typ') return refuse('header');
    if (header['alg'] !== 'EdDSA' || header['typ'] !== typ) return refuse('header');
    const key = typeof header['kid'] === 'string' ? keys.get(header['kid']) : undefined;
    if (key === undefined) return refuse('unknown-key');
    let payload: Uint8Array;
    try {
      payload = (await compactVerify(token, key, { algorithms: ['EdDSA'] })).payload;
    } catch {
      return refuse('signature');
    }
    const claims = decode(payload);
    if (claims === null || claims['aud'] !== audience) return refuse('claims');
    if (claims['sub'] !== runId) return refuse('wrong-run');
    if (typeof claims['iss'] !== 'string' || claims['iss'] === '') return refuse('claims');
    if (pinnedIssuer !== undefined && claims['iss'] !== pinnedIssuer) return refuse('issuer');
    return { ok: true, value: claims };
  }

  return {
    async permit(token, now) {
      const opened = await open(token, 'permit+jwt', 'interlock/permit');
      if (!opened.ok) return opened;
      const permit = readPermit(opened.value);
      if (permit === null) return refuse('claims');
      const lifetimeS = permit.expiresAtS - permit.issuedAtS;
      if (!(lifetimeS > 0 && lifetimeS <= permitLifetimeMaxS)) return refuse('lifetime');
      const nowS = now.getTime() / 1000;
      if (!(permit.issuedAtS <= nowS + issuedAheadMaxS)) return refuse('issued-ahead');
      if (!(nowS < permit.expiresAtS)) return refuse('expired');
      pinnedIssuer ??= permit.issuer;
      return { ok: true, value: permit };
    },
    async haltOrder(token) {
      const opened = await open(token, 'halt+jwt', 'interlock/halt');
      if (!opened.ok) return opened;
      const order = readHaltOrder(opened.value);
      if (order === null) return refuse('claims');
      pinnedIssuer ??= order.issuer;
      return { ok: true, value: order };
    },
  };
}

function refuse(reason: TokenRefusal): { ok: false; reason: TokenRefusal } {
  return { ok: false, reason };
}

async function importKeys(jwks: unknown): Promise<Map<string, CryptoKey>> {
  const listed = isRecord(jwks) && Array.isArray(jwks['keys']) ? jwks['keys'] : [];
  const keys = new Map<string, CryptoKey>();
  for (const entry of listed) {
    if (!isRecord(entry) || entry['kty'] !== 'OKP' || entry['crv'] !== 'Ed25519') continue;
    const { x, kid } = entry;
    if (typeof x !== 'string' || typeof kid !== 'string') continue;
    const jwk: JWK = { kty: 'OKP', crv: 'Ed25519', x };
    const key = await importJWK(jwk, 'EdDSA');
    if (!(key instanceof Uint8Array)) keys.set(kid, key);
  }
  if (keys.size === 0) throw new TypeError('the key set holds no Ed25519 key');
  return keys;
}

function readPermit(claims: Record<string, unknown>): Permit | null {
  const { iss, iat, exp, epoch, seq, ceiling, nonce, clearedHalts } = claims;
  if (typeof iss !== 'string' || typeof ceiling !== 'string' || !isDecimal(ceiling)) return null;
  if (!isInstant(iat) || !isInstant(exp) || !isCounter(epoch) || !isCounter(seq)) return null;
  if (nonce !== null && typeof nonce !== 'string') return null;
  if (!isHaltIds(clearedHalts)) return null;
  return { issuer: iss, issuedAtS: iat, expiresAtS: exp, epoch, seq, ceiling, nonce, clearedHalts };
}

function readHaltOrder(claims: Record<string, unknown>): HaltOrder | null {
  const { iss, iat, haltId, action, epoch } = claims;
  if (typeof iss !== 'string' || !isInstant(iat) || !isCounter(epoch)) return null;
  if (typeof haltId !== 'string' || !haltIdForm.test(haltId)) return null;
  if (action !== 'halt' && action !== 'quarantine') return null;
  return { issuer: iss, haltId, action, epoch };
}

function isCounter(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isInstant(value: unknown): value is number {
  return isCounter(value) && value <= latestInstantS;
}

function isHaltIds(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= 256 && value.every((id) => typeof id === 'string');
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function decode(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}
