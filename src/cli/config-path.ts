/** Which configuration file a command means. Apart, because it must not cost the loading of the whole service. */
import type { Environment } from '../config/environment.ts';

export const CONFIG_DEFAULT = 'config/interlock.yaml';

export function configPath(stated: string | undefined, env: Environment): string {
  if (stated !== undefined) return stated;
  const named = env['INTERLOCK_CONFIG'];
  return named === undefined || named === '' ? CONFIG_DEFAULT : named;
}
