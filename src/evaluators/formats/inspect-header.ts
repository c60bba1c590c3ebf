/**
 * Header of an Inspect log: what was run, on what, how, with what result. The same members in a .json log, in `header.json` and,
 * without results, in `_journal/start.json` of a .eval archive.
 *
 * Format versions 1 to 3; another one is not read, for what it means is not known. What decides (status, counts, scores) must be of the
 * right type or nothing is read; what only describes is taken as it comes.
 */
import { z } from 'zod';
import { HARNESS_STATUSES, HarnessNumberSchema, NON_FINITE } from '../../domain/harness-log.ts';
import type { JsonKind, JsonValue, Selection } from './json-select.ts';
import { LogFault } from './log-fault.ts';

const VERSIONS = [1, 2, 3];
/** A bare NaN or 1e999 comes as text of this name (json-select.ts), and names nothing. */
const word = z.string().refine((value) => !NON_FINITE.some((token) => token === value));
const text = word.nullish();
const count = z.int().min(0).nullish();
const number = z.number().nullish();
const named = z.record(z.string(), z.json()).nullish();

const MetricSchema = z.looseObject({
  value: HarnessNumberSchema,
  params: named,
  /** Of older logs. */
  options: named,
});

const ScoreSchema = z.looseObject({
  name: word,
  scorer: text,
  reducer: text,
  scored_samples: count,
  unscored_samples: count,
  metrics: z.record(z.string(), MetricSchema),
});
export type InspectScore = z.infer<typeof ScoreSchema>;

const ConfigSchema = z.looseObject({
  epochs: z.int().min(1).nullish(),
  epochs_reducer: z.json().optional(),
  limit: z.union([z.number(), z.tuple([z.number(), z.number()])]).nullish(),
  message_limit: number,
  token_limit: number,
  turn_limit: number,
  time_limit: number,
  working_limit: number,
  cost_limit: number,
});

const EvalSchema = z.looseObject({
  task: word,
  task_version: z.union([z.string(), z.number()]).nullish(),
  model: word,
  created: word,
  run_id: text,
  eval_id: text,
  eval_set_id: text,
  task_id: text,
  model_base_url: text,
  dataset: z.looseObject({
    name: text,
    samples: count,
    sample_ids: z.array(z.union([z.string(), z.number()])).nullish(),
    shuffled: z.boolean().nullish(),
  }),
  config: ConfigSchema,
  revision: z.looseObject({ commit: text, origin: text, dirty: z.boolean().nullish() }).nullish(),
  packages: named,
});
export type InspectEval = z.infer<typeof EvalSchema>;

const ResultsSchema = z.strictObject({
  total_samples: z.int().min(0),
  completed_samples: z.int().min(0),
  scores: z.array(ScoreSchema),
});
export type InspectResults = z.infer<typeof ResultsSchema>;

export interface InspectHeader {
  /** null: not stated. Inspect itself reads such a log as of its own version: people publish logs with members cut out. */
  readonly version: number | null;
  readonly status: (typeof HARNESS_STATUSES)[number];
  readonly eval: InspectEval;
  readonly plan: JsonValue;
  /** null: the log has none, as of a run that broke off. */
  readonly results: InspectResults | null;
  readonly startedAt: string | null;
  readonly completedAt: string | null;
  readonly hasError: boolean;
  readonly error: string | null;
  readonly invalidated: boolean;
  readonly stoppedEarly: boolean;
}

/** Collects the header's members while the document goes by. Large ones that say nothing of the whole are never held. */
export class HeaderCollector {
  readonly #values = new Map<string, JsonValue>();
  readonly #kinds = new Map<string, JsonKind>();

  /** `at`: where in the document the header stands. */
  selections(at: readonly string[] = []): Selection[] {
    const held = [
      ['version'],
      ['status'],
      ['eval'],
      ['plan'],
      ['results', 'total_samples'],
      ['results', 'completed_samples'],
      ['results', 'scores'],
      ['results', 'scorer'],
      ['results', 'metrics'],
      ['stats', 'started_at'],
      ['stats', 'completed_at'],
      ['error', 'message'],
      ['invalidated'],
    ];
    const kinds = [['results'], ['results', 'early_stopping'], ['error']];
    return [
      ...held.map((path) => ({
        path: [...at, ...path],
        onValue: (value: JsonValue) => this.#values.set(path.join('.'), value),
      })),
      ...kinds.map((path) => ({
        path: [...at, ...path],
        onStart: (kind: JsonKind) => this.#kinds.set(path.join('.'), kind),
      })),
    ];
  }

  header(): InspectHeader {
    return {
      version: this.#version(),
      status: this.#parse('status', z.enum(HARNESS_STATUSES)),
      ...this.#common(),
      results: this.#results(),
      startedAt: this.#instant('stats.started_at'),
      completedAt: this.#instant('stats.completed_at'),
      hasError: (this.#kinds.get('error') ?? 'null') !== 'null',
      error: this.#parse('error.message', text) ?? null,
      invalidated: this.#parse('invalidated', z.boolean().nullish()) ?? false,
      stoppedEarly: (this.#kinds.get('results.early_stopping') ?? 'null') !== 'null',
    };
  }

  /** From `_journal/start.json`, which a run writes before anything else: it goes on, or died. */
  start(): InspectHeader {
    return {
      version: this.#version(),
      status: 'started',
      ...this.#common(),
      results: null,
      startedAt: null,
      completedAt: null,
      hasError: false,
      error: null,
      invalidated: false,
      stoppedEarly: false,
    };
  }

  #version(): number | null {
    if (!this.#values.has('version')) return null;
    const version = this.#parse('version', z.int());
    if (!VERSIONS.includes(version))
      throw new LogFault('log-unreadable', `format version ${version}, of which nothing is known`);
    return version;
  }

  #common(): Pick<InspectHeader, 'eval' | 'plan'> {
    return { eval: this.#parse('eval', EvalSchema), plan: this.#values.get('plan') ?? null };
  }

  #results(): InspectResults | null {
    const kind = this.#kinds.get('results') ?? 'null';
    if (kind === 'null') return null;
    if (kind !== 'object') throw new LogFault('log-unreadable', 'results: not an object');
    return this.#check('results', ResultsSchema, {
      total_samples: this.#values.get('results.total_samples'),
      completed_samples: this.#values.get('results.completed_samples'),
      scores: this.#scores(),
    });
  }

  /** One scorer stood beside its metrics in logs of early 2024. */
  #scores(): unknown {
    const scorer = z.looseObject({ name: z.string() }).safeParse(this.#values.get('results.scorer'));
    const scores = this.#values.get('results.scores');
    if (scores !== undefined || !scorer.success) return scores;
    return [{ ...scorer.data, scorer: scorer.data.name, metrics: this.#values.get('results.metrics') ?? {} }];
  }

  /** Empty where a run was interrupted before. */
  #instant(path: string): string | null {
    const value = this.#parse(path, text) ?? null;
    return value === '' ? null : value;
  }

  #parse<T>(path: string, schema: z.ZodType<T>): T {
    return this.#check(path, schema, this.#values.get(path));
  }

  #check<T>(path: string, schema: z.ZodType<T>, value: unknown): T {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new LogFault('log-unreadable', `${path}: missing, or not what this format has there`);
  }
}
