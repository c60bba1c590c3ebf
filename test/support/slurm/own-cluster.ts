/**
 * Slurm 22.05 from Debian's packages: munged, slurmctld, slurmd and slurmrestd on loopback, everything below one
 * directory. packages.ts installs them before.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, openSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { TRAINER } from './packages.ts';

const execute = promisify(execFile);
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const API = 'v0.0.38';

export function missingForOwnCluster(): string | null {
  const isThere = ['slurmctld', 'slurmd', 'slurmrestd', 'munged'].every((name) =>
    existsSync(join('/usr/sbin', name)),
  );
  return isThere || existsSync('/usr/bin/apt-get') ? null : 'needs slurmctld, slurmd, slurmrestd and munge';
}

/** `export NAME='value'` lines: where it is, and the tokens. */
export async function startOwnCluster(
  state: string,
  settings: Readonly<Record<string, string>>,
): Promise<string> {
  const munge = userOf('munge');
  const nobody = userOf('nobody');
  for (const name of ['', 'etc', 'log', 'run', 'spool', 'ctld', 'munge', 'jobs']) {
    await mkdir(join(state, name), { recursive: true });
  }
  await chmod(join(state, 'jobs'), 0o1777);
  await writeFile(join(state, 'munge/key'), randomBytes(128), { mode: 0o400 });
  await writeFile(join(state, 'ctld/jwt.key'), randomBytes(32), { mode: 0o600 });
  execFileSync('chown', ['-R', 'munge:', join(state, 'munge')]);
  execFileSync('chown', ['-R', 'slurm:', join(state, 'ctld')]);
  const [ctldPort, slurmdPort, restPort] = await freePorts();
  const conf = join(state, 'etc/slurm.conf');
  await writeFile(conf, configuration(state, settings, { ctldPort, slurmdPort }), { mode: 0o644 });
  // slurmd of this release loads a cgroup plugin also where nothing uses it.
  await writeFile(join(state, 'etc/cgroup.conf'), 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n', {
    mode: 0o644,
  });

  const env = { PATH, SLURM_CONF: conf };
  const pids: number[] = [];
  const begin = async (
    name: string,
    args: readonly string[],
    as: { uid?: number; gid?: number; env?: Readonly<Record<string, string>> } = {},
  ): Promise<void> => {
    const log = openSync(join(state, 'log', `${name}.out`), 'a');
    const child = spawn(join('/usr/sbin', name), args, {
      detached: true,
      stdio: ['ignore', log, log],
      ...(as.uid === undefined ? {} : { uid: as.uid }),
      ...(as.gid === undefined ? {} : { gid: as.gid }),
      env: { ...env, ...as.env },
    });
    child.unref();
    if (child.pid === undefined) throw new Error(`${name} did not start`);
    pids.unshift(child.pid);
    await writeFile(join(state, 'run/pids'), pids.join('\n'));
    await writeFile(join(state, 'run', `${name}.pid`), String(child.pid));
  };
  const socket = join(state, 'munge/munge.socket');
  const files = ['key', 'seed', 'log', 'pid'].map((name) => `--${name}-file=${join(state, 'munge', name)}`);
  await begin('munged', ['--foreground', '--force', `--socket=${socket}`, ...files], munge);
  await until('munged', async () => existsSync(socket));
  await begin('slurmctld', ['-D', '-c']);
  await until('slurmctld', () =>
    execute('scontrol', ['ping'], { env }).then(({ stdout }) => / UP/.test(stdout)),
  );
  await begin('slurmd', ['-D']);
  await until('slurmd', () =>
    execute('sinfo', ['-h', '-o', '%t'], { env }).then(({ stdout }) => stdout.trim() === 'idle'),
  );
  // It refuses to run as root or as SlurmUser; `daemon`: each request brings a token of its own.
  const rest = ['-a', 'rest_auth/jwt', '-s', `openapi/${API}`, `127.0.0.1:${restPort}`];
  await begin('slurmrestd', rest, { ...nobody, env: { SLURM_JWT: 'daemon' } });

  const token = async (user: string): Promise<string> => {
    const { stdout } = await execute('scontrol', ['token', `username=${user}`, 'lifespan=86400'], { env });
    return stdout.trim().replace(/^SLURM_JWT=/, '');
  };
  const admin = await token('slurm');
  const url = `http://127.0.0.1:${restPort}`;
  const headers = { 'x-slurm-user-name': 'slurm', 'x-slurm-user-token': admin };
  await until('slurmrestd', () => fetch(`${url}/slurm/${API}/ping`, { headers }).then(({ ok }) => ok));
  const told = {
    SLURM_CONF: conf,
    SLURM_REST_URL: url,
    SLURM_REST_VERSION: API,
    SLURM_TRAIN_USER: TRAINER,
    SLURM_JWT: await token(TRAINER),
    SLURM_ADMIN_USER: 'slurm',
    SLURM_ADMIN_JWT: admin,
    SLURM_STRANGER_USER: 'nobody',
    SLURM_STRANGER_JWT: await token('nobody'),
  };
  return Object.entries(told)
    .map(([name, value]) => `export ${name}='${value}'\n`)
    .join('');
}

/** With what slurm.conf says by now; the jobs and slurmd go on. The scripts' clusters keep their pids in the same place. */
export async function restartController(state: string, conf: string): Promise<void> {
  const file = join(state, 'run/slurmctld.pid');
  const old = Number(await readFile(file, 'utf8'));
  process.kill(old, 'SIGTERM');
  await until('the end of slurmctld', async () => !isAlive(old));
  const env = { PATH, SLURM_CONF: conf };
  const log = openSync(join(state, 'log/slurmctld.out'), 'a');
  const child = spawn('/usr/sbin/slurmctld', ['-D'], { detached: true, stdio: ['ignore', log, log], env });
  child.unref();
  if (child.pid === undefined) throw new Error('slurmctld did not start again');
  await writeFile(file, String(child.pid));
  const pids = await readFile(join(state, 'run/pids'), 'utf8').catch(() => '');
  const line = new RegExp(`^${old}$`, 'm');
  if (line.test(pids)) await writeFile(join(state, 'run/pids'), pids.replace(line, String(child.pid)));
  await until('slurmctld', () =>
    execute('scontrol', ['ping'], { env }).then(({ stdout }) => / UP/.test(stdout)),
  );
}

/** Its jobs first: their processes outlive the daemons. */
export async function stopOwnCluster(state: string): Promise<void> {
  const env = { PATH, SLURM_CONF: join(state, 'etc/slurm.conf') };
  const jobs = async (): Promise<string> =>
    (await execute('squeue', ['-h', '-o', '%A'], { env })).stdout.trim();
  const left = (await jobs().catch(() => '')).split('\n').filter(Boolean);
  if (left.length > 0) {
    await execute('scancel', left, { env }).catch(() => undefined);
    await until('the end of all jobs', async () => (await jobs()) === '').catch(() => undefined);
  }
  const pids = (await readFile(join(state, 'run/pids'), 'utf8')).split('\n').map(Number);
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGTERM');
      await until(`the end of ${pid}`, async () => !isAlive(pid), 5_000);
    } catch {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    }
  }
  await rm(join(state, 'run/pids'), { force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export function userOf(name: string): { uid: number; gid: number } {
  const id = (flag: string): number => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** linuxproc and task/none need no cgroups; the two No...InAddrAny keep the daemons on loopback. */
function configuration(
  state: string,
  settings: Readonly<Record<string, string>>,
  { ctldPort, slurmdPort }: { ctldPort: number; slurmdPort: number },
): string {
  const host = hostname().split('.')[0];
  return `ClusterName=interlock
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${ctldPort}
SlurmdPort=${slurmdPort}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=slurm
AuthInfo=socket=${state}/munge/munge.socket
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=${state}/ctld/jwt.key
StateSaveLocation=${state}/ctld
SlurmdSpoolDir=${state}/spool
SlurmctldPidFile=${state}/ctld/slurmctld.pid
SlurmdPidFile=${state}/run/slurmd.pid
SlurmctldLogFile=${state}/ctld/slurmctld.log
SlurmdLogFile=${state}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=5,batch_sched_delay=1
SlurmdParameters=config_overrides
MailProg=/bin/true
ReturnToService=2
KillWait=${settings['SLURM_KILL_WAIT'] ?? '30'}
NodeName=${host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=train Nodes=${host} Default=YES MaxTime=INFINITE State=UP
`;
}

async function freePorts(): Promise<[number, number, number]> {
  const servers = [createServer(), createServer(), createServer()];
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    ports.push(typeof address === 'object' && address !== null ? address.port : 0);
  }
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  const [first = 0, second = 0, third = 0] = ports;
  return [first, second, third];
}

async function until(what: string, condition: () => Promise<boolean>, withinMs = 20_000): Promise<void> {
  const endMs = Date.now() + withinMs;
  while (!(await condition().catch(() => false))) {
    if (Date.now() > endMs) throw new Error(`${what} did not come in ${withinMs} ms`);
    await delay(50);
  }
}
