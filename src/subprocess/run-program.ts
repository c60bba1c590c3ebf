/**
 * One program, run to its end in a session and process group of its own, without a shell.
 *
 * Whatever way it ends (by itself, by its timeout, by `signal`, by flooding its output), everything that it started
 * is ended too and the caller goes on within a bounded time, even where a descendant holds the pipes. Output is
 * counted and only its end kept. It gets the environment that is stated and nothing else.
 * Not here: what holds its processes and limits them, and what its ending means.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { OutputTail } from './output-tail.ts';
import type { ProcessStat } from './process-stat.ts';
import { findJobProcesses, type JobIdentity, killJob, signalGroup, signalJob } from './process-tree.ts';

export interface ProgramLimits {
  /** Standard output and error together; over it the program is killed. */
  outputBytes: number;
  /** The end of standard output that is kept, for its last line. */
  keptBytes: number;
  /** From SIGTERM to SIGKILL. */
  killGraceMs: number;
  /** From the program's end until its pipes are cut, whoever still holds them. */
  drainMs: number;
}

export interface Program {
  file: string;
  args: readonly string[];
  /** A death by signal comes as exit code 128 + n, because something of ours stands between. */
  signalsAsCodes?: boolean;
  env: Record<string, string>;
  cwd: string;
  /** Standard input; nothing where it is left out. */
  input?: string;
}

/** What is known of it from outside, and who must be told that it runs. */
export interface ProgramJob {
  /** In its environment too, where it is to be found by it; see process-tree.ts. */
  marker: string;
  groups: readonly string[];
  /** Before anything is waited for; where this throws, the program is ended. */
  started(pid: number): Promise<JobIdentity['leader']> | JobIdentity['leader'];
}

export interface Supervision {
  job: ProgramJob;
  timeoutMs: number;
  limits: ProgramLimits;
  signal: AbortSignal;
  onSpawned?: () => void;
  onOutput?: (chunk: Buffer) => void;
  onErrorOutput?: (chunk: Buffer) => void;
}

export type Ending =
  | { how: 'exited'; code: number | null; signal: string | null }
  | { how: 'not-started'; errorCode: string }
  | { how: 'stopped'; why: 'timed-out' | 'cancelled' | 'output-too-large' };

export interface Ended {
  ending: Ending;
  stdout: OutputTail;
  stderrBytes: number;
  /** Something of the job could not be killed within the time allowed. */
  left: boolean;
}

export async function runProgram(program: Program, supervision: Supervision): Promise<Ended> {
  const { file, args, env, cwd, input } = program;
  const { job, timeoutMs, limits, signal } = supervision;
  const stdout = new OutputTail(limits.keptBytes);
  let stderrBytes = 0;

  let child: ChildProcess;
  try {
    child = spawn(file, args, {
      cwd,
      env,
      shell: false,
      detached: true, // a session and group of its own, so that one signal reaches all of it
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      windowsHide: true,
    });
  } catch (error) {
    return {
      ending: { how: 'not-started', errorCode: systemCode(error) },
      stdout,
      stderrBytes,
      left: false,
    };
  }

  supervision.onSpawned?.();
  let leader: JobIdentity['leader'] = null;
  let reaped = false;
  const identity = (): JobIdentity => ({ marker: job.marker, leader, groups: job.groups });

  const exited = new Promise<Ending>((resolve) => {
    child.once('exit', (code, exitSignal) => {
      // While anyone is left in the group its id cannot be another's, so this comes before anything is awaited.
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
      reaped = true;
      resolve(exitOf(code, exitSignal, program));
    });
    child.on('error', (error) => {
      if (child.pid === undefined) resolve({ how: 'not-started', errorCode: systemCode(error) });
    });
  });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));

  const stops = new AbortController();
  const stopped = new Promise<Ending>((resolve) => {
    const stop = (why: Extract<Ending, { how: 'stopped' }>['why']) => resolve({ how: 'stopped', why });
    const count = () => {
      if (stdout.totalBytes + stderrBytes > limits.outputBytes) stop('output-too-large');
    };
    child.stdout?.on('data', (chunk: Buffer) => {
      stdout.push(chunk);
      supervision.onOutput?.(chunk);
      count();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      stderrBytes += chunk.length;
      supervision.onErrorOutput?.(chunk);
      count();
    });
    // A pipe that breaks tells nothing that the exit does not.
    child.stdout?.on('error', () => undefined);
    child.stderr?.on('error', () => undefined);
    // It need not read what it is given.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    signal.addEventListener('abort', () => stop('cancelled'), { once: true, signal: stops.signal });
    if (signal.aborted) stop('cancelled');
    delay(timeoutMs, undefined, { signal: stops.signal }).then(
      () => stop('timed-out'),
      () => undefined,
    );
  });

  if (child.pid !== undefined) {
    try {
      leader = await job.started(child.pid);
    } catch (error) {
      // A program that no sweep could find again must not run.
      stops.abort();
      if (!reaped) signalGroup(child.pid, 'SIGKILL');
      await killJob(identity());
      throw error;
    }
  }
  const ending = await Promise.race([exited, stopped]);
  stops.abort();

  let known: ProcessStat[] = [];
  if (ending.how === 'stopped') {
    if (ending.why !== 'output-too-large') {
      // Asked first, and once, so that an evaluator may put its things in order; those outside the group too.
      known = await signalJob(identity(), 'SIGTERM');
      if (known.length === 0 && !reaped && child.pid !== undefined) signalGroup(child.pid, 'SIGTERM');
      await within(limits.killGraceMs, exited);
    }
    // Looked for before the kill, which ends the parents by which some are found.
    known = await findJobProcesses(identity(), known);
    // Only while its own process is not reaped is the group's id surely ours.
    if (!reaped && child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
  }
  const left = ending.how === 'not-started' ? false : !(await killJob(identity(), known));
  if (ending.how === 'stopped') await within(limits.killGraceMs, exited);
  if (ending.how !== 'not-started') await within(limits.drainMs, closed);
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.stdin?.destroy();
  child.unref();
  return { ending, stdout, stderrBytes, left };
}

const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

function exitOf(code: number | null, signal: string | null, { signalsAsCodes = false }: Program): Ending {
  const passedOn = signalsAsCodes && code !== null ? SIGNALS.get(code - 128) : undefined;
  if (passedOn !== undefined) return { how: 'exited', code: null, signal: passedOn };
  return { how: 'exited', code, signal };
}

async function within(limitMs: number, event: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  const limit = delay(limitMs, undefined, { signal: timer.signal }).catch(() => undefined);
  await Promise.race([event, limit]);
  timer.abort();
}

/** `ENOENT` and its like; anything longer may quote a path or an argument. */
function systemCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? code : 'unknown error';
}
