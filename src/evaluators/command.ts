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
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { durationMs } from '../domain/duration.ts';
import { type CommandExecutor, type CommandPlaceholder, replacePlaceholders } from '../domain/executor.ts';
import { AXES, axisVariable } from '../domain/policy/axes.ts';
import { faultPoint } from '../fault-points.ts';
import { limitsHit } from '../subprocess/cgroups.ts';
import { MARKER_VARIABLE } from '../subprocess/process-tree.ts';
import { findProgram, programFault } from '../subprocess/program-file.ts';
import { type Ended, type ProgramLimits, runProgram } from '../subprocess/run-program.ts';
import type { Containment } from './containment.ts';
import type { EvaluationRequest, Evaluator, EvaluatorOutcome, FailureReason } from './evaluator.ts';
import { openJob } from './job-records.ts';
import { describeBytes } from './limits.ts';
import { resolveModelUri } from './model-uri.ts';
import { OutOfMemoryWords } from './out-of-memory.ts';
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
  limits?: Partial<ProgramLimits>;
}

/** Ends well inside of what the queue gives it. */
const CALL_OFF_TIMEOUT = '30s';

const LIMITS: ProgramLimits = {
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
        const outOfMemory = new OutOfMemoryWords();
        const ended = await runProgram(
          { ...launch, env: env.env, cwd: cwd ?? job.directory },
          {
            job,
            timeoutMs: durationMs(executor.timeout),
            limits,
            signal,
            onSpawned: () => faultPoint('evaluation.spawned'),
            onErrorOutput: (chunk) => outOfMemory.push(chunk),
          },
        );
        left = ended.left;
        const memory: MemorySigns = {
          hit: await limitsHit(job.groups),
          saidOutOfMemory: outOfMemory.seen,
          processMemoryBytes: containment.processMemoryBytes,
        };
        return await outcomeOf(ended, resultFile, memory);
      } finally {
        await job.finished({ left });
      }
    },
    async callOff(request, signal) {
      const { callOff, ...rest } = executor;
      if (callOff === undefined) return { kind: 'rejected', detail: 'the policy names nothing to call' };
      const evaluator = createCommandEvaluator(
        { ...rest, command: callOff, timeout: CALL_OFF_TIMEOUT },
        deps,
      );
      const outcome = await evaluator.run(request, signal);
      if (outcome.kind !== 'failed') return { kind: 'accepted', detail: 'exit code 0' };
      const { reason, detail } = outcome;
      // It is not asked for a result: what it printed or did not print says nothing.
      if (reason === 'no-result' || reason === 'unreadable-result') {
        return { kind: 'accepted', detail: 'exit code 0' };
      }
      return { kind: 'retry', detail: detail === undefined ? reason : `${reason}: ${detail}` };
    },
  };
}

// --- what the program is given ------------------------------------------------------------------------

type PlaceholderValues = { readonly [placeholder in CommandPlaceholder]?: string | undefined };

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
  for (const axis of AXES) put(axisVariable(axis), values[axis]);
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

// --- what it comes to ---------------------------------------------------------------------------------

interface MemorySigns {
  /** Limits of the control group that something ran into. */
  hit: readonly string[];
  /** It printed what programs print when they get no more memory. */
  saidOutOfMemory: boolean;
  processMemoryBytes: number | null;
}

async function outcomeOf(
  { ending, stdout, stderrBytes }: Ended,
  resultFile: string,
  { hit, saidOutOfMemory, processMemoryBytes }: MemorySigns,
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
