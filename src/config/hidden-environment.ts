/**
 * Secrets come in by the environment, and a process's environment goes out by many ways: into diagnostic reports,
 * into whatever a library starts, into whatever reads `process.env`. So the service takes a copy for itself and
 * leaves in the process only what programs need to run at all; a name that nobody thought of is taken out.
 *
 * Not reached: the block that the kernel keeps (/proc/PID/environ), which the same account and root can read, and
 * PG* variables, which the driver reads by itself. A password belongs into DATABASE_URL.
 */
import type { Environment } from './environment.ts';

const NEEDED =
  /^(PATH|HOME|USER|LOGNAME|SHELL|PWD|HOSTNAME|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLORTERM|NO_COLOR|FORCE_COLOR|TMPDIR|TEMP|TMP|XDG_\w+|NODE_\w+|UV_\w+|SSL_CERT_\w+|npm_(command|execpath|lifecycle_event)|PG\w+|INTERLOCK_(FAULT|DEBUG|CONFIG|URL)\w*)$/;

/** What was there, for whoever may have it; afterwards `env` has only what is needed. */
export function hideEnvironment(env: Record<string, string | undefined>): Environment {
  const copy = { ...env };
  for (const name of Object.keys(env)) if (!NEEDED.test(name)) delete env[name];
  return Object.freeze(copy);
}
