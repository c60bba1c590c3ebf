/**
 * HTML forms, read strictly: few short fields, none twice, valid UTF-8. And whether a form was sent from a page of
 * this service: browsers say so in a header that no script can set.
 */
import type { JsonObject } from '../domain/canonical-json.ts';
import { forbidden, malformed, type Refusal } from './refusal.ts';
import type { RawCall } from './route.ts';

export const FORM_MEDIA_TYPE = 'application/x-www-form-urlencoded';
const FIELDS_MAX = 8;
const BYTES_MAX = 16 * 1024;

export function parseForm(body: Buffer): JsonObject {
  const text = body.length > BYTES_MAX ? null : decoded(body);
  const pairs = text === null ? null : [...new URLSearchParams(text)];
  if (
    pairs === null ||
    pairs.length > FIELDS_MAX ||
    new Set(pairs.map(([name]) => name)).size < pairs.length
  ) {
    throw malformed('malformed-form', 'the form cannot be read: a few fields, each once, in UTF-8');
  }
  return Object.fromEntries(pairs);
}

function decoded(body: Buffer): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return null;
  }
}

/** A form of another site, or of no page at all, is refused: it could sign somebody in as somebody else. */
export function foreignForm(headers: RawCall['headers'], publicUrl: string | null): Refusal | null {
  const { host, origin } = headers;
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin')
    return forbidden('this form was not sent by its own page');
  const own = new Set([`http://${String(host)}`, `https://${String(host)}`]);
  if (publicUrl !== null) own.add(new URL(publicUrl).origin);
  const isOwn = origin === undefined ? site === 'same-origin' : typeof origin === 'string' && own.has(origin);
  return isOwn ? null : forbidden('this form was not sent by its own page');
}
