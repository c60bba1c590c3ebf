/**
 * People by OpenID Connect: a bearer token that a configured provider signed becomes a person.
 *
 * Everything that the library leaves open is pinned: issuer, audience, asymmetric algorithms, `typ` where there is
 * one, iat, exp and sub required, a cap on age and life, five seconds for clocks. A header that brings or names a
 * key of its own (jwk, jku, x5u, x5c), or states `crit`, is refused before anything else, and so is what is too
 * long. The group claim is a list of short strings, or the token is refused: a string, an object or ten thousand of
 * them means that somebody's provider is not set up as this configuration supposes.
 * A token that was verified is remembered by its hash for a minute, and never past its end, so that a poller costs
 * one signature a minute. Nothing of a token is ever logged.
 */
import { createHash } from 'node:crypto';
import { decodeProtectedHeader, type JWTPayload, jwtVerify, type ProtectedHeaderParameters } from 'jose';
import { z } from 'zod';
import type { Identity, Role } from '../../config/identities.ts';
import type { OidcProvider } from '../../config/oidc.ts';
import type { PeopleVerifier, Person, PersonVerdict } from '../authentication.ts';
import { createProviderKeys, type ProviderKeys, type ProviderKeysOptions } from './keys.ts';

export interface PeopleOptions extends Omit<ProviderKeysOptions, 'provider' | 'now'> {
  readonly providers: readonly OidcProvider[];
  readonly now: () => Date;
}

const TOKEN_LENGTH_MAX = 6_000;
const CLOCK_TOLERANCE_S = 5;
const REMEMBERED_MAX = 10_000;
const REMEMBERED_MS = 60_000;
const KID = /^[A-Za-z0-9._~+=-]{1,256}$/;
const TYPES = new Set(['jwt', 'at+jwt', 'application/at+jwt']);
const FOREIGN_KEYS = ['jwk', 'jku', 'x5u', 'x5c', 'crit', 'zip', 'b64'];

const Groups = z.array(z.string().min(1).max(256)).max(200);
const Claims = z.object({
  iss: z.string(),
  sub: z.string().min(1).max(255),
  iat: z.number(),
  exp: z.number(),
  name: z.string().max(200).optional().catch(undefined),
});

const no = (reason: string): PersonVerdict => ({ ok: false, reason });

export function createPeopleVerifier({ providers, now, ...rest }: PeopleOptions): PeopleVerifier {
  const known = new Map(
    providers.map((provider) => [
      provider.issuer,
      { provider, keys: createProviderKeys({ ...rest, provider, now: () => now().getTime() }) },
    ]),
  );
  const remembered = new Map<string, { person: Person; untilMs: number }>();

  function remember(token: string, person: Person): void {
    if (remembered.size >= REMEMBERED_MAX) remembered.delete(remembered.keys().next().value ?? '');
    const untilMs = Math.min(person.expiresAtMs, now().getTime() + REMEMBERED_MS);
    remembered.set(digestOf(token), { person, untilMs });
  }

  return {
    async verify(token) {
      if (token.length > TOKEN_LENGTH_MAX) return no('too-long');
      const held = remembered.get(digestOf(token));
      if (held !== undefined && now().getTime() < held.untilMs) return { ok: true, person: held.person };
      const header = headerOf(token);
      if (header === null) return no('malformed');
      // Read before it is verified only to know whose keys to verify with.
      const found = known.get(issuerOf(token) ?? '');
      if (found === undefined) return no('issuer');
      const { provider, keys } = found;
      if (typeof header === 'string') return no(header);
      if (!isOneOf(provider.algorithms, header.alg)) return no('algorithm');
      const claims = await verified(token, header.kid ?? '', provider, keys, now());
      if (typeof claims === 'string') return no(claims);
      const person = personOf(claims, provider);
      if (typeof person === 'string') return no(person);
      remember(token, person);
      return { ok: true, person };
    },
  };
}

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64');

const isOneOf = (list: readonly string[], value: string | undefined): boolean =>
  value !== undefined && list.includes(value);

/** A word where it is refused; null where it cannot be read. */
function headerOf(token: string): ProtectedHeaderParameters | string | null {
  let header: ProtectedHeaderParameters;
  try {
    header = decodeProtectedHeader(token);
  } catch {
    return null;
  }
  if (FOREIGN_KEYS.some((name) => name in header)) return 'header';
  if (typeof header.kid !== 'string' || !KID.test(header.kid)) return 'kid';
  if (header.typ !== undefined && !(typeof header.typ === 'string' && TYPES.has(header.typ.toLowerCase()))) {
    return 'typ';
  }
  return header;
}

function issuerOf(token: string): string | null {
  try {
    const payload: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return z.object({ iss: z.string() }).parse(payload).iss;
  } catch {
    return null;
  }
}

async function verified(
  token: string,
  kid: string,
  provider: OidcProvider,
  keys: ProviderKeys,
  now: Date,
): Promise<JWTPayload | string> {
  let find = await keys.current();
  if (find !== null && !keys.has(kid) && (await keys.renew())) find = await keys.current();
  if (find === null) return 'unavailable';
  if (!keys.has(kid)) return 'unknown-key';
  const maxAgeS = provider.maxAgeMinutes * 60;
  try {
    const { payload } = await jwtVerify(token, find, {
      algorithms: [...provider.algorithms],
      issuer: provider.issuer,
      audience: provider.audience,
      requiredClaims: ['iss', 'aud', 'sub', 'iat', 'exp'],
      maxTokenAge: maxAgeS,
      clockTolerance: CLOCK_TOLERANCE_S,
      currentDate: now,
    });
    const { iat = 0, exp = Number.POSITIVE_INFINITY } = payload;
    return exp - iat > maxAgeS ? 'lives-too-long' : payload;
  } catch {
    return 'not-verified';
  }
}

function personOf(payload: JWTPayload, provider: OidcProvider): Person | string {
  const claims = Claims.safeParse(payload);
  if (!claims.success) return 'claims';
  const stated = payload[provider.groupsClaim];
  const groups = stated === undefined ? { success: true as const, data: [] } : Groups.safeParse(stated);
  if (!groups.success) return 'groups';
  const { iss, sub, exp, name } = claims.data;
  return {
    issuer: iss,
    subject: sub,
    expiresAtMs: exp * 1000,
    mapped: mappedOf(provider, sub, name, groups.data),
  };
}

function mappedOf(
  { name: prefix, groupMap }: OidcProvider,
  subject: string,
  name: string | undefined,
  stated: readonly string[],
): Person['mapped'] {
  const grants = [...new Set(stated)].flatMap((group) => {
    const grant = Object.hasOwn(groupMap, group) ? groupMap[group] : undefined;
    return grant === undefined ? [] : [grant];
  });
  const groups = [...new Set(grants.flatMap((grant) => grant.groups))];
  const roles: Role[] = [...new Set(grants.flatMap((grant) => grant.roles))];
  if (groups.length + roles.length === 0) return null;
  const identity: Pick<Identity, 'id' | 'name' | 'groups' | 'roles'> = {
    id: accountId(prefix, subject),
    name: name ?? accountId(prefix, subject),
    groups,
    roles: groups.length > 0 ? [...roles, 'governance'] : roles,
  };
  return identity;
}

/** Readable where the subject is plain; the dot and the dash tell the two apart, so that none passes for another. */
export function accountId(prefix: string, subject: string): string {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$/.test(subject)
    ? `${prefix}.${subject}`
    : `${prefix}-${createHash('sha256').update(subject).digest('hex').slice(0, 40)}`;
}
