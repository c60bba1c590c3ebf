/**
 * Public keys and heads for the verifier: what an outsider brings to an export.
 *
 * Trust is in the keys. A head's issuer is taken from the head unless `issuer` pins one: the same key signs for
 * one Interlock only, and whoever holds nothing but an export and a key has no other source for the name.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import type { VerifyHeadJws } from '../ledger/verification.ts';
import { type PublicJwks, publicJwksSchema } from '../signing/keyring.ts';
import { createTokenVerifier, explainRefusal } from '../signing/tokens.ts';
import { UsageError } from './exit.ts';

export function headVerifier(jwks: PublicJwks, pinnedIssuer: string | undefined): VerifyHeadJws {
  return async (jws) => {
    const issuer = pinnedIssuer ?? statedIssuer(jws);
    const verified = await createTokenVerifier({ jwks: () => jwks, issuer }).verifyHead(jws);
    if (!verified.ok) {
      throw new InterlockError(`the head is refused: ${explainRefusal(verified.reason)}`, {
        code: 'cli.head-refused',
      });
    }
    const { size, root, hash } = verified.claims;
    return { size, root, hash };
  };
}

function statedIssuer(jws: string): string {
  try {
    const payload: unknown = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return z.object({ iss: z.string() }).parse(payload).iss;
  } catch {
    return ''; // no head has this issuer: the verifier refuses and says why
  }
}

const JwksOrKey = z.union([publicJwksSchema, publicJwksSchema.shape.keys.element]);

/** A key set as `ledger keys` and /.well-known/jwks.json give it, or one key of it. */
export async function readJwks(file: string): Promise<PublicJwks> {
  const parsed = JwksOrKey.safeParse(parseJson(await readFile(file, 'utf8')));
  if (!parsed.success) {
    throw new UsageError(`${file} holds no Ed25519 public keys (JSON Web Key Set, RFC 7517)`);
  }
  return 'keys' in parsed.data ? parsed.data : { keys: [parsed.data] };
}

const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

const HeldHead = z.union([
  z.object({ signed: z.object({ jws: z.string() }) }).transform(({ signed }) => signed.jws),
  z.object({ signedHead: z.string() }).transform(({ signedHead }) => signedHead),
  z.object({ jws: z.string() }).transform(({ jws }) => jws),
]);

/** The JWS itself, or a file with it: bare, a line of an export, or the answer of GET /v1/ledger/head. */
export async function readTrustedHead(stated: string): Promise<string> {
  if (COMPACT_JWS.test(stated) && stated.length > 100) return stated;
  const text = (await readFile(stated, 'utf8')).trim();
  if (COMPACT_JWS.test(text)) return text;
  const held = HeldHead.safeParse(parseJson(text));
  if (!held.success) throw new UsageError(`${stated} holds no signed head (a compact JWS)`);
  return held.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // no schema accepts it
  }
}
