/**
 * Identities: who may speak to Interlock, held in memory so that authentication needs no database.
 *
 * A token is known only by its SHA-256, and should expire; a webhook secret comes from the environment (`env:NAME`) or
 * stands in the file, which then must be readable by its owner alone. One person is one identity: a
 * token, secret or account at an identity provider that two identities share is refused, because a sign-off
 * counts persons.
 * Not here: taking over a changed file (identity-book.ts), the accounts' provider (oidc.ts), and checking
 * a request's credentials (http/authentication.ts).
 */
import { z } from 'zod';
import { type FieldProblem, fieldProblems } from '../domain/field-errors.ts';
import { resolveEnv } from './environment.ts';
import { Secret } from './secret.ts';
import { type SecretWindow, WebhookSecretEntry, windowOf } from './webhook-secrets.ts';

export const ASSIGNABLE_ROLES = [
  'trainer',
  'evaluator',
  'operator',
  'oncall',
  'auditor',
  'orchestrator',
  'outside-evaluator',
] as const;
/** `governance` is never written down: it is what having a group means. */
export const ROLES = [...ASSIGNABLE_ROLES, 'governance'] as const;
export type Role = (typeof ROLES)[number];

/** An authenticated caller, as handlers and services see it. */
export interface Identity {
  readonly id: string;
  readonly name: string;
  readonly groups: readonly string[];
  readonly roles: readonly Role[];
  /** The policy's evaluations that an evaluator speaks for; null: all. */
  readonly evaluations: readonly string[] | null;
  readonly via: 'bearer' | 'webhook' | 'oidc';
}

export interface TokenRecord {
  /** What people call it by; says nothing about the token. */
  readonly id: string;
  /** Lower-case hex SHA-256. */
  readonly hash: string;
  readonly createdAt: string | null;
  /** null: never, which only `tokenHashes` can state. */
  readonly expiresAt: string | null;
}

/** A person's account at an OpenID provider: `sub` is the one claim that stays. */
export interface Account {
  readonly issuer: string;
  readonly subject: string;
}

/** What configuration says about one identity. */
export interface IdentityRecord {
  readonly id: string;
  readonly name: string;
  readonly groups: readonly string[];
  readonly roles: readonly Role[];
  readonly tokens: readonly TokenRecord[];
  /** `whsec_` + base64 of 24 to 64 bytes; several while one is being rotated. */
  readonly webhookSecrets: readonly Secret[];
  /** When each of them counts, in the same order; left out: always. */
  readonly secretWindows?: readonly SecretWindow[];
  readonly publicKeys: readonly string[];
  readonly evaluations: readonly string[] | null;
  /** Empty where the person has none; null where nothing is said about it. */
  readonly accounts: readonly Account[] | null;
}

export const IDENTITY_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

const id = z.string().regex(IDENTITY_ID, 'must be letters, digits, ".", "_" or "-", at most 128');

const tokenHash = z
  .string()
  .regex(
    /^sha256:[0-9a-f]{64}$/,
    'must be "sha256:" and 64 hex digits, as `interlock token create` writes it',
  );
const instant = z.iso.datetime({ offset: true, error: 'must be an instant like 2027-01-31T12:00:00Z' });

export const TokenEntry = z
  .strictObject({
    id: z.string().regex(/^tk_[A-Za-z0-9]{4,32}$/, 'must be "tk_" and 4 to 32 letters or digits'),
    hash: tokenHash,
    createdAt: instant,
    expiresAt: instant,
    note: z.string().max(200).optional(),
  })
  .refine(({ createdAt, expiresAt }) => Date.parse(expiresAt) > Date.parse(createdAt), {
    path: ['expiresAt'],
    message: 'must be later than createdAt',
  });

const account = z.strictObject({
  issuer: z.string().min(1).max(512),
  subject: z.string().min(1).max(255),
});

const IdentityEntry = z.strictObject({
  id,
  name: z.string().min(1).max(200),
  groups: z.array(id).default([]),
  roles: z.array(z.enum(ASSIGNABLE_ROLES)).default([]),
  tokens: z.array(TokenEntry).max(32).default([]),
  tokenHashes: z.array(tokenHash).default([]),
  webhookSecrets: z.array(WebhookSecretEntry).max(16).default([]),
  publicKeys: z
    .array(
      z
        .string()
        .regex(/^whpk_[A-Za-z0-9+/]{43}=$/, 'must be "whpk_" and the base64 of a 32-byte Ed25519 key'),
    )
    .default([]),
  evaluations: z.array(id).min(1).max(200).optional(),
  oidc: z.union([z.literal('none'), account, z.array(account).min(1).max(8)]).optional(),
});

export const IdentitiesFile = z.strictObject({ identities: z.array(IdentityEntry).min(1).max(1000) });

export interface IdentitiesSource {
  /** The file's content, read strictly. */
  value: unknown;
  /** Whether anyone but the owner can read the file. */
  isSharedFile: boolean;
  env: Readonly<Record<string, string | undefined>>;
}

export type IdentitiesResult =
  | { ok: true; identities: readonly IdentityRecord[] }
  | { ok: false; problems: FieldProblem[] };

export function parseIdentities({ value, isSharedFile, env }: IdentitiesSource): IdentitiesResult {
  const parsed = IdentitiesFile.safeParse(value);
  if (!parsed.success) return { ok: false, problems: fieldProblems(IdentitiesFile, parsed.error) };
  const problems: FieldProblem[] = [];
  const owners = {
    id: new Map<string, string>(),
    credential: new Map<string, string>(),
    token: new Map<string, string>(),
  };
  const claim = (
    kind: keyof typeof owners,
    key: string,
    owner: string,
    parts: FieldProblem['parts'],
  ): void => {
    const other = owners[kind].get(key);
    if (other === undefined) owners[kind].set(key, owner);
    else {
      const message =
        kind === 'id'
          ? 'is used by another identity'
          : kind === 'token'
            ? 'is the id of another token'
            : other === owner
              ? 'is stated twice'
              : `is also held by "${other}"; one credential names one identity`;
      problems.push({ parts, message });
    }
  };
  const identities = parsed.data.identities.map((entry, index): IdentityRecord => {
    const at = ['identities', index] as const;
    claim('id', entry.id, entry.id, [...at, 'id']);
    for (const [field, message] of outsideProblems(entry)) problems.push({ parts: [...at, field], message });
    for (const [i, hash] of entry.tokenHashes.entries()) {
      claim('credential', hash, entry.id, [...at, 'tokenHashes', i]);
    }
    for (const [i, token] of entry.tokens.entries()) {
      claim('token', token.id, entry.id, [...at, 'tokens', i, 'id']);
      claim('credential', token.hash, entry.id, [...at, 'tokens', i, 'hash']);
    }
    const accounts = accountsOf(entry.oidc);
    for (const { issuer, subject } of accounts ?? []) {
      claim('credential', `oidc ${issuer} ${subject}`, entry.id, [...at, 'oidc']);
    }
    const secretWindows: SecretWindow[] = [];
    const webhookSecrets = entry.webhookSecrets.map((entered, i) => {
      const stated = typeof entered === 'string' ? entered : entered.secret;
      const parts = [...at, 'webhookSecrets', i, ...(typeof entered === 'string' ? [] : ['secret'])];
      if (!stated.startsWith('env:') && isSharedFile) {
        problems.push({
          parts,
          message: 'a secret stands in a file that others can read; run chmod 600 on it or write env:NAME',
        });
      }
      const secret = resolveEnv(stated, env);
      if (!secret.ok) problems.push({ parts, message: secret.message });
      else if (!isWebhookSecret(secret.value)) {
        problems.push({ parts, message: 'must be "whsec_" and the base64 of 24 to 64 random bytes' });
      } else claim('credential', secret.value, entry.id, parts);
      secretWindows.push(windowOf(entered, secret.ok ? secret.value : ''));
      return new Secret(secret.ok ? secret.value : '');
    });
    return {
      id: entry.id,
      name: entry.name,
      groups: entry.groups,
      roles: entry.groups.length > 0 ? [...entry.roles, 'governance'] : entry.roles,
      tokens: [
        ...entry.tokens.map(({ id, hash, createdAt, expiresAt }) => ({
          id,
          hash: bare(hash),
          createdAt,
          expiresAt,
        })),
        ...entry.tokenHashes.map((hash) => ({
          id: `tk_${bare(hash).slice(0, 8)}`,
          hash: bare(hash),
          createdAt: null,
          expiresAt: null,
        })),
      ],
      webhookSecrets,
      secretWindows,
      publicKeys: entry.publicKeys,
      evaluations: entry.evaluations ?? null,
      accounts,
    };
  });
  return problems.length > 0 ? { ok: false, problems } : { ok: true, identities };
}

/** An outside party is nobody else here, and its word is signed with a key that is its alone. */
function outsideProblems(entry: z.output<typeof IdentityEntry>): (readonly [string, string])[] {
  if (!entry.roles.includes('outside-evaluator')) return [];
  return [
    ...(entry.roles.length > 1 || entry.groups.length > 0
      ? [['roles', 'an outside evaluator has no other role and no group'] as const]
      : []),
    ...(entry.publicKeys.length === 0
      ? [['publicKeys', 'an outside evaluator needs one: `interlock keys party` makes a pair'] as const]
      : []),
    ...(entry.webhookSecrets.length > 0
      ? [
          [
            'webhookSecrets',
            'are shared, and prove nothing to others; an outside evaluator signs with its key',
          ] as const,
        ]
      : []),
  ];
}

const bare = (hash: string): string => hash.slice('sha256:'.length);

function accountsOf(stated: z.output<typeof IdentityEntry>['oidc']): readonly Account[] | null {
  if (stated === undefined) return null;
  if (stated === 'none') return [];
  return Array.isArray(stated) ? stated : [stated];
}

export function isWebhookSecret(secret: string): boolean {
  const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1];
  if (encoded === undefined) return false;
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.length >= 24 && bytes.length <= 64 && bytes.toString('base64') === encoded;
}
