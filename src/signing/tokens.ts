/**
 * Permits, halt orders and ledger heads as compact JWS (EdDSA), each with its own `typ` and audience, so
 * that no token can stand in for another.
 *
 * Everything that jose leaves to the caller is pinned here: one algorithm, exactly the header keys
 * `alg typ kid`, keys from the given set only (nothing named in a token is ever followed), strict claims,
 * no clock tolerance, and our own cap on a permit's life.
 *
 * Which way it fails: a permit in doubt is no permit. A halt order is the reverse: it has no expiry, its
 * `iat` is not compared with any clock and unknown claims do not spoil it, because a wrong clock or a newer
 * sender must not keep a run going. Its signature, typ, issuer and audience are checked all the same.
 *
 * Keys have windows and may be revoked: a permit or head issued outside of its key's window, or signed by a key after
 * its revocation, is refused. A halt order is believed whatever became of its key, and says so (`revokedKey`).
 *
 * Not here: epoch, sequence, nonce and cleared halts as a trainer judges them (that needs its memory).
 */
import { KeyObject, sign as signBytes } from 'node:crypto';
import type { CryptoKey } from 'jose';
import { compactVerify, errors } from 'jose';
import { z } from 'zod';
import { assertNever } from '../domain/assert-never.ts';
import { InterlockError } from '../errors.ts';
import type { Keyring, PublicJwk, PublicJwks } from './keyring.ts';
import { importEd25519 } from './keyring.ts';

export const PERMIT_LIFETIME_MAX_S = 3600;
export const ISSUED_AHEAD_MAX_S = 60;
const TOKEN_LENGTH_MAX = 16_384;

const counter = z.int().min(0);
const seconds = z.int().min(0).max(253_402_300_799); // the year 9999: an `exp` of 1e18 is not a time
const runId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
const haltId = z.string().regex(/^[A-Za-z0-9_-]{1,128}$/);
const decimal = z.string().regex(/^\d{1,64}(?:\.\d{1,64})?(?:[eE][+-]?\d{1,3})?$/);
const hex32 = z.string().regex(/^[0-9a-f]{64}$/);
const issuer = z.string().min(1).max(512);

export const permitClaimsSchema = z.strictObject({
  iss: issuer,
  aud: z.literal('interlock/permit'),
  sub: runId,
  iat: seconds,
  exp: seconds,
  epoch: counter,
  seq: counter,
  ceiling: decimal,
  nonce: z.string().min(1).max(256).nullable(),
  clearedHalts: z.array(haltId).max(256),
  /** Of a run in shadow: until then neither the ceiling nor the end of the permit stops it. */
  shadowUntil: seconds.optional(),
});
export type PermitClaims = z.infer<typeof permitClaimsSchema>;

/** Leave to evaluate and align. Another `typ` and audience: whoever checks permits to train refuses it. */
export const workPermitClaimsSchema = z.strictObject({
  iss: issuer,
  aud: z.literal('interlock/work-permit'),
  sub: runId,
  iat: seconds,
  exp: seconds,
  scope: z.literal('evaluation'),
  purpose: z.enum(['evaluation', 'alignment']),
  /** The halt that the run stays under; null where it is under none. */
  haltId: haltId.nullable(),
  nonce: z.string().min(1).max(256).nullable(),
});
export type WorkPermitClaims = z.infer<typeof workPermitClaimsSchema>;

/** Not strict: an order that is authentic stays an order, whatever a later version adds to it. */
export const haltOrderClaimsSchema = z.object({
  iss: issuer,
  aud: z.literal('interlock/halt'),
  sub: runId,
  iat: seconds,
  haltId,
  action: z.enum(['halt', 'quarantine']),
  epoch: counter,
});
export type HaltOrderClaims = z.infer<typeof haltOrderClaimsSchema>;

export const headClaimsSchema = z.strictObject({
  iss: issuer,
  aud: z.literal('interlock/head'),
  iat: seconds,
  size: counter,
  root: hex32,
  hash: hex32,
});
export type HeadClaims = z.infer<typeof headClaimsSchema>;

const kinds = {
  permit: { typ: 'permit+jwt', aud: 'interlock/permit', claims: permitClaimsSchema },
  work: { typ: 'work-permit+jwt', aud: 'interlock/work-permit', claims: workPermitClaimsSchema },
  halt: { typ: 'halt+jwt', aud: 'interlock/halt', claims: haltOrderClaimsSchema },
  head: { typ: 'head+jwt', aud: 'interlock/head', claims: headClaimsSchema },
} as const;
type Kind = keyof typeof kinds;

export interface TokenSigner {
  signPermit(claims: Omit<PermitClaims, 'iss' | 'aud'>): Promise<string>;
  signWorkPermit(claims: Omit<WorkPermitClaims, 'iss' | 'aud'>): Promise<string>;
  signHaltOrder(claims: Omit<HaltOrderClaims, 'iss' | 'aud'>): Promise<string>;
  signHead(claims: Omit<HeadClaims, 'iss' | 'aud'>): Promise<string>;
}

/** 64 bytes over what is signed. */
export type Signature = (bytes: Buffer, key: CryptoKey) => Buffer;

/** Signs with whatever key is active at that moment. Claims that a verifier would refuse are not signed. */
export function createTokenSigner({
  keyring,
  issuer: iss,
  signature = ed25519,
}: {
  keyring: Keyring;
  issuer: string;
  /** A simulation's own, which costs less; what a trainer accepts is Ed25519. */
  signature?: Signature;
}): TokenSigner {
  const sign = (kind: Kind, claims: object): string => signed(keyring, kind, claims, signature);
  return {
    async signPermit(claims) {
      const full = check(permitClaimsSchema, { ...claims, iss, aud: kinds.permit.aud });
      if (!lifetimeAllowed(full)) throw badClaims('permit', 'exp');
      return sign('permit', full);
    },
    async signWorkPermit(claims) {
      const full = check(workPermitClaimsSchema, { ...claims, iss, aud: kinds.work.aud });
      if (!lifetimeAllowed(full)) throw badClaims('work permit', 'exp');
      return sign('work', full);
    },
    async signHaltOrder(claims) {
      return sign('halt', check(haltOrderClaimsSchema, { ...claims, iss, aud: kinds.halt.aud }));
    },
    async signHead(claims) {
      return sign('head', check(headClaimsSchema, { ...claims, iss, aud: kinds.head.aud }));
    },
  };
}

/**
 * Written and signed here, in the thread that asks: a signature takes less time than WebCrypto's way to its thread
 * pool and back, and a busy pool would make permits and halt orders wait. Ed25519 is deterministic: jose's bytes.
 */
function signed(keyring: Keyring, kind: Kind, claims: object, signature: Signature): string {
  const { kid, privateKey } = keyring.active();
  const header = base64url(JSON.stringify({ alg: 'EdDSA', typ: kinds[kind].typ, kid }));
  const text = `${header}.${base64url(JSON.stringify(claims))}`;
  const token = `${text}.${signature(Buffer.from(text), privateKey).toString('base64url')}`;
  if (token.length > TOKEN_LENGTH_MAX) throw badClaims(kind, 'clearedHalts');
  return token;
}

const ed25519: Signature = (bytes, key) => signBytes(null, bytes, keyObjectOf(key));

const base64url = (text: string): string => Buffer.from(text).toString('base64url');

const keyObjects = new WeakMap<CryptoKey, KeyObject>();

function keyObjectOf(key: CryptoKey): KeyObject {
  const known = keyObjects.get(key);
  if (known !== undefined) return known;
  const object = KeyObject.from(key);
  keyObjects.set(key, object);
  return object;
}

function check<T>(schema: z.ZodType<T>, claims: unknown): T {
  const parsed = schema.safeParse(claims);
  if (!parsed.success) throw badClaims('token', parsed.error.issues[0]?.path.join('.') ?? '');
  return parsed.data;
}

function badClaims(what: string, where: string): InterlockError {
  return new InterlockError(`refusing to sign: the claims of the ${what} are not valid (at ${where})`, {
    code: 'signing.bad-claims',
  });
}

export type Refusal =
  | 'too-large'
  | 'malformed'
  | 'header'
  | 'unknown-key'
  | 'revoked-key'
  | 'key-window'
  | 'signature'
  | 'claims'
  | 'issuer'
  | 'lifetime'
  | 'expired'
  | 'issued-ahead';
export type Verified<Claims> =
  | { ok: true; claims: Claims; kid: string; revokedKey?: true }
  | { ok: false; reason: Refusal };

export interface TokenVerifier {
  verifyPermit(token: string): Promise<Verified<PermitClaims>>;
  verifyWorkPermit(token: string): Promise<Verified<WorkPermitClaims>>;
  verifyHaltOrder(token: string): Promise<Verified<HaltOrderClaims>>;
  verifyHead(token: string): Promise<Verified<HeadClaims>>;
}

export interface TokenVerifierOptions {
  /** Asked at every verification, so that a rotation is seen; pass `() => keyring.jwks()` or a fixed set. */
  jwks: () => PublicJwks;
  issuer: string;
  now?: () => Date;
}

export function createTokenVerifier({
  jwks,
  issuer: iss,
  now = () => new Date(),
}: TokenVerifierOptions): TokenVerifier {
  const imported = new Map<string, { x: string; key: CryptoKey }>();

  async function keyFor(kid: string): Promise<CryptoKey | null> {
    const jwk = jwks().keys.find((candidate) => candidate.kid === kid);
    if (jwk === undefined) return null;
    const known = imported.get(kid);
    if (known !== undefined && known.x === jwk.x) return known.key;
    const key = await importEd25519({ kty: 'OKP', crv: 'Ed25519', x: jwk.x });
    imported.set(kid, { x: jwk.x, key });
    return key;
  }

  async function verify<Claims extends { iss: string }>(
    token: string,
    typ: string,
    schema: z.ZodType<Claims>,
  ): Promise<Verified<Claims>> {
    const opened = await open(token, typ, keyFor);
    if (!opened.ok) return opened;
    const claims = schema.safeParse(opened.payload);
    if (!claims.success) return { ok: false, reason: 'claims' };
    if (claims.data.iss !== iss) return { ok: false, reason: 'issuer' };
    return { ok: true, claims: claims.data, kid: opened.kid };
  }

  const jwkOf = (kid: string): PublicJwk | undefined => jwks().keys.find((each) => each.kid === kid);

  /** A permit of either kind counts now, or not at all. */
  function inForce<Claims extends { iat: number; exp: number }>(
    verified: Verified<Claims>,
  ): Verified<Claims> {
    if (!verified.ok) return verified;
    const jwk = jwkOf(verified.kid);
    if (jwk?.revoked !== undefined) return { ok: false, reason: 'revoked-key' };
    const nowS = now().getTime() / 1000;
    const { iat, exp } = verified.claims;
    if (!lifetimeAllowed(verified.claims)) return { ok: false, reason: 'lifetime' };
    if (iat > nowS + ISSUED_AHEAD_MAX_S) return { ok: false, reason: 'issued-ahead' };
    // Written so that a NaN clock refuses too.
    if (!(nowS < exp)) return { ok: false, reason: 'expired' };
    return inWindow(iat, jwk) ? verified : { ok: false, reason: 'key-window' };
  }

  return {
    async verifyPermit(token) {
      return inForce(await verify(token, kinds.permit.typ, permitClaimsSchema));
    },
    async verifyWorkPermit(token) {
      return inForce(await verify(token, kinds.work.typ, workPermitClaimsSchema));
    },
    async verifyHaltOrder(token) {
      const verified = await verify(token, kinds.halt.typ, haltOrderClaimsSchema);
      const revoked = verified.ok && jwkOf(verified.kid)?.revoked !== undefined;
      return revoked ? { ...verified, revokedKey: true } : verified;
    },
    async verifyHead(token) {
      const verified = await verify(token, kinds.head.typ, headClaimsSchema);
      if (!verified.ok) return verified;
      const jwk = jwkOf(verified.kid);
      const { iat } = verified.claims;
      // What it signed before counts, and for the minute that replicas may take to hear of it. That its holder did
      // not date a later head back, only a copy kept elsewhere shows.
      if (jwk?.revoked !== undefined && iat > jwk.revoked.revoked_at + ISSUED_AHEAD_MAX_S) {
        return { ok: false, reason: 'revoked-key' };
      }
      return inWindow(iat, jwk) ? verified : { ok: false, reason: 'key-window' };
    },
  };
}

/** Two clocks are compared, that of the signing and that of the rotation: a minute is left to them. */
function inWindow(iat: number, jwk: PublicJwk | undefined): boolean {
  return (
    iat >= (jwk?.nbf ?? 0) - ISSUED_AHEAD_MAX_S &&
    iat <= (jwk?.exp ?? Number.MAX_SAFE_INTEGER) + ISSUED_AHEAD_MAX_S
  );
}

function lifetimeAllowed({ iat, exp }: { readonly iat: number; readonly exp: number }): boolean {
  return exp > iat && exp - iat <= PERMIT_LIFETIME_MAX_S;
}

const COMPACT_JWS = /^([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/;

/** Size and form come before any decoding, so that a hostile megabyte costs a length comparison. */
async function open(
  token: string,
  typ: string,
  keyFor: (kid: string) => Promise<CryptoKey | null>,
): Promise<{ ok: true; payload: unknown; kid: string } | { ok: false; reason: Refusal }> {
  if (token.length > TOKEN_LENGTH_MAX) return { ok: false, reason: 'too-large' };
  const parts = COMPACT_JWS.exec(token);
  if (parts === null) return { ok: false, reason: 'malformed' };

  // Strict: `crit`, `jwk`, `jku`, `x5u`, `b64` and whatever else a header may carry refuse the token.
  const headerSchema = z.strictObject({
    alg: z.literal('EdDSA'),
    typ: z.literal(typ),
    kid: z.string().max(128),
  });
  const header = headerSchema.safeParse(decodeJson(parts[1] ?? ''));
  if (!header.success) return { ok: false, reason: 'header' };
  const key = await keyFor(header.data.kid);
  if (key === null) return { ok: false, reason: 'unknown-key' };

  try {
    const { payload } = await compactVerify(token, key, { algorithms: ['EdDSA'] });
    return { ok: true, payload: parseJson(payload), kid: header.data.kid };
  } catch (error) {
    const forged = error instanceof errors.JWSSignatureVerificationFailed;
    return { ok: false, reason: forged ? 'signature' : 'malformed' };
  }
}

function decodeJson(part: string): unknown {
  try {
    return parseJson(Buffer.from(part, 'base64url'));
  } catch {
    return undefined; // no schema accepts it
  }
}

function parseJson(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
}

/** Reads a token of our own making without checking it; never a ground to believe what it says. */
export function peekHaltOrder(order: string): HaltOrderClaims | null {
  const parsed = haltOrderClaimsSchema.safeParse(decodeJson(order.split('.')[1] ?? ''));
  return parsed.success ? parsed.data : null;
}

/** One sentence per refusal, for command lines and logs. */
export function explainRefusal(reason: Refusal): string {
  switch (reason) {
    case 'too-large':
      return 'the token is too large';
    case 'malformed':
      return 'the token is not a compact JWS';
    case 'header':
      return 'the header is not exactly the expected alg, typ and kid';
    case 'unknown-key':
      return 'the key that signed it is not in the key set';
    case 'revoked-key':
      return 'the key that signed it had been revoked';
    case 'key-window':
      return 'it was issued when the key that signed it did not sign';
    case 'signature':
      return 'the signature does not match';
    case 'claims':
      return 'the claims are not the expected ones';
    case 'issuer':
      return 'another issuer signed it';
    case 'lifetime':
      return 'its lifetime is not positive or is longer than allowed';
    case 'expired':
      return 'it has expired';
    case 'issued-ahead':
      return 'it was issued in the future';
    default:
      return assertNever(reason);
  }
}
