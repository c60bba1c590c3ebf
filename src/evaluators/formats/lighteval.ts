/**
 * lighteval: `results_<date>.json`. A row is a task with its number of shots (`mmlu:anatomy|5`); `..._average|5` and `all` are means
 * over rows. How many samples a run was to have is not said, only, in some releases, how many a task had. Times are of a clock that
 * starts anywhere, so that no date is in the file.
 */
import { z } from 'zod';
import type { HarnessLog, HarnessMetric } from '../../domain/harness-log.ts';
import { readDocumentAs } from './documents.ts';
import type { HarnessFormat, ReadLog } from './format.ts';
import {
  draft,
  finish,
  harnessNumber,
  isRecord,
  joined,
  jsonMembers,
  record,
  refusal,
  statedNumber,
  text,
  textOrNumber,
} from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith } from './outline.ts';

export const lighteval: HarnessFormat = {
  name: 'lighteval',
  kinds: ['lighteval-results'],
  claims: ({ head }) =>
    isObjectWith(head, { all: ['config_general'], any: ['results', 'config_general.lighteval_sha'] }),
  kind: () => 'lighteval-results',
  read,
};

const ResultsSchema = z.looseObject({
  config_general: z.looseObject({
    lighteval_sha: text,
    max_samples: z.number().nullish(),
    model_name: text,
    model_sha: text,
    model_config: record.nullish().catch(null),
  }),
  results: z.record(z.string(), record),
  versions: record.nullish().catch(null),
  config_tasks: record.nullish().catch(null),
});
type Results = z.infer<typeof ResultsSchema>;

async function read(source: LogSource): Promise<ReadLog> {
  const document = await readDocumentAs(source, 'lighteval results', ResultsSchema);
  if (!document.ok) return document;
  const run = document.value;
  const rows = Object.entries(run.results);
  if (rows.length === 0) return refusal('log-unreadable', 'has no rows of results');
  const tasks = rows.map(([task]) => task).filter((task) => !isAverage(task));
  const { max_samples: samples, lighteval_sha: sha, model_config: model } = run.config_general;
  return finish(
    draft('lighteval-results', 'lighteval', {
      status: 'success',
      harnessVersion: sha === '?' ? null : sha,
      task: joined(tasks),
      taskVersion: tasks.length === 1 ? textOrNumber.parse(run.versions?.[tasks[0] ?? '']) : null,
      model: run.config_general.model_name ?? text.parse(model?.['model_name']),
      revision: run.config_general.model_sha ?? text.parse(model?.['revision']),
      modelBaseUrl: text.parse(model?.['base_url']),
      limits: samples == null ? {} : { samples },
      metrics: rows.flatMap(([task, values]) => metricsOf(task, values, run)),
      facts: jsonMembers({ max_samples: samples ?? null, lighteval_sha: sha }),
      protocol: protocolOf(run),
    }),
    source,
  );
}

const isAverage = (task: string): boolean => task === 'all' || /:_average(\||$)/.test(task);

function metricsOf(task: string, values: Record<string, unknown>, run: Results): HarnessMetric[] {
  const n = docsOf(run, task);
  return Object.entries(values).flatMap(([name, value]): HarnessMetric[] => {
    const number = harnessNumber(value);
    const isStderr = name.endsWith('_stderr') && Object.hasOwn(values, name.slice(0, -'_stderr'.length));
    if (number === undefined || isStderr) return [];
    return [
      {
        scorer: null,
        task,
        name,
        value: number,
        stderr: statedNumber(values[`${name}_stderr`]),
        ...(isAverage(task) ? { group: true as const } : {}),
        ...(n === null ? {} : { n }),
      },
    ];
  });
}

/** Releases up to 2024 count a task's samples; in some it stays at -1. The configuration is keyed with or without the shots. */
function docsOf({ config_tasks: tasks }: Results, task: string): number | null {
  const config = tasks?.[task] ?? tasks?.[task.replace(/\|\d+$/, '')] ?? {};
  const docs = isRecord(config) ? config['effective_num_docs'] : undefined;
  return typeof docs === 'number' && Number.isSafeInteger(docs) && docs > 0 ? docs : null;
}

function protocolOf(run: Results): HarnessLog['protocol'] {
  const { model_config: model, max_samples: samples, lighteval_sha: sha } = run.config_general;
  const general: Record<string, unknown> = run.config_general;
  return jsonMembers({
    lighteval_sha: sha,
    versions: run.versions ?? null,
    max_samples: samples ?? null,
    num_fewshot_seeds: general['num_fewshot_seeds'] ?? null,
    generation_parameters: isRecord(model) ? (model['generation_parameters'] ?? null) : null,
    system_prompt: isRecord(model) ? (model['system_prompt'] ?? null) : null,
    tasks: run.config_tasks ?? null,
  });
}
