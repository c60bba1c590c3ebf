/**
 * Who may speak: identities from their file, taken over as it changes, and people by an identity provider.
 *
 * Refuses to start where an identity provider's keys could never be fetched: nobody would find out before an outage.
 */
import type { Logger } from 'pino';
import type { Environment } from '../config/environment.ts';
import { tokensToRenew } from '../config/token-life.ts';
import { keepTokenUse } from '../config/token-use.ts';
import { InterlockError } from '../errors.ts';
import type { Authenticated, Authenticator } from '../http/authentication.ts';
import { type Callers, openCallers } from '../http/callers.ts';
import { Refusal } from '../http/refusal.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { createRetiringSecrets } from '../service/retiring-secrets.ts';
import type { SecurityLog } from '../service/security.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { InterlockConfiguration } from './configuration.ts';
import type { Step } from './steps.ts';

export interface CallersDeps {
  readonly config: InterlockConfiguration;
  readonly env: Environment;
  readonly outbound: Outbound;
  readonly security: SecurityLog;
  readonly metrics: Metrics;
  readonly clock: () => Date;
  readonly logger: Logger;
  readonly stops: Step[];
}

export function createCallers(deps: CallersDeps): Callers {
  const { config, env, outbound, security, metrics, clock, logger, stops } = deps;
  for (const { name, issuer, jwksUrl = issuer } of config.oidc) {
    const refusal = outbound.refusal(jwksUrl);
    if (refusal !== null) {
      throw new InterlockError(`oidc ${name}: its keys cannot be asked for: ${refusal} (outbound.allow)`, {
        code: 'config.invalid',
      });
    }
  }
  const retiring = createRetiringSecrets({ metrics, security, logger, clock });
  const { authenticator, identities } = openCallers({
    config,
    env,
    outbound,
    clock,
    logger,
    codesPressAt: doorOfTheButton(config.button.port),
    onFailure: (method, reason) =>
      metrics.count('interlock_authentication_failures_total', { method, reason }),
    onRetiringSecret: (identity, secret) => retiring.used(identity, secret),
  });
  stops.push(['identities', async () => identities.close()]);
  metrics.collect('interlock_identities_stale', () => (identities.isStale() ? 1 : 0));
  for (const sentence of tokensToRenew(config.identities, clock())) logger.warn({}, sentence);
  const tokenUse = keepTokenUse(config.dataDir, () => authenticator.lastUsed());
  stops.push(['token use', () => tokenUse.close()]);
  return { authenticator, identities };
}

/** Without the host: the one that it listens on need not be the one by which people reach it. */
function doorOfTheButton(port: number): string {
  const which = port === 0 ? 'which /readyz names' : `${port}`;
  return `the button's own port (${which}) on the machine where the code was made, on its page or by this same request`;
}

/**
 * To the page, by a token of Interlock's or of an identity provider. It shows every run, and so an outside evaluator is not let in:
 * what one sees is its own view of a run (http/routes/outside.ts).
 */
export async function signedIn(authenticator: Authenticator, token: string): Promise<Authenticated | null> {
  const auth = ['bearer'] as const;
  try {
    const presented = authenticator.present(['authorization', `Bearer ${token}`], auth);
    const known =
      presented.kind === 'person'
        ? await authenticator.person(token, auth)
        : authenticator.bearer(token, auth);
    return known.identity.roles.includes('outside-evaluator') ? null : known;
  } catch (error) {
    if (error instanceof Refusal) return null;
    throw error;
  }
}
