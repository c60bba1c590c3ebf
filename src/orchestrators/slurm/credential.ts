/** A token where interlock.yaml says it stands: read at each use, so that whoever rotates it needs no restart. */
import { open } from 'node:fs/promises';
import { z } from 'zod';

export type Token =
  | { readonly ok: true; readonly value: string; readonly note: string }
  | { readonly ok: false; readonly detail: string };

const BYTES_MAX = 16_384;

export async function readToken(
  reference: string,
  variable: (reference: string) => string | undefined,
  now: Date,
): Promise<Token> {
  const isVariable = reference.startsWith('env:');
  const stated = isVariable ? variable(reference) : await firstBytes(reference);
  const value = (stated ?? '').trim();
  const where = isVariable ? `the variable ${reference.slice(4)}` : 'the token file';
  if (value === '') return { ok: false, detail: `${where} is empty or cannot be read` };
  // It goes into a header: nothing that could end one.
  if (!/^[\x21-\x7e]+$/.test(value)) return { ok: false, detail: `${where} holds no token` };
  return { ok: true, value, note: isExpired(value, now) ? ' (the token has expired)' : '' };
}

async function firstBytes(path: string): Promise<string | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(BYTES_MAX), 0, BYTES_MAX, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

const claimsSchema = z.object({ exp: z.number() });

/** Only to say why, where it is refused: Slurm answers an expired token with an unspecified error. */
function isExpired(token: string, now: Date): boolean {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return claimsSchema.parse(claims).exp * 1000 <= now.getTime();
  } catch {
    return false;
  }
}
