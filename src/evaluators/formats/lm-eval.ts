/**
 * lm-evaluation-harness: `results*.json`, and the samples that `--log_samples` writes beside it.
 *
 * From 0.4 on a metric is keyed `metric,filter`; before, and in forks, `metric` alone. Results are written once, when all tasks are
 * done, so that a results file is one of a finished run. A row is a task or an aggregate over tasks: `groups` and `group_subtasks`
 * tell, and where a runner left those out, the indented aliases. Facts of the file stay what they are: Python writes NaN and
 * Infinity bare, and "N/A" where a standard error cannot be had.
 */
import { z } from 'zod';
import type { HarnessLog, HarnessMetric } from '../../domain/harness-log.ts';
import { readDocumentAs } from './documents.ts';
import { GLIMPSE_BYTES, type Glimpse, type HarnessFormat, type ReadLog, type ReadOptions } from './format.ts';
import {
  counts,
  digestOf,
  distinct,
  draft,
  finish,
  harnessNumber,
  instantOfEpoch,
  isNonFinite,
  isRecord,
  joined,
  jsonMembers,
  record,
  refusal,
  statedNumber,
  tally,
  text,
  textOrNumber,
} from './harness-values.ts';
import { claimsSamples, readSamples, scoresOfRun } from './lm-eval-samples.ts';
import type { LogSource } from './log-source.ts';
import { outlineOf } from './outline.ts';

export const lmEval: HarnessFormat = {
  name: 'lm-eval',
  kinds: ['lm-eval-results', 'lm-eval-samples'],
  claims,
  kind: ({ head }) => (claimsResults(head) ? 'lm-eval-results' : 'lm-eval-samples'),
  read,
};

function claims({ head }: Glimpse): boolean {
  return claimsResults(head) || claimsSamples(outlineOf(head));
}

function claimsResults(head: Uint8Array): boolean {
  const { root, paths } = outlineOf(head);
  if (root !== 'object' || paths.has('results.*') || paths.has('config_general')) return false;
  const rows = [...paths].filter((path) => path.startsWith('results.') && path.split('.').length >= 3);
  const isOurs = ['versions', 'config.model_args'].some((path) => paths.has(path));
  return rows.some((path) => /,[^.]*$|_stderr$/.test(path)) || (rows.length > 0 && isOurs);
}

async function read(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const head = await source.read(0, GLIMPSE_BYTES);
  return claimsResults(head) ? readResults(source, options) : readSamples(source, options);
}

// --- results -----------------------------------------------------------------------------------------

const rowsSchema = z.record(z.string(), record);
const ResultsSchema = z.looseObject({
  results: rowsSchema,
  groups: rowsSchema.nullish(),
  group_subtasks: z.record(z.string(), z.array(z.string())).nullish(),
  configs: rowsSchema.nullish().catch(null),
  versions: record.nullish().catch(null),
  'n-shot': record.nullish().catch(null),
  'n-samples': z.record(z.string(), z.looseObject({ original: tally, effective: tally })).nullish(),
  higher_is_better: record.nullish().catch(null),
  config: record.nullish(),
  /** Of forks it may be a text. */
  date: z.unknown().optional(),
  model: text,
  model_name: text,
  git_hash: text,
  lm_eval_version: text,
});
type Results = z.infer<typeof ResultsSchema>;

async function readResults(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const document = await readDocumentAs(source, 'lm-eval results', ResultsSchema);
  if (!document.ok) return document;
  const run = document.value;
  const rows = rowsOf(run);
  if (rows.length === 0) return refusal('log-unreadable', 'has no rows of results');
  const log = draft('lm-eval-results', 'lm-eval', {
    ...provenance(run, rows),
    metrics: rows.flatMap((row) => metricsOf(row, run)),
    samples: samplesOf(run),
    facts: factsOf(run, rows),
    protocol: protocolOf(run),
  });
  if (options.scores !== undefined) {
    const tasks = rows.filter(({ isGroup }) => !isGroup).map(({ task }) => task);
    const scores = await scoresOfRun(source, tasks, text.parse(run.config?.['model_args']), options);
    if (!scores.ok) return scores;
    log.sampleScores = scores.scores;
  }
  return finish(log, source);
}

interface Row {
  task: string;
  values: Record<string, unknown>;
  isGroup: boolean;
  isTop: boolean;
}

/** `groups` repeats rows of `results`, except in files of people who cut it. */
function rowsOf(run: Results): Row[] {
  const groups = run.groups ?? {};
  const subtasks = run.group_subtasks ?? {};
  const children = new Set(Object.values(subtasks).flat());
  const entries = [
    ...Object.entries(run.results),
    ...Object.entries(groups).filter(([task]) => !Object.hasOwn(run.results, task)),
  ];
  const saysGroups = run.groups != null || run.group_subtasks != null;
  return entries.map(([task, values], index) => {
    const depth = indentOf(values);
    const [, next] = entries[index + 1] ?? [];
    const isGroup = saysGroups
      ? Object.hasOwn(groups, task) || (own(subtasks, task)?.length ?? 0) > 0
      : next !== undefined && indentOf(next) > depth;
    return { task, values, isGroup, isTop: !children.has(task) && depth === 0 };
  });
}

/** An alias is indented by its depth in the table that the harness prints. */
function indentOf({ alias }: Record<string, unknown>): number {
  return typeof alias === 'string' && alias.trim() !== '' ? alias.length - alias.trimStart().length : 0;
}

/** Of rows, these are no metrics, though some are numbers. */
const NO_METRICS = ['alias', 'name', 'sample_len', 'sample_count', 'samples'];

function metricsOf({ task, values, isGroup }: Row, run: Results): HarnessMetric[] {
  const n = isGroup ? undefined : own(run['n-samples'] ?? {}, task)?.effective;
  return Object.entries(values).flatMap(([key, value]): HarnessMetric[] => {
    const [name, filter] = splitKey(key);
    const number = harnessNumber(value);
    if (NO_METRICS.includes(key) || number === undefined || isStderr(name, filter, values)) return [];
    const better = betterOf(run, task, name);
    return [
      {
        scorer: filter,
        name,
        value: number,
        stderr: statedNumber(values[keyOf(`${name}_stderr`, filter)]),
        task,
        ...(isGroup ? { group: true as const } : {}),
        ...(n === undefined ? {} : { n }),
        ...(better === null ? {} : { facts: { higher_is_better: better } }),
      },
    ];
  });
}

/** `exact_match,strict-match`; the harness itself splits at the first comma. */
function splitKey(key: string): [string, string | null] {
  const at = key.indexOf(',');
  return at === -1 ? [key, null] : [key.slice(0, at), key.slice(at + 1)];
}

const keyOf = (name: string, filter: string | null): string => (filter === null ? name : `${name},${filter}`);

function isStderr(name: string, filter: string | null, values: Record<string, unknown>): boolean {
  return name.endsWith('_stderr') && Object.hasOwn(values, keyOf(name.slice(0, -'_stderr'.length), filter));
}

function betterOf(run: Results, task: string, name: string): boolean | null {
  const metrics = own(run.higher_is_better ?? {}, task);
  const better = isRecord(metrics) ? own(metrics, name) : undefined;
  return typeof better === 'boolean' ? better : null;
}

function provenance(run: Results, rows: readonly Row[]): Partial<HarnessLog> {
  const args = modelArgs(run.config?.['model_args']);
  const tops = rows.filter(({ isTop }) => isTop).map(({ task }) => task);
  const created = typeof run.date === 'number' ? instantOfEpoch(run.date) : null;
  const datasets = distinct(Object.values(run.configs ?? {}).map(({ dataset_path: path }) => path));
  return {
    status: 'success',
    harnessVersion: run.lm_eval_version,
    task: joined(tops),
    taskVersion: tops.length === 1 ? textOrNumber.parse(own(run.versions ?? {}, tops[0] ?? '')) : null,
    model: run.model_name ?? nameOfModel(args) ?? run.model,
    revision: args.get('revision') ?? text.parse(run.config?.['model_revision']),
    modelBaseUrl: args.get('base_url') ?? null,
    dataset: datasets.length === 1 ? text.parse(datasets[0]) : null,
    created,
    startedAt: created,
    limits: limitsOf(run.config?.['limit']),
  };
}

/** Text of the command line, `pretrained=x,revision=y`, or, in the newest releases, an object. */
function modelArgs(stated: unknown): Map<string, string> {
  const entries = isRecord(stated)
    ? Object.entries(stated)
    : (text.parse(stated) ?? '').split(',').map((pair): [string, unknown] => {
        const at = pair.indexOf('=');
        return at === -1 ? [pair, undefined] : [pair.slice(0, at).trim(), pair.slice(at + 1)];
      });
  return new Map(
    entries.flatMap(([name, value]) => {
      const stated = textOrNumber.parse(value);
      return stated === null ? [] : [[name, stated] as const];
    }),
  );
}

/** In the harness's own order: an adapter or a delta comes together with the model that it is put on. */
function nameOfModel(args: ReadonlyMap<string, string>): string | null {
  for (const name of ['peft', 'delta', 'pretrained', 'model', 'path', 'engine']) {
    const stated = args.get(name);
    if (stated !== undefined) return stated;
  }
  return null;
}

/** Below one it is a share of each task's samples, not a count. */
function limitsOf(limit: unknown): Record<string, number> {
  if (typeof limit !== 'number' || !Number.isFinite(limit)) return {};
  return limit >= 1 ? { samples: limit } : { sampleShare: limit };
}

function samplesOf(run: Results): HarnessLog['samples'] {
  const stated = Object.values(run['n-samples'] ?? {});
  if (stated.length === 0) return counts({});
  const total = stated.reduce((sum, { effective }) => sum + effective, 0);
  return counts({ total, completed: total, scored: total });
}

function factsOf(run: Results, rows: readonly Row[]): HarnessLog['facts'] {
  const available = Object.values(run['n-samples'] ?? {}).reduce((sum, { original }) => sum + original, 0);
  return jsonMembers({
    layout: hasFilters(rows) ? '0.4+ (metric,filter keys)' : 'old (metric keys without filter)',
    result_rows: rows.length,
    backend: text.parse(run.config?.['model']),
    limit: run.config?.['limit'] ?? null,
    non_finite: rows.flatMap(({ task, values }) =>
      Object.entries(values).flatMap(([key, value]) =>
        isNonFinite(value) && !splitKey(key)[0].endsWith('_stderr') ? [`${task}/${key}`] : [],
      ),
    ),
    lm_eval_version: run.lm_eval_version,
    git_hash: run.git_hash,
    created_raw: typeof run.date === 'number' || typeof run.date === 'string' ? run.date : undefined,
    samples_available: run['n-samples'] == null ? undefined : available,
    model_sha: run.config?.['model_sha'] || undefined,
    total_evaluation_time_seconds: run['total_evaluation_time_seconds'],
  });
}

const hasFilters = (rows: readonly Row[]): boolean =>
  rows.some(({ values }) => Object.keys(values).some((key) => key.includes(',')));

/** What a task's configuration says of the prompt, the answer and its scoring; `metadata` repeats the model and stays out. */
const OF_TASK = [
  'dataset_path',
  'dataset_name',
  'training_split',
  'validation_split',
  'test_split',
  'fewshot_split',
  'process_docs',
  'doc_to_text',
  'doc_to_target',
  'doc_to_choice',
  'description',
  'target_delimiter',
  'fewshot_delimiter',
  'fewshot_config',
  'num_fewshot',
  'metric_list',
  'output_type',
  'generation_kwargs',
  'repeats',
  'filter_list',
];

function protocolOf(run: Results): HarnessLog['protocol'] {
  const config = run.config ?? {};
  const tasks = Object.entries(run.configs ?? {}).map(([task, stated]) => [
    task,
    digestOf(Object.fromEntries(OF_TASK.map((name) => [name, stated[name] ?? null]))),
  ]);
  return jsonMembers({
    harness_version: run.lm_eval_version ?? run.git_hash,
    task_versions: run.versions ?? null,
    n_shot: run['n-shot'] ?? config['num_fewshot'] ?? null,
    limit: config['limit'] ?? null,
    gen_kwargs: config['gen_kwargs'] ?? null,
    fewshot_seed: config['fewshot_seed'],
    system_instruction_sha: run['system_instruction_sha'],
    fewshot_as_multiturn: run['fewshot_as_multiturn'],
    chat_template_sha: run['chat_template_sha'],
    tasks: Object.fromEntries(tasks),
  });
}

function own<T>(members: Record<string, T>, name: string): T | undefined {
  return Object.hasOwn(members, name) ? members[name] : undefined;
}
