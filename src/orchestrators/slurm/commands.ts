/**
 * Slurm by its own programs (squeue, scontrol, scancel), as the system user that Interlock runs as.
 *
 * What they print is read by columns of fixed width and holds no text that a job's owner chose: a job's name could
 * otherwise be written to look like another job's line. What they say went wrong is classified, never repeated.
 * A token in Interlock's environment does not reach them: they would act as its user, or be refused.
 */
import { join } from 'node:path';
import type { SlurmCluster } from '../../config/orchestrators-slurm.ts';
import { type Ran, runSlurmProgram } from '../../subprocess/slurm-program.ts';
import type { Effect, Found, SlurmAccess } from './access.ts';
import { acceleratorsOfTres, jobSchema, type SlurmJob } from './job.ts';

export interface CommandsDeps {
  readonly timeoutMs?: number;
  /** Of the user that Interlock runs as. */
  readonly userId?: number | undefined;
}

/** By Slurm's names for `squeue --Format`; the last column may be cut off, the others never are. */
const COLUMNS = [
  ['JobID', 14],
  ['ArrayJobID', 14],
  ['HetJobID', 14],
  ['UserName', 140],
  ['UserID', 14],
  ['State', 24],
  ['SubmitTime', 24],
  ['StartTime', 24],
  ['EndTime', 24],
  ['RestartCnt', 14],
  ['PriorityLong', 16],
  ['NumNodes', 14],
  ['tres-alloc', 400],
] as const;
const FORMAT = COLUMNS.map(([name, width]) => `${name}:${width}`).join(',');
const OUTPUT_BYTES_MAX = 32 * 1024 * 1024;

export function openSlurmCommands(
  { directory, conf }: NonNullable<SlurmCluster['commands']>,
  { timeoutMs = 4_000, userId = process.geteuid?.() }: CommandsDeps = {},
): SlurmAccess {
  const env = {
    PATH: '/usr/bin:/bin',
    LC_ALL: 'C',
    // Seconds since 1970, not the local time of whoever asks.
    SLURM_TIME_FORMAT: '%s',
    ...(conf === undefined ? {} : { SLURM_CONF: conf }),
  };
  const run = (program: string, args: readonly string[], signal: AbortSignal): Promise<Ran> =>
    runSlurmProgram(
      join(directory, program),
      args,
      env,
      { timeoutMs, outputBytes: OUTPUT_BYTES_MAX },
      signal,
    );

  async function list(args: readonly string[], signal: AbortSignal): Promise<Found> {
    const ran = await run('squeue', ['--noheader', '--states=all', `--Format=${FORMAT}`, ...args], signal);
    if (ran.kind === 'failed') return { kind: 'failed', detail: `squeue ${ran.why}` };
    if (/Invalid job id specified/.test(ran.stderr)) return { kind: 'absent' };
    if (ran.code !== 0 || ran.stderr !== '') return { kind: 'failed', detail: complaint('squeue', ran) };
    return readLines(ran.stdout);
  }

  async function effect(program: string, args: readonly string[], signal: AbortSignal): Promise<Effect> {
    const ran = await run(program, args, signal);
    if (ran.kind === 'failed') return { kind: 'failed', detail: `${program} ${ran.why}` };
    const { stderr } = ran;
    if (/Access.permission denied|not permitted/i.test(stderr)) {
      return { kind: 'denied', detail: `${program} is denied the right to` };
    }
    if (/already completing or completed/i.test(stderr)) return { kind: 'ended' };
    if (/can not be altered now/i.test(stderr)) return { kind: 'busy' };
    // scancel ends with 0 also where it did nothing.
    if (ran.code !== 0 || /error/i.test(stderr)) return { kind: 'failed', detail: complaint(program, ran) };
    return { kind: 'taken' };
  }

  return {
    name: 'commands',
    async find(jobId, signal) {
      const found = await list([`--jobs=${jobId}`], signal);
      // An ended job that is forgotten between two looks: an empty list, not an error.
      return found.kind === 'found' && found.jobs.length === 0 ? { kind: 'absent' } : found;
    },
    called: (name, user, signal) => list([`--name=${name}`, `--user=${user}`], signal),
    forbids: ({ userId: owner }) =>
      userId === 0 || (owner !== null && owner === userId)
        ? null
        : 'it belongs to another user than the one that Interlock runs as',
    async hold(jobId, signal) {
      const held = await effect('scontrol', ['hold', String(jobId)], signal);
      const kept = await effect('scontrol', ['update', `JobId=${jobId}`, 'Requeue=0'], signal);
      return held.kind === 'taken' ? held : kept;
    },
    async ask(jobId, name, signal) {
      const steps = await run('squeue', ['--noheader', '--steps', `--jobs=${jobId}`, '--format=%i'], signal);
      if (steps.kind === 'failed') return { kind: 'failed', detail: `squeue ${steps.why}` };
      // Without --full neither the batch shell, nor srun, nor what the shell started gets anything.
      const hasSteps = /\.\d+\s*$/m.test(steps.stdout);
      const reach = hasSteps ? [] : ['--full'];
      return effect('scancel', [...reach, `--signal=${name}`, String(jobId)], signal);
    },
    kill: (jobId, signal) => effect('scancel', ['--full', '--signal=KILL', String(jobId)], signal),
    cancel: (jobId, signal) => effect('scancel', [String(jobId)], signal),
  };
}

function complaint(program: string, { code, stderr }: Extract<Ran, { kind: 'exited' }>): string {
  if (/Unable to contact slurm controller|Connection refused|Socket timed out/i.test(stderr)) {
    return `${program}: slurmctld does not answer`;
  }
  if (/authentication|munge|credential/i.test(stderr)) return `${program} is not let in`;
  return `${program} ended with ${code ?? 'a signal'}`;
}

export function readLines(text: string): Found {
  const jobs: SlurmJob[] = [];
  for (const line of text.split('\n').filter((each) => each.trim() !== '')) {
    const job = jobSchema.safeParse(readLine(line));
    if (!job.success) return { kind: 'failed', detail: 'squeue: a line that cannot be read' };
    jobs.push(job.data);
  }
  return { kind: 'found', jobs };
}

function readLine(line: string): unknown {
  let at = 0;
  const cells = new Map<string, string>();
  for (const [name, width] of COLUMNS) {
    cells.set(name, line.slice(at, at + width).trim());
    at += width;
  }
  const cell = (name: (typeof COLUMNS)[number][0]): string => cells.get(name) ?? '';
  const count = (text: string): number => (/^\d{1,15}$/.test(text) ? Number(text) : Number.NaN);
  const orNull = (text: string): number | null => (/^[1-9]\d{0,14}$/.test(text) ? Number(text) : null);
  const jobId = count(cell('JobID'));
  const array = orNull(cell('ArrayJobID'));
  return {
    jobId,
    // squeue gives a job that is no array its own id.
    arrayJobId: array,
    hetJobId: orNull(cell('HetJobID')),
    user: cell('UserName'),
    userId: count(cell('UserID')),
    states: [cell('State')],
    submittedAtS: count(cell('SubmitTime')),
    startedAtS: orNull(cell('StartTime')),
    endedAtS: orNull(cell('EndTime')),
    restarts: count(cell('RestartCnt')),
    held: count(cell('PriorityLong')) === 0,
    nodes: count(cell('NumNodes')),
    accelerators: acceleratorsOfTres(cell('tres-alloc')),
  };
}
