/**
 * Standard Webhooks 1.0.0, signing and strict verification over the raw bytes.
 *
 * Our own because the stock library let through timestamps with trailing junk, ids with a dot and bodies
 * whose bytes differ from the signed ones. `v1` is HMAC-SHA256 under `whsec_` secrets, `v1a` Ed25519 under
 * `whsk_`/`whpk_` keys; a value signed as one is never accepted as the other.
 *
 * Guarantees: every secret is tried against every offered signature whatever matched before, comparisons
 * take constant time, and a refusal is a value with a reason for counters and logs (a client is told
 * nothing but 401). Secrets do not print.
 *
 * Not here: the limit on the body, and replay (the ledger keeps (source, webhook-id) unique for ever).
 */

import type { KeyObject } from 'node:crypto';
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign as signBytes,
  timingSafeEqual,
  verify as verifyBytes,
} from 'node:crypto';
import { InterlockError } from '../errors.ts';

export const WEBHOOK_TOLERANCE_S = 300;
const SIGNATURE_HEADER_LENGTH_MAX = 1024;
const SIGNATURES_MAX = 8;
const ID = /^[A-Za-z0-9_-]{1,128}$/;
const TIMESTAMP = /^[0-9]{10}$/;

/** A symmetric secret whose bytes neither JSON, inspection nor spreading can reveal. */
export class WebhookSecret {
  readonly #bytes: Buffer;

  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** `whsec_` and the base64 of 24 to 64 bytes. The error never quotes the text. */
  static parse(text: string): WebhookSecret {
    const bytes = text.startsWith('whsec_') ? decodeBase64(text.slice('whsec_'.length)) : null;
    if (bytes === null) throw badSecret('it must be whsec_ followed by padded base64');
    if (bytes.length < 24 || bytes.length > 64) {
      throw badSecret(`it must hold 24 to 64 bytes, not ${bytes.length}`);
    }
    return new WebhookSecret(bytes);
  }

  hmac(content: Buffer): Buffer {
    return createHmac('sha256', this.#bytes).update(content).digest();
  }
}

export function generateWebhookSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

/** An Ed25519 pair in the notation of the specification: the 32-byte seed with the public key, and the public key. */
export function generateWebhookKeyPair(): { privateKey: string; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const seed = privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(-32);
  const point = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  return {
    privateKey: `whsk_${Buffer.concat([seed, point]).toString('base64')}`,
    publicKey: `whpk_${point.toString('base64')}`,
  };
}

const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_ED25519 = Buffer.from('302a300506032b6570032100', 'hex');

/** `whsk_` with the seed alone (32 bytes) or the seed and the public key (64). */
export function parseWebhookPrivateKey(text: string): KeyObject {
  const bytes = text.startsWith('whsk_') ? decodeBase64(text.slice('whsk_'.length)) : null;
  if (bytes === null || (bytes.length !== 32 && bytes.length !== 64)) {
    throw badSecret('a signing key must be whsk_ followed by the base64 of 32 or 64 bytes');
  }
  const key = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519, bytes.subarray(0, 32)]),
    format: 'der',
    type: 'pkcs8',
  });
  if (bytes.length === 64) {
    const point = createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32);
    if (!point.equals(bytes.subarray(32)))
      throw badSecret('the two halves of a signing key do not belong together');
  }
  return key;
}

export function parseWebhookPublicKey(text: string): KeyObject {
  const bytes = text.startsWith('whpk_') ? decodeBase64(text.slice('whpk_'.length)) : null;
  if (bytes === null || bytes.length !== 32) {
    throw badSecret('a verification key must be whpk_ followed by the base64 of 32 bytes');
  }
  return createPublicKey({ key: Buffer.concat([SPKI_ED25519, bytes]), format: 'der', type: 'spki' });
}

export interface WebhookToSign {
  /** Stays the same over retries; the timestamp is that of the attempt. */
  id: string;
  timestamp: Date;
  body: Buffer;
  secrets: readonly WebhookSecret[];
  ed25519Keys?: readonly KeyObject[];
}
export type WebhookHeaders = Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>;

/** One signature per secret and key, so that a receiver in the middle of a rotation finds the one it knows. */
export function signWebhook({
  id,
  timestamp,
  body,
  secrets,
  ed25519Keys = [],
}: WebhookToSign): WebhookHeaders {
  const seconds = Math.floor(timestamp.getTime() / 1000).toString();
  if (!ID.test(id) || !TIMESTAMP.test(seconds)) {
    throw new InterlockError('a webhook id or timestamp is not in the form that receivers accept', {
      code: 'signing.bad-webhook',
    });
  }
  const content = signedContent(id, seconds, body);
  const signatures = [
    ...secrets.map((secret) => `v1,${secret.hmac(content).toString('base64')}`),
    ...ed25519Keys.map((key) => `v1a,${signBytes(null, content, key).toString('base64')}`),
  ];
  const signature = signatures.join(' ');
  if (
    signatures.length === 0 ||
    signatures.length > SIGNATURES_MAX ||
    signature.length > SIGNATURE_HEADER_LENGTH_MAX
  ) {
    throw new InterlockError(
      `a webhook carries 1 to ${SIGNATURES_MAX} signatures, not ${signatures.length}`,
      {
        code: 'signing.bad-webhook',
      },
    );
  }
  return { 'webhook-id': id, 'webhook-timestamp': seconds, 'webhook-signature': signature };
}

export interface WebhookToVerify {
  /** Node's flat `rawHeaders`: in `headers` a repeated field is already joined and cannot be told apart. */
  rawHeaders: readonly string[];
  body: Buffer;
  /** Every active secret and key of the one source that claims to send this. */
  secrets: readonly WebhookSecret[];
  ed25519Keys?: readonly KeyObject[];
  now: Date;
}
export type WebhookRefusal = 'headers' | 'id' | 'timestamp' | 'too-old' | 'in-future' | 'signature';
export type WebhookVerdict =
  | { ok: true; id: string; timestamp: Date }
  | { ok: false; reason: WebhookRefusal };

export function verifyWebhook(request: WebhookToVerify): WebhookVerdict {
  const { rawHeaders, body, secrets, ed25519Keys = [], now } = request;
  const id = onlyHeader(rawHeaders, 'webhook-id');
  const timestamp = onlyHeader(rawHeaders, 'webhook-timestamp');
  const signature = onlyHeader(rawHeaders, 'webhook-signature');
  if (id === null || timestamp === null || signature === null) return { ok: false, reason: 'headers' };
  if (!ID.test(id)) return { ok: false, reason: 'id' };
  if (!TIMESTAMP.test(timestamp)) return { ok: false, reason: 'timestamp' };
  if (signature.length > SIGNATURE_HEADER_LENGTH_MAX) return { ok: false, reason: 'headers' };
  const offered = signature.split(' ');
  if (offered.length > SIGNATURES_MAX) return { ok: false, reason: 'headers' };

  const sentAt = new Date(Number(timestamp) * 1000);
  const ageMs = now.getTime() - sentAt.getTime();
  if (ageMs < -WEBHOOK_TOLERANCE_S * 1000) return { ok: false, reason: 'in-future' };
  if (!(ageMs <= WEBHOOK_TOLERANCE_S * 1000)) return { ok: false, reason: 'too-old' };

  const content = signedContent(id, timestamp, body);
  const symmetric = decodeSignatures(offered, 'v1,', 32);
  const asymmetric = decodeSignatures(offered, 'v1a,', 64);
  // No early exit: the time taken says how many secrets there are, never which of them matched.
  let matches = 0;
  for (const secret of secrets) {
    const expected = secret.hmac(content);
    for (const given of symmetric) matches += timingSafeEqual(expected, given) ? 1 : 0;
  }
  for (const key of ed25519Keys) {
    for (const given of asymmetric) matches += verifyBytes(null, content, key, given) ? 1 : 0;
  }
  return matches > 0 ? { ok: true, id, timestamp: sentAt } : { ok: false, reason: 'signature' };
}

function signedContent(id: string, timestamp: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${id}.${timestamp}.`, 'ascii'), body]);
}

/** The value of a field that is there exactly once; names are case-insensitive. */
function onlyHeader(rawHeaders: readonly string[], name: string): string | null {
  let found: string | null = null;
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() !== name) continue;
    if (found !== null) return null;
    found = rawHeaders[at + 1] ?? null;
  }
  return found;
}

function decodeSignatures(offered: readonly string[], prefix: string, length: number): Buffer[] {
  return offered.flatMap((entry) => {
    const bytes = entry.startsWith(prefix) ? decodeBase64(entry.slice(prefix.length)) : null;
    return bytes !== null && bytes.length === length ? [bytes] : [];
  });
}

/** Node's decoder skips what it does not know; only text that encodes back to itself counts. */
function decodeBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length > 0 && bytes.toString('base64') === text ? bytes : null;
}

function badSecret(why: string): InterlockError {
  return new InterlockError(`a webhook secret is refused: ${why}`, { code: 'signing.bad-secret' });
}
