/**
 * The one encoder of job ids: kind and key in, an id that BullMQ accepts out.
 *
 * BullMQ refuses ids that read as integers and most ids with a colon; a NUL or a lone surrogate breaks the
 * PostgreSQL backend. Distinct pairs give distinct ids: the encoding is injective, and past the bound the
 * key's SHA-256 stands in for it (marked by a character that the plain encoding never yields).
 */
import { createHash } from 'node:crypto';
import type { WorkKind } from './work-queue.ts';

export const JOB_ID_LENGTH_MAX = 200;

export function encodeJobId(kind: WorkKind, key: string): string {
  // Kinds hold no `/`, so the first one ends the kind; the kind's letters keep the id from reading as a number.
  const id = `${kind}/${escapeKey(key)}`;
  if (id.length <= JOB_ID_LENGTH_MAX) return id;
  // Over UTF-16 code units, because UTF-8 would map every lone surrogate to the same bytes.
  return `${kind}/+${createHash('sha256').update(Buffer.from(key, 'utf16le')).digest('hex')}`;
}

/** Every UTF-16 code unit outside the plain set becomes `~` and four hex digits. */
function escapeKey(key: string): string {
  return key.replace(
    /[^A-Za-z0-9_./-]/g,
    (units) =>
      // Without the `u` flag the class matches one code unit at a time, surrogates included.
      `~${units.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
