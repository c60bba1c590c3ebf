/**
 * Inspect's command line: `inspect eval`, and `inspect eval-retry` where an attempt left an unfinished log.
 *
 * A retry takes everything but the place of its log from the log before, runs only the samples that are missing or failed, and
 * writes a whole new log; so no option of the policy but the program is said again. Exit code 0 says nothing: the log does.
 */
import path from 'node:path';
import { durationMs } from '../../domain/duration.ts';
import { placeholdersIn } from '../../domain/executor-fields.ts';
import type { InspectExecutor } from '../../domain/harness-executors.ts';
import {
  baseUrl,
  fill,
  type LaunchContext,
  type Launched,
  launching,
  NO_KEY,
  option,
  pairs,
} from './launch.ts';

const DEFAULT_MODEL = 'openai-api/checkpoint/{checkpointId}';

export function launchInspect(executor: InspectExecutor, context: LaunchContext): Launched {
  const { values, logDirectory, cacheDirectory, previousLog, baseDirectory } = context;
  return launching(() => {
    const { program = 'inspect', model: named = DEFAULT_MODEL, apiKey = NO_KEY } = executor;
    const model = fill(named, values);
    const task = absolute(fill(executor.task, values), path.resolve(baseDirectory, executor.cwd ?? '.'));
    const where = ['--log-dir', logDirectory, '--display', 'plain'];
    const args =
      previousLog === null
        ? [
            'eval',
            task,
            ...modelArguments(executor, model, context),
            ...bounds(executor),
            ...settings(executor, context),
            ...where,
            '--log-format',
            'eval',
            ...(executor.args ?? []).map((each) => fill(each, values)),
          ]
        : ['eval-retry', previousLog, ...where];
    const expected = taskName(task);
    return {
      ok: true,
      program,
      args,
      env: {
        [keyVariable(model)]: apiKey,
        // What it keeps of samples while they run holds words of the model: with the attempt's other files, not in HOME.
        XDG_DATA_HOME: `${cacheDirectory}/data`,
      },
      log: '*.eval',
      format: 'inspect',
      completedExitCodes: [0],
      expects: { model, ...(expected === null ? {} : { task: expected }) },
    };
  });
}

function modelArguments(executor: InspectExecutor, model: string, { values }: LaunchContext): string[] {
  const { model: named = DEFAULT_MODEL, endpoint, modelArgs = {} } = executor;
  const loadsWeights = [named, ...Object.values(modelArgs)].some((each) =>
    placeholdersIn(String(each)).includes('modelUri'),
  );
  const url = endpoint ?? (loadsWeights ? undefined : '{endpoint}');
  return [
    '--model',
    model,
    ...option('--model-base-url', url === undefined ? undefined : baseUrl(url, values)),
  ];
}

function bounds({ limit, epochs, messageLimit, tokenLimit, timeLimit }: InspectExecutor): string[] {
  const seconds = timeLimit === undefined ? undefined : Math.ceil(durationMs(timeLimit) / 1_000);
  return [
    ...option('--limit', limit),
    ...option('--epochs', epochs),
    ...option('--message-limit', messageLimit),
    ...option('--token-limit', tokenLimit),
    ...option('--time-limit', seconds),
  ];
}

function settings({ taskArgs, modelArgs }: InspectExecutor, { values }: LaunchContext): string[] {
  return [
    ...pairs(taskArgs, values).flatMap((pair) => ['-T', pair]),
    ...pairs(modelArgs, values).flatMap((pair) => ['-M', pair]),
  ];
}

const IS_FILE = /\.(py|ipynb)$/;

/** A task in a file is named by its whole path: a retry looks for it there. */
function absolute(task: string, directory: string): string {
  const [file = '', ...names] = task.split('@');
  return IS_FILE.test(file) ? [path.resolve(directory, file), ...names].join('@') : task;
}

/** As its log names it; null where the command line does not say: a file may hold one task of any name. */
function taskName(task: string): string | null {
  const [file = '', name] = task.split('@');
  if (name !== undefined && name !== '') return name;
  return IS_FILE.test(file) || file.startsWith('/') ? null : task;
}

/** `openai-api/<service>/<model>` reads <SERVICE>_API_KEY, every other provider that of its own name. */
function keyVariable(model: string): string {
  const [provider = '', service = ''] = model.split('/');
  const owner = provider === 'openai-api' ? service : provider;
  const name = owner.toUpperCase().replace(/[^A-Z0-9]/g, '_');
  return `${/^[A-Z_]/.test(name) ? name : `_${name}`}_API_KEY`;
}
