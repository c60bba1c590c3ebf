/**
 * METR: run records, one agent's run a line.
 *
 * A run that a fatal error ended (`fatal_error_from`) keeps its score, and counts as not completed: its failure may be the error's.
 * Records are published when they are done: a line that breaks off is a file that was cut.
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
  /** As long as all are 0 or 1. */
  tally: { pass: number; fail: number; errors: number } | null;
}
const emptyMean = (scorer: string | null, task: string | null): Mean => ({
  scorer,
  task,
  sum: 0,
  n: 0,
  tally: { pass: 0, fail: 0, errors: 0 },
});

const NAME = 'score_binarized_mean';

class Runs {
  readonly overall = emptyMean(null, null);
  readonly means = new Map<string, Mean>();
  readonly families = new Set<string>();
  readonly models = new Set<string>();
  readonly fatal: Record<string, number> = {};
  readonly sheets: ScoreSheets | null;
  readonly #cluster: string;
  total = 0;
  failed = 0;
  scored = 0;
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
    this.#score(run, model, family);
    return this.sheets?.isFull ? refusal('log-too-large', 'holds more runs than are read') : undefined;
  }

  /** All runs, and those of one model and family. What a fatal error ended is no failure of the model; a success is one. */
  #score(run: Run, model: string | null, family: string): void {
    const errored = run.fatal_error_from !== null;
    const value = errored && arithmetic(run.score_binarized) !== 1 ? null : run.score_binarized;
    const scored = { value, sample: run.task_id, cluster: run[this.#cluster], errored };
    this.sheets?.add({ scorer: null, name: NAME, task: null }, scored);
    this.sheets?.add({ scorer: model, name: NAME, task: family }, scored);
  }

  #span({ started_at: started, completed_at: completed, score }: Run): void {
    if (started != null) this.startedMs = Math.min(this.startedMs, started);
    if (completed != null) this.completedMs = Math.max(this.completedMs, completed);
    if (typeof score !== 'number') return;
    this.maxScore = Math.max(this.maxScore, score);
    this.minScore = Math.min(this.minScore, score);
  }

  #mean({ score_binarized: score, fatal_error_from: fatal }: Run, scorer: string | null, task: string): void {
    const key = JSON.stringify([scorer, task]);
    const mean = this.means.get(key) ?? emptyMean(scorer, task);
    this.means.set(key, mean);
    const number = arithmetic(score);
    if (number === null) return;
    if (fatal === null) this.scored += 1;
    for (const one of [mean, this.overall]) {
      one.sum += number;
      one.n += 1;
      if (number !== 0 && number !== 1) one.tally = null;
      else if (one.tally !== null) one.tally[number === 1 ? 'pass' : fatal === null ? 'fail' : 'errors'] += 1;
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
        scored: runs.scored,
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

function metricOf({ scorer, task, sum, n, tally }: Mean): HarnessMetric {
  const value = n === 0 ? null : named(sum / n);
  return { scorer, task, name: NAME, value, stderr: null, n, ...(tally === null ? {} : { facts: tally }) };
}
