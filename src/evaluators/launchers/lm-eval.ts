/**
 * The command line of the Language Model Evaluation Harness: `lm_eval --model ... --tasks ...`, old and new versions alike.
 *
 * `--use_cache` keeps the model's answers for a further attempt of the same evaluation, greedy ones only (its own rule), and so
 * only what failed is asked again. `--model_args` is one text, cut at commas: no value may hold one.
 */
import type { LmEvalExecutor } from '../../domain/harness-executors.ts';
import {
  baseUrl,
  fill,
  type LaunchContext,
  type Launched,
  launching,
  NO_KEY,
  option,
  refuse,
  settingText,
} from './launch.ts';

const CHAT = 'local-chat-completions';
/** Where the path after the base URL is. All others load weights. */
const SERVED: Readonly<Record<string, string>> = {
  [CHAT]: '/chat/completions',
  'local-completions': '/completions',
};

export function launchLmEval(executor: LmEvalExecutor, context: LaunchContext): Launched {
  const { values, logDirectory, cacheDirectory } = context;
  return launching(() => {
    const { program = 'lm_eval', backend = CHAT, applyChatTemplate = backend === CHAT, apiKey } = executor;
    const model = modelArguments(executor, backend, context);
    const isServed = SERVED[backend] !== undefined;
    const args = [
      '--model',
      backend,
      '--model_args',
      model.text,
      '--tasks',
      executor.tasks.map((task) => inList('task', fill(task, values))).join(','),
      ...option('--limit', executor.limit),
      ...option('--num_fewshot', executor.fewshot),
      ...option('--batch_size', executor.batchSize),
      ...(applyChatTemplate ? ['--apply_chat_template'] : []),
      '--output_path',
      logDirectory,
      '--log_samples',
      '--use_cache',
      `${cacheDirectory}/answers`,
      ...(executor.args ?? []).map((each) => fill(each, values)),
    ];
    return {
      ok: true,
      program,
      args,
      env: isServed || apiKey !== undefined ? { OPENAI_API_KEY: apiKey ?? NO_KEY } : {},
      log: '**/results_*.json',
      format: 'lm-eval',
      completedExitCodes: [0],
      // Not the task: a tag stands for others, whose names the log then gives.
      expects: { model: model.name, ...(model.revision === undefined ? {} : { revision: model.revision }) },
    };
  });
}

function modelArguments(executor: LmEvalExecutor, backend: string, { values }: LaunchContext) {
  const path = SERVED[backend];
  const name = inList(
    'model',
    fill(executor.model ?? (path === undefined ? '{modelUri}' : '{checkpointId}'), values),
  );
  // The harness would make a number of it, and ask the server for that.
  if (path !== undefined && (Number.isFinite(Number(name)) || /^(true|false|none|nan|inf)$/i.test(name))) {
    refuse("the model's name reads as a number or a word of Python; name it by `model`");
  }
  const revision =
    executor.revision === undefined ? undefined : inList('revision', fill(executor.revision, values));
  const url = path === undefined ? undefined : baseUrl(executor.endpoint ?? '{endpoint}', values);
  const members = [
    `${path === undefined ? 'pretrained' : 'model'}=${name}`,
    ...(url === undefined || path === undefined
      ? []
      : [`base_url=${inList('endpoint', url.endsWith(path) ? url : `${url}${path}`)}`]),
    ...(revision === undefined ? [] : [`revision=${revision}`]),
    ...Object.entries(executor.modelArgs ?? {}).map(
      ([key, value]) => `${key}=${inList(key, settingText(value, values))}`,
    ),
  ];
  return { text: members.join(','), name, revision };
}

function inList(what: string, text: string): string {
  return text.includes(',') ? refuse(`a comma in ${what} would begin another argument`) : text;
}
