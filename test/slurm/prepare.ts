/** Before any cluster starts: what they would otherwise all install at once. */
import { installSlurm } from '../support/slurm/packages.ts';

export async function setup(): Promise<void> {
  const beganMs = performance.now();
  const installed = await installSlurm();
  if (installed.length === 0) return;
  console.log(`installed ${installed.join(' ')} in ${((performance.now() - beganMs) / 1_000).toFixed(0)} s`);
}
