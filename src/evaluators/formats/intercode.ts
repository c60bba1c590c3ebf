/**
 * InterCode: `{<task index>: {turn_history, summary}}`, one file per model and environment; with a plan first, below `logs`.
 *
 * A task counts as solved where its best reward was full. The model stands in the file's name only:
 * `<environment>_<model>_<turns>_turns.json`, before the model the way of asking (`multiturn`, `react`, `plan_solve`), at the end what
 * else there was of it (`fs_3`, a part of the data; `handicap`).
 */
import { z } from 'zod';
import { readSelected, stop } from './documents.ts';
import { GLIMPSE_BYTES, type HarnessFormat, type ReadLog, type ReadOptions } from './format.ts';
import {
  counts,
  distinct,
  draft,
  figure,
  finish,
  joined,
  layoutProblem,
  ratio,
  refusal,
  text,
} from './harness-values.ts';
import { ANY } from './json-select.ts';
import type { LogSource } from './log-source.ts';
import { outlineOf } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

export const intercode: HarnessFormat = {
  name: 'intercode',
  kinds: ['intercode-results'],
  claims: ({ head }) => {
    const { root, paths } = outlineOf(head);
    return (
      root === 'object' &&
      [...paths].some((path) => /^(?:logs\.)?[^.]+\.turn_history$/.test(path)) &&
      [...paths].some((path) => /^(?:logs\.)?[^.]+\.(query|environment|summary)$/.test(path))
    );
  },
  kind: () => 'intercode-results',
  read,
};

const TaskSchema = z.looseObject({
  environment: text,
  dataset: text,
  turn_history: z.unknown().optional(),
  summary: z.looseObject({ max_reward: figure, turns_max: z.number().nullish() }).nullish(),
});

type Task = z.infer<typeof TaskSchema>;

async function read(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const tasks: [string, Pick<Task, 'environment' | 'dataset' | 'summary'>][] = [];
  const { paths } = outlineOf(await source.read(0, GLIMPSE_BYTES));
  const base = paths.has('meta') && paths.has('logs') ? ['logs'] : [];
  const refused = await readSelected(source, [
    {
      path: [...base, ANY],
      onValue: (value, path) => {
        const index = path.at(-1);
        const parsed = TaskSchema.safeParse(value);
        if (!parsed.success) return stop(layoutProblem('InterCode results', parsed.error));
        const { environment, dataset, summary } = parsed.data;
        tasks.push([String(index), { environment, dataset, summary }]);
      },
    },
  ]);
  if (refused !== undefined) return refused;
  if (tasks.length === 0) return refusal('log-unreadable', 'has no task');
  const environments = distinct(tasks.flatMap(([, { environment }]) => environment ?? []));
  const datasets = distinct(tasks.flatMap(([, { dataset }]) => dataset ?? []));
  const rewards = tasks.flatMap(([, { summary }]) => summary?.max_reward ?? []);
  const solved = rewards.filter((reward) => reward === 1).length;
  const turns = distinct(tasks.flatMap(([, { summary }]) => summary?.turns_max ?? []));
  const sheets = options.scores === undefined ? null : new ScoreSheets();
  for (const [sample, { summary }] of tasks) {
    const value = summary == null ? null : summary.max_reward === 1;
    sheets?.add({ scorer: 'max_reward', name: 'success_rate' }, { sample, value });
  }
  const limits = turns.length === 1 && turns[0] !== undefined ? { turns: turns[0] } : {};
  return finish(
    draft('intercode-results', 'intercode', {
      status: 'success',
      task: joined(environments),
      model: modelOf(source.fileName, environments[0]),
      dataset: datasets.length === 1 ? (datasets[0] ?? null) : null,
      limits,
      metrics: [
        {
          scorer: 'max_reward',
          name: 'success_rate',
          value: ratio(solved, rewards.length),
          stderr: null,
          n: rewards.length,
        },
      ],
      samples: counts({
        total: tasks.length,
        completed: rewards.length,
        scored: rewards.length,
        logged: tasks.length,
      }),
      protocol: limits,
      sampleScores: sheets === null || sheets.isFull ? [] : sheets.list(),
    }),
    source,
  );
}

/** Says where it is from: a name that anybody can give a file. */
function modelOf(fileName: string, environment: string | undefined): string | null {
  const [, stem] = /^(.+)[_-]\d+_turns(?:_fs_\d+|_handicap)*\.json$/.exec(fileName) ?? [];
  if (stem === undefined || environment === undefined || !stem.startsWith(`${environment}_`)) return null;
  const model = stem
    .slice(environment.length + 1)
    .replace(/^(?:multiturn|react|plan_solve(?:_refine)?)(?:_|$)/, '');
  return model === '' ? null : `${model} (file name)`;
}
