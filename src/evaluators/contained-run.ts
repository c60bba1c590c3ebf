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
import { faultPoint } from '../fault-points.ts';
import { limitsHit } from '../subprocess/cgroups.ts';
import { MARKER_VARIABLE } from '../subprocess/process-tree.ts';
import { findProgram, programFault } from '../subprocess/program-file.ts';
import { type Ended, type ProgramLimits, runProgram } from '../subprocess/run-program.ts';
import type { Containment } from './containment.ts';
import { type EvaluationRequest, type EvaluatorOutcome, type Failed, failed } from './evaluator.ts';
import { openJob } from './job-records.ts';
import { describeBytes } from './limits.ts';
import { resolveModelUri } from './model-uri.ts';
import { OutOfMemoryWords } from './out-of-memory.ts';
import {
  type BuiltCommand,
  buildEnvironment,
  type EnvironmentSources,
  type PlaceholderValues,
  placeholderValues,
} from './program-inputs.ts';

export interface ContainedDeps extends EnvironmentSources {
  /** `models.roots`: where a local model may lie. */
  modelRoots: readonly string[];
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

/** What of an executor decides how a program runs, whatever the program is. */
export interface RunSettings {
  readonly timeout: string;
  readonly env: Readonly<Record<string, string>>;
  readonly network?: 'none' | 'host' | undefined;
  readonly cwd?: string | undefined;
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
    const values = placeholderValues(request, { modelUri: model.uri, resultFile });
    const built = await build(values, job.directory);
    if (!built.ok) return built.failure;
    const environment = buildEnvironment({ ...built.env, ...settings.env }, request, values, deps);
    if (!environment.ok) return environment.failure;
    const env: Record<string, string> = { ...environment.env, [MARKER_VARIABLE]: job.marker };
    const program = resolveProgram(built.program, deps.baseDirectory, env['PATH']);
    if (!program.ok) return failed('spawn-failed', program.fault);
    await containment.makeGroups(job.marker);
    const launch = containment.launch(job.marker, program.file, built.args, { network });
    const outOfMemory = new OutOfMemoryWords();
    const startedAt = new Date().toISOString();
    const ended = await runProgram(
      { ...launch, env, cwd: cwd ?? job.directory },
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

// --- which program ------------------------------------------------------------------------------------

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
