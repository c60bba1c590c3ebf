/**
 * Authentication: a bearer token, a Standard Webhooks signature or a person's OpenID token becomes an identity.
 *
 * Needs only configuration held in memory, and can be given a new one while it works (`replace`): all of it or
 * nothing. Nothing is compared byte by byte against a secret: a token is looked up by a keyed hash whose key only
 * this process has, so that the time taken tells nothing about what is stored, and signatures are tried against
 * every source whatever matched before.
 * Fails closed: anything odd (two credentials, a repeated header, a token in the URL, one that has expired) is
 * refused, and a 401 names only the schemes. Why it failed goes to `onFailure` for counters. One exception: what has
 * the form of a printed code is told where codes are taken, because whoever types one has no time to search.
 * Not here: whether the identity's role may use the route (access.ts), verifying OpenID tokens (oidc/), and replay
 * of a webhook id (the ledger).
 */
import { createHash, createHmac, type KeyObject, randomBytes } from 'node:crypto';
import { normaliseCode } from '../button/break-glass.ts';
import { TOKEN } from '../config/credentials.ts';
import type { Identity, IdentityRecord, TokenRecord } from '../config/identities.ts';
import { isInWindow, type SecretWindow } from '../config/webhook-secrets.ts';
import { parseWebhookPublicKey, verifyWebhook, WebhookSecret } from '../signing/standard-webhooks.ts';
import type { AuthMethod } from './access.ts';
import { malformed, Refusal, unauthenticated } from './refusal.ts';
import type { WebhookDelivery } from './route.ts';

const BEARER = /^bearer +(\S+)$/i;
/** A printed code may be typed with spaces. */
const TYPED = /^bearer +(\S.*)$/i;
const WEBHOOK_HEADERS = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];
/** Query names that carry a credential elsewhere; URLs end up in logs, histories and referrers. */
const CREDENTIAL_NAME = /^(access_?token|token|auth|authorization|bearer|api_?key|key|secret|signature)$/i;
const CREDENTIAL_VALUE = /ilk_[A-Za-z0-9_-]{16}|whsec_|^eyJ[A-Za-z0-9_-]+\./;

export interface Authenticated {
  readonly identity: Identity;
  readonly webhook: WebhookDelivery | null;
  /** Whether the same credential would be the same identity now: asked by what outlives a request. */
  isCurrent(): boolean;
}

/** What a request presents, seen before its body is read. */
export type Presented =
  | { kind: 'bearer'; token: string }
  | { kind: 'person'; token: string }
  | { kind: 'webhook' };

/** A person whom an OpenID provider vouches for. */
export interface Person {
  readonly issuer: string;
  readonly subject: string;
  readonly expiresAtMs: number;
  /** What configuration makes of the claims where no identity names this account; null: nothing. */
  readonly mapped: Pick<Identity, 'id' | 'name' | 'groups' | 'roles'> | null;
}

export type PersonVerdict =
  | { readonly ok: true; readonly person: Person }
  /** `reason` is a fixed word. `unavailable`: no keys to check with. */
  | { readonly ok: false; readonly reason: string };

export interface PeopleVerifier {
  verify(token: string): Promise<PersonVerdict>;
}

export interface Authenticator {
  /** Throws a Refusal where there is no credential that the route takes, or more than one. */
  present(rawHeaders: readonly string[], auth: readonly AuthMethod[]): Presented;
  bearer(token: string, auth: readonly AuthMethod[]): Authenticated;
  /** A token that an OpenID provider signed. */
  person(token: string, auth: readonly AuthMethod[]): Promise<Authenticated>;
  webhook(rawHeaders: readonly string[], body: Buffer, auth: readonly AuthMethod[]): Authenticated;
  /** Throws, and changes nothing, where a configured secret or key cannot be used. */
  replace(identities: readonly IdentityRecord[]): void;
  /** When each token and webhook secret was last used, by its id, since this process started. */
  lastUsed(): ReadonlyMap<string, Date>;
}

export interface AuthenticatorOptions {
  identities: readonly IdentityRecord[];
  people?: PeopleVerifier | undefined;
  now?: () => Date;
  /** Where printed codes press, for whoever shows one here, where they press nothing. */
  codesPressAt?: string | undefined;
  /** `reason` is a fixed word. */
  onFailure?: (method: AuthMethod, reason: string) => void;
  /** A message was signed with a webhook secret that is being retired. */
  onRetiringSecret?: (identityId: string, secret: SecretWindow) => void;
}

interface Sender {
  record: IdentityRecord;
  secrets: { secret: WebhookSecret; window: SecretWindow | null }[];
  publicKeys: KeyObject[];
}

interface Directory {
  tokens: Map<string, { record: IdentityRecord; token: TokenRecord; expiresAtMs: number }>;
  accounts: Map<string, IdentityRecord>;
  ids: Set<string>;
  senders: Sender[];
}

/** Throws where a configured secret or key cannot be used: better at start than at the first request. */
export function createAuthenticator({
  identities,
  people,
  codesPressAt,
  now = () => new Date(),
  onFailure = () => {},
  onRetiringSecret = () => {},
}: AuthenticatorOptions): Authenticator {
  const blindingKey = randomBytes(32);
  const blinded = (hash: Buffer): string => createHmac('sha256', blindingKey).update(hash).digest('base64');
  const lastUsed = new Map<string, Date>();
  let directory = directoryOf(identities, blinded);

  const fail = (method: AuthMethod, reason: string, auth: readonly AuthMethod[]) => {
    onFailure(method, reason);
    return unauthenticated(challenge(auth));
  };

  const known = (token: string) => directory.tokens.get(blinded(createHash('sha256').update(token).digest()));

  function resolvePerson({ issuer, subject, mapped }: Person): Identity | null {
    const linked = directory.accounts.get(accountKey(issuer, subject));
    if (linked !== undefined) return identityOf(linked, 'oidc');
    // An account may not pass for somebody whom configuration knows.
    if (mapped === null || directory.ids.has(mapped.id)) return null;
    return { ...mapped, evaluations: null, via: 'oidc' };
  }

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
      if (codesPressAt !== undefined && only !== undefined && more.length === 0 && isPrintedCode(only)) {
        onFailure('bearer', 'printed-code');
        throw codeElsewhere(challenge(auth), codesPressAt);
      }
      const token = only === undefined ? undefined : BEARER.exec(only)?.[1];
      if (token === undefined || more.length > 0) {
        throw fail('bearer', only === undefined ? 'absent' : 'malformed', auth);
      }
      if (!auth.includes('bearer')) throw fail('bearer', 'method-not-taken', auth);
      return { kind: people !== undefined && isSignedToken(token) ? 'person' : 'bearer', token };
    },

    bearer(token, auth) {
      if (!TOKEN.test(token)) throw fail('bearer', 'malformed', auth);
      const match = known(token);
      if (match === undefined) throw fail('bearer', 'unknown-token', auth);
      const at = now();
      if (at.getTime() >= match.expiresAtMs) throw fail('bearer', 'expired-token', auth);
      lastUsed.set(match.token.id, at);
      const identity = identityOf(match.record, 'bearer');
      const { hash } = match.token;
      return {
        identity,
        webhook: null,
        isCurrent: () => {
          const held = directory.tokens.get(blinded(Buffer.from(hash, 'hex')));
          return (
            held !== undefined &&
            now().getTime() < held.expiresAtMs &&
            isSame(identityOf(held.record, 'bearer'), identity)
          );
        },
      };
    },

    async person(token, auth) {
      if (people === undefined || !isSignedToken(token)) throw fail('bearer', 'malformed', auth);
      const verdict = await people.verify(token);
      if (!verdict.ok) {
        const refusal = fail('bearer', `oidc-${verdict.reason}`, auth);
        throw verdict.reason === 'unavailable' ? NO_PROVIDER() : refusal;
      }
      const { person } = verdict;
      const identity = resolvePerson(person);
      if (identity === null) throw fail('bearer', 'oidc-not-mapped', auth);
      return {
        identity,
        webhook: null,
        isCurrent: () => {
          const still = now().getTime() < person.expiresAtMs ? resolvePerson(person) : null;
          return still !== null && isSame(still, identity);
        },
      };
    },

    webhook(rawHeaders, body, auth) {
      let match: { sender: Sender; id: string; timestamp: Date } | null = null;
      let reason = 'no-sources';
      const at = now();
      for (const sender of directory.senders) {
        const verdict = verifyWebhook({
          rawHeaders,
          body,
          secrets: inForce(sender, at),
          ed25519Keys: sender.publicKeys,
          now: at,
        });
        if (verdict.ok) match = { sender, id: verdict.id, timestamp: verdict.timestamp };
        else reason = verdict.reason;
      }
      if (match === null) throw fail('webhook', reason, auth);
      const { record, secrets, publicKeys } = match.sender;
      const hasOneKey = secrets.length + publicKeys.length === 1;
      // Which of its secrets it was, asked only of a message that is believed: its time tells nobody anything.
      for (const { secret, window } of secrets) {
        if (window === null || !isInWindow(window, at)) continue;
        if (!hasOneKey && !verifyWebhook({ rawHeaders, body, secrets: [secret], now: at }).ok) continue;
        lastUsed.set(window.id, at);
        if (window.notAfter !== null) onRetiringSecret(record.id, window);
      }
      return {
        identity: identityOf(record, 'webhook'),
        webhook: { id: match.id, timestampS: Math.floor(match.timestamp.getTime() / 1000) },
        isCurrent: () => {
          const held = directory.senders.find((sender) => sender.record.id === record.id);
          return (
            held !== undefined && isSame(identityOf(held.record, 'webhook'), identityOf(record, 'webhook'))
          );
        },
      };
    },

    replace(next) {
      directory = directoryOf(next, blinded);
    },
    lastUsed: () => lastUsed,
  };
}

function directoryOf(identities: readonly IdentityRecord[], blinded: (hash: Buffer) => string): Directory {
  const tokens: Directory['tokens'] = new Map();
  const accounts: Directory['accounts'] = new Map();
  const senders: Sender[] = [];
  for (const record of identities) {
    for (const token of record.tokens) {
      const expiresAtMs = token.expiresAt === null ? Number.POSITIVE_INFINITY : Date.parse(token.expiresAt);
      tokens.set(blinded(Buffer.from(token.hash, 'hex')), { record, token, expiresAtMs });
    }
    for (const { issuer, subject } of record.accounts ?? [])
      accounts.set(accountKey(issuer, subject), record);
    const secrets = record.webhookSecrets.map((secret, i) => ({
      secret: WebhookSecret.parse(secret.reveal()),
      window: record.secretWindows?.[i] ?? null,
    }));
    const publicKeys = record.publicKeys.map(parseWebhookPublicKey);
    if (secrets.length > 0 || publicKeys.length > 0) senders.push({ record, secrets, publicKeys });
  }
  return { tokens, accounts, senders, ids: new Set(identities.map(({ id }) => id)) };
}

const inForce = ({ secrets }: Sender, at: Date): WebhookSecret[] =>
  secrets.filter(({ window }) => window === null || isInWindow(window, at)).map(({ secret }) => secret);

const accountKey = (issuer: string, subject: string): string => JSON.stringify([issuer, subject]);

const NO_PROVIDER = (): Refusal =>
  new Refusal({
    status: 503,
    code: 'identity-provider-unavailable',
    title: 'Not available now',
    detail:
      "The identity provider's keys cannot be had now. Tokens and signatures of Interlock work all the same.",
    retryAfterS: 5,
  });

/** By its form alone: whether there is such a code is not looked up, so that the answer tells nothing about it. */
const isPrintedCode = (authorization: string): boolean =>
  normaliseCode(TYPED.exec(authorization)?.[1] ?? '') !== null;

const codeElsewhere = (schemes: string, where: string): Refusal =>
  unauthenticated(
    schemes,
    `A printed code opens nothing here, and is not used up. It presses the red button at ${where}.`,
  );

/** Three parts, as a compact JWS; Interlock's own tokens have no dots. */
export const isSignedToken = (token: string): boolean => /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/.test(token);

function isSame(a: Identity, b: Identity): boolean {
  return a.id === b.id && a.roles.join() === b.roles.join() && a.groups.join() === b.groups.join();
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

function identityOf(
  { id, name, groups, roles, evaluations }: IdentityRecord,
  via: Identity['via'],
): Identity {
  return { id, name, groups, roles, evaluations, via };
}

function headerValues(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === name) values.push(rawHeaders[at + 1] ?? '');
  }
  return values;
}
