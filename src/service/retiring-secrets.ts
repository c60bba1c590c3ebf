/**
 * The alarm on the use of a webhook secret that is being retired: counted each time; in the log and the security stream
 * once an hour per secret, for a sender that was forgotten sends many messages.
 */
import type { SecretWindow } from '../config/webhook-secrets.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { SecurityLog } from './security.ts';

const TELL_EACH_MS = 3_600_000;

export interface RetiringSecrets {
  used(identity: string, secret: SecretWindow): void;
}

export function createRetiringSecrets({
  metrics,
  security,
  logger,
  clock,
}: {
  metrics: Metrics;
  security: SecurityLog;
  logger: { warn(fields: object, message: string): void };
  clock: () => Date;
}): RetiringSecrets {
  const toldAtMs = new Map<string, number>();
  return {
    used(identity, { id, notAfter }) {
      metrics.count('interlock_retiring_secret_uses_total', { identity });
      const nowMs = clock().getTime();
      if (nowMs - (toldAtMs.get(id) ?? Number.NEGATIVE_INFINITY) < TELL_EACH_MS) return;
      toldAtMs.set(id, nowMs);
      logger.warn(
        { identity, secret: id, notAfter },
        'a webhook secret that is being retired is still used: give its sender the new one',
      );
      security.report({
        code: 'retiring-secret',
        status: 200,
        method: 'POST',
        route: '',
        correlationId: '',
        identityId: identity,
      });
    },
  };
}
