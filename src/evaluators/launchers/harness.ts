/**
 * The executors `inspect`, `lm-eval` and `promptfoo`: one attempt is one run of the harness, contained as every command is.
 *
 * What is particular to a harness is its command line (a pure file each) and where its progress is seen; everything else is here:
 * fresh directories, what is left of earlier attempts, the one log that counts, and the end of the whole process tree.
 */
import path from 'node:path';
import { assertNever } from '../../domain/assert-never.ts';
import type { HarnessExecutor } from '../../domain/harness-executors.ts';
import { callOffByCommand } from '../command.ts';
import { type ContainedDeps, runContained } from '../contained-run.ts';
import type { Evaluator } from '../evaluator.ts';
import { openLog } from '../formats/log-source.ts';
import type { PlaceholderValues } from '../program-inputs.ts';
import { type AttemptDirectories, openAttempt } from './attempt-directories.ts';
import { filesMeant, type ReadHarnessLog } from './find-log.ts';
import { launchInspect } from './inspect.ts';
import type { Launch, LaunchContext, Launched } from './launch.ts';
import { launchLmEval } from './lm-eval.ts';
import { type LogDeps, settleLog } from './log-outcome.ts';
import {
  changes,
  growingRows,
  INSPECT_PROGRESS,
  type OnProgress,
  PROMPTFOO_TOTAL,
  type ProgressLine,
  type ProgressLook,
  progressOfLines,
  TQDM_PROGRESS,
  watchProgress,
} from './progress.ts';
import { launchPromptfoo, PROMPTFOO_ROWS } from './promptfoo.ts';

export interface HarnessDeps extends ContainedDeps, LogDeps {
  /** Directories of evaluations, one each; see attempt-directories.ts. */
  readonly attemptsDirectory: string;
  /** Between two looks at what a harness has written; a test lowers it. */
  readonly progressEveryMs?: number;
}

const PROGRESS_EVERY_MS = 5_000;

/** The command line of one attempt. Pure. */
export function launchOf(executor: HarnessExecutor, context: LaunchContext): Launched {
  switch (executor.kind) {
    case 'inspect':
      return launchInspect(executor, context);
    case 'lm-eval':
      return launchLmEval(executor, context);
    case 'promptfoo':
      return launchPromptfoo(executor, context);
    default:
      return assertNever(executor);
  }
}

export function createHarnessEvaluator(executor: HarnessExecutor, deps: HarnessDeps): Evaluator {
  return {
    async run(request, signal, { onProgress: listener } = {}) {
      const onProgress = listener === undefined ? undefined : mergedProgress(listener);
      let launch: Launch | null = null;
      let directories: AttemptDirectories | null = null;
      let watch: ReturnType<typeof watchProgress> | null = null;
      try {
        return await runContained(
          {
            settings: executor,
            async build(values) {
              directories = await openAttempt(deps.attemptsDirectory, request);
              const launched = await prepare(executor, values, directories, deps);
              if (!launched.ok) return launched;
              launch = launched;
              watch = watchProgress(
                lookOf(launched, directories.logDirectory, deps),
                onProgress,
                deps.progressEveryMs ?? PROGRESS_EVERY_MS,
              );
              return launched;
            },
            async settle(run) {
              if (launch === null || directories === null) throw new Error('settled before it was built');
              const { log: pattern, format, completedExitCodes, expects } = launch;
              const wanted = { directory: directories.logDirectory, pattern, format };
              return settleLog(run, { ...wanted, completedExitCodes, expects }, request, deps);
            },
            onOutput: progressOfLines(PRINTED[executor.kind].output, onProgress),
            onErrorOutput: progressOfLines(PRINTED[executor.kind].errors, onProgress),
          },
          request,
          deps,
          signal,
        );
      } finally {
        await stopped(watch);
      }
    },
    callOff: (request, signal) => callOffByCommand(executor, deps, request, signal),
  };
}

/** As a parameter, because what a closure assigns is not seen by the compiler. */
const stopped = (watch: { stop(): Promise<void> } | null): Promise<void> =>
  watch?.stop() ?? Promise.resolve();

async function prepare(
  executor: HarnessExecutor,
  values: PlaceholderValues,
  { logDirectory, cacheDirectory, earlier }: AttemptDirectories,
  { baseDirectory, readLog }: HarnessDeps,
): Promise<Launched> {
  const context = { values, logDirectory, cacheDirectory, baseDirectory };
  const previousLog = executor.kind === 'inspect' ? await unfinished(earlier, readLog) : null;
  return launchOf(executor, { ...context, previousLog });
}

/** The latest log of an attempt before that says of itself what it ran; one that cannot be read is begun anew. */
async function unfinished(earlier: readonly string[], readLog: ReadHarnessLog): Promise<string | null> {
  for (const directory of earlier) {
    const [file, another] = await filesMeant({ directory, pattern: '*.eval' });
    if (file === undefined || another !== undefined) continue;
    const source = await openLog(file);
    if (source === null) continue;
    try {
      const read = await readLog(source, { format: 'inspect' });
      if (read.ok && read.log.status !== null) return file;
    } finally {
      await source.close();
    }
  }
  return null;
}

// --- progress ------------------------------------------------------------------------------------------

const NOTHING: ProgressLine = () => null;
const PRINTED: Readonly<Record<HarnessExecutor['kind'], { output: ProgressLine; errors: ProgressLine }>> = {
  inspect: { output: INSPECT_PROGRESS, errors: NOTHING },
  'lm-eval': { output: NOTHING, errors: TQDM_PROGRESS },
  promptfoo: { output: PROMPTFOO_TOTAL, errors: NOTHING },
};

function lookOf({ format, log }: Launch, directory: string, { readLog }: HarnessDeps): ProgressLook {
  if (format === 'inspect') return lookAtJournal(directory, log, readLog);
  if (format === 'promptfoo') return lookAtRows(path.join(directory, PROMPTFOO_ROWS));
  return () => Promise.resolve(null);
}

/** Inspect writes the summaries of samples that ended into its log every few samples: the log is read as it is. */
function lookAtJournal(directory: string, pattern: string, readLog: ReadHarnessLog): ProgressLook {
  const changed = changes(async () => (await filesMeant({ directory, pattern }))[0] ?? null);
  return async () => {
    const file = await changed();
    const source = file === null ? null : await openLog(file);
    if (source === null) return null;
    try {
      const read = await readLog(source, { format: 'inspect' });
      if (!read.ok) return null;
      const { logged, total, errored } = read.log.samples;
      if (logged === null) return null;
      return { done: logged, total, unit: 'samples', ...(errored === null ? {} : { errored }) };
    } finally {
      await source.close();
    }
  };
}

/** `failureReason: 2` is an error of provider or harness; inside a string its quotes would be escaped. */
const ERRORED_ROW = /(?<!\\)"failureReason":\s*2\b/;

function lookAtRows(file: string): ProgressLook {
  const read = growingRows(file, (row) => ERRORED_ROW.test(row));
  return async () => {
    const { rows, errored } = await read();
    return { done: rows, total: null, unit: 'tests', errored };
  };
}

/** Two sources tell of one run: nothing falls back, and a total that one knows holds for both. */
export function mergedProgress(onProgress: NonNullable<OnProgress>): NonNullable<OnProgress> {
  let [done, total, errored]: [number, number | null, number | undefined] = [0, null, undefined];
  return (progress) => {
    done = Math.max(done, progress.done);
    total = progress.total ?? total;
    errored = progress.errored ?? errored;
    onProgress({ done, total, unit: progress.unit, ...(errored === undefined ? {} : { errored }) });
  };
}
