/**
 * InterCode: `{<task index>: {turn_history, summary}}`, one file per model and environment.
 *
 * A task counts as solved where its best reward was full. The model stands in the file's name only:
 * `<environment>_<model>_<turns>_turns.json`.
 */
import { z } from 'zod';
import { readSelected, stop } from './documents.ts';
import type { HarnessFormat, ReadLog, ReadOptions } from './format.ts';
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
      [...paths].some((path) => /^[^.]+\.turn_history$/.test(path)) &&
      [...paths].some((path) => /^[^.]+\.(query|environment|summary)$/.test(path))
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
  const refused = await readSelected(source, [
    {
      path: [ANY],
      onValue: (value, [index]) => {
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
  const [, stem] = /^(.+)_\d+_turns\.json$/.exec(fileName) ?? [];
  if (stem === undefined || environment === undefined || !stem.startsWith(`${environment}_`)) return null;
  return `${stem.slice(environment.length + 1)} (file name)`;
}
