/**
 * Can the sign-offs that a policy asks for ever come together? Looked at when the service starts.
 *
 * Each group that must approve needs a member of its own: one person counts once, so one person in two of the groups
 * fills one place. Where nobody could ever complete the set, a halt could never be ended as the policy says, and that
 * must be found before the first halt rather than after it.
 * Not here: people known only to an identity provider; who has one is not asked.
 */
import type { IdentityRecord } from '../config/identities.ts';
import type { Policy } from '../domain/policy/schema.ts';

/** One sentence per policy that nobody can satisfy. */
export function unreachableApprovals(
  policies: readonly Pick<Policy, 'policy' | 'governance'>[],
  identities: readonly Pick<IdentityRecord, 'id' | 'groups'>[],
): string[] {
  return policies.flatMap(({ policy, governance }) => {
    const needed = governance.resume.approvals;
    const empty = needed.filter((group) => !identities.some(({ groups }) => groups.includes(group)));
    if (empty.length > 0) {
      return [`policy ${policy}: resume needs ${empty.join(' and ')}, and no identity is a member`];
    }
    return placed(needed, identities) === needed.length
      ? []
      : [
          `policy ${policy}: resume needs ${needed.join(', ')}, a different person for each, and there are not enough`,
        ];
  });
}

/** How many groups can have a person of their own (augmenting paths). */
function placed(
  groups: readonly string[],
  identities: readonly Pick<IdentityRecord, 'id' | 'groups'>[],
): number {
  const speaksFor = new Map<string, string>();
  const place = (group: string, asked: Set<string>): boolean => {
    for (const { id, groups: own } of identities) {
      if (!own.includes(group) || asked.has(id)) continue;
      asked.add(id);
      const other = speaksFor.get(id);
      if (other === undefined || place(other, asked)) {
        speaksFor.set(id, group);
        return true;
      }
    }
    return false;
  };
  return groups.filter((group) => place(group, new Set())).length;
}
