/**
 * A real one-node Slurm cluster with slurmrestd, on loopback, for one test file: by the scripts of ../shared/infra
 * where these are there, else by own-cluster.ts from Debian's packages. Everything needs root: Slurm starts each job
 * as the user who owns it.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { appendFile, chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { vi } from 'vitest';
import { z } from 'zod';
import {
  missingForOwnCluster,
  restartController,
  startOwnCluster,
  stopOwnCluster,
  userOf,
} from './own-cluster.ts';
import { TRAINER } from './packages.ts';

const INFRA = fileURLToPath(new URL('../../../../shared/infra/slurm/', import.meta.url));
const execute = promisify(execFile);

export type Release = '22.05' | '24.11';

/** Why a release cannot be had on this machine, or null. */
export function clusterMissing(release: Release): string | null {
  if (process.getuid?.() !== 0) return 'only root can start a Slurm cluster';
  if (useScripts()) return null;
  return release === '24.11' ? 'needs ../shared/infra/slurm/up-newer' : missingForOwnCluster();
}

/** `INTERLOCK_SLURM_OWN=1` keeps to Debian's packages although the scripts are there. */
function useScripts(): boolean {
  return existsSync(join(INFRA, 'up-newer')) && process.env['INTERLOCK_SLURM_OWN'] !== '1';
}

const environmentSchema = z.object({
  SLURM_CONF: z.string(),
  SLURM_REST_URL: z.string(),
  SLURM_REST_VERSION: z.string(),
  SLURM_TRAIN_USER: z.string(),
  SLURM_JWT: z.string(),
  SLURM_ADMIN_USER: z.string(),
  SLURM_ADMIN_JWT: z.string(),
  SLURM_STRANGER_USER: z.string(),
  SLURM_STRANGER_JWT: z.string(),
});

export interface SlurmCluster {
  readonly release: Release;
  readonly url: string;
  /** What `rest` of interlock.yaml takes; each token in a file of its own. */
  readonly owner: Account;
  readonly admin: Account;
  readonly stranger: Account;
  readonly conf: string;
  /** Where squeue, scontrol and scancel of this release are. */
  readonly commands: string;
  submit(
    script: string,
    properties?: Readonly<Record<string, unknown>>,
    components?: number,
  ): Promise<number>;
  /** As the jobs' owner types it; gives the job's id. Of 22.05 alone: the newer one's sbatch sees none of our files. */
  sbatch(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<number>;
  run(program: 'scontrol' | 'sinfo' | 'squeue' | 'scancel', ...args: string[]): Promise<string>;
  /** Appended to slurm.conf; slurmctld is started anew, since it takes no PrologSlurmctld from `scontrol reconfigure`. */
  configure(lines: string): Promise<void>;
  /** What a job wrote so far. */
  output(jobId: number): Promise<string>;
  /** Where jobs may write. */
  readonly jobs: string;
  /** No job is left. */
  clear(): Promise<void>;
  /** The controller answers nothing any more, until it is let go. */
  freeze(): Promise<() => void>;
  stop(): Promise<void>;
}

export interface Account {
  readonly user: string;
  readonly token: string;
  readonly tokenFile: string;
}

export interface ClusterOptions {
  /** Seconds from SIGTERM to SIGKILL on a cancel. */
  readonly killWaitS?: number;
}

export async function startSlurmCluster(
  release: Release,
  { killWaitS = 2 }: ClusterOptions = {},
): Promise<SlurmCluster> {
  const directory = mkdtempSync(join(tmpdir(), 'interlock-slurm-'));
  await chmod(directory, 0o755); // the daemons and the jobs run as other users
  const state = join(directory, 'state');
  const settings = { SLURM_KILL_WAIT: String(killWaitS), SLURM_TRAIN_USER: TRAINER };
  const scripts = useScripts();
  let text: string;
  if (scripts) {
    const script = join(INFRA, release === '24.11' ? 'up-newer' : 'up');
    const env = { ...process.env, ...settings };
    text = (await execute(script, [state], { env, timeout: 180_000 })).stdout;
  } else {
    text = await startOwnCluster(state, settings);
  }
  const pairs = [...text.matchAll(/^export (\w+)='(.*)'$/gm)].map(([, name = '', value = '']) => [
    name,
    value,
  ]);
  const told = environmentSchema.parse(Object.fromEntries(pairs));

  const account = async (user: string, token: string): Promise<Account> => {
    const tokenFile = join(directory, `${user}.jwt`);
    await writeFile(tokenFile, `${token}\n`, { mode: 0o600 });
    return { user, token, tokenFile };
  };
  const owner = await account(told.SLURM_TRAIN_USER, told.SLURM_JWT);
  const commands = release === '22.05' ? '/usr/bin' : await innerPrograms(directory, state);

  async function submit(
    script: string,
    properties: Readonly<Record<string, unknown>> = {},
    components = 1,
  ): Promise<number> {
    const PATH = '/usr/bin:/bin';
    const job = {
      name: 'training',
      partition: 'train',
      current_working_directory: '/tmp',
      standard_output: join(state, 'jobs', '%j'),
      environment: told.SLURM_REST_VERSION === 'v0.0.38' ? { PATH } : [`PATH=${PATH}`],
      ...properties,
    };
    const body = {
      script: `#!/bin/bash\n${script}\n`,
      ...(components === 1 ? { job } : { jobs: Array.from({ length: components }, () => job) }),
    };
    const response = await fetch(`${told.SLURM_REST_URL}/slurm/${told.SLURM_REST_VERSION}/job/submit`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-slurm-user-name': owner.user,
        'x-slurm-user-token': owner.token,
      },
      body: JSON.stringify(body),
    });
    const answer: unknown = await response.json();
    return z.object({ job_id: z.int().min(1) }).parse(answer).job_id;
  }

  const run: SlurmCluster['run'] = async (program, ...args) => {
    const env = { PATH: '/usr/bin:/bin', SLURM_CONF: told.SLURM_CONF };
    return (await execute(join(commands, program), args, { env, timeout: 20_000 })).stdout;
  };

  const sbatch: SlurmCluster['sbatch'] = async (args, env = {}) => {
    const { stdout } = await execute(join(commands, 'sbatch'), ['--parsable', ...args], {
      ...userOf(owner.user),
      cwd: join(state, 'jobs'),
      env: { PATH: '/usr/bin:/bin', SLURM_CONF: told.SLURM_CONF, ...env },
      timeout: 20_000,
    });
    return z.coerce.number().int().min(1).parse(stdout.trim());
  };

  return {
    release,
    url: told.SLURM_REST_URL,
    owner,
    admin: await account(told.SLURM_ADMIN_USER, told.SLURM_ADMIN_JWT),
    stranger: await account(told.SLURM_STRANGER_USER, told.SLURM_STRANGER_JWT),
    conf: told.SLURM_CONF,
    jobs: join(state, 'jobs'),
    commands,
    submit,
    sbatch,
    run,
    async configure(lines) {
      await appendFile(told.SLURM_CONF, `${lines}\n`);
      await restartController(state, told.SLURM_CONF);
      await vi.waitUntil(async () => (await run('sinfo', '-h', '-o', '%t')).trim() === 'idle', {
        timeout: 20_000,
        interval: 100,
      });
    },
    output: (jobId) => readFile(join(state, 'jobs', String(jobId)), 'utf8').catch(() => ''),
    async clear() {
      await run('scancel', `--user=${owner.user}`);
      await vi.waitUntil(async () => (await run('squeue', '-h', '-o', '%A')).trim() === '', {
        timeout: 30_000,
        interval: 100,
      });
    },
    async freeze() {
      const pid = Number(await readFile(join(state, 'run/slurmctld.pid'), 'utf8'));
      process.kill(pid, 'SIGSTOP');
      return () => void process.kill(pid, 'SIGCONT');
    },
    async stop() {
      if (scripts) await execute(join(INFRA, 'down'), [state], { timeout: 60_000 });
      else await stopOwnCluster(state);
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The newer release lives in a root and a mount namespace of its own: its programs are entered, not called. */
async function innerPrograms(directory: string, state: string): Promise<string> {
  const programs = join(directory, 'programs');
  await mkdir(programs);
  for (const name of ['squeue', 'scontrol', 'scancel']) {
    const script = `#!/bin/sh\nexec nsenter -t "$(cat '${state}/run/slurmctld.pid')" -m -r /usr/bin/${name} "$@"\n`;
    await writeFile(join(programs, name), script, { mode: 0o755 });
  }
  return programs;
}
