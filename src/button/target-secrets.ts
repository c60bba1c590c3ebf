/** Which secrets sign the halts to a webhook target: its own, or those of whoever registered the run. */
import type { Environment } from '../config/environment.ts';
import type { IdentityRecord } from '../config/identities.ts';
import { WebhookSecret } from '../signing/standard-webhooks.ts';

export function variable(env: Environment, reference: string): string | undefined {
  const name = reference.startsWith('env:') ? reference.slice('env:'.length) : reference;
  return env[name];
}

/** A named secret that is not set or no secret at all yields none; who needs it says so. */
export function secretsNamed(env: Environment, reference: string): readonly WebhookSecret[] {
  const value = variable(env, reference);
  return value === undefined || value === '' ? [] : [WebhookSecret.parse(value)];
}

/** Webhook targets without a secret of their own: the registering identity's, or for an operator the (first) trainer's. */
export function secretsOfSenders(
  identities: readonly Pick<IdentityRecord, 'id' | 'roles' | 'webhookSecrets'>[],
): (by: string) => readonly WebhookSecret[] {
  const senders = identities.map(({ id, roles, webhookSecrets: own }) => ({
    id,
    isTrainer: roles.includes('trainer'),
    secrets: own.map((each) => WebhookSecret.parse(each.reveal())),
  }));
  const trainers = senders.filter(({ isTrainer, secrets }) => isTrainer && secrets.length > 0);
  return (by) => {
    const own = senders.find(({ id }) => id === by)?.secrets ?? [];
    return own.length > 0 ? own : (trainers[0]?.secrets ?? []);
  };
}
