/** For .ci/run: Slurm's packages and the jobs' account, before the clusters that need them. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { installSlurm } from './packages.ts';

const CONTROLLER = '/usr/sbin/slurmctld';
const installed = await installSlurm();
console.log(
  installed.length === 0 ? 'nothing was missing, or can be installed' : `installed ${installed.join(' ')}`,
);
if (existsSync(CONTROLLER)) console.log(execFileSync(CONTROLLER, ['-V'], { encoding: 'utf8' }).trim());
