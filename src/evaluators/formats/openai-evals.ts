/**
 * OpenAI evals: the record log of `oaieval`, JSON lines. First the run's specification, then events, last the final report.
 *
 * Without the final report the run is going on or died, and the log does not say which: status `started`, no metrics, and a last line
 * that breaks off is to be expected. A sample is completed once it has a result (`match`, `metrics`); an `error` event is one of its
 * sample. The standard deviation that some evaluations report is listed as the figure it is.
 */
import { z } from 'zod';
import type { HarnessLog, HarnessMetric } from '../../domain/harness-log.ts';
import { readLines } from './documents.ts';
import type { HarnessFormat, ReadLog, ReadOptions } from './format.ts';
import {
  counts,
  draft,
  finish,
  isRecord,
  joined,
  jsonMembers,
  layoutProblem,
  plainMetric,
  type Refusal,
  record,
  refusal,
  tally,
  text,
} from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

export const openaiEvals: HarnessFormat = {
  name: 'openai-evals',
  kinds: ['openai-evals-jsonl'],
  claims: ({ head }) =>
    isObjectWith(head, { all: ['spec.eval_name'], any: ['spec.run_config', 'spec.run_id'] }),
  kind: () => 'openai-evals-jsonl',
  read,
};

const SpecSchema = z.looseObject({
  eval_name: z.string(),
  completion_fns: z.array(z.string()).nullish(),
  /** Until the middle of 2023. */
  model_name: text,
  base_eval: text,
  split: text,
  run_id: text,
  created_at: text,
  run_config: record.nullish(),
});
type Spec = z.infer<typeof SpecSchema>;

const EventSchema = z.looseObject({
  type: z.string(),
  sample_id: z.union([z.string(), z.number(), z.null()]).optional(),
  data: z.unknown().optional(),
});
type Event = z.infer<typeof EventSchema>;
const ReportSchema = z.looseObject({ final_report: z.unknown().optional() });

class Run {
  spec: Spec | null = null;
  report: unknown;
  hasReport = false;
  readonly events = new Map<string, number>();
  readonly samples = new Set<unknown>();
  readonly results = new Set<unknown>();
  readonly errored = new Set<unknown>();
  readonly sheets: ScoreSheets | null;

  constructor({ scores }: ReadOptions) {
    this.sheets = scores === undefined ? null : new ScoreSheets();
  }

  take(value: unknown): Refusal | undefined {
    if (!isRecord(value)) return refusal('log-unreadable', 'has a line that is no object');
    if ('spec' in value) {
      if (this.spec !== null) return refusal('log-ambiguous', 'holds the logs of several runs');
      const parsed = SpecSchema.safeParse(value['spec']);
      if (!parsed.success) return layoutProblem('run specification of evals', parsed.error);
      this.spec = parsed.data;
      return undefined;
    }
    if (ReportSchema.safeParse(value).success && 'final_report' in value) {
      this.hasReport = true;
      this.report = value['final_report'];
      return undefined;
    }
    const event = EventSchema.safeParse(value);
    if (!event.success) return layoutProblem('event of evals', event.error);
    this.#event(event.data);
    return this.sheets?.isFull ? refusal('log-too-large', 'holds more results than are read') : undefined;
  }

  #event({ type, sample_id: sample, data }: Event): void {
    this.events.set(type, (this.events.get(type) ?? 0) + 1);
    if (sample == null) return;
    this.samples.add(sample);
    if (type === 'error') this.errored.add(sample);
    if (type !== 'match' && type !== 'metrics') return;
    this.results.add(sample);
    for (const [name, value] of Object.entries(isRecord(data) ? data : {})) {
      const isScore = typeof value === 'number' || typeof value === 'boolean';
      if (isScore)
        this.sheets?.add(
          { scorer: null, name: type === 'match' && name === 'correct' ? 'accuracy' : name },
          { sample, value },
        );
    }
  }
}

async function read(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const run = new Run(options);
  const lines = await readLines(source, (value) => run.take(value));
  if (!lines.ok) return lines;
  if (run.spec === null) return refusal('log-unreadable', 'has no run specification');
  if (run.hasReport && lines.isCut)
    return refusal('log-truncated', 'ends in the middle of a line after its final report');
  return finish(
    draft('openai-evals-jsonl', 'openai-evals', {
      ...provenance(run.spec),
      status: run.hasReport ? 'success' : 'started',
      metrics: run.hasReport && isRecord(run.report) ? metricsOf(run.report) : [],
      samples: samplesOf(run),
      outputTokens: tokensOf(run.report),
      facts: jsonMembers({
        run_id: run.spec.run_id,
        events: Object.fromEntries(run.events),
        distinct_sample_ids: run.samples.size,
        final_report_present: run.hasReport,
      }),
      sampleScores: run.sheets?.list() ?? [],
    }),
    source,
  );
}

function provenance(spec: Spec): Partial<HarnessLog> {
  const { max_samples: samples, eval_spec: evalSpec, seed } = spec.run_config ?? {};
  return {
    task: spec.eval_name,
    model: joined(spec.completion_fns ?? []) ?? spec.model_name,
    dataset:
      isRecord(evalSpec) && isRecord(evalSpec['args']) ? text.parse(evalSpec['args']['samples_jsonl']) : null,
    created: spec.created_at,
    startedAt: spec.created_at,
    limits: typeof samples === 'number' && Number.isFinite(samples) ? { samples } : {},
    protocol: jsonMembers({
      base_eval: spec.base_eval,
      split: spec.split,
      class: isRecord(evalSpec) ? (evalSpec['cls'] ?? null) : null,
      args: isRecord(evalSpec) ? (evalSpec['args'] ?? null) : null,
      seed: seed ?? null,
      max_samples: samples ?? null,
    }),
  };
}

function metricsOf(report: Record<string, unknown>): HarnessMetric[] {
  return Object.entries(report).flatMap(([name, value]) => plainMetric(null, name, value));
}

/** Of the samplings that say what they used, from late 2023 on. */
function tokensOf(report: unknown): number | null {
  return tally
    .nullable()
    .catch(null)
    .parse(isRecord(report) ? (report['usage_completion_tokens'] ?? null) : null);
}

function samplesOf({ hasReport, samples, results, errored, events }: Run): HarnessLog['samples'] {
  const withoutResult = [...errored].filter((sample) => !results.has(sample)).length;
  // Some evaluations keep their results in events of their own: then having been run is all that is known of a sample.
  const saysResults = results.size > 0 || !hasReport;
  const completed = saysResults ? results.size : samples.size - withoutResult;
  return counts({
    total: hasReport ? samples.size : null,
    completed,
    scored: saysResults ? results.size : null,
    errored: events.has('error') || hasReport ? withoutResult : null,
    logged: samples.size,
  });
}
