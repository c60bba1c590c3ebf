/**
 * `env:NAME` in configuration: a secret or an address that stands in the environment, not in a file.
 */
export type Environment = Readonly<Record<string, string | undefined>>;

export type Resolved = { ok: true; value: string } | { ok: false; message: string };

export function resolveEnv(stated: string, env: Environment): Resolved {
  if (!stated.startsWith('env:')) return { ok: true, value: stated };
  const name = stated.slice('env:'.length);
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    return { ok: false, message: 'must be "env:" and the name of an environment variable' };
  }
  const value = env[name];
  return value === undefined || value === ''
    ? { ok: false, message: `the environment variable ${name} is not set` }
    : { ok: true, value };
}
