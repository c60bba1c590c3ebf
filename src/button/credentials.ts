/**
 * Who presses: a bearer token, a person's OpenID token, or a printed code; and for which group.
 *
 * Everything needed is in memory or in a local file. A code is only claimed when everything else about the press is
 * right, so that a typing error in the reason costs nobody their code.
 */
import type { Identity, IdentityRecord } from '../config/identities.ts';
import type { Authenticator } from '../http/authentication.ts';
import { forbidden, invalid, Refusal, unauthenticated } from '../http/refusal.ts';
import { type BreakGlass, normaliseCode } from './break-glass.ts';
import { newPressId, type Press } from './press.ts';

export interface Presser {
  readonly by: string;
  readonly name: string;
  readonly group: string;
  readonly via: Press['via'];
  readonly pressId: string;
  readonly codeId: string | undefined;
}

export interface CredentialDeps {
  readonly authenticator: Authenticator;
  readonly breakGlass: BreakGlass;
  readonly identities: () => readonly IdentityRecord[];
}

const AUTH = ['bearer'] as const;

export const isCode = (credential: string): boolean => normaliseCode(credential) !== null;

/** Throws a Refusal where this credential presses nothing. `group`: for which of the person's groups. */
export async function presserOf(
  credential: string,
  group: string | undefined,
  deps: CredentialDeps,
): Promise<Presser> {
  const { breakGlass, identities } = deps;
  if (!isCode(credential)) {
    const identity = await identityOf(credential, deps);
    const { id: by, name, via } = identity;
    const pressId = newPressId();
    return { by, name, group: groupOf(identity.groups, group), via, pressId, codeId: undefined };
  }
  const holder = identities().find(({ id }) => id === breakGlass.holder(credential));
  if (holder === undefined) throw unauthenticated('Bearer');
  const { id: by, name, groups } = holder;
  const chosen = groupOf(groups, group);
  const use = breakGlass.claim(credential, newPressId());
  switch (use.outcome) {
    case 'unknown':
      throw unauthenticated('Bearer');
    case 'used':
      throw new Refusal({
        status: 409,
        code: 'code-used',
        title: 'This code has been used',
        detail: `it pressed the button at ${use.at} (${use.pressId}); each code presses once, take the next one`,
        security: true,
      });
    case 'valid':
      return { by, name, group: chosen, via: 'break-glass', pressId: use.pressId, codeId: use.codeId };
    default:
      return use satisfies never;
  }
}

/** Who shows this token; codes open nothing. */
export async function identityOf(
  credential: string,
  { authenticator }: Pick<CredentialDeps, 'authenticator'>,
): Promise<Identity> {
  const shown = authenticator.present(['authorization', `Bearer ${credential}`], AUTH);
  if (shown.kind === 'webhook') throw unauthenticated('Bearer');
  const { identity } =
    shown.kind === 'person'
      ? await authenticator.person(shown.token, AUTH)
      : authenticator.bearer(shown.token, AUTH);
  return identity;
}

function groupOf(groups: readonly string[], wanted: string | undefined): string {
  const [first] = groups;
  if (first === undefined) throw forbidden('this needs a member of a governance group');
  if (wanted === undefined) return first;
  if (groups.includes(wanted)) return wanted;
  throw invalid([{ path: 'group', message: `you are not a member; yours are ${groups.join(', ')}` }]);
}
