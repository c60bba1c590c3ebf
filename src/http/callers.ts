/**
 * Who may speak, wherever it is asked: identities from their file, taken over as it changes, and people by an identity
 * provider, whose keys are kept on disk so that one that is away keeps nobody out who has a token.
 */
import { join } from 'node:path';
import type { Environment } from '../config/environment.ts';
import { type IdentityBook, openIdentityBook } from '../config/identity-book.ts';
import type { Configuration } from '../config/load.ts';
import { oidcDisagreements } from '../config/oidc.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { type Authenticator, type AuthenticatorOptions, createAuthenticator } from './authentication.ts';
import { createPeopleVerifier } from './oidc/people.ts';

export interface CallersOptions
  extends Pick<AuthenticatorOptions, 'onFailure' | 'onRetiringSecret' | 'codesPressAt'> {
  readonly config: Pick<Configuration<unknown>, 'identities' | 'identitiesFile' | 'oidc' | 'dataDir'>;
  readonly env: Environment;
  readonly outbound: Outbound;
  readonly clock: () => Date;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export interface Callers {
  readonly authenticator: Authenticator;
  readonly identities: IdentityBook;
}

export function openCallers({ config, env, outbound, clock, logger, ...heard }: CallersOptions): Callers {
  const authenticator = createAuthenticator({
    ...heard,
    identities: config.identities,
    now: clock,
    people:
      config.oidc.length === 0
        ? undefined
        : createPeopleVerifier({
            providers: config.oidc,
            outbound,
            directory: join(config.dataDir, 'oidc'),
            now: clock,
            logger,
          }),
  });
  const identities = openIdentityBook({
    file: config.identitiesFile,
    env,
    initial: config.identities,
    check: (changed) => oidcDisagreements(config.oidc, changed),
    apply: (changed) => authenticator.replace(changed),
    logger,
  });
  return { authenticator, identities };
}
