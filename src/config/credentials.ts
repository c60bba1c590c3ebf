/** Tokens and secrets as Interlock makes them: 256 random bits, with a prefix that scanners recognise. */
import { createHash, randomBytes } from 'node:crypto';

export const TOKEN = /^ilk_[A-Za-z0-9_-]{43}$/;

/** What an issued token is called in identities.yaml and in lists; says nothing about the token itself. */
export function generateTokenId(): string {
  return `tk_${randomBytes(5).toString('hex')}`;
}

export function generateToken(): string {
  return `ilk_${randomBytes(32).toString('base64url')}`;
}

/** What identities.yaml holds. A plain hash is enough: there is nothing to guess in 256 random bits. */
export function hashToken(token: string): string {
  return `sha256:${createHash('sha256').update(token).digest('hex')}`;
}

/** In the notation of Standard Webhooks. */
export function generateSharedSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}
