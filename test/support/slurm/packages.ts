/**
 * Debian's packages of Slurm, and the account that owns the jobs: once, before any cluster starts. Clusters start side by
 * side, apt is one at a time, and the second useradd of a name fails. `npm run test:slurm` begins with it (prepare.ts);
 * `.ci/run` runs it by itself, earlier.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const APT = '/usr/bin/apt-get';
/** What every cluster needs; the prolog asks by curl, and mmdebstrap makes the root of the newer release. */
const PACKAGES = [
  'curl',
  'mmdebstrap',
  'munge',
  'slurm-client',
  'slurm-wlm-basic-plugins',
  'slurm-wlm-jwt-plugin',
  'slurmctld',
  'slurmd',
  'slurmrestd',
];

export const TRAINER = 'ilk-trainer';

/** Answers what was installed. Does nothing where it cannot: which clusters there are then is cluster.ts's to say. */
export async function installSlurm(): Promise<string[]> {
  if (process.getuid?.() !== 0 || !existsSync(APT)) return [];
  const states = await Promise.all(
    PACKAGES.map((name) => execute('dpkg', ['-s', name]).catch(() => ({ stdout: '' }))),
  );
  const missing = PACKAGES.filter((_, i) => !states[i]?.stdout.includes('install ok installed'));
  if (missing.length > 0) {
    // Installed, not started: RUNLEVEL=1 keeps the packages' own services down.
    const env = { PATH, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
    // Somebody else's apt on this machine is waited for, by the lists' lock too, which it has no option for.
    await patiently(() => execute(APT, ['update', '-qq'], { env }));
    const install = ['-o', 'DPkg::Lock::Timeout=120', 'install', '-y', '-qq', '--no-install-recommends'];
    await patiently(() => execute(APT, [...install, ...missing], { env }));
  }
  await execute('id', ['-u', TRAINER]).catch(() =>
    execute('useradd', ['--system', '--no-create-home', '--shell', '/bin/bash', TRAINER], { env: { PATH } }),
  );
  return missing;
}

const LOCKED_FOR_MS = 120_000;

async function patiently(work: () => Promise<unknown>): Promise<void> {
  const giveUpAtMs = Date.now() + LOCKED_FOR_MS;
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      const isLocked =
        error instanceof Error && /Could not get lock|is another process using it/.test(error.message);
      if (!isLocked || Date.now() > giveUpAtMs) throw error;
      await delay(1_000);
    }
  }
}
