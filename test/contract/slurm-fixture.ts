/** Slurm's programs as far as the evaluator needs them, on this machine: jobs are processes, and what is known of them are files. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { type SlurmExecutor, SlurmExecutorSchema } from '../../src/domain/slurm-executor.ts';
import { readLog } from '../../src/evaluators/formats/detect.ts';
import { createSlurmEvaluator, type SlurmDeps } from '../../src/evaluators/slurm.ts';

const COMMON = (state: string): string => `#!${process.execPath}
const fs = require('node:fs'), path = require('node:path'), { spawn } = require('node:child_process');
const STATE = ${JSON.stringify(state)};
const args = process.argv.slice(2);
const option = (name) => args.find((each) => each.startsWith('--' + name + '='))?.slice(name.length + 3);
const at = (name) => path.join(STATE, name);
if (fs.existsSync(at('away'))) { console.error('slurm: error: Unable to contact slurm controller (connect failure)'); process.exit(1); }
fs.appendFileSync(at('calls'), JSON.stringify([path.basename(process.argv[1]), ...args]) + '\\n');
const jobs = () => fs.readdirSync(STATE).filter((file) => file.endsWith('.job')).map((file) => JSON.parse(fs.readFileSync(at(file))));
const alive = (pid) => { try { return !/\\) Z /.test(fs.readFileSync('/proc/' + pid + '/stat', 'latin1')); } catch { return false; } };
const stateOf = (job) => { try { return fs.readFileSync(at(job.id + '.state'), 'utf8'); } catch { return alive(job.pid) ? 'RUNNING' : 'COMPLETED'; } };
`;
const SBATCH = `
const script = args.findIndex((each) => !each.startsWith('-'));
const env = Object.fromEntries(option('export').split(',').map((name) => [name, process.env[name]]));
const child = spawn(args[script], args.slice(script + 1), { cwd: option('chdir'), env, detached: true, stdio: 'ignore' });
const id = jobs().length + 1;
fs.writeFileSync(at(id + '.job'), JSON.stringify({ id, name: option('job-name'), pid: child.pid }));
if (fs.existsSync(at('babbles'))) fs.writeSync(1, 'x'.repeat(2_000_000));
console.log(id);
process.exit(0);
`;
const SQUEUE = `
if (!fs.existsSync(at('forgets'))) for (const job of jobs()) if (job.name === option('name')) console.log(String(job.id).padEnd(16) + stateOf(job).padEnd(24));
`;
const SCANCEL = `
for (const job of jobs()) {
  if (job.name !== option('name') || stateOf(job) !== 'RUNNING') continue;
  fs.writeFileSync(at(job.id + '.state'), 'CANCELLED');
  try { process.kill(-job.pid, 'SIGKILL'); } catch {}
}
`;

const CallSchema = z.array(z.string()).min(1);

export interface SlurmFixture {
  readonly directory: string;
  readonly deps: SlurmDeps;
  executor(command: readonly string[], more?: Partial<SlurmExecutor>): SlurmExecutor;
  evaluator(executor: SlurmExecutor): ReturnType<typeof createSlurmEvaluator>;
  /** What was called, the program first. */
  calls(program: string): Promise<string[][]>;
  /** `away`: no controller; `forgets`: ended jobs are listed no more; `babbles`: sbatch submits, and prints without end. */
  set(what: 'away' | 'forgets' | 'babbles', isOn?: boolean): Promise<void>;
  /** What Slurm says of a job from here on, whatever its process does. */
  says(jobId: number, state: string): Promise<void>;
  /** A file of the one job there is. */
  jobFile(name: string): Promise<string>;
  killJobs(): Promise<void>;
  close(): Promise<void>;
}

export async function slurmFixture(env: Readonly<Record<string, string>> = {}): Promise<SlurmFixture> {
  const directory = await mkdtemp(path.join(tmpdir(), 'interlock-slurm-'));
  // Whatever lies above: a temporary directory may be below a package of modules.
  await writeFile(path.join(directory, 'package.json'), '{"type":"commonjs"}');
  for (const [name, text] of Object.entries({ sbatch: SBATCH, squeue: SQUEUE, scancel: SCANCEL })) {
    await writeFile(path.join(directory, name), COMMON(directory) + text, { mode: 0o755 });
  }
  const jobs = path.join(directory, 'shared');
  const deps: SlurmDeps = {
    readLog,
    cluster: { directory, jobs },
    modelRoots: [],
    baseEnvironment: { PATH: process.env['PATH'], HOME: directory, LANG: 'C' },
    environmentVariable: (name) => env[name],
  };
  const pids = async (): Promise<number[]> => {
    const names = (await readdir(directory)).filter((name) => name.endsWith('.job'));
    const all = await Promise.all(names.map((name) => readFile(path.join(directory, name), 'utf8')));
    return all.map((text) => z.object({ pid: z.number() }).parse(JSON.parse(text)).pid);
  };
  const killJobs = async (): Promise<void> => {
    for (const pid of await pids()) {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // Ended by itself.
      }
    }
  };
  return {
    directory,
    deps,
    executor: (command, more = {}) =>
      SlurmExecutorSchema.parse({ kind: 'slurm', command, timeout: '30s', poll: '20ms', ...more }),
    evaluator: (executor) => createSlurmEvaluator(executor, deps),
    async calls(program) {
      const text = await readFile(path.join(directory, 'calls'), 'utf8').catch(() => '');
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => CallSchema.parse(JSON.parse(line)))
        .filter(([name]) => name === program);
    },
    async set(what, isOn = true) {
      const file = path.join(directory, what);
      await (isOn ? writeFile(file, '') : rm(file, { force: true }));
    },
    says: (jobId, state) => writeFile(path.join(directory, `${jobId}.state`), state),
    async jobFile(name) {
      const [job = ''] = await readdir(jobs);
      return path.join(jobs, job, name);
    },
    killJobs,
    async close() {
      await killJobs();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
