/**
 * From header and samples of an Inspect log to the one form of all harnesses. Pure; what contradicts itself stays as it is, named in `facts.disagreements`.
 */
import type { HarnessLog, HarnessMetric, SampleScores } from '../../domain/harness-log.ts';
import type { InspectHeader, InspectScore } from './inspect-header.ts';
import type { SampleCounts } from './inspect-samples.ts';
import type { JsonValue } from './json-select.ts';

type Facts = { [name: string]: JsonValue };

export interface InspectParts {
  readonly format: string;
  readonly header: InspectHeader;
  readonly counts: SampleCounts;
  readonly summariesAgree: boolean;
  readonly sampleScores: SampleScores[];
  readonly fileDigest: string;
  /** Of the file rather than the run: compression, a missing header. */
  readonly facts: Facts;
}

export function toHarnessLog(parts: InspectParts): HarnessLog {
  const { header, counts } = parts;
  const { eval: spec, results } = header;
  const metrics = (results?.scores ?? []).flatMap(metricsOfScore);
  const samples = samplesOf(header, counts);
  const epochs = epochsOf(header);
  return {
    format: parts.format,
    harness: 'inspect_ai',
    harnessVersion: harnessVersionOf(header),
    status: header.status,
    task: spec.task,
    taskVersion:
      spec.task_version === undefined || spec.task_version === null ? null : `${spec.task_version}`,
    model: spec.model,
    revision: spec.revision?.commit ?? null,
    modelBaseUrl: spec.model_base_url ?? null,
    dataset: spec.dataset.name ?? null,
    created: spec.created,
    startedAt: header.startedAt,
    completedAt: header.completedAt,
    epochs,
    limits: limitsOf(header),
    metrics,
    samples,
    error: header.error,
    fileDigest: parts.fileDigest,
    facts: { ...factsOf(header, counts), ...parts.facts, ...disagreements(parts, metrics, samples) },
    protocol: protocolOf(header),
    sampleScores: parts.sampleScores,
  };
}

/** One where the log says nothing: the format leaves the default out. */
const epochsOf = ({ eval: spec }: InspectHeader): number => spec.config.epochs ?? 1;

function harnessVersionOf({ eval: spec }: InspectHeader): string | null {
  const version = spec.packages?.['inspect_ai'];
  return typeof version === 'string' ? version : null;
}

/** Metrics of one scorer (and reducer). A standard error goes to the metric that it is of, and else stands for itself. */
export function metricsOfScore(score: InspectScore): HarnessMetric[] {
  const names = Object.keys(score.metrics);
  const owners = new Map<string, string>();
  for (const name of names) {
    const owner = ownerOfError(name, score.metrics);
    if (owner !== null) owners.set(owner, name);
  }
  const errors = new Set(owners.values());
  return names
    .filter((name) => !errors.has(name))
    .map((name): HarnessMetric => {
      const errorName = owners.get(name);
      const error = errorName === undefined ? undefined : score.metrics[errorName];
      return {
        scorer: score.name,
        name,
        value: score.metrics[name]?.value ?? null,
        stderr: error?.value ?? null,
        ...(score.reducer ? { reducer: score.reducer } : {}),
        ...(typeof score.scored_samples === 'number' ? { n: score.scored_samples } : {}),
        facts: {
          ...(score.reducer ? { reducer: score.reducer } : {}),
          ...(typeof score.scored_samples === 'number' ? { scored_samples: score.scored_samples } : {}),
          ...(typeof score.unscored_samples === 'number' ? { unscored_samples: score.unscored_samples } : {}),
          ...(typeof score.scorer === 'string' && score.scorer !== score.name
            ? { scorer_function: score.scorer }
            : {}),
          ...given('params', score.metrics[name]?.params ?? score.metrics[name]?.options),
          ...given('stderr_params', error?.params ?? error?.options),
        },
      };
    });
}

function ownerOfError(name: string, metrics: InspectScore['metrics']): string | null {
  if (name === 'stderr') return ['accuracy', 'mean'].find((owner) => Object.hasOwn(metrics, owner)) ?? null;
  if (!name.endsWith('_stderr')) return null;
  const stem = name.slice(0, -'_stderr'.length);
  return [stem, `${stem}_acc`].find((owner) => Object.hasOwn(metrics, owner)) ?? null;
}

const given = (name: string, value: { [name: string]: JsonValue } | null | undefined): Facts =>
  value === null || value === undefined || Object.keys(value).length === 0 ? {} : { [name]: value };

function samplesOf(header: InspectHeader, counts: SampleCounts): HarnessLog['samples'] {
  const { results } = header;
  const ids = header.eval.dataset.sample_ids;
  const planned = ids === undefined || ids === null ? null : ids.length * epochsOf(header);
  return {
    total: results?.total_samples ?? planned,
    completed: results?.completed_samples ?? counts.logged - counts.errored,
    scored: scoredOf(header, counts),
    // Of a log without its samples, results alone cannot tell.
    errored: counts.logged === 0 && (results?.total_samples ?? 0) > 0 ? null : counts.errored,
    // Missing is not zero: a sample that is not here may have been refused.
    refused: counts.logged < (results?.completed_samples ?? 0) ? null : counts.refused,
    logged: counts.logged,
  };
}

/** Samples that are not in the file can only be counted by what every scorer states, and only where it counts samples and not questions. */
function scoredOf(header: InspectHeader, counts: SampleCounts): number | null {
  const { results } = header;
  if (results === null || counts.logged >= results.completed_samples) return counts.scored;
  const stated = results.scores.map(({ scored_samples: scored }) => scored ?? null);
  if (epochsOf(header) !== 1 || stated.length === 0) return null;
  return stated.reduce((least, scored) =>
    least === null || scored === null ? null : Math.min(least, scored),
  );
}

function limitsOf({ eval: { config } }: InspectHeader): Record<string, number> {
  const samples = Array.isArray(config.limit) ? config.limit[1] - config.limit[0] : config.limit;
  const limits = {
    samples,
    messages: config.message_limit,
    tokens: config.token_limit,
    turns: config.turn_limit,
    time: config.time_limit,
    workingTime: config.working_limit,
    cost: config.cost_limit,
  };
  return Object.fromEntries(
    Object.entries(limits).flatMap(([name, value]) => (typeof value === 'number' ? [[name, value]] : [])),
  );
}

function factsOf(header: InspectHeader, counts: SampleCounts): Facts {
  const { eval: spec } = header;
  return {
    log_version: header.version,
    inspect_version: harnessVersionOf(header),
    run_id: spec.run_id ?? null,
    eval_id: spec.eval_id ?? null,
    task_id: spec.task_id ?? null,
    ...(spec.eval_set_id ? { eval_set_id: spec.eval_set_id } : {}),
    epochs: epochsOf(header),
    samples_logged: counts.logged,
    sample_errors: counts.errored,
    sample_limits: counts.limited,
    sample_retries: counts.retried,
    sample_invalidations: counts.invalidated,
    invalidated: header.invalidated,
    ...(header.startedAt === null ? {} : { started_at: header.startedAt }),
    ...(header.completedAt === null ? {} : { completed_at: header.completedAt }),
    ...(header.stoppedEarly ? { early_stopping: true } : {}),
    fail_on_error: json(spec.config['fail_on_error']),
    continue_on_fail: json(spec.config['continue_on_fail']),
    score_on_error: json(spec.config['score_on_error']),
    tags: json(spec['tags']),
    model_roles: json(spec['model_roles']),
    packages: json(spec.packages),
    revision_origin: spec.revision?.origin ?? null,
    revision_dirty: spec.revision?.dirty ?? null,
  };
}

/** Where the file contradicts itself. Whether that matters is not for a reader to say. */
function disagreements(
  { header, counts, summariesAgree }: InspectParts,
  metrics: readonly HarnessMetric[],
  samples: HarnessLog['samples'],
): Facts {
  const { results, status } = header;
  const total = samples.total ?? Number.POSITIVE_INFINITY;
  const found = Object.entries({
    'more-samples-logged-than-planned': counts.logged > total,
    'more-samples-completed-than-planned': (samples.completed ?? 0) > total,
    'fewer-samples-logged-than-completed': results !== null && counts.logged < results.completed_samples,
    'samples-under-one-id': counts.repeated > 0,
    'summaries-of-other-samples': !summariesAgree,
    'success-with-sample-errors': status === 'success' && counts.errored > 0,
    'success-with-an-error': status === 'success' && header.hasError,
    'success-without-results': status === 'success' && results === null,
    'results-without-success': status !== 'success' && results !== null,
    'metrics-without-completed-samples': metrics.length > 0 && samples.completed === 0,
    'more-samples-scored-than-planned': metrics.some(({ n }) => (n ?? 0) > total),
  }).flatMap(([name, holds]) => (holds ? [name] : []));
  return found.length === 0 ? {} : { disagreements: found };
}

/** How requests are carried, which changes nothing about what is measured. */
const TRANSPORT = new Set([
  'max_connections',
  'adaptive_connections',
  'max_retries',
  'timeout',
  'attempt_timeout',
  'batch',
  'cache',
  'cache_prompt',
]);

/**
 * What names this way of measuring, and is the same from run to run: not the model, no instants, no ids, no paths.
 * A log without results has no reducers: its protocol is another one than that of the run that came to its end.
 */
function protocolOf(header: InspectHeader): Facts {
  const { eval: spec, plan, results } = header;
  const steps = objectOf(plan)['steps'];
  const generate = {
    ...objectOf(json(spec['model_generate_config'])),
    ...objectOf(objectOf(plan)['config'] ?? null),
  };
  return {
    task: spec.task,
    task_version: spec.task_version ?? null,
    task_args: json(spec['task_args']),
    inspect_version: harnessVersionOf(header),
    scorers: (results?.scores ?? []).map((score) => ({
      name: score.name,
      scorer: score.scorer ?? null,
      reducer: score.reducer ?? null,
      params: json(score['params']),
      metrics: Object.keys(score.metrics).sort(),
    })),
    epochs: epochsOf(header),
    epochs_reducer: json(spec.config.epochs_reducer),
    limits: limitsOf(header),
    solver: json(spec['solver']),
    solver_args: json(spec['solver_args']),
    steps: (Array.isArray(steps) ? steps : []).map((step) => ({
      solver: objectOf(step)['solver'] ?? null,
      params: objectOf(step)['params'] ?? null,
    })),
    generate: Object.fromEntries(Object.entries(generate).filter(([name]) => !TRANSPORT.has(name))),
    dataset: {
      name: spec.dataset.name ?? null,
      samples: spec.dataset.samples ?? null,
      shuffled: spec.dataset.shuffled ?? null,
    },
    sandbox: json(objectOf(json(spec['sandbox']))['type']),
    approval: json(spec.config['approval']),
    score_on_error: json(spec.config['score_on_error']),
  };
}

function objectOf(value: JsonValue): { [name: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

/** Of members that the schema lets through as they came out of the JSON reader. */
function json(value: unknown): JsonValue {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (Array.isArray(value)) return value.map(json);
  if (typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, json(part)]));
  return null;
}
