/**
 * What the vectors are made with: fixed keys, the service's own signing code, and a pen for what it refuses to sign.
 *
 * Ed25519 and HMAC are deterministic, so the same script always writes the same files. The keys are no secrets: they
 * sign nothing but vectors.
 */
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { z } from 'zod';
import type { Keyring, PublicJwk } from '../../src/signing/keyring.ts';
import { importEd25519 } from '../../src/signing/keyring.ts';
import { thumbprint } from '../../src/signing/keyring-file.ts';
import {
  createTokenSigner,
  type HaltOrderClaims,
  type PermitClaims,
  type TokenSigner,
} from '../../src/signing/tokens.ts';

export const runId = 'run-1';
export const issuer = 'http://interlock.test';
/** The instant of every vector, in seconds. */
export const nowS = 1_800_000_000;

export interface ForgeKey {
  readonly kid: string;
  readonly x: string;
  readonly signer: TokenSigner;
  /** As it stands in a key set; `more` are its window and its revocation. */
  jwk(more?: Partial<PublicJwk>): PublicJwk;
  /** Signs whatever it is given, right or wrong. */
  write(header: unknown, claims: unknown): string;
  /** The same over these very bytes, JSON or not. */
  writeRaw(header: string, claims: string | Buffer): string;
}

const Jwk = z.object({ x: z.string(), d: z.string() });
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

export async function forgeKey(seedByte: number): Promise<ForgeKey> {
  const key = createPrivateKey({
    key: Buffer.concat([PKCS8, Buffer.alloc(32, seedByte)]),
    format: 'der',
    type: 'pkcs8',
  });
  const { x, d } = Jwk.parse(key.export({ format: 'jwk' }));
  const kid = await thumbprint(x);
  const jwk: ForgeKey['jwk'] = (more = {}) => ({
    kty: 'OKP',
    crv: 'Ed25519',
    x,
    kid,
    alg: 'EdDSA',
    use: 'sig',
    ...more,
  });
  const privateKey = await importEd25519({ kty: 'OKP', crv: 'Ed25519', x, d });
  const fixed = async (): Promise<never> => {
    throw new Error('the keys of the vectors do not change');
  };
  const keyring: Keyring = {
    active: () => ({ kid, privateKey }),
    jwks: () => ({ keys: [jwk()] }),
    keySet: () => 'vectors',
    status: () => [],
    rotate: fixed,
    revoke: fixed,
    refresh: fixed,
  };
  return {
    kid,
    x,
    signer: createTokenSigner({ keyring, issuer }),
    jwk,
    write: (header, claims) => written(key, JSON.stringify(header), JSON.stringify(claims)),
    writeRaw: (header, claims) => written(key, header, claims),
  };
}

/** A compact JWS over these very texts. */
function written(key: KeyObject, header: string, claims: string | Buffer): string {
  const text = `${base64url(header)}.${base64url(claims)}`;
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}

export const base64url = (bytes: string | Buffer): string => Buffer.from(bytes).toString('base64url');

export const permit = (key: ForgeKey, claims: Partial<PermitClaims> = {}): Promise<string> =>
  key.signer.signPermit({
    sub: runId,
    iat: nowS,
    exp: (claims.iat ?? nowS) + 60,
    epoch: 1,
    seq: 1,
    ceiling: '1000',
    nonce: 'nonce-1',
    clearedHalts: [],
    ...claims,
  });

/** Leave to evaluate, which is none to train. */
export const workPermit = (key: ForgeKey): Promise<string> =>
  key.signer.signWorkPermit({
    sub: runId,
    iat: nowS,
    exp: nowS + 60,
    scope: 'evaluation',
    purpose: 'evaluation',
    haltId: null,
    nonce: 'nonce-1',
  });

export const halt = (key: ForgeKey, claims: Partial<HaltOrderClaims> = {}): Promise<string> =>
  key.signer.signHaltOrder({
    sub: runId,
    iat: nowS,
    haltId: 'halt_a',
    action: 'halt',
    epoch: 2,
    ...claims,
  });

/** A statement by which `by` names keys (ADR 0012). */
export const statement = (by: ForgeKey, keys: readonly object[], iat = nowS): string =>
  by.write({ alg: 'EdDSA', typ: 'keys+jwt', kid: by.kid }, { aud: 'interlock/keys', iat, keys });
