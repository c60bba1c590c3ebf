/**
 * Media types: a body is exactly JSON in UTF-8, or it is refused (415).
 *
 * Matched on the raw header. Parsers that trim or cut at the first odd character have let a body skip
 * validation before (CVE-2026-25223: a tab; CVE-2026-33806: a leading space).
 */
export const JSON_MEDIA_TYPE = 'application/json';

const EXACT = /^(application\/[a-z0-9.+-]+)(?:[ ]?;[ ]?charset=(?:utf-8|"utf-8"))?$/i;

/** The media type in lower case, or null where the header is anything but one of `allowed` in UTF-8. */
export function exactMediaType(header: string | undefined, allowed: readonly string[]): string | null {
  if (header === undefined || header.length > 128) return null;
  const mediaType = EXACT.exec(header)?.[1]?.toLowerCase();
  return mediaType !== undefined && allowed.includes(mediaType) ? mediaType : null;
}
