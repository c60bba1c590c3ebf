/**
 * The `command` executor: one attempt is one program, without a shell, in a process group of its own.
 *
 * It leaves a native result (a file, or the last JSON line of its output) or, where the policy names a format, the log of
 * a harness below a fresh directory. How it is held and what it gets of its surroundings: contained-run.ts.
 * Fails toward inconclusive. What was written by a run that then failed is handed on beside the failure: it clears
 * nothing, but a score at a threshold trips.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { CommandExecutor } from '../domain/executor.ts';
import { DEFAULT_LOG } from '../domain/log-pattern.ts';
import { type ContainedDeps, type ContainedRun, failureOf, runContained } from './contained-run.ts';
import { type Evaluator, type EvaluatorOutcome, type Failed, failed } from './evaluator.ts';
import { type LogDeps, settleLog } from './launchers/log-outcome.ts';
import { progressOfLines, STATED_PROGRESS } from './launchers/progress.ts';
import { buildArguments } from './program-inputs.ts';
import { lastJsonLine, type ResultText, readResultFile } from './result-text.ts';

export interface CommandDeps extends ContainedDeps, LogDeps {}

/** Ends well inside of what the queue gives it. */
const CALL_OFF_TIMEOUT = '30s';

export function createCommandEvaluator(executor: CommandExecutor, deps: CommandDeps): Evaluator {
  const { format } = executor;
  return {
    run: (request, signal, { onProgress } = {}) => {
      const logDirectoryOf = (directory: string) => path.join(directory, 'logs');
      return runContained(
        {
          settings: executor,
          async build(values, directory) {
            if (format === 'native') return buildArguments(executor.command, values);
            const logDirectory = logDirectoryOf(directory);
            await mkdir(logDirectory, { mode: 0o700 });
            values.logDirectory = logDirectory;
            return buildArguments(executor.command, values);
          },
          settle(run) {
            if (format === 'native') return settleResult(run);
            const directory = logDirectoryOf(run.directory);
            const { log: pattern = DEFAULT_LOG[format] } = executor;
            return settleLog(run, { directory, pattern, format }, request, deps);
          },
          onErrorOutput: progressOfLines(STATED_PROGRESS, onProgress),
        },
        request,
        deps,
        signal,
      );
    },
    callOff: (request, signal) => callOffByCommand(executor, deps, request, signal),
  };
}

/** By the command that the executor names for it, of whatever kind it is. */
export async function callOffByCommand(
  { callOff, env, network, cwd }: Pick<CommandExecutor, 'callOff' | 'env' | 'network' | 'cwd'>,
  deps: ContainedDeps,
  ...[request, signal]: Parameters<Evaluator['callOff']>
): ReturnType<Evaluator['callOff']> {
  if (callOff === undefined) return { kind: 'rejected', detail: 'the policy names nothing to call' };
  const outcome = await runContained(
    {
      settings: { env, network, cwd, timeout: CALL_OFF_TIMEOUT },
      build: (values) => buildArguments(callOff, values),
      // It is not asked for a result: what it printed or did not print says nothing.
      settle: (run) => Promise.resolve(failureOf(run) ?? { kind: 'reported', result: null }),
    },
    request,
    deps,
    signal,
  );
  if (outcome.kind !== 'failed') return { kind: 'accepted', detail: 'exit code 0' };
  const { reason, detail } = outcome;
  return { kind: 'retry', detail: detail === undefined ? reason : `${reason}: ${detail}` };
}

async function settleResult(run: ContainedRun): Promise<EvaluatorOutcome> {
  const written = await readResultFile(run.resultFile);
  const text = written.kind === 'none' ? lastJsonLine(run.ended.stdout.lines()) : written;
  const failure = failureOf(run);
  if (failure !== null) return withResult(failure, text);
  switch (text.kind) {
    case 'found':
      return { kind: 'reported', result: text.result };
    case 'none':
      return failed('no-result', run.sizes);
    case 'unreadable':
      return failed('unreadable-result', run.sizes);
    case 'too-large':
      return failed('output-too-large', 'result file');
  }
}

const withResult = (failure: Failed, text: ResultText): Failed =>
  text.kind === 'found' ? { ...failure, result: text.result } : failure;
