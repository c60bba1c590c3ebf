/**
 * lm-evaluation-harness: the samples of one task, one JSON object a line, or, until 0.4.1, one list although the file is named so.
 *
 * One row per sample and filter. A row names its metrics from late 2024 on; before, they are what it has beside its fixed members.
 * What a metric keeps per sample need not be its value (a pair of answers, for an F1): means are of
 * numbers, and are not what the harness reports.
 */
import { z } from 'zod';
import type { HarnessMetric, SampleScores } from '../../domain/harness-log.ts';
import { readDocument, readLines, readSelected, stop } from './documents.ts';
import type { ReadLog, ReadOptions } from './format.ts';
import {
  arithmetic,
  counts,
  distinct,
  draft,
  finish,
  layoutProblem,
  named,
  type Refusal,
  refusal,
} from './harness-values.ts';
import { ANY } from './json-select.ts';
import type { LogSource } from './log-source.ts';
import type { Outline } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

export function claimsSamples({ root, paths }: Outline): boolean {
  const at = root === 'array' ? '*.' : '';
  return (
    root !== null &&
    ['doc_id', 'doc'].every((name) => paths.has(`${at}${name}`)) &&
    ['resps', 'filtered_resps', 'target', 'arguments'].some((name) => paths.has(`${at}${name}`))
  );
}

const RowSchema = z.looseObject({
  doc_id: z.union([z.number(), z.string()]),
  doc: z.unknown().optional(),
  filter: z.string().nullish(),
  metrics: z.array(z.string()).nullish(),
});
type Row = z.infer<typeof RowSchema>;

const FIXED = [
  'doc_id',
  'doc',
  'target',
  'arguments',
  'resps',
  'filtered_resps',
  'filter',
  'metrics',
  'doc_hash',
  'prompt_hash',
  'target_hash',
];

const unlisted = (row: Row): string[] => Object.keys(row).filter((name) => !FIXED.includes(name));

/** Sums of one metric under one filter; broken as soon as one row keeps something else than a number. */
interface Mean {
  filter: string | null;
  name: string;
  sum: number;
  n: number;
  isNumber: boolean;
}

class Samples {
  readonly docs = new Set<string | number>();
  readonly filters = new Set<string>();
  readonly means = new Map<string, Mean>();
  rows = 0;
  readonly #sheets: ScoreSheets | null;
  readonly #task: string | null;
  readonly #cluster: string | undefined;

  constructor(task: string | null, sheets: ScoreSheets | null, cluster: string | undefined) {
    this.#task = task;
    this.#sheets = sheets;
    this.#cluster = cluster;
  }

  take(value: unknown): Refusal | undefined {
    const parsed = RowSchema.safeParse(value);
    if (!parsed.success) return layoutProblem('row of lm-eval samples', parsed.error);
    const row = parsed.data;
    this.rows += 1;
    this.docs.add(row.doc_id);
    if (row.filter != null) this.filters.add(row.filter);
    for (const name of row.metrics ?? unlisted(row)) this.#measure(row, name);
    return this.#sheets?.isFull ? refusal('log-too-large', 'holds more samples than are read') : undefined;
  }

  #measure(row: Row, name: string): void {
    const filter = row.filter ?? null;
    const key = JSON.stringify([filter, name]);
    const mean = this.means.get(key) ?? { filter, name, sum: 0, n: 0, isNumber: true };
    this.means.set(key, mean);
    const value = Object.hasOwn(row, name) ? row[name] : undefined;
    const number = arithmetic(value);
    if (number === null) mean.isNumber = false;
    else {
      mean.sum += number;
      mean.n += 1;
    }
    this.#sheets?.add(
      { scorer: filter, name, task: this.#task },
      { value, sample: [this.#task, row.doc_id], cluster: this.#clusterOf(row) },
    );
  }

  #clusterOf({ doc }: Row): unknown {
    if (this.#cluster === undefined || typeof doc !== 'object' || doc === null) return undefined;
    return Object.entries(doc).find(([name]) => name === this.#cluster)?.[1];
  }

  metrics(): HarnessMetric[] {
    return [...this.means.values()].flatMap(({ filter, name, sum, n, isNumber }): HarnessMetric[] =>
      isNumber
        ? [
            {
              scorer: filter,
              name,
              value: named(sum / n),
              stderr: null,
              n,
              facts: { note: 'plain mean of the per-row values' },
            },
          ]
        : [],
    );
  }
}

export async function readSamples(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const task = await taskOf(source);
  const sheets = options.scores === undefined ? null : new ScoreSheets();
  const samples = new Samples(task, sheets, options.scores?.cluster);
  const encoding = await readRows(source, samples);
  if (typeof encoding !== 'string') return encoding;
  if (samples.rows === 0) return refusal('log-unreadable', 'has no rows of samples');
  const total = samples.docs.size;
  const log = draft('lm-eval-samples', 'lm-eval', {
    status: 'success',
    task,
    metrics: samples.metrics(),
    samples: counts({ total, completed: total, logged: total }),
    facts: { encoding, rows: samples.rows, filters: [...samples.filters] },
    sampleScores: sheets?.list() ?? [],
  });
  return finish(log, source);
}

/** Lines unless the file is one list. */
async function readRows(source: LogSource, samples: Samples): Promise<'jsonl' | 'json-array' | Refusal> {
  const [first] = await source.read(0, 1);
  if (first === '['.charCodeAt(0)) {
    const refused = await readSelected(source, [{ path: [ANY], onValue: (row) => stop(samples.take(row)) }]);
    return refused ?? 'json-array';
  }
  const lines = await readLines(source, (value) => samples.take(value));
  if (!lines.ok) return lines;
  return lines.isCut ? refusal('log-truncated', 'ends in the middle of a line') : 'jsonl';
}

const DATE = String.raw`\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?`;

/** The file's name is all that tells: `samples_<task>_<date>.jsonl`, until 0.4.1 `<model arguments>_<task>.jsonl`. */
async function taskOf(source: LogSource): Promise<string | null> {
  const { fileName } = source;
  const named = new RegExp(`^samples_(.+?)(?:_${DATE})?\\.jsonl?$`).exec(fileName);
  if (named !== null) return named[1] ?? null;
  const results = await source.sibling('results.json');
  if (results === null) return null;
  try {
    const document = await readDocument(results);
    const parsed = z
      .looseObject({ results: z.record(z.string(), z.unknown()) })
      .safeParse(document.ok ? document.value : null);
    const stem = fileName.replace(/\.jsonl?$/, '');
    const tasks = parsed.success ? Object.keys(parsed.data.results) : [];
    return tasks.filter((task) => stem.endsWith(`_${task}`)).sort((a, b) => b.length - a.length)[0] ?? null;
  } finally {
    await results.close();
  }
}

function namesOfSamples(task: string, date: string | undefined, modelArgs: string | null): string[] {
  if (date !== undefined) return [`samples_${task}_${date}.jsonl`];
  const byArgs = modelArgs === null ? [] : [`${modelArgs.replace(/[/=]/g, '__')}_${task}.jsonl`];
  return [`samples_${task}.jsonl`, ...byArgs];
}

async function firstBeside(source: LogSource, names: readonly string[]): Promise<LogSource | null> {
  for (const name of names) {
    const beside = await source.sibling(name);
    if (beside !== null) return beside;
  }
  return null;
}

/**
 * Scores from the samples files beside a results file; a task whose file is not there has none. Until 0.4.2 such a file was named by
 * the model's arguments.
 */
export async function scoresOfRun(
  source: LogSource,
  tasks: readonly string[],
  modelArgs: string | null,
  options: ReadOptions,
): Promise<{ ok: true; scores: SampleScores[] } | Refusal> {
  const [date] = new RegExp(`${DATE}(?=\\.json$)`).exec(source.fileName) ?? [];
  const sheets = new ScoreSheets();
  for (const task of distinct(tasks)) {
    const beside = await firstBeside(source, namesOfSamples(task, date, modelArgs));
    if (beside === null) continue;
    try {
      const read = await readRows(beside, new Samples(task, sheets, options.scores?.cluster));
      if (typeof read !== 'string') return refusal(read.problem, `the samples beside it: ${read.detail}`);
    } finally {
      await beside.close();
    }
  }
  return { ok: true, scores: sheets.list() };
}
