/**
 * Signatures in virtual time: jose's own code, with WebCrypto's answers given at once.
 *
 * WebCrypto answers from a thread pool, whose order nobody controls. Here it is answered in the same turn, and so is
 * what src/signing and the trainer's client ask Node for: by Node's Ed25519 for a share of the seeds, by a keyed digest of the same
 * length for the others. What jose, src/signing and the trainer's client check and refuse is the real thing.
 */
import crypto, {
  createHash,
  createPrivateKey,
  createPublicKey,
  KeyObject,
  sign,
  verify,
  webcrypto,
} from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { calculateJwkThumbprint } from 'jose';
import type { Keyring } from '../../src/signing/keyring.ts';
import type { Signature } from '../../src/signing/tokens.ts';

export interface Signatures {
  readonly keyring: Keyring;
  /** For createTokenSigner: what `verify` below accepts. */
  readonly signature: Signature;
  /** Ed25519 itself, or the digest in its place. */
  real: boolean;
  restore(): void;
}

/** RFC 8410: what stands before the 32 bytes of an Ed25519 key in PKCS #8. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');

export async function installSignatures(): Promise<Signatures> {
  const { subtle } = webcrypto;
  // Always the same key, so that a seed is the same story everywhere; it opens nothing.
  const bytes = createHash('sha256').update('a key of simulations').digest();
  const privateObject = createPrivateKey({
    key: Buffer.concat([PKCS8_HEAD, bytes]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicObject = createPublicKey(privateObject);
  const { x } = publicObject.export({ format: 'jwk' });
  if (x === undefined) throw new Error('an Ed25519 key has an x');
  const jwk = { kty: 'OKP', crv: 'Ed25519', x } as const;
  const kid = await calculateJwkThumbprint(jwk);
  const privateKey = await subtle.importKey(
    'pkcs8',
    Buffer.concat([PKCS8_HEAD, bytes]),
    { name: 'Ed25519' },
    false,
    ['sign'],
  );
  const publicKey = await subtle.importKey('jwk', jwk, { name: 'Ed25519' }, true, ['verify']);

  // As it is now: the binding changes with what is put in below.
  const realVerify = verify;
  const original = { sign: subtle.sign, verify: subtle.verify, importKey: subtle.importKey };
  const mode = { real: false };
  const cheap = (data: Uint8Array): Buffer => createHash('sha512').update(bytes).update(data).digest();
  const view = (data: webcrypto.BufferSource): Uint8Array => {
    if (!ArrayBuffer.isView(data)) return new Uint8Array(Buffer.from(data));
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  };

  subtle.sign = async (_algorithm, _key, data) => {
    const signed = mode.real ? sign(null, view(data), privateObject) : cheap(view(data));
    return new Uint8Array(signed).buffer;
  };
  subtle.verify = async (_algorithm, _key, signature, data) =>
    mode.real
      ? realVerify(null, view(data), publicObject, view(signature))
      : cheap(view(data)).equals(view(signature));
  Object.assign(subtle, { importKey: async () => publicKey });
  // The trainer's client has nothing but Node, whose `verify` answers at once but knows no digest.
  const verifyHere = (
    algorithm: string | null | undefined,
    data: NodeJS.ArrayBufferView,
    key: KeyObject,
    signature: NodeJS.ArrayBufferView,
  ): boolean =>
    mode.real || !(key instanceof KeyObject && key.equals(publicObject))
      ? realVerify(algorithm, data, key, signature)
      : cheap(view(data)).equals(view(signature));
  Object.assign(crypto, { verify: verifyHere });
  syncBuiltinESMExports();

  const publicJwk = { ...jwk, kid, alg: 'EdDSA', use: 'sig' } as const;
  return {
    keyring: {
      active: () => ({ kid, privateKey }),
      jwks: () => ({ keys: [publicJwk] }),
      keySet: () => kid,
      status: () => [],
      rotate: () => Promise.reject(new Error('no rotation in a simulation')),
      revoke: () => Promise.reject(new Error('no revocation in a simulation')),
      refresh: async () => false,
    },
    signature: (data) => (mode.real ? sign(null, data, privateObject) : cheap(data)),
    get real() {
      return mode.real;
    },
    set real(value) {
      mode.real = value;
    },
    restore() {
      Object.assign(subtle, original);
      Object.assign(crypto, { verify: realVerify });
      syncBuiltinESMExports();
    },
  };
}
