/**
 * Webhook secrets in time: during a rotation a sender has two, and each may say from when and until when it counts.
 *
 * A secret with a `notAfter` is being retired: it is accepted until then, and each use of it is told, so that whoever
 * rotates sees which sender was forgotten before it is locked out. Outside of its window a secret verifies nothing.
 * Halts are signed with every secret that is configured, in its window or not: a receiver that was forgotten must
 * still stop. Not here: whether the text is a secret at all (identities.ts).
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';

const instant = z.iso.datetime({ offset: true, error: 'must be an instant like 2027-01-31T12:00:00Z' });

/** The secret alone, or with its window. */
export const WebhookSecretEntry = z.union([
  z.string().min(1),
  z
    .strictObject({ secret: z.string().min(1), notBefore: instant.optional(), notAfter: instant.optional() })
    .refine(
      ({ notBefore, notAfter }) =>
        notBefore === undefined || notAfter === undefined || Date.parse(notAfter) > Date.parse(notBefore),
      { path: ['notAfter'], message: 'must be later than notBefore' },
    ),
]);

export interface SecretWindow {
  /** What people call it by; says nothing about the secret. */
  readonly id: string;
  readonly notBefore: string | null;
  readonly notAfter: string | null;
}

export function windowOf(stated: z.output<typeof WebhookSecretEntry>, secret: string): SecretWindow {
  const { notBefore = null, notAfter = null } = typeof stated === 'string' ? {} : stated;
  return { id: secretId(secret), notBefore, notAfter };
}

/** A hash of 256 random bits gives nothing of them away. */
export function secretId(secret: string): string {
  return `wh_${createHash('sha256').update(`webhook secret id\n${secret}`).digest('hex').slice(0, 10)}`;
}

export function isInWindow({ notBefore, notAfter }: SecretWindow, at: Date): boolean {
  const ms = at.getTime();
  // Written so that a clock that is not a number accepts nothing.
  return (
    (notBefore === null || ms >= Date.parse(notBefore)) && (notAfter === null || ms < Date.parse(notAfter))
  );
}

export function secretState(window: SecretWindow, at: Date): 'good' | 'not yet' | 'retiring' | 'expired' {
  if (isInWindow(window, at)) return window.notAfter === null ? 'good' : 'retiring';
  const { notBefore } = window;
  return notBefore !== null && at.getTime() < Date.parse(notBefore) ? 'not yet' : 'expired';
}
