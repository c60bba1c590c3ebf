/**
 * Sealing: a log that must not be read by whoever gets at the disk, the bucket or a backup.
 *
 * An ephemeral X25519 key and the public sealing key agree on a secret; HKDF-SHA256 makes an AES-256-GCM key of it, and the
 * bytes go in chunks, each with its number and whether it is the last in its nonce, so that none can be dropped, moved, repeated
 * or cut off unnoticed. The header is authenticated with every chunk. To seal takes the public key alone: a service without the
 * private one cannot read what it has sealed.
 * Against: whoever reads or changes stored bytes. Not against: whoever controls the service while it seals, or holds the
 * private key; that the plaintext is of a known digest is no secret, for the digest is its name.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { InterlockError } from '../errors.ts';

const MAGIC = 'interlock-sealed/1\n';
const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
const HEADER_BYTES = MAGIC.length + KEY_BYTES * 2;

const PUBLIC_KEY = /^ilsp_([A-Za-z0-9_-]{43})$/;
const PRIVATE_KEY = /^ilsk_([A-Za-z0-9_-]{43})$/;

export interface SealingKeys {
  /** `ilsp_` and base64url of 32 bytes. */
  readonly publicKey: string;
  /** `ilsk_` and base64url of 32 bytes. */
  readonly privateKey: string;
}

export function generateSealingKeys(): SealingKeys {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return {
    publicKey: `ilsp_${memberOf(publicKey, 'x')}`,
    privateKey: `ilsk_${memberOf(privateKey, 'd')}`,
  };
}

/** Throws InterlockError `evidence.key` for what is no such key; never repeats it. */
export function readPublicKey(text: string): KeyObject {
  const x = PUBLIC_KEY.exec(text.trim())?.[1];
  if (x === undefined) throw badKey('the public sealing key must be "ilsp_" and 43 characters of base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
}

export function readPrivateKey(text: string): KeyObject {
  const d = PRIVATE_KEY.exec(text.trim())?.[1];
  if (d === undefined) throw badKey('the private sealing key must be "ilsk_" and 43 characters of base64url');
  // PKCS#8 of an X25519 key: a fixed head before its 32 bytes. As a JWK it would need the public half as well.
  const head = Buffer.from('302e020100300506032b656e04220420', 'hex');
  return createPrivateKey({
    key: Buffer.concat([head, Buffer.from(d, 'base64url')]),
    format: 'der',
    type: 'pkcs8',
  });
}

export async function* seal(
  plain: AsyncIterable<Uint8Array>,
  recipient: KeyObject,
): AsyncGenerator<Uint8Array> {
  const ephemeral = generateKeyPairSync('x25519');
  const header = Buffer.concat([Buffer.from(MAGIC), rawOf(ephemeral.publicKey), rawOf(recipient)]);
  const key = keyOf(diffieHellman({ privateKey: ephemeral.privateKey, publicKey: recipient }), header);
  yield header;
  let number = 0;
  for await (const { chunk, last } of chunksOf(plain, CHUNK_BYTES)) {
    const cipher = createCipheriv('aes-256-gcm', key, nonceOf(number, last)).setAAD(header);
    yield Buffer.concat([cipher.update(chunk), cipher.final(), cipher.getAuthTag()]);
    number += 1;
  }
}

/** Throws InterlockError `evidence.damaged` where the bytes are not what was sealed, or are sealed for another key. */
export async function* unseal(
  sealed: AsyncIterable<Uint8Array>,
  privateKey: KeyObject,
): AsyncGenerator<Uint8Array> {
  const source = sealed[Symbol.asyncIterator]();
  try {
    yield* opened(source, privateKey);
  } finally {
    // Also where it is refused half-way: a file that is not read to its end is not closed by anybody else.
    await source.return?.();
  }
}

async function* opened(source: AsyncIterator<Uint8Array>, privateKey: KeyObject): AsyncGenerator<Uint8Array> {
  const { header, rest } = await split(source, HEADER_BYTES);
  if (!header.subarray(0, MAGIC.length).equals(Buffer.from(MAGIC))) throw damaged('is not sealed evidence');
  const from = createPublicKey({
    key: {
      kty: 'OKP',
      crv: 'X25519',
      x: header.subarray(MAGIC.length, MAGIC.length + KEY_BYTES).toString('base64url'),
    },
    format: 'jwk',
  });
  if (!header.subarray(MAGIC.length + KEY_BYTES).equals(rawOf(createPublicKey(privateKey)))) {
    throw damaged('is sealed for another key');
  }
  const key = keyOf(diffieHellman({ privateKey, publicKey: from }), header);
  let number = 0;
  for await (const { chunk, last } of chunksOf(rest, CHUNK_BYTES + TAG_BYTES)) {
    if (chunk.length < TAG_BYTES) throw damaged('is cut short');
    const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(number, last)).setAAD(header);
    decipher.setAuthTag(chunk.subarray(chunk.length - TAG_BYTES));
    const plain = decipher.update(chunk.subarray(0, chunk.length - TAG_BYTES));
    try {
      decipher.final();
    } catch {
      throw damaged('was changed or cut short');
    }
    if (plain.length > 0) yield plain;
    number += 1;
  }
}

/** Counts to 2^32 chunks of 64 KiB, which no log reaches; a key is used for one document alone. */
function nonceOf(number: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(number, 7);
  nonce.writeUInt8(last ? 1 : 0, 11);
  return nonce;
}

function keyOf(secret: Buffer, header: Buffer): Buffer {
  const salt = header.subarray(MAGIC.length);
  return Buffer.from(hkdfSync('sha256', secret, salt, MAGIC, KEY_BYTES));
}

/** All of one size but the last, which may be empty: of nothing there is one chunk, too. */
async function* chunksOf(
  source: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<{ chunk: Buffer; last: boolean }> {
  let held = Buffer.alloc(0);
  for await (const bytes of source) {
    held = Buffer.concat([held, bytes]);
    while (held.length > size) {
      yield { chunk: held.subarray(0, size), last: false };
      held = held.subarray(size);
    }
  }
  yield { chunk: held, last: true };
}

async function split(
  iterator: AsyncIterator<Uint8Array>,
  size: number,
): Promise<{ header: Buffer; rest: AsyncIterable<Uint8Array> }> {
  let held = Buffer.alloc(0);
  while (held.length < size) {
    const next = await iterator.next();
    if (next.done === true) throw damaged('is cut short');
    held = Buffer.concat([held, next.value]);
  }
  async function* rest(): AsyncGenerator<Uint8Array> {
    yield held.subarray(size);
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) return;
      yield next.value;
    }
  }
  return { header: held.subarray(0, size), rest: rest() };
}

function memberOf(key: KeyObject, member: 'x' | 'd'): string {
  const value = key.export({ format: 'jwk' })[member];
  if (value === undefined) throw new TypeError('not an X25519 key');
  return value;
}
const rawOf = (publicKey: KeyObject): Buffer => Buffer.from(memberOf(publicKey, 'x'), 'base64url');

const badKey = (message: string): InterlockError => new InterlockError(message, { code: 'evidence.key' });
const damaged = (what: string): InterlockError =>
  new InterlockError(`the evidence ${what}`, { code: 'evidence.damaged' });

/** Names a public sealing key without being it. */
export const sealingKeyId = (publicKey: string): string =>
  createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
