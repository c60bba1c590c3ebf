/**
 * What a body may be and how much of it is taken: before it is parsed, and before anybody knows whose it is.
 *
 * A sender that signs the body is known only once all of it is here. Of such a sender no more is taken than of a stranger, so that
 * the limit for files is for callers with a token.
 */
import { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { JSON_MEDIA_TYPE } from './content-type.ts';
import { FORM_MEDIA_TYPE } from './form.ts';
import { Refusal } from './refusal.ts';
import type { Route } from './route.ts';

export const FILE_MEDIA_TYPE = 'application/octet-stream';

export const isFile = ({ file }: Route, query: unknown): boolean => file?.isAsked(query) === true;

export function mediaTypesOf(route: Route, query: unknown): string[] {
  if (route.form) return [FORM_MEDIA_TYPE];
  const more = isFile(route, query) ? [FILE_MEDIA_TYPE] : [];
  return [JSON_MEDIA_TYPE, ...(route.mediaTypes ?? []), ...more];
}

/** The most that the route ever takes; less is taken of most callers (`capOf`). */
export function bodyLimitOf({ bodyLimitBytes, file }: Route): { bodyLimit?: number } {
  const bodyLimit = file?.limitBytes ?? bodyLimitBytes;
  return bodyLimit === undefined ? {} : { bodyLimit };
}

/** Null: the route's own limit is the one that holds. */
export function capOf(route: Route, request: FastifyRequest, standardBytes: number): number | null {
  if (route.file === null) return null;
  const isKnown = request.authenticated !== null;
  return isKnown && isFile(route, request.query) ? null : (route.bodyLimitBytes ?? standardBytes);
}

export function capped<P extends AsyncIterable<unknown>>(
  payload: P,
  capBytes: number | null,
  { headers }: FastifyRequest,
): P | Readable {
  if (capBytes === null) return payload;
  const declared = headers['content-length'];
  if (declared !== undefined) {
    if (Number(declared) > capBytes) throw tooLarge();
    return payload;
  }
  return Readable.from(upTo(payload, capBytes), { objectMode: false });
}

async function* upTo(payload: AsyncIterable<unknown>, capBytes: number): AsyncGenerator<Uint8Array> {
  let length = 0;
  for await (const chunk of payload) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('a body comes as bytes');
    length += chunk.byteLength;
    if (length > capBytes) throw tooLarge();
    yield chunk;
  }
}

const tooLarge = (): Refusal =>
  new Refusal({ status: 413, code: 'body-too-large', title: 'The body is too large' });
