/**
 * Verifies permits and halt orders offline, with keys that are believed (trusted-keys.ts).
 *
 * Pinned: EdDSA only, exactly the header keys `alg kid typ`, one `typ` and audience per kind, every claim
 * required and typed, no clock tolerance, a permit's life capped at one hour. Nothing that a token names is ever
 * fetched.
 *
 * Which way it fails: a permit in doubt is no permit; one of a revoked key, or issued outside of its key's
 * window, is refused. A halt order has no expiry and is compared with no clock and no window, because a wrong
 * clock must not keep a run going; its signature, kind and run are checked. One of a revoked key is marked
 * `suspect`: what that means is for the guard.
 *
 * Not here: whether a valid permit is fresh (nonce, epoch, sequence): that needs memory, see guard.ts.
 */
import { isDecimal } from './decimal.ts';
import { decodeRecord as decode, type KnownKey, signedBy, TrustedKeys } from './trusted-keys.ts';

export { isRecord } from './trusted-keys.ts';

export const permitLifetimeMaxS = 3600;
const issuedAheadMaxS = 60;
const tokenLengthMax = 16_384;
const compactForm = /^([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/;
const haltIdForm = /^[A-Za-z0-9_-]{1,128}$/;
const latestInstantS = 253_402_300_799; // the year 9999: an `exp` of 1e18 is not a time

export interface Permit {
  issuer: string;
  /** The key that signed it. */
  kid: string;
  issuedAtS: number;
  expiresAtS: number;
  epoch: number;
  seq: number;
  ceiling: string;
  nonce: string | null;
  clearedHalts: readonly string[];
  /** A run in shadow: until then neither its ceiling nor its end stops the run. */
  shadowUntilS: number | null;
}

export interface HaltOrder {
  issuer: string;
  haltId: string;
  action: 'halt' | 'quarantine';
  epoch: number;
  /** Signed by a key that has been revoked since. */
  suspect: boolean;
}

export type TokenRefusal =
  | 'malformed'
  | 'header'
  | 'unknown-key'
  | 'revoked-key'
  | 'key-window'
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
  /** The key set as served at `/.well-known/jwks.json`, or keys that are believed already. */
  jwks: unknown;
  keys?: TrustedKeys;
  /** Without it the issuer of the first valid token is kept, as the keys were. */
  issuer?: string;
}

export async function createTokenVerifier({
  runId,
  jwks,
  keys: believed,
  issuer,
}: TokenVerifierOptions): Promise<TokenVerifier> {
  const keys = believed ?? (await TrustedKeys.pin(jwks));
  let pinnedIssuer = issuer;

  async function open(
    token: string,
    typ: string,
    audience: string,
  ): Promise<{ ok: true; value: Record<string, unknown>; known: KnownKey } | Refused> {
    // Size and form come before any decoding: a hostile megabyte costs one comparison.
    const parts = token.length > tokenLengthMax ? null : compactForm.exec(token);
    if (parts === null) return refuse('malformed');
    const header = decode(Buffer.from(parts[1] ?? '', 'base64url'));
    // `crit`, `jwk`, `jku`, `x5u` and whatever else a header may carry refuse the token.
    if (header === null || Object.keys(header).sort().join(' ') !== 'alg kid typ') return refuse('header');
    if (header['alg'] !== 'EdDSA' || header['typ'] !== typ) return refuse('header');
    const signer = typeof header['kid'] === 'string' ? keys.get(header['kid']) : undefined;
    if (signer === undefined) return refuse('unknown-key');
    if (!signedBy(signer.key, token)) return refuse('signature');
    const claims = decode(Buffer.from(parts[2] ?? '', 'base64url'));
    if (claims === null || claims['aud'] !== audience) return refuse('claims');
    if (claims['sub'] !== runId) return refuse('wrong-run');
    if (typeof claims['iss'] !== 'string' || claims['iss'] === '') return refuse('claims');
    if (pinnedIssuer !== undefined && claims['iss'] !== pinnedIssuer) return refuse('issuer');
    return { ok: true, value: claims, known: signer.known };
  }

  return {
    async permit(token, now) {
      const opened = await open(token, 'permit+jwt', 'interlock/permit');
      if (!opened.ok) return opened;
      const { known } = opened;
      const permit = readPermit(opened.value, known.kid);
      if (permit === null) return refuse('claims');
      if (known.revokedAtS !== null) return refuse('revoked-key');
      const lifetimeS = permit.expiresAtS - permit.issuedAtS;
      if (!(lifetimeS > 0 && lifetimeS <= permitLifetimeMaxS)) return refuse('lifetime');
      const nowS = now.getTime() / 1000;
      if (!(permit.issuedAtS <= nowS + issuedAheadMaxS)) return refuse('issued-ahead');
      if (!(nowS < permit.expiresAtS)) return refuse('expired');
      if (!inWindow(permit.issuedAtS, known)) return refuse('key-window');
      pinnedIssuer ??= permit.issuer;
      return { ok: true, value: permit };
    },
    async haltOrder(token) {
      const opened = await open(token, 'halt+jwt', 'interlock/halt');
      if (!opened.ok) return opened;
      const order = readHaltOrder(opened.value, opened.known.revokedAtS !== null);
      if (order === null) return refuse('claims');
      pinnedIssuer ??= order.issuer;
      return { ok: true, value: order };
    },
  };
}

type Refused = { ok: false; reason: TokenRefusal };

/** Two clocks are compared, Interlock's now and at the rotation: a minute is left to them. */
function inWindow(issuedAtS: number, { notBeforeS, notAfterS }: KnownKey): boolean {
  return (
    issuedAtS >= (notBeforeS ?? 0) - issuedAheadMaxS &&
    issuedAtS <= (notAfterS ?? latestInstantS) + issuedAheadMaxS
  );
}

function refuse(reason: TokenRefusal): Refused {
  return { ok: false, reason };
}

function readPermit(claims: Record<string, unknown>, kid: string): Permit | null {
  const { iss, iat, exp, epoch, seq, ceiling, nonce, clearedHalts, shadowUntil = null } = claims;
  if (typeof iss !== 'string' || typeof ceiling !== 'string' || !isDecimal(ceiling)) return null;
  if (!isInstant(iat) || !isInstant(exp) || !isCounter(epoch) || !isCounter(seq)) return null;
  if (nonce !== null && typeof nonce !== 'string') return null;
  if (!isHaltIds(clearedHalts) || !(shadowUntil === null || isInstant(shadowUntil))) return null;
  const times = { issuedAtS: iat, expiresAtS: exp, shadowUntilS: shadowUntil };
  return { issuer: iss, kid, ...times, epoch, seq, ceiling, nonce, clearedHalts };
}

function readHaltOrder(claims: Record<string, unknown>, suspect: boolean): HaltOrder | null {
  const { iss, iat, haltId, action, epoch } = claims;
  if (typeof iss !== 'string' || !isInstant(iat) || !isCounter(epoch)) return null;
  if (typeof haltId !== 'string' || !haltIdForm.test(haltId)) return null;
  if (action !== 'halt' && action !== 'quarantine') return null;
  return { issuer: iss, haltId, action, epoch, suspect };
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
