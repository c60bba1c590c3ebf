/**
 * METR: run records, one agent's run a line.
 *
 * A run that a fatal error ended (`fatal_error_from`) keeps its score, and counts as not completed. Records are published when they
 * are done: a line that breaks off is a file that was cut.
 */
import { z } from 'zod';
import type { HarnessMetric } from '../../domain/harness-log.ts';
import { readLines } from './documents.ts';
import type { HarnessFormat, ReadLog, ReadOptions } from './format.ts';
import {
  arithmetic,
  counts,
  draft,
  figure,
  finish,
  instantOfEpoch,
  joined,
  jsonMembers,
  layoutProblem,
  named,
  type Refusal,
  refusal,
  text,
} from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

export const metr: HarnessFormat = {
  name: 'metr',
  kinds: ['metr-runs-jsonl'],
  claims: ({ head }) =>
    isObjectWith(head, {
      all: ['run_id', 'task_id'],
      any: ['score_binarized', 'fatal_error_from', 'human_minutes'],
    }),
  kind: () => 'metr-runs-jsonl',
  read,
};

const RunSchema = z.looseObject({
  run_id: z.union([z.string(), z.number()]),
  task_id: z.string(),
  task_family: text,
  alias: text,
  model: text,
  score: figure.nullish(),
  score_binarized: z.union([figure, z.boolean()]).nullish(),
  started_at: z.number().nullish(),
  completed_at: z.number().nullish(),
  time_limit: z.number().nullish(),
  fatal_error_from: text,
});
type Run = z.infer<typeof RunSchema>;

interface Mean {
  scorer: string | null;
  task: string | null;
  sum: number;
  n: number;
}

class Runs {
  readonly overall: Mean = { scorer: null, task: null, sum: 0, n: 0 };
  readonly means = new Map<string, Mean>();
  readonly families = new Set<string>();
  readonly models = new Set<string>();
  readonly fatal: Record<string, number> = {};
  readonly sheets: ScoreSheets | null;
  readonly #cluster: string;
  total = 0;
  failed = 0;
  startedMs = Number.POSITIVE_INFINITY;
  completedMs = Number.NEGATIVE_INFINITY;
  maxScore = Number.NEGATIVE_INFINITY;
  minScore = Number.POSITIVE_INFINITY;

  constructor({ scores }: ReadOptions) {
    this.sheets = scores === undefined ? null : new ScoreSheets();
    this.#cluster = scores?.cluster ?? 'task_family';
  }

  take(value: unknown): Refusal | undefined {
    const parsed = RunSchema.safeParse(value);
    if (!parsed.success) return layoutProblem('METR run record', parsed.error);
    const run = parsed.data;
    const family = run.task_family ?? run.task_id.split('/')[0] ?? run.task_id;
    const model = run.alias ?? run.model;
    this.total += 1;
    this.families.add(family);
    if (model !== null) this.models.add(model);
    if (run.fatal_error_from !== null) {
      this.failed += 1;
      this.fatal[run.fatal_error_from] = (this.fatal[run.fatal_error_from] ?? 0) + 1;
    }
    this.#span(run);
    this.#mean(run, model, family);
    this.sheets?.add(
      { scorer: null, name: 'score_binarized_mean', task: null },
      {
        value: run.score_binarized,
        sample: run.task_id,
        cluster: run[this.#cluster],
        errored: run.fatal_error_from !== null,
      },
    );
    return this.sheets?.isFull ? refusal('log-too-large', 'holds more runs than are read') : undefined;
  }

  #span({ started_at: started, completed_at: completed, score }: Run): void {
    if (started != null) this.startedMs = Math.min(this.startedMs, started);
    if (completed != null) this.completedMs = Math.max(this.completedMs, completed);
    if (typeof score !== 'number') return;
    this.maxScore = Math.max(this.maxScore, score);
    this.minScore = Math.min(this.minScore, score);
  }

  #mean({ score_binarized: score }: Run, scorer: string | null, task: string): void {
    const key = JSON.stringify([scorer, task]);
    const mean = this.means.get(key) ?? { scorer, task, sum: 0, n: 0 };
    this.means.set(key, mean);
    const number = arithmetic(score);
    if (number === null) return;
    for (const one of [mean, this.overall]) {
      one.sum += number;
      one.n += 1;
    }
  }
}

async function read(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const runs = new Runs(options);
  const lines = await readLines(source, (value) => runs.take(value));
  if (!lines.ok) return lines;
  if (lines.isCut) return refusal('log-truncated', 'ends in the middle of a line');
  if (runs.total === 0) return refusal('log-unreadable', 'has no run');
  const created = instantOfEpoch(runs.startedMs / 1000);
  return finish(
    draft('metr-runs-jsonl', 'metr', {
      status: 'success',
      task: joined([...runs.families].sort()),
      model: joined([...runs.models].sort()),
      created,
      startedAt: created,
      completedAt: instantOfEpoch(runs.completedMs / 1000),
      metrics: [runs.overall, ...runs.means.values()].map(metricOf),
      samples: counts({
        total: runs.total,
        completed: runs.total - runs.failed,
        scored: runs.overall.n,
        errored: runs.failed,
        logged: runs.total,
      }),
      facts: jsonMembers({
        fatal_errors: runs.fatal,
        max_score: Number.isFinite(runs.maxScore) ? runs.maxScore : null,
        min_score: Number.isFinite(runs.minScore) ? runs.minScore : null,
      }),
      sampleScores: runs.sheets?.list() ?? [],
    }),
    source,
  );
}

function metricOf({ scorer, task, sum, n }: Mean): HarnessMetric {
  const value = n === 0 ? null : named(sum / n);
  return { scorer, task, name: 'score_binarized_mean', value, stderr: null, n };
}
