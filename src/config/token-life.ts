/** What whoever starts the service should know of tokens: those that end soon, have ended, or never end. */
import type { IdentityRecord } from './identities.ts';

const SOON_MS = 14 * 86_400_000;

/** By identity and token id; one sentence each. */
export function tokensToRenew(identities: readonly IdentityRecord[], now: Date): string[] {
  const endless = identities.filter(({ tokens }) => tokens.some(({ expiresAt }) => expiresAt === null));
  const ending = identities.flatMap(({ id, tokens }) =>
    tokens.flatMap(({ id: token, expiresAt }) => {
      if (expiresAt === null || Date.parse(expiresAt) - now.getTime() > SOON_MS) return [];
      // Another that lasts is how a rotation looks in the middle.
      const isReplaced = tokens.some((other) => other.expiresAt === null || other.expiresAt > expiresAt);
      return isReplaced ? [] : [`token ${token} of ${id} ends at ${expiresAt}; make the next one`];
    }),
  );
  return endless.length === 0
    ? ending
    : [
        ...ending,
        `tokens without an end: ${endless.map(({ id }) => id).join(', ')}; replace them with \`interlock token create\``,
      ];
}
