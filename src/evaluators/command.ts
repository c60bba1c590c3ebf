/**
 * The `command` executor: one attempt is one program, without a shell, in a process group of its own.
 *
 * Guarantees: the program gets the declared environment and nothing else; whatever way it ends (by itself, by
 * its timeout, by `signal`, by flooding its output) everything it started is ended too and the slot is free within
 * a bounded time, even where a descendant holds the pipes. Output is counted, never kept beyond the result, never
 * logged: at a high level it may be hazardous to read.
 * Fails toward inconclusive. A result written by a run that then failed is handed on beside the failure: it clears
 * nothing, but a score at a threshold trips.
 * Not here: what holds the processes and limits them (containment.ts), and which of that this machine can do.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { constants } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { durationMs } from '../domain/duration.ts';
import { type CommandExecutor, type CommandPlaceholder, replacePlaceholders } from '../domain/executor.ts';
import { faultPoint } from '../fault-points.ts';
import { limitsHit } from './cgroups.ts';
import { type Containment, findProgram, type Launch, programFault } from './containment.ts';
import type { EvaluationRequest, Evaluator, EvaluatorOutcome, FailureReason } from './evaluator.ts';
import { type Job, openJob } from './job-records.ts';
import { describeBytes } from './limits.ts';
import { resolveModelUri } from './model-uri.ts';
import { OutOfMemoryWords } from './out-of-memory.ts';
import { OutputTail } from './output-tail.ts';
import type { ProcessStat } from './process-stat.ts';
import {
  findJobProcesses,
  type JobIdentity,
  killJob,
  MARKER_VARIABLE,
  signalGroup,
  signalJob,
} from './process-tree.ts';
import { lastJsonLine, type ResultText, readResultFile } from './result-text.ts';

export interface CommandDeps {
  /** `models.roots`: where a local model may lie. */
  modelRoots: readonly string[];
  /** What is passed on of Interlock's own environment: PATH, HOME, LANG. */
  baseEnvironment: { PATH?: string | undefined; HOME?: string | undefined; LANG?: string | undefined };
  /** Reads one variable of Interlock's environment, for values written `env:NAME`. */
  environmentVariable: (name: string) => string | undefined;
  /** Records and working directories of running jobs; see job-records.ts. One per data directory. */
  jobsDirectory: string;
  /** What a relative `cwd`, or a program with a slash in its relative path, is relative to: the configuration. */
  baseDirectory: string;
  containment: Containment;
  limits?: Partial<CommandLimits>;
}

export interface CommandLimits {
  /** Standard output and error together; over it the job is killed. */
  outputBytes: number;
  /** The end of standard output that is kept, for its last line. */
  keptBytes: number;
  /** From SIGTERM to SIGKILL. */
  killGraceMs: number;
  /** From the program's end until its pipes are cut, whoever still holds them. */
  drainMs: number;
}

const LIMITS: CommandLimits = {
  outputBytes: 10 * 1024 * 1024,
  keptBytes: 1024 * 1024,
  killGraceMs: 2_000,
  drainMs: 500,
};

type Failed = Extract<EvaluatorOutcome, { kind: 'failed' }>;
const failed = (reason: FailureReason, detail?: string): Failed =>
  detail === undefined ? { kind: 'failed', reason } : { kind: 'failed', reason, detail };

export function createCommandEvaluator(executor: CommandExecutor, deps: CommandDeps): Evaluator {
  const limits = { ...LIMITS, ...deps.limits };
  return {
    async run(request, signal) {
      if (signal.aborted) return failed('cancelled');
      const model = await resolveModelUri(request.modelUri, deps.modelRoots);
      if (!model.ok) return failed('model-uri-refused', model.detail);
      const cwd = executor.cwd === undefined ? null : path.resolve(deps.baseDirectory, executor.cwd);
      if (cwd !== null && !(await isDirectory(cwd))) return failed('spawn-failed', 'cwd is not a directory');

      const { containment } = deps;
      const network = executor.network !== 'none';
      if (!network && !containment.canCutNetwork) {
        return failed('not-configured', 'network: none cannot be enforced on this machine');
      }

      const job = await openJob(deps.jobsDirectory, containment, request.runId);
      let left = false;
      try {
        const resultFile = path.join(job.directory, 'result.json');
        const values = placeholderValues({ ...request, modelUri: model.uri }, resultFile);
        const argv = buildArguments(executor.command, values);
        if (!argv.ok) return argv.failure;
        const env = buildEnvironment(executor, request, values, job.marker, deps);
        if (!env.ok) return env.failure;
        const program = resolveProgram(argv.program, deps.baseDirectory, env.env['PATH']);
        if (!program.ok) return failed('spawn-failed', program.fault);
        await containment.makeGroups(job.marker);
        const launch = containment.launch(job.marker, program.file, argv.args, { network });
        const ended = await runProgram(
          { launch, env: env.env, cwd: cwd ?? job.directory },
          { job, timeoutMs: durationMs(executor.timeout), limits, signal },
        );
        left = ended.left;
        return await outcomeOf(ended, resultFile, containment.processMemoryBytes);
      } finally {
        await job.finished({ left });
      }
    },
  };
}

// --- what the program is given ------------------------------------------------------------------------

type PlaceholderValues = Record<CommandPlaceholder, string | undefined>;

function placeholderValues(request: EvaluationRequest, resultFile: string): PlaceholderValues {
  const { runId, checkpointId, modelUri, endpoint, effectiveCompute, evaluation, variant } = request;
  return { runId, checkpointId, modelUri, endpoint, effectiveCompute, evaluation, variant, resultFile };
}

type Arguments = { ok: true; program: string; args: string[] } | { ok: false; failure: Failed };

export function buildArguments(command: readonly string[], values: PlaceholderValues): Arguments {
  const [program, ...templates] = command;
  if (program === undefined) return { ok: false, failure: failed('argument-refused', 'empty command') };
  const args: string[] = [];
  for (const template of templates) {
    let missing: CommandPlaceholder | null = null;
    const argument = replacePlaceholders(template, (placeholder) => {
      const value = values[placeholder];
      if (value === undefined) missing = placeholder;
      return value ?? '';
    });
    if (missing !== null) {
      return { ok: false, failure: failed('argument-refused', `{${missing}} was not reported`) };
    }
    // The policy wrote no dash there, so the event did: it would be read as an option.
    if (argument.startsWith('-') && !template.startsWith('-')) {
      return { ok: false, failure: failed('argument-refused', 'a value begins with a dash') };
    }
    if (argument.includes('\0'))
      return { ok: false, failure: failed('argument-refused', 'a value holds NUL') };
    args.push(argument);
  }
  return { ok: true, program, args };
}

type Environment = { ok: true; env: Record<string, string> } | { ok: false; failure: Failed };

function buildEnvironment(
  executor: CommandExecutor,
  request: EvaluationRequest,
  values: PlaceholderValues,
  marker: string,
  deps: CommandDeps,
): Environment {
  const env: Record<string, string> = {};
  const put = (name: string, value: string | undefined) => {
    if (value !== undefined) env[name] = value;
  };
  const { PATH, HOME, LANG } = deps.baseEnvironment;
  put('PATH', PATH);
  put('HOME', HOME);
  put('LANG', LANG);
  for (const [name, stated] of Object.entries({ ...executor.env, ...request.variantEnv })) {
    const value = stated.startsWith('env:') ? deps.environmentVariable(stated.slice('env:'.length)) : stated;
    // Running without the key would measure something else than the policy says.
    if (value === undefined) return { ok: false, failure: failed('not-configured', `${stated} is not set`) };
    put(name, value);
  }
  // Last, so that nothing listed can stand in for what Interlock says.
  put('INTERLOCK_RUN_ID', values.runId);
  put('INTERLOCK_CHECKPOINT_ID', values.checkpointId);
  put('INTERLOCK_MODEL_URI', values.modelUri);
  put('INTERLOCK_ENDPOINT', values.endpoint);
  put('INTERLOCK_EFFECTIVE_COMPUTE', values.effectiveCompute);
  put('INTERLOCK_EVALUATION', values.evaluation);
  put('INTERLOCK_VARIANT', values.variant);
  put('INTERLOCK_RESULT_FILE', values.resultFile);
  put('INTERLOCK_ATTEMPT', String(request.attempt));
  put('INTERLOCK_TOP_UP', request.topUp === undefined ? undefined : String(request.topUp));
  put(MARKER_VARIABLE, marker);
  return { ok: true, env };
}

type ResolvedProgram = { ok: true; file: string } | { ok: false; fault: 'ENOENT' | 'EACCES' };

/** Looked up here, because what starts it (a launcher of ours) could only say that something was not found. */
function resolveProgram(
  program: string,
  baseDirectory: string,
  searchPath = '/usr/local/bin:/usr/bin:/bin',
): ResolvedProgram {
  const file = program.includes('/')
    ? path.resolve(baseDirectory, program)
    : findProgram(program, searchPath.split(':'));
  const fault = file === null ? 'ENOENT' : programFault(file);
  return file === null || fault !== null ? { ok: false, fault: fault ?? 'ENOENT' } : { ok: true, file };
}

const isDirectory = (directory: string): Promise<boolean> =>
  stat(directory).then(
    (found) => found.isDirectory(),
    () => false,
  );

// --- running it ---------------------------------------------------------------------------------------

interface Program {
  launch: Launch;
  env: Record<string, string>;
  cwd: string;
}

interface Supervision {
  job: Job;
  timeoutMs: number;
  limits: CommandLimits;
  signal: AbortSignal;
}

type Ending =
  | { how: 'exited'; code: number | null; signal: string | null }
  | { how: 'not-started'; errorCode: string }
  | { how: 'stopped'; why: 'timed-out' | 'cancelled' | 'output-too-large' };

interface Ended {
  ending: Ending;
  stdout: OutputTail;
  stderrBytes: number;
  /** It printed what programs print when they get no more memory. */
  saidOutOfMemory: boolean;
  /** Something of the job could not be killed within the time allowed. */
  left: boolean;
  /** Limits of the control group that something ran into. */
  hit: readonly string[];
}

async function runProgram({ launch, env, cwd }: Program, supervision: Supervision): Promise<Ended> {
  const { job, timeoutMs, limits, signal } = supervision;
  const stdout = new OutputTail(limits.keptBytes);
  const outOfMemory = new OutOfMemoryWords();
  let stderrBytes = 0;

  let child: ChildProcess;
  try {
    child = spawn(launch.file, launch.args, {
      cwd,
      env,
      shell: false,
      detached: true, // a session and group of its own, so that one signal reaches all of it
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
    });
  } catch (error) {
    return {
      ending: { how: 'not-started', errorCode: systemCode(error) },
      stdout,
      stderrBytes,
      saidOutOfMemory: false,
      left: false,
      hit: [],
    };
  }

  faultPoint('evaluation.spawned');
  let leader: JobIdentity['leader'] = null;
  let reaped = false;
  const identity = (): JobIdentity => ({ marker: job.marker, leader, groups: job.groups });

  const exited = new Promise<Ending>((resolve) => {
    child.once('exit', (code, exitSignal) => {
      // While anyone is left in the group its id cannot be another's, so this comes before anything is awaited.
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
      reaped = true;
      resolve(exitOf(code, exitSignal, launch));
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
      count();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      stderrBytes += chunk.length;
      outOfMemory.push(chunk);
      count();
    });
    // A pipe that breaks tells nothing that the exit does not.
    child.stdout?.on('error', () => undefined);
    child.stderr?.on('error', () => undefined);
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
  child.unref();
  const hit = await limitsHit(job.groups);
  return { ending, stdout, stderrBytes, saidOutOfMemory: outOfMemory.seen, left, hit };
}

const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

function exitOf(code: number | null, signal: string | null, { signalsAsCodes }: Launch): Ending {
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

// --- what it comes to ---------------------------------------------------------------------------------

async function outcomeOf(
  { ending, stdout, stderrBytes, saidOutOfMemory, hit }: Ended,
  resultFile: string,
  processMemoryBytes: number | null,
): Promise<EvaluatorOutcome> {
  if (ending.how === 'not-started') return failed('spawn-failed', ending.errorCode);
  const written = await readResultFile(resultFile);
  const text = written.kind === 'none' ? lastJsonLine(stdout.lines()) : written;
  const limit = hit.length === 0 ? '' : `; ran into its limit of ${hit.join(' and ')}`;
  // By its own words; where a group counts memory, the kernel's word above is the better one.
  const memory =
    saidOutOfMemory && processMemoryBytes !== null
      ? `; said it was out of memory, its limit is ${describeBytes(processMemoryBytes)} per process`
      : '';
  const sizes = `${stdout.totalBytes} bytes of output, ${stderrBytes} of errors${limit}${memory}`;

  if (ending.how === 'stopped') return withResult(failed(ending.why, sizes), text);
  if (ending.code !== 0) {
    const how = ending.code === null ? `ended by ${ending.signal ?? 'a signal'}` : `exit code ${ending.code}`;
    return withResult(failed('exit-nonzero', `${how}; ${sizes}`), text);
  }
  switch (text.kind) {
    case 'found':
      return { kind: 'reported', result: text.result };
    case 'none':
      return failed('no-result', sizes);
    case 'unreadable':
      return failed('unreadable-result', sizes);
    case 'too-large':
      return failed('output-too-large', 'result file');
  }
}

const withResult = (failure: Failed, text: ResultText): Failed =>
  text.kind === 'found' ? { ...failure, result: text.result } : failure;
