/**
 * An evaluation as a job of a Slurm cluster: submitted, watched, collected from a shared directory.
 *
 * It leaves a native result or, where the policy names a format, the log of a harness below a directory of its own.
 * The job's name is made of the evaluation and of the attempt that submitted it, so whoever comes after a crash or a
 * shutdown finds it by its name and waits on; nothing is submitted twice. The job itself writes how it ended beside its result,
 * which is believed before what Slurm remembers: Slurm forgets ended jobs within minutes.
 * Fails toward inconclusive: a job that is gone without a word, or whose node failed, is `job-lost`.
 * Ends with the attempt: by scancel here at once, and by the call-off until it is taken. A shutdown leaves it running.
 * What the job prints goes nowhere. Not here: retries, deadlines of the scorecard (domain/run).
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { durationMs } from '../domain/duration.ts';
import { DEFAULT_LOG } from '../domain/log-pattern.ts';
import { pollOf, type SlurmExecutor } from '../domain/slurm-executor.ts';
import { type Ran, runSlurmProgram } from '../subprocess/slurm-program.ts';
import { lifeOf } from '../subprocess/slurm-states.ts';
import {
  type CallOffOutcome,
  EVALUATION_CANCELLED,
  type EvaluationRequest,
  type Evaluator,
  type EvaluatorOutcome,
  type Failed,
  failed,
} from './evaluator.ts';
import { type LogDeps, settleLogOf } from './launchers/log-outcome.ts';
import { resolveModelUri } from './model-uri.ts';
import {
  buildArguments,
  buildEnvironment,
  type EnvironmentSources,
  placeholderValues,
} from './program-inputs.ts';
import { readResultFile } from './result-text.ts';

export interface SlurmDeps extends EnvironmentSources, LogDeps {
  /** null: interlock.yaml names no cluster for evaluations. */
  readonly cluster: {
    /** Of Slurm's programs. */
    readonly directory: string;
    readonly conf?: string | undefined;
    /** Seen by Interlock and by every node, under the same path. */
    readonly jobs: string;
  } | null;
  readonly modelRoots: readonly string[];
  readonly now?: () => number;
}

const CALL_TIMEOUT_MS = 20_000;
const OUTPUT_BYTES_MAX = 1024 * 1024;
/** A shared file system shows what a node wrote later than Slurm shows that it ended. */
const SETTLE_MS = 15_000;
const SETTLE_LOOK_MS = 250;
/** Longer than any job may take: executors end within 24 days, and the time of a directory is not that of what lies deeper in it. */
const KEPT_MS = 30 * 86_400_000;

/** `"$@"` is the command as it is: nothing of it is read by the shell. */
const SCRIPT = `#!/bin/sh
"$@"
code=$?
printf '%s\\n' "$code" > "$INTERLOCK_JOB_DIRECTORY/exit-code.part"
mv "$INTERLOCK_JOB_DIRECTORY/exit-code.part" "$INTERLOCK_JOB_DIRECTORY/exit-code"
exit "$code"
`;

export function createSlurmEvaluator(executor: SlurmExecutor, deps: SlurmDeps): Evaluator {
  return {
    async run(request, signal) {
      if (signal.aborted) return failed('cancelled');
      if (deps.cluster === null) return failed('not-configured', 'evaluators.slurm is not configured here');
      const job = new SlurmEvaluation(executor, request, deps, deps.cluster);
      return job.run(signal);
    },
    async callOff(request, signal) {
      if (deps.cluster === null) return { kind: 'retry', detail: 'evaluators.slurm is not configured here' };
      return new SlurmEvaluation(executor, request, deps, deps.cluster).cancel(signal);
    },
  };
}

/** Injective, short, and no text of an event: Slurm's tools print it. */
export function slurmJobName({
  runId,
  evaluationId,
  attempt,
  submission = attempt,
}: EvaluationRequest): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([runId, evaluationId, submission]))
    .digest('hex');
  return `interlock-${digest.slice(0, 32)}`;
}

/** As a shell gives it: 128 and the signal's number. */
const isSignal = (code: number): boolean => code > 128;

/** What Slurm, or somebody through it, did to the job. */
const BY_SLURM = new Set([
  'BOOT_FAIL',
  'CANCELLED',
  'DEADLINE',
  'NODE_FAIL',
  'OUT_OF_MEMORY',
  'PREEMPTED',
  'TIMEOUT',
]);

type Seen =
  | { readonly kind: 'listed'; readonly state: string; readonly jobIds: readonly number[] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly detail: string };

class SlurmEvaluation {
  readonly #executor: SlurmExecutor;
  readonly #request: EvaluationRequest;
  readonly #deps: SlurmDeps;
  readonly #cluster: NonNullable<SlurmDeps['cluster']>;
  readonly #name: string;
  readonly #directory: string;

  constructor(
    executor: SlurmExecutor,
    request: EvaluationRequest,
    deps: SlurmDeps,
    cluster: NonNullable<SlurmDeps['cluster']>,
  ) {
    this.#executor = executor;
    this.#request = request;
    this.#deps = deps;
    this.#cluster = cluster;
    this.#name = slurmJobName(request);
    this.#directory = path.join(cluster.jobs, this.#name);
  }

  async run(signal: AbortSignal): Promise<EvaluatorOutcome> {
    const untilMs = this.#nowMs() + durationMs(this.#executor.timeout);
    const begun = await this.#begin(signal);
    if (begun !== null) return signal.aborted ? await this.#left(signal) : begun;
    let goneSinceMs: number | null = null;
    for (;;) {
      if (signal.aborted) return this.#left(signal);
      const code = await this.#exitCode();
      if (code !== null && !isSignal(code)) return this.#collect(code);
      const seen = await this.#look(signal);
      const over = seen.kind === 'absent' || (seen.kind === 'listed' && isOver(seen.state));
      goneSinceMs = over ? (goneSinceMs ?? this.#nowMs()) : null;
      if (goneSinceMs !== null && this.#nowMs() - goneSinceMs >= settleMs(seen)) return this.#over(seen);
      if (this.#nowMs() >= untilMs) {
        await this.cancel(new AbortController().signal);
        const was = seen.kind === 'listed' ? `the job was ${seen.state}` : undefined;
        return this.#failedWith(failed('timed-out', was));
      }
      const leftMs = Math.max(0, untilMs - this.#nowMs());
      const pauseMs = over ? SETTLE_LOOK_MS : durationMs(pollOf(this.#executor));
      await delay(Math.min(pauseMs, leftMs), undefined, { signal }).catch(() => undefined);
    }
  }

  /** null once a job of this name is there, be it by an earlier process. */
  async #begin(signal: AbortSignal): Promise<Failed | null> {
    if ((await this.#exitCode()) !== null) return null;
    const seen = await this.#look(signal);
    if (seen.kind === 'listed') return null;
    // Without knowing whether it is there nothing is submitted: it would run twice.
    if (seen.kind === 'failed') return failed('unreachable', seen.detail);
    if (await this.#wasSubmitted()) return null;
    return this.#submit(signal);
  }

  async #submit(signal: AbortSignal): Promise<Failed | null> {
    const model = await resolveModelUri(this.#request.modelUri, this.#deps.modelRoots);
    if (!model.ok) return failed('model-uri-refused', model.detail);
    const values = {
      ...placeholderValues(this.#request, { modelUri: model.uri, resultFile: this.#resultFile }),
      logDirectory: this.#executor.format === 'native' ? undefined : this.#logDirectory,
    };
    const command = buildArguments(this.#executor.command, values);
    if (!command.ok) return command.failure;
    const environment = buildEnvironment(this.#executor.env, this.#request, values, this.#deps);
    if (!environment.ok) return environment.failure;
    const env = { ...environment.env, INTERLOCK_JOB_DIRECTORY: this.#directory };
    const script = path.join(this.#directory, 'run.sh');
    try {
      await forgetOld(this.#cluster.jobs, this.#nowMs());
      await mkdir(this.#executor.format === 'native' ? this.#directory : this.#logDirectory, {
        recursive: true,
        mode: 0o700,
      });
      await writeFile(script, SCRIPT, { mode: 0o700 });
    } catch {
      return failed('spawn-failed', 'the shared directory cannot be written');
    }
    const args = [...this.#options(Object.keys(env)), script, command.program, ...command.args];
    const ran = await this.#program('sbatch', args, env, signal);
    if (ran.kind === 'failed') {
      // It may have been taken all the same, and after this failure nobody looks for it under this name any more.
      if (!signal.aborted) await this.cancel(new AbortController().signal);
      return failed('unreachable', `sbatch ${ran.why}`);
    }
    if (ran.code === 0 && /^\d{1,15}(;|$)/.test(ran.stdout.trim())) {
      // Beside its name: between being taken and being listed, and after it was forgotten, only this shows it.
      await writeFile(path.join(this.#directory, 'submitted'), ran.stdout.trim()).catch(() => undefined);
      return null;
    }
    return isAway(ran)
      ? failed('unreachable', 'sbatch: slurmctld does not answer')
      : failed('spawn-failed', `sbatch ended with ${ran.code ?? 'a signal'}`);
  }

  #options(variables: readonly string[]): string[] {
    const { partition, account, qos, gres, constraint, nodes, cpusPerTask, memory, time } = this.#executor;
    const stated: [string, string | number | undefined][] = [
      ['partition', partition],
      ['account', account],
      ['qos', qos],
      ['gres', gres],
      ['constraint', constraint],
      ['nodes', nodes],
      ['cpus-per-task', cpusPerTask],
      ['mem', memory],
      ['time', time],
    ];
    return [
      '--parsable',
      // A job that starts again would be evaluated twice under one attempt.
      '--no-requeue',
      `--job-name=${this.#name}`,
      `--chdir=${this.#directory}`,
      '--output=/dev/null',
      '--error=/dev/null',
      // By name: what marks sbatch as a program of ours must not mark the job.
      `--export=${variables.join(',')}`,
      ...stated.flatMap(([option, value]) => (value === undefined ? [] : [`--${option}=${value}`])),
    ];
  }

  get #resultFile(): string {
    return path.join(this.#directory, 'result.json');
  }

  get #logDirectory(): string {
    return path.join(this.#directory, 'logs');
  }

  // --- how it goes ---------------------------------------------------------------------------------------

  async #look(signal: AbortSignal): Promise<Seen> {
    const args = [
      '--noheader',
      '--states=all',
      `--name=${this.#name}`,
      `--user=${userName()}`,
      '--Format=JobID:16,State:24',
    ];
    const ran = await this.#program('squeue', args, {}, signal);
    if (ran.kind === 'failed') return { kind: 'failed', detail: `squeue ${ran.why}` };
    if (ran.code !== 0 || ran.stderr !== '') {
      return { kind: 'failed', detail: isAway(ran) ? 'squeue: slurmctld does not answer' : 'squeue failed' };
    }
    const lines = ran.stdout.split('\n').filter((line) => line.trim() !== '');
    const jobs = lines.map((line) => ({ jobId: Number(line.slice(0, 16)), state: line.slice(16).trim() }));
    if (jobs.some(({ jobId, state }) => !Number.isSafeInteger(jobId) || !/^[A-Z_]{1,32}$/.test(state))) {
      return { kind: 'failed', detail: 'squeue: a line that cannot be read' };
    }
    const alive = jobs.find(({ state }) => !isOver(state)) ?? jobs.at(-1);
    if (alive === undefined) return { kind: 'absent' };
    return { kind: 'listed', state: alive.state, jobIds: jobs.map(({ jobId }) => jobId) };
  }

  /** As the job wrote it, whole or not at all; null: it has not ended by itself. */
  async #exitCode(): Promise<number | null> {
    const text = await shortText(path.join(this.#directory, 'exit-code'));
    return text !== null && /^\d{1,3}$/.test(text) ? Number(text) : null;
  }

  #wasSubmitted(): Promise<boolean> {
    return stat(path.join(this.#directory, 'submitted')).then(
      () => true,
      () => false,
    );
  }

  /** A shell that is ended may still say by which signal its program was: why, Slurm knows. */
  async #over(seen: Seen): Promise<EvaluatorOutcome> {
    const code = await this.#exitCode();
    const wasEnded = code !== null && isSignal(code) && seen.kind === 'listed' && BY_SLURM.has(seen.state);
    return code === null || wasEnded ? this.#lost(seen) : this.#collect(code);
  }

  async #collect(code: number | null): Promise<EvaluatorOutcome> {
    const failure = code === 0 ? null : failed('exit-nonzero', `exit code ${code}`);
    if (this.#executor.format !== 'native') return this.#settleLog(failure, code);
    if (failure !== null) return this.#failedWith(failure);
    const text = await readResultFile(this.#resultFile);
    switch (text.kind) {
      case 'found':
        return { kind: 'reported', result: text.result };
      case 'none':
        return failed('no-result', 'the job ended well and wrote no result file');
      case 'unreadable':
        return failed('unreadable-result');
      case 'too-large':
        return failed('output-too-large', 'result file');
    }
  }

  /** It did not say how it ended: what Slurm says of it is all there is. A result it left may still trip. */
  async #lost(seen: Seen): Promise<EvaluatorOutcome> {
    const state = seen.kind === 'listed' ? seen.state : null;
    const reason = state === 'TIMEOUT' || state === 'DEADLINE' ? 'timed-out' : 'job-lost';
    return this.#failedWith(
      failed(reason, state === null ? 'Slurm knows no such job' : `Slurm says ${state}`),
    );
  }

  /** What it wrote all the same goes along: it clears nothing, and a score at a threshold trips. */
  async #failedWith(failure: Failed): Promise<EvaluatorOutcome> {
    if (this.#executor.format !== 'native') return this.#settleLog(failure, undefined);
    const text = await readResultFile(this.#resultFile);
    return text.kind === 'found' ? { ...failure, result: text.result } : failure;
  }

  async #settleLog(failure: Failed | null, exitCode: number | null | undefined): Promise<EvaluatorOutcome> {
    const { format, log } = this.#executor;
    if (format === 'native') throw new TypeError('a native result is no log');
    const directory = this.#logDirectory;
    const startedAt = await this.#submittedAt();
    return settleLogOf(
      { failure, exitCode, startedAt },
      { directory, pattern: log ?? DEFAULT_LOG[format], format },
      this.#request,
      this.#deps,
    );
  }

  /** By the shared file system's clock, which the log's own time is of, too: nodes may have another than we have. */
  #submittedAt(): Promise<string | undefined> {
    return stat(path.join(this.#directory, 'run.sh')).then(
      ({ mtimeMs }) => new Date(mtimeMs).toISOString(),
      () => undefined,
    );
  }

  /** Called off, it ends; where only this process ends, it runs on and is found by its name. */
  async #left(signal: AbortSignal): Promise<EvaluatorOutcome> {
    if (signal.reason === EVALUATION_CANCELLED) await this.cancel(new AbortController().signal);
    return failed('cancelled');
  }

  async cancel(signal: AbortSignal): Promise<CallOffOutcome> {
    const args = [`--name=${this.#name}`, `--user=${userName()}`];
    const ran = await this.#program('scancel', args, {}, signal);
    if (ran.kind === 'failed') return { kind: 'retry', detail: `scancel ${ran.why}` };
    // It ends with 0 also where it did nothing.
    if (ran.code !== 0 || /error/i.test(ran.stderr)) {
      return { kind: 'retry', detail: isAway(ran) ? 'scancel: slurmctld does not answer' : 'scancel failed' };
    }
    return { kind: 'accepted', detail: 'cancelled by its name' };
  }

  #program(
    name: string,
    args: readonly string[],
    env: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Ran> {
    const { directory, conf } = this.#cluster;
    const own = {
      PATH: '/usr/bin:/bin',
      LC_ALL: 'C',
      ...env,
      ...(conf === undefined ? {} : { SLURM_CONF: conf }),
    };
    return runSlurmProgram(
      path.join(directory, name),
      args,
      own,
      { timeoutMs: CALL_TIMEOUT_MS, outputBytes: OUTPUT_BYTES_MAX },
      signal,
    );
  }

  #nowMs(): number {
    return this.#deps.now?.() ?? Date.now();
  }
}

const SHORT_BYTES = 64;

/** Of a file that the job wrote: no more of it than is of use, and nothing that is no file. */
async function shortText(file: string): Promise<string | null> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(file, flags).catch(() => null);
  if (handle === null) return null;
  try {
    if (!(await handle.stat()).isFile()) return null;
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(SHORT_BYTES), 0, SHORT_BYTES, 0);
    return buffer.toString('latin1', 0, bytesRead).trim();
  } catch {
    return null;
  } finally {
    await handle.close();
  }
}

const userName = (): string => userInfo().username;

/** Also where Slurm no longer sees its node: what becomes of it there, nobody will say. */
const isOver = (state: string): boolean => ['ended', 'unseen'].includes(lifeOf({ states: [state] }));

/** What ended by somebody else's hand writes nothing more. */
const settleMs = (seen: Seen): number =>
  seen.kind === 'listed' && seen.state !== 'COMPLETED' && seen.state !== 'FAILED'
    ? 2 * SETTLE_LOOK_MS
    : SETTLE_MS;

const isAway = ({ stderr }: Extract<Ran, { kind: 'exited' }>): boolean =>
  /Unable to contact slurm controller|Connection refused|Socket timed out/i.test(stderr);

/** Kept for as long as somebody may come back for them. */
async function forgetOld(directory: string, nowMs: number): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    if (!/^interlock-[0-9a-f]{32}$/.test(name)) continue;
    const old = await stat(path.join(directory, name)).catch(() => null);
    if (old !== null && nowMs - old.mtimeMs > KEPT_MS) {
      await rm(path.join(directory, name), { recursive: true, force: true }).catch(() => undefined);
    }
  }
}
