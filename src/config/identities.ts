/**
 * Identities: who may speak to Interlock, held in memory so that authentication needs no database.
 *
 * A token is known only by its SHA-256; a webhook secret comes from the environment (`env:NAME`) or
 * stands in the file, which then must be readable by its owner alone. One person is one identity: a
 * token or secret that two identities share is refused, because a sign-off counts persons.
 * Not here: checking a request's credentials (http/authentication.ts).
 */
import { z } from 'zod';
import { type FieldProblem, fieldProblems } from '../domain/field-errors.ts';
import { resolveEnv } from './environment.ts';
import { Secret } from './secret.ts';

export const ASSIGNABLE_ROLES = [
  'trainer',
  'evaluator',
  'operator',
  'oncall',
  'auditor',
  'orchestrator',
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
  readonly via: 'bearer' | 'webhook';
}

/** What configuration says about one identity. */
export interface IdentityRecord {
  readonly id: string;
  readonly name: string;
  readonly groups: readonly string[];
  readonly roles: readonly Role[];
  /** Lower-case hex SHA-256 of each token. */
  readonly tokenHashes: readonly string[];
  /** `whsec_` + base64 of 24 to 64 bytes; several while one is being rotated. */
  readonly webhookSecrets: readonly Secret[];
  readonly publicKeys: readonly string[];
}

export const IDENTITY_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

const id = z.string().regex(IDENTITY_ID, 'must be letters, digits, ".", "_" or "-", at most 128');

const IdentityEntry = z.strictObject({
  id,
  name: z.string().min(1).max(200),
  groups: z.array(id).default([]),
  roles: z.array(z.enum(ASSIGNABLE_ROLES)).default([]),
  tokenHashes: z
    .array(
      z.string().regex(/^sha256:[0-9a-f]{64}$/, 'must be "sha256:" and 64 hex digits, as `init` writes it'),
    )
    .default([]),
  webhookSecrets: z.array(z.string().min(1)).default([]),
  publicKeys: z
    .array(
      z
        .string()
        .regex(/^whpk_[A-Za-z0-9+/]{43}=$/, 'must be "whpk_" and the base64 of a 32-byte Ed25519 key'),
    )
    .default([]),
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
  const owners = { id: new Map<string, string>(), credential: new Map<string, string>() };
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
          : other === owner
            ? 'is stated twice'
            : `is also held by "${other}"; one credential names one identity`;
      problems.push({ parts, message });
    }
  };
  const identities = parsed.data.identities.map((entry, index): IdentityRecord => {
    const at = ['identities', index] as const;
    claim('id', entry.id, entry.id, [...at, 'id']);
    for (const [i, hash] of entry.tokenHashes.entries()) {
      claim('credential', hash, entry.id, [...at, 'tokenHashes', i]);
    }
    const webhookSecrets = entry.webhookSecrets.map((stated, i) => {
      const parts = [...at, 'webhookSecrets', i];
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
      return new Secret(secret.ok ? secret.value : '');
    });
    return {
      id: entry.id,
      name: entry.name,
      groups: entry.groups,
      roles: entry.groups.length > 0 ? [...entry.roles, 'governance'] : entry.roles,
      tokenHashes: entry.tokenHashes.map((hash) => hash.slice('sha256:'.length)),
      webhookSecrets,
      publicKeys: entry.publicKeys,
    };
  });
  return problems.length > 0 ? { ok: false, problems } : { ok: true, identities };
}

export function isWebhookSecret(secret: string): boolean {
  const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1];
  if (encoded === undefined) return false;
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.length >= 24 && bytes.length <= 64 && bytes.toString('base64') === encoded;
}
