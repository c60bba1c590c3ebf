/** A client by the environment: the same variables as the Python client's. */
import { createInterlockClient, type InterlockClient, type InterlockClientOptions } from './client.ts';
import { badConfiguration } from './errors.ts';
import { type Secret, secretFile } from './secrets.ts';

/** INTERLOCK_URL; INTERLOCK_TOKEN and INTERLOCK_WEBHOOK_SECRET, or ..._FILE of each. NODE_EXTRA_CA_CERTS is Node's own. */
export function clientFromEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  options: Partial<InterlockClientOptions> = {},
): InterlockClient {
  const url = env['INTERLOCK_URL'] ?? '';
  const token = secretOf(env, 'INTERLOCK_TOKEN');
  if (url === '' || token === undefined) {
    throw badConfiguration('set INTERLOCK_URL, and INTERLOCK_TOKEN or INTERLOCK_TOKEN_FILE');
  }
  const webhookSecret = secretOf(env, 'INTERLOCK_WEBHOOK_SECRET');
  return createInterlockClient({
    url,
    token,
    ...(webhookSecret === undefined ? {} : { webhookSecret }),
    ...options,
  });
}

function secretOf(env: Readonly<Record<string, string | undefined>>, name: string): Secret | undefined {
  const path = env[`${name}_FILE`];
  if (path !== undefined && path !== '') return secretFile(path);
  const value = env[name];
  return value === '' ? undefined : value;
}
