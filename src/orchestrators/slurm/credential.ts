/** The token of slurmrestd where interlock.yaml says it stands (credential.ts), and whether it has run out. */
import { z } from 'zod';
import { readCredential } from '../credential.ts';

export type Token =
  | { readonly ok: true; readonly value: string; readonly note: string }
  | { readonly ok: false; readonly detail: string };

export async function readToken(
  reference: string,
  variable: (reference: string) => string | undefined,
  now: Date,
): Promise<Token> {
  const read = await readCredential(reference, variable);
  if (!read.ok) return { ok: false, detail: read.reason };
  return { ok: true, value: read.value, note: isExpired(read.value, now) ? ' (the token has expired)' : '' };
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
