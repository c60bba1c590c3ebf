/**
 * Logs of Inspect for tests, in the shape of genuine ones: .json, .eval with any compression, finished or broken off.
 *
 * What a test does not say is as in a run that went well. The texts are Python's: NaN stands bare.
 */
import { type ZipEntry, type ZipMethod, zipOf } from './zip-writer.ts';

type Json = unknown;

export interface InspectSampleSpec {
  readonly id: string | number;
  readonly epoch?: number;
  /** By scorer. NaN is written bare; undefined leaves the value out. */
  readonly scores?: Readonly<Record<string, Json>>;
  readonly error?: string;
  readonly limit?: string;
  readonly refused?: boolean;
  readonly metadata?: Readonly<Record<string, Json>>;
  /** Bytes of transcript. */
  readonly padding?: number;
}

export interface InspectScoreSpec {
  readonly name: string;
  readonly scorer?: string;
  readonly reducer?: string;
  readonly scoredSamples?: number;
  readonly metrics: Readonly<Record<string, number | null>>;
}

export interface InspectLogSpec {
  readonly version?: number;
  readonly status?: 'success' | 'error' | 'cancelled' | 'started';
  readonly task?: string;
  readonly taskVersion?: string | number;
  readonly taskArgs?: Readonly<Record<string, Json>>;
  readonly model?: string;
  readonly modelBaseUrl?: string;
  readonly inspectVersion?: string;
  readonly runId?: string;
  readonly created?: string;
  readonly startedAt?: string;
  readonly completedAt?: string;
  readonly epochs?: number;
  readonly config?: Readonly<Record<string, Json>>;
  readonly dataset?: string;
  readonly samples?: readonly InspectSampleSpec[];
  readonly total?: number;
  readonly completed?: number;
  /** null: no results at all. */
  readonly scores?: readonly InspectScoreSpec[] | null;
  readonly error?: string;
}

/** Four questions, three of them right. */
export const FOUR_SAMPLES: readonly InspectSampleSpec[] = ['C', 'C', 'I', 'C'].map((value, index) => ({
  id: index + 1,
  scores: { match: value },
}));

function filled(spec: InspectLogSpec) {
  const samples = spec.samples ?? FOUR_SAMPLES;
  const errored = samples.filter(({ error }) => error !== undefined).length;
  return {
    samples,
    status: spec.status ?? 'success',
    epochs: spec.epochs ?? 1,
    total: spec.total ?? samples.length,
    completed: spec.completed ?? samples.length - errored,
    created: spec.created ?? '2026-11-02T10:00:00+00:00',
    scores: spec.scores === undefined ? [accuracy(samples)] : spec.scores,
  };
}

function accuracy(samples: readonly InspectSampleSpec[]): InspectScoreSpec {
  const values = samples.map(({ scores }) => (scores?.['match'] === 'C' ? 1 : 0));
  const mean = values.reduce<number>((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const stderr = Math.sqrt((mean * (1 - mean)) / Math.max(1, values.length - 1));
  return { name: 'match', scoredSamples: samples.length, metrics: { accuracy: mean, stderr } };
}

function startOf(spec: InspectLogSpec) {
  const { samples, epochs, created } = filled(spec);
  const ids = [...new Set(samples.map(({ id }) => id))];
  return {
    version: spec.version ?? 2,
    eval: {
      eval_id: 'eval-1',
      run_id: spec.runId ?? 'run-1',
      created,
      task: spec.task ?? 'popularity',
      task_id: 'task-1',
      task_version: spec.taskVersion ?? 0,
      task_args: spec.taskArgs ?? {},
      dataset: { name: spec.dataset ?? 'questions', samples: ids.length, sample_ids: ids, shuffled: false },
      model: spec.model ?? 'openai/gpt-4o-mini',
      ...(spec.modelBaseUrl === undefined ? {} : { model_base_url: spec.modelBaseUrl }),
      model_args: {},
      config: { epochs, fail_on_error: true, log_samples: true, ...spec.config },
      revision: { type: 'git', origin: 'https://example.org/evals.git', commit: 'abc1234' },
      packages: { inspect_ai: spec.inspectVersion ?? '0.3.210' },
    },
    plan: { name: 'plan', steps: [{ solver: 'generate', params: {} }], config: { temperature: 0 } },
  };
}

function headerOf(spec: InspectLogSpec) {
  const { status, total, completed, scores, created } = filled(spec);
  const { version, ...start } = startOf(spec);
  return {
    version,
    status,
    ...start,
    ...(scores === null
      ? {}
      : { results: { total_samples: total, completed_samples: completed, scores: scores.map(scoreOf) } }),
    stats: {
      started_at: spec.startedAt ?? created,
      completed_at: status === 'started' ? '' : (spec.completedAt ?? '2026-11-02T10:05:00+00:00'),
      model_usage: {},
    },
    ...(spec.error === undefined
      ? {}
      : { error: { message: spec.error, traceback: '', traceback_ansi: '' } }),
  };
}

function scoreOf(score: InspectScoreSpec) {
  return {
    name: score.name,
    scorer: score.scorer ?? score.name,
    ...(score.reducer === undefined ? {} : { reducer: score.reducer }),
    ...(score.scoredSamples === undefined
      ? {}
      : { scored_samples: score.scoredSamples, unscored_samples: 0 }),
    params: {},
    metrics: Object.fromEntries(
      Object.entries(score.metrics).map(([name, value]) => [name, { name, value, params: {} }]),
    ),
  };
}

const scoresOf = (sample: InspectSampleSpec) => ({
  scores: Object.fromEntries(
    Object.entries(sample.scores ?? {}).map(([scorer, value]) => [
      scorer,
      value === undefined ? { answer: null } : { value, answer: 'a', explanation: 'because' },
    ]),
  ),
});

const askedOf = ({ id, epoch = 1 }: InspectSampleSpec) => ({ id, epoch, input: 'Is it?', target: 'yes' });

function sampleOf(sample: InspectSampleSpec) {
  return {
    ...askedOf(sample),
    messages: [],
    output: {
      model: 'm',
      choices: [
        {
          message: { role: 'assistant', content: 'yes' },
          stop_reason: sample.refused === true ? 'content_filter' : 'stop',
        },
      ],
    },
    ...scoresOf(sample),
    metadata: sample.metadata ?? {},
    store: {},
    events: sample.padding === undefined ? [] : [{ event: 'info', data: 'x'.repeat(sample.padding) }],
    ...(sample.error === undefined ? {} : { error: { message: sample.error, traceback: '' } }),
    ...(sample.limit === undefined ? {} : { limit: { type: sample.limit, limit: 1 } }),
    attachments: {},
  };
}

function summaryOf(sample: InspectSampleSpec) {
  return {
    ...askedOf(sample),
    ...scoresOf(sample),
    ...(sample.error === undefined ? {} : { error: sample.error }),
    ...(sample.limit === undefined ? {} : { limit: sample.limit }),
    completed: true,
  };
}

/** As Python writes it: what is not finite stands bare. */
export function pythonJson(value: Json, indent?: number): string {
  const marked = JSON.stringify(
    value,
    (_name, part: unknown) => (typeof part === 'number' && !Number.isFinite(part) ? `\u0000${part}` : part),
    indent,
  );
  return marked.replace(/"\\u0000(NaN|-?Infinity)"/g, '$1');
}

export function inspectJson(spec: InspectLogSpec = {}): Buffer {
  return Buffer.from(
    pythonJson({ ...headerOf(spec), samples: filled(spec).samples.map(sampleOf), reductions: [] }, 2),
  );
}

export interface EvalOptions {
  readonly method?: ZipMethod;
  /** Broken off before the header was written. */
  readonly unfinished?: boolean;
  /** Put after what the log itself has: a name that occurs again counts in its last form. */
  readonly also?: readonly ZipEntry[];
}

/** Members of a .eval log, in the order in which a run writes them. */
export function inspectEntries(spec: InspectLogSpec = {}, options: EvalOptions = {}): ZipEntry[] {
  const method = options.method ?? 'deflate';
  const { samples } = filled(spec);
  const entry = (name: string, value: Json): ZipEntry => ({ name, content: pythonJson(value), method });
  return [
    entry('_journal/start.json', startOf(spec)),
    ...samples.map((sample) =>
      entry(`samples/${sample.id}_epoch_${sample.epoch ?? 1}.json`, sampleOf(sample)),
    ),
    ...(samples.length === 0 ? [] : [entry('_journal/summaries/1.json', samples.map(summaryOf))]),
    ...(options.unfinished === true
      ? []
      : [
          entry('summaries.json', samples.map(summaryOf)),
          entry('reductions.json', []),
          entry('header.json', headerOf(spec)),
        ]),
    ...(options.also ?? []),
  ];
}

export function inspectEval(spec: InspectLogSpec = {}, options: EvalOptions = {}): Buffer {
  return zipOf(inspectEntries(spec, options));
}
