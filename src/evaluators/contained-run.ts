/**
 * One attempt as one program, contained: what the executors that start something here have in common.
 *
 * Guarantees: the program gets the declared environment and nothing else; whatever way it ends (by itself, by
 * its timeout, by `signal`, by flooding its output) everything it started is ended too and the slot is free within
 * a bounded time, even where a descendant holds the pipes. Output is counted, never kept beyond the result, never
 * logged: at a high level it may be hazardous to read. Its directory is gone when `settle` has answered.
 * Not here: what holds the processes and limits them (containment.ts), and which of that this machine can do.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { durationMs } from '../domain/duration.ts';
import { type CommandPlaceholder, replacePlaceholders } from '../domain/executor-fields.ts';
import { AXES, axisVariable } from '../domain/policy/axes.ts';
import { faultPoint } from '../fault-points.ts';
import { limitsHit } from '../subprocess/cgroups.ts';
import { MARKER_VARIABLE } from '../subprocess/process-tree.ts';
import { findProgram, programFault } from '../subprocess/program-file.ts';
import { type Ended, type ProgramLimits, runProgram } from '../subprocess/run-program.ts';
import type { Containment } from './containment.ts';
import type { EvaluationRequest, EvaluatorOutcome, FailureReason } from './evaluator.ts';
import { openJob } from './job-records.ts';
import { describeBytes } from './limits.ts';
import { resolveModelUri } from './model-uri.ts';
import { OutOfMemoryWords } from './out-of-memory.ts';

export interface ContainedDeps {
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
  limits?: Partial<ProgramLimits>;
}

const LIMITS: ProgramLimits = {
  outputBytes: 10 * 1024 * 1024,
  keptBytes: 1024 * 1024,
  killGraceMs: 2_000,
  drainMs: 500,
};

export type Failed = Extract<EvaluatorOutcome, { kind: 'failed' }>;
export const failed = (reason: FailureReason, detail?: string): Failed =>
  detail === undefined ? { kind: 'failed', reason } : { kind: 'failed', reason, detail };

/** What of an executor decides how a program runs, whatever the program is. */
export interface RunSettings {
  readonly timeout: string;
  readonly env: Readonly<Record<string, string>>;
  readonly network?: 'none' | 'host' | undefined;
  readonly cwd?: string | undefined;
}

export type PlaceholderValues = { [placeholder in CommandPlaceholder]?: string | undefined };

export interface BuiltCommand {
  readonly ok: true;
  readonly program: string;
  readonly args: readonly string[];
  /** Stated beside the executor's own; values `env:NAME` are read here. The executor's stand over these. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What a run of it comes to, as far as it can be said without knowing what it was to leave behind. */
export interface ContainedRun {
  readonly ended: Ended;
  readonly resultFile: string;
  readonly directory: string;
  /** RFC 3339, before it was started. */
  readonly startedAt: string;
  /** Counts of output, limits that it ran into; never text of it. */
  readonly sizes: string;
}

export interface ContainedJob {
  readonly settings: RunSettings;
  /** In a directory of its own, with the model's resolved URI; `build` may refuse. */
  build(
    values: PlaceholderValues,
    directory: string,
  ): Promise<BuiltCommand | { ok: false; failure: Failed }> | BuiltCommand | { ok: false; failure: Failed };
  settle(run: ContainedRun): Promise<EvaluatorOutcome>;
  onOutput?: ((chunk: Buffer) => void) | undefined;
  onErrorOutput?: ((chunk: Buffer) => void) | undefined;
}

export async function runContained(
  { settings, build, settle, onOutput, onErrorOutput }: ContainedJob,
  request: EvaluationRequest,
  deps: ContainedDeps,
  signal: AbortSignal,
): Promise<EvaluatorOutcome> {
  if (signal.aborted) return failed('cancelled');
  const model = await resolveModelUri(request.modelUri, deps.modelRoots);
  if (!model.ok) return failed('model-uri-refused', model.detail);
  const cwd = settings.cwd === undefined ? null : path.resolve(deps.baseDirectory, settings.cwd);
  if (cwd !== null && !(await isDirectory(cwd))) return failed('spawn-failed', 'cwd is not a directory');

  const { containment } = deps;
  const network = settings.network !== 'none';
  if (!network && !containment.canCutNetwork) {
    return failed('not-configured', 'network: none cannot be enforced on this machine');
  }

  const job = await openJob(deps.jobsDirectory, containment, request.runId);
  let left = false;
  try {
    const resultFile = path.join(job.directory, 'result.json');
    const values = placeholderValues({ ...request, modelUri: model.uri }, resultFile);
    const built = await build(values, job.directory);
    if (!built.ok) return built.failure;
    const env = buildEnvironment({ ...built.env, ...settings.env }, request, values, job.marker, deps);
    if (!env.ok) return env.failure;
    const program = resolveProgram(built.program, deps.baseDirectory, env.env['PATH']);
    if (!program.ok) return failed('spawn-failed', program.fault);
    await containment.makeGroups(job.marker);
    const launch = containment.launch(job.marker, program.file, built.args, { network });
    const outOfMemory = new OutOfMemoryWords();
    const startedAt = new Date().toISOString();
    const ended = await runProgram(
      { ...launch, env: env.env, cwd: cwd ?? job.directory },
      {
        job,
        timeoutMs: durationMs(settings.timeout),
        limits: { ...LIMITS, ...deps.limits },
        signal,
        onSpawned: () => faultPoint('evaluation.spawned'),
        ...(onOutput === undefined ? {} : { onOutput }),
        onErrorOutput: (chunk) => {
          outOfMemory.push(chunk);
          onErrorOutput?.(chunk);
        },
      },
    );
    left = ended.left;
    if (ended.ending.how === 'not-started') return failed('spawn-failed', ended.ending.errorCode);
    const sizes = describeSizes(ended, {
      hit: await limitsHit(job.groups),
      saidOutOfMemory: outOfMemory.seen,
      processMemoryBytes: containment.processMemoryBytes,
    });
    return await settle({ ended, resultFile, directory: job.directory, startedAt, sizes });
  } finally {
    await job.finished({ left });
  }
}

// --- what the program is given ------------------------------------------------------------------------

function placeholderValues(request: EvaluationRequest, resultFile: string): PlaceholderValues {
  const { runId, checkpointId, modelUri, endpoint, effectiveCompute, evaluation, variant, axes } = request;
  return {
    runId,
    checkpointId,
    modelUri,
    endpoint,
    effectiveCompute,
    evaluation,
    variant,
    resultFile,
    ...axes,
  };
}

export type Filled = { ok: true; text: string } | { ok: false; failure: Failed };

/** One argument with its values in place, or why it must not be one. */
export function fillArgument(template: string, values: PlaceholderValues): Filled {
  const refused = (detail: string): Filled => ({ ok: false, failure: failed('argument-refused', detail) });
  let missing: CommandPlaceholder | null = null;
  const text = replacePlaceholders(template, (placeholder) => {
    const value = values[placeholder];
    if (value === undefined) missing = placeholder;
    return value ?? '';
  });
  if (missing !== null) return refused(`{${missing}} was not reported`);
  // The policy wrote no dash there, so the event did: it would be read as an option.
  if (text.startsWith('-') && !template.startsWith('-')) return refused('a value begins with a dash');
  if (text.includes('\0')) return refused('a value holds NUL');
  return { ok: true, text };
}

type Environment = { ok: true; env: Record<string, string> } | { ok: false; failure: Failed };

function buildEnvironment(
  statedBy: Readonly<Record<string, string>>,
  request: EvaluationRequest,
  values: PlaceholderValues,
  marker: string,
  deps: ContainedDeps,
): Environment {
  const env: Record<string, string> = {};
  const put = (name: string, value: string | undefined) => {
    if (value !== undefined) env[name] = value;
  };
  const { PATH, HOME, LANG } = deps.baseEnvironment;
  put('PATH', PATH);
  put('HOME', HOME);
  put('LANG', LANG);
  for (const [name, stated] of Object.entries({ ...statedBy, ...request.variantEnv })) {
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
  for (const axis of AXES) put(axisVariable(axis), values[axis]);
  put('INTERLOCK_RESULT_FILE', values.resultFile);
  put('INTERLOCK_LOG_DIRECTORY', values.logDirectory);
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

// --- what it comes to ---------------------------------------------------------------------------------

interface MemorySigns {
  /** Limits of the control group that something ran into. */
  hit: readonly string[];
  /** It printed what programs print when they get no more memory. */
  saidOutOfMemory: boolean;
  processMemoryBytes: number | null;
}

function describeSizes(
  { stdout, stderrBytes }: Ended,
  { hit, saidOutOfMemory, processMemoryBytes }: MemorySigns,
): string {
  const limit = hit.length === 0 ? '' : `; ran into its limit of ${hit.join(' and ')}`;
  // By its own words; where a group counts memory, the kernel's word above is the better one.
  const memory =
    saidOutOfMemory && processMemoryBytes !== null
      ? `; said it was out of memory, its limit is ${describeBytes(processMemoryBytes)} per process`
      : '';
  return `${stdout.totalBytes} bytes of output, ${stderrBytes} of errors${limit}${memory}`;
}

/** Null where it ended by itself with an exit code among those that say it ran to its end. */
export function failureOf(
  { ended: { ending }, sizes }: ContainedRun,
  completed: readonly number[] = [0],
): Failed | null {
  if (ending.how === 'not-started') return failed('spawn-failed', ending.errorCode);
  if (ending.how === 'stopped') return failed(ending.why, sizes);
  if (ending.code !== null && completed.includes(ending.code)) return null;
  const how = ending.code === null ? `ended by ${ending.signal ?? 'a signal'}` : `exit code ${ending.code}`;
  return failed('exit-nonzero', `${how}; ${sizes}`);
}
