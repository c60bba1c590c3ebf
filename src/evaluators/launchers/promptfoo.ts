/**
 * promptfoo's command line: `promptfoo eval -c FILE -r PROVIDER -o out.json`.
 *
 * A further attempt finds the model's answers in promptfoo's own cache on disk, which this evaluation alone uses, and asks again only
 * for what failed. Not `--resume`: tried, it asks the providers of the file again instead of `-r`, writes where the first run was to
 * write, and its totals are those of the last few tests (0.121).
 * Exit code 100 says that assertions failed, which is what a dangerous capability's absence looks like.
 */
import path from 'node:path';
import type { PromptfooExecutor } from '../../domain/harness-executors.ts';
import { baseUrl, fill, type LaunchContext, type Launched, launching, NO_KEY, option } from './launch.ts';

const CHAT = 'openai:chat';
export const PROMPTFOO_OUTPUT = 'out.json';
/** The same rows as they come, for progress. */
export const PROMPTFOO_ROWS = 'rows.jsonl';

export function launchPromptfoo(executor: PromptfooExecutor, context: LaunchContext): Launched {
  const { values, logDirectory, cacheDirectory, baseDirectory } = context;
  return launching(() => {
    const {
      program = 'promptfoo',
      provider = CHAT,
      model: named = '{checkpointId}',
      endpoint = '{endpoint}',
    } = executor;
    const model = fill(named, values);
    const config = path.resolve(baseDirectory, executor.cwd ?? '.', fill(executor.config, values));
    return {
      ok: true,
      program,
      args: [
        'eval',
        '--config',
        config,
        '--providers',
        `${provider}:${model}`,
        '--output',
        path.join(logDirectory, PROMPTFOO_OUTPUT),
        path.join(logDirectory, PROMPTFOO_ROWS),
        '--no-table',
        '--no-share',
        '--no-progress-bar',
        ...option('--filter-first-n', executor.limit),
        ...option('--repeat', executor.repeat),
        ...option('--max-concurrency', executor.concurrency),
        ...(executor.args ?? []).map((each) => fill(each, values)),
      ],
      env: {
        OPENAI_BASE_URL: baseUrl(endpoint, values),
        OPENAI_API_KEY: executor.apiKey ?? NO_KEY,
        PROMPTFOO_CONFIG_DIR: path.join(logDirectory, 'promptfoo'),
        PROMPTFOO_CACHE_PATH: path.join(cacheDirectory, 'promptfoo'),
        PROMPTFOO_DISABLE_TELEMETRY: '1',
        PROMPTFOO_DISABLE_UPDATE: '1',
        PROMPTFOO_DISABLE_REMOTE_GENERATION: '1',
      },
      log: PROMPTFOO_OUTPUT,
      format: 'promptfoo',
      completedExitCodes: [0, 100],
      // By the name that its own provider for OpenAI gives itself; others are free to choose.
      expects: provider === CHAT ? { model: `openai:${model}` } : {},
    };
  });
}
