/**
 * Authentication: a bearer token or a Standard Webhooks signature becomes an identity.
 *
 * Needs only configuration held in memory. Every identity is tried whatever matched before, so the
 * time taken tells nothing about which. Tokens are compared by SHA-256 hash.
 * Fails closed: anything odd (two credentials, a repeated header, a token in the URL) is refused, and
 * a 401 names only the schemes. Why it failed goes to `onRefusal` for counters and the log.
 * Not here: whether the identity's role may use the route, and replay of a webhook id (the ledger).
 */
import { createHash, type KeyObject, timingSafeEqual } from 'node:crypto';
import { TOKEN } from '../config/credentials.ts';
import type { Identity, IdentityRecord } from '../config/identities.ts';
import { parseWebhookPublicKey, verifyWebhook, WebhookSecret } from '../signing/standard-webhooks.ts';
import type { AuthMethod } from './access.ts';
import { malformed, unauthenticated } from './refusal.ts';
import type { WebhookDelivery } from './route.ts';

const BEARER = /^bearer +(\S+)$/i;
const WEBHOOK_HEADERS = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];
/** Query names that carry a credential elsewhere; URLs end up in logs, histories and referrers. */
const CREDENTIAL_NAME = /^(access_?token|token|auth|authorization|bearer|api_?key|key|secret|signature)$/i;
const CREDENTIAL_VALUE = /ilk_[A-Za-z0-9_-]{16}|whsec_|^eyJ[A-Za-z0-9_-]+\./;

export interface Authenticated {
  identity: Identity;
  webhook: WebhookDelivery | null;
}

/** What a request presents, seen before its body is read. */
export type Presented = { kind: 'bearer'; token: string } | { kind: 'webhook' };

export interface Authenticator {
  /** Throws a Refusal where there is no credential that the route takes, or more than one. */
  present(rawHeaders: readonly string[], auth: readonly AuthMethod[]): Presented;
  bearer(token: string, auth: readonly AuthMethod[]): Authenticated;
  webhook(rawHeaders: readonly string[], body: Buffer, auth: readonly AuthMethod[]): Authenticated;
}

export interface AuthenticatorOptions {
  identities: readonly IdentityRecord[];
  now?: () => Date;
  /** `reason` is a fixed word. */
  onFailure?: (method: AuthMethod, reason: string) => void;
}

interface Known {
  record: IdentityRecord;
  hashes: Buffer[];
  secrets: WebhookSecret[];
  publicKeys: KeyObject[];
}

/** Throws where a configured secret or key cannot be used: better at start than at the first request. */
export function createAuthenticator({
  identities,
  now = () => new Date(),
  onFailure = () => {},
}: AuthenticatorOptions): Authenticator {
  const known = identities.map(
    (record): Known => ({
      record,
      hashes: record.tokenHashes.map((hash) => Buffer.from(hash, 'hex')),
      secrets: record.webhookSecrets.map((secret) => WebhookSecret.parse(secret.reveal())),
      publicKeys: record.publicKeys.map(parseWebhookPublicKey),
    }),
  );

  const fail = (method: AuthMethod, reason: string, auth: readonly AuthMethod[]) => {
    onFailure(method, reason);
    return unauthenticated(challenge(auth));
  };

  return {
    present(rawHeaders, auth) {
      const authorization = headerValues(rawHeaders, 'authorization');
      const hasWebhook = WEBHOOK_HEADERS.some((name) => headerValues(rawHeaders, name).length > 0);
      if (authorization.length > 0 && hasWebhook) {
        throw malformed('two-credentials', 'send either a bearer token or a webhook signature, not both');
      }
      if (hasWebhook) {
        if (!auth.includes('webhook')) throw fail('webhook', 'method-not-taken', auth);
        return { kind: 'webhook' };
      }
      const [only, ...more] = authorization;
      const token = only === undefined ? undefined : BEARER.exec(only)?.[1];
      if (token === undefined || more.length > 0) {
        throw fail('bearer', only === undefined ? 'absent' : 'malformed', auth);
      }
      if (!auth.includes('bearer')) throw fail('bearer', 'method-not-taken', auth);
      return { kind: 'bearer', token };
    },

    bearer(token, auth) {
      if (!TOKEN.test(token)) throw fail('bearer', 'malformed', auth);
      const offered = createHash('sha256').update(token).digest();
      let match: IdentityRecord | null = null;
      for (const { record, hashes } of known) {
        for (const hash of hashes) if (timingSafeEqual(hash, offered)) match = record;
      }
      if (match === null) throw fail('bearer', 'unknown-token', auth);
      return { identity: identityOf(match, 'bearer'), webhook: null };
    },

    webhook(rawHeaders, body, auth) {
      let match: { record: IdentityRecord; id: string; timestamp: Date } | null = null;
      let reason = 'no-sources';
      const at = now();
      for (const { record, secrets, publicKeys } of known) {
        if (secrets.length === 0 && publicKeys.length === 0) continue;
        const verdict = verifyWebhook({ rawHeaders, body, secrets, ed25519Keys: publicKeys, now: at });
        if (verdict.ok) match = { record, id: verdict.id, timestamp: verdict.timestamp };
        else reason = verdict.reason;
      }
      if (match === null) throw fail('webhook', reason, auth);
      return {
        identity: identityOf(match.record, 'webhook'),
        webhook: { id: match.id, timestampS: Math.floor(match.timestamp.getTime() / 1000) },
      };
    },
  };
}

export function challenge(auth: readonly AuthMethod[]): string {
  return auth.map((method) => (method === 'bearer' ? 'Bearer' : 'Standard-Webhooks')).join(', ');
}

/** Throws a Refusal where the query string carries something like a credential. */
export function refuseCredentialsInQuery(query: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(query)) {
    const values = Array.isArray(value) ? value : [value];
    if (CREDENTIAL_NAME.test(name) || values.some((v) => typeof v === 'string' && CREDENTIAL_VALUE.test(v))) {
      throw malformed(
        'credential-in-url',
        'credentials are not accepted in the URL; treat this one as disclosed and replace it',
      );
    }
  }
}

function identityOf({ id, name, groups, roles }: IdentityRecord, via: Identity['via']): Identity {
  return { id, name, groups, roles, via };
}

function headerValues(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === name) values.push(rawHeaders[at + 1] ?? '');
  }
  return values;
}
