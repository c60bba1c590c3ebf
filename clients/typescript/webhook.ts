/**
 * Standard Webhooks 1.0.0 (symmetric `v1`), both directions: signing what a trainer reports, and
 * verifying the halts it is sent, strictly and over the raw bytes.
 *
 * Refuses repeated headers, ids and timestamps of any other form, and base64 that is not exactly the
 * signature's: lenient parsers disagree with each other, and that is where forgeries live.
 * Not here: replay. A halt is safe to repeat; a checkpoint is deduplicated by Interlock.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

const idForm = /^[A-Za-z0-9_-]{1,128}$/;
const timestampForm = /^[0-9]{10}$/;
const signatureForm = /^v1,([A-Za-z0-9+/]{43}=)$/;
const toleranceS = 300;
const signatureHeaderLengthMax = 1024;
const signaturesMax = 8;

/** Holds the bytes of a `whsec_` secret where neither JSON nor inspection shows them. */
export class WebhookSecret {
  readonly #bytes: Buffer;

  constructor(text: string) {
    const encoded = text.startsWith('whsec_') ? text.slice('whsec_'.length) : '';
    const bytes = Buffer.from(encoded, 'base64');
    if (bytes.toString('base64') !== encoded || bytes.length < 24 || bytes.length > 64) {
      throw new TypeError('a webhook secret is whsec_ and the padded base64 of 24 to 64 bytes');
    }
    this.#bytes = bytes;
  }

  sign(id: string, timestamp: string, body: Buffer): Buffer {
    return createHmac('sha256', this.#bytes).update(`${id}.${timestamp}.`, 'ascii').update(body).digest();
  }
}

export interface WebhookHeaders {
  'webhook-id': string;
  'webhook-timestamp': string;
  'webhook-signature': string;
}

/** The id stays the same over retries; the timestamp is that of the attempt. */
export function signWebhook(secret: WebhookSecret, id: string, sentAt: Date, body: Buffer): WebhookHeaders {
  const timestamp = Math.floor(sentAt.getTime() / 1000).toString();
  if (!idForm.test(id) || !timestampForm.test(timestamp)) {
    throw new TypeError('a webhook id or timestamp is not in the form that receivers accept');
  }
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${secret.sign(id, timestamp, body).toString('base64')}`,
  };
}

/** `rawHeaders` is Node's flat list: in `headers` a repeated field is already joined and cannot be told apart. */
export function verifyWebhook(
  secrets: readonly WebhookSecret[],
  rawHeaders: readonly string[],
  body: Buffer,
  now: Date,
): boolean {
  const id = onlyHeader(rawHeaders, 'webhook-id');
  const timestamp = onlyHeader(rawHeaders, 'webhook-timestamp');
  const signature = onlyHeader(rawHeaders, 'webhook-signature');
  if (id === null || timestamp === null || signature === null) return false;
  if (!idForm.test(id) || !timestampForm.test(timestamp)) return false;
  const ageS = now.getTime() / 1000 - Number(timestamp);
  // Written so that a clock that is not a number refuses too.
  if (!(Math.abs(ageS) <= toleranceS)) return false;

  if (signature.length > signatureHeaderLengthMax) return false;
  const offered = signature.split(' ');
  if (offered.length > signaturesMax) return false;
  const given = offered.flatMap((entry) => {
    const [, encoded] = signatureForm.exec(entry) ?? [];
    return encoded === undefined ? [] : [Buffer.from(encoded, 'base64')];
  });
  // No early exit: the time taken never says which secret matched.
  let matches = 0;
  for (const secret of secrets) {
    const expected = secret.sign(id, timestamp, body);
    for (const candidate of given) matches += timingSafeEqual(expected, candidate) ? 1 : 0;
  }
  return matches > 0;
}

function onlyHeader(rawHeaders: readonly string[], name: string): string | null {
  const values = rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name);
  const [value] = values;
  return values.length === 1 && value !== undefined && value !== '' ? value : null;
}
