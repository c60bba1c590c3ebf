/**
 * OpenID providers: which of them vouch for people, and what their claims come to here.
 *
 * Two ways for a person: an entry of identities.yaml names the account (`oidc: {issuer, subject}`) and says
 * everything about it; or the provider's group claim is mapped (`groupMap`), and the account itself becomes an
 * identity, `<name>.<subject>`. A sign-off counts persons, so one person must not come both ways: where a map leads
 * into governance groups it is the only such map, and every identity with a group has to name its account or state
 * `oidc: none`. What configuration cannot tell, two accounts of one person at one provider, the provider must.
 */
import { z } from 'zod';
import { ASSIGNABLE_ROLES, IDENTITY_ID, type IdentityRecord } from './identities.ts';

/** Asymmetric only: with a shared secret whoever verifies could also sign. */
export const OIDC_ALGORITHMS = [
  'EdDSA',
  'ES256',
  'ES384',
  'ES512',
  'PS256',
  'PS384',
  'PS512',
  'RS256',
  'RS384',
  'RS512',
] as const;

const issuerUrl = z.string().max(512).refine(isProviderUrl, {
  error: 'must be an https URL without credentials, query or fragment (http only on loopback)',
});

const Grant = z
  .strictObject({
    groups: z.array(z.string().regex(IDENTITY_ID)).default([]),
    roles: z.array(z.enum(ASSIGNABLE_ROLES)).default([]),
  })
  .refine(({ groups, roles }) => groups.length + roles.length > 0, 'grants nothing')
  // It would stand beside other roles of the same person, and has no key that it could sign with.
  .refine(({ roles }) => !roles.includes('outside-evaluator'), {
    error: 'an outside evaluator is an entry of identities.yaml, with a key of its own',
    path: ['roles'],
  });

export const OidcProvider = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9]{0,31}$/, 'must be lower-case letters and digits, at most 32'),
  issuer: issuerUrl,
  audience: z.string().min(1).max(256),
  jwksUrl: issuerUrl.optional(),
  algorithms: z.array(z.enum(OIDC_ALGORITHMS)).min(1).default(['EdDSA', 'ES256', 'PS256', 'RS256']),
  groupsClaim: z
    .string()
    .regex(/^[A-Za-z0-9_:/.-]{1,128}$/, 'must be the plain name of a claim')
    .default('groups'),
  groupMap: z.record(z.string().min(1).max(256), Grant).default({}),
  /** No token is taken that is older, or made to live longer. */
  maxAgeMinutes: z.int().min(1).max(1_440).default(90),
  /** How long the keys are believed when the provider cannot be asked. */
  keysGoodForHours: z.int().min(1).max(720).default(72),
});
export type OidcProvider = z.output<typeof OidcProvider>;

function isProviderUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash, hostname } = new URL(text);
  if (username + password + search + hash !== '') return false;
  return (
    protocol === 'https:' || (protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname))
  );
}

/** Where one person could count twice, or an entry names a provider that is not there. */
export function oidcDisagreements(
  providers: readonly OidcProvider[],
  identities: readonly IdentityRecord[],
): string[] {
  const problems: string[] = [];
  const issuers = new Set(providers.map(({ issuer }) => issuer));
  const names = new Set(providers.map(({ name }) => name));
  if (issuers.size < providers.length || names.size < providers.length) {
    problems.push('oidc: two providers share an issuer or a name');
  }
  for (const { id, accounts } of identities) {
    for (const { issuer } of accounts ?? []) {
      if (!issuers.has(issuer)) problems.push(`${id} names an account at an issuer that oidc does not list`);
    }
    const [prefix = ''] = id.split(/[.-]/, 1);
    if (prefix !== id && names.has(prefix)) {
      problems.push(`${id} begins like the identities of accounts at the provider ${prefix}`);
    }
  }
  const governing = providers.filter(({ groupMap }) =>
    Object.values(groupMap).some(({ groups }) => groups.length > 0),
  );
  if (governing.length > 1) {
    problems.push(
      `oidc: ${governing.map(({ name }) => name).join(' and ')} both map into governance groups; a person with an account at each would count twice`,
    );
  }
  if (governing.length > 0) {
    for (const { id, groups, accounts } of identities) {
      if (groups.length > 0 && accounts === null) {
        problems.push(
          `${id} is in a governance group and could sign again through ${governing[0]?.name}: state its account (oidc: {issuer, subject}) or oidc: none`,
        );
      }
    }
  }
  return problems;
}
