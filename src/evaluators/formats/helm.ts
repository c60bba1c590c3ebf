/**
 * HELM: `stats.json` of one run, with the run's specification beside it.
 *
 * Every statistic is written once more per perturbation; unperturbed ones are the result. A statistic is a mean over the run's
 * trials (count 1, as a rule), not over its samples, so that nothing here is a standard error. The file is written when the run is
 * done. What the run was of (model, scenario) stands in `run_spec.json` alone. Companions: the run specification, the statistics per
 * sample, the requests.
 */
import { z } from 'zod';
import type { HarnessLog, HarnessMetric, SampleScores } from '../../domain/harness-log.ts';
import { type Document, readDocument, readDocumentAs, readSelected, stop } from './documents.ts';
import { GLIMPSE_BYTES, type HarnessFormat, type ReadLog, type ReadOptions } from './format.ts';
import {
  counts,
  draft,
  figure,
  finish,
  jsonMembers,
  layoutProblem,
  type Refusal,
  record,
  refusal,
  statedNumber,
  text,
} from './harness-values.ts';
import { ANY } from './json-select.ts';
import type { LogSource } from './log-source.ts';
import { outlineOf } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

export const helm: HarnessFormat = {
  name: 'helm',
  kinds: ['helm-stats', 'helm-run-spec', 'helm-per-instance-stats', 'helm-scenario-state'],
  claims: ({ head }) => kindOf(head) !== null,
  kind: ({ head }) => kindOf(head) ?? 'helm-stats',
  async read(source, options) {
    const kind = kindOf(await source.read(0, GLIMPSE_BYTES));
    if (kind === 'helm-run-spec') return readSpec(source);
    if (kind === 'helm-stats' || kind === null) return readStats(source, options);
    return finish(draft(kind, 'helm', {}), source);
  },
};

type Kind = 'helm-stats' | 'helm-run-spec' | 'helm-per-instance-stats' | 'helm-scenario-state';

function kindOf(head: Uint8Array): Kind | null {
  const { root, paths } = outlineOf(head);
  const has = (...names: string[]): boolean => names.every((name) => paths.has(name));
  if (root === 'array' && has('*.name.name', '*.count', '*.sum')) return 'helm-stats';
  if (root === 'array' && has('*.instance_id', '*.stats')) return 'helm-per-instance-stats';
  if (root !== 'object') return null;
  if (has('adapter_spec', 'scenario_spec')) return 'helm-run-spec';
  return has('adapter_spec', 'request_states') ? 'helm-scenario-state' : null;
}

const NameSchema = z.looseObject({
  name: z.string(),
  split: z.string().nullish(),
  sub_split: z.string().nullish(),
  perturbation: z.unknown().optional(),
});
const StatSchema = z.looseObject({
  name: NameSchema,
  count: z.int().min(0),
  mean: figure.nullish(),
  sum: figure,
});
type Stat = z.infer<typeof StatSchema>;

/** Of the run and its requests, not of the answers. */
const BOOKKEEPING =
  /^(num_(references|train_trials|train_instances|prompt_tokens|prompt_characters|completion_tokens|output_tokens|perplexity_tokens|bytes|instances)|training_(co2|energy)_cost|inference_.*|batch_size|finish_reason_.*|prompt_truncated|max_prob|logprob|logprob_per_byte|predicted_index|estimated_num_tokens_cost)$/;

const isResult = ({ name }: Stat): boolean => name.perturbation == null && !BOOKKEEPING.test(name.name);

async function readStats(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const stats = await readDocumentAs(source, 'HELM statistics', z.array(StatSchema));
  if (!stats.ok) return stats;
  const beside = await besideIt(source, 'run_spec.json');
  if (beside !== null && !beside.ok) return refusal(beside.problem, `its run_spec.json: ${beside.detail}`);
  const spec = beside === null ? null : SpecSchema.safeParse(beside.value);
  if (spec?.success === false)
    return refusal('log-unreadable', 'its run_spec.json is no HELM run specification');
  const sampled = instancesOf(stats.value);
  const scores = options.scores === undefined ? null : await scoresBeside(source);
  if (scores !== null && 'ok' in scores) return scores;
  const log = draft('helm-stats', 'helm', {
    ...(spec?.data === undefined ? {} : ofSpec(spec.data)),
    status: 'success',
    metrics: stats.value.filter(isResult).map((stat) => metricOf(stat, stats.value)),
    samples: counts({ total: sampled?.n ?? null, completed: sampled?.n ?? null, scored: sampled?.n ?? null }),
    sampleScores: scores ?? [],
  });
  log.facts = { ...log.facts, ...(sampled === null ? {} : { samples_split: sampled.split }) };
  return finish(log, source);
}

function metricOf({ name, count, mean }: Stat, stats: readonly Stat[]): HarnessMetric {
  const sampled = instancesOf(
    stats.filter(({ name: other }) => (other.split ?? null) === (name.split ?? null)),
  );
  return {
    scorer: name.split ?? null,
    name: name.name,
    // Of nothing there is no mean: a sum of 0 is none.
    value: count === 0 ? null : statedNumber(mean),
    stderr: null,
    // Of its own split: the whole run's may be of a larger one.
    n: sampled?.n ?? null,
    facts: jsonMembers({ count, sub_split: name.sub_split ?? undefined }),
  };
}

/** The test split if the run has one, and else the first: the same samples are not counted twice. */
function instancesOf(stats: readonly Stat[]): { n: number; split: string | null } | null {
  const counted = stats.filter(
    ({ name, count, sum }) =>
      name.name === 'num_instances' &&
      name.perturbation == null &&
      name.sub_split == null &&
      count > 0 &&
      typeof sum === 'number' &&
      Number.isSafeInteger(sum / count),
  );
  const stat = counted.find(({ name }) => name.split === 'test') ?? counted[0];
  return stat === undefined ? null : { n: Number(stat.sum) / stat.count, split: stat.name.split ?? null };
}

// --- the run's specification ---------------------------------------------------------------------------

const SpecSchema = z.looseObject({
  name: z.string(),
  scenario_spec: z.looseObject({ class_name: z.string(), args: z.unknown().optional() }),
  adapter_spec: record,
  metric_specs: z.unknown().optional(),
  data_augmenter_spec: z.unknown().optional(),
});
type Spec = z.infer<typeof SpecSchema>;

async function readSpec(source: LogSource): Promise<ReadLog> {
  const spec = await readDocumentAs(source, 'HELM run specification', SpecSchema);
  return spec.ok ? finish(draft('helm-run-spec', 'helm', ofSpec(spec.value)), source) : spec;
}

function ofSpec(spec: Spec): Partial<HarnessLog> {
  const { model, model_deployment: _deployment, ...adapter } = spec.adapter_spec;
  const { max_eval_instances: samples, max_tokens: tokens } = adapter;
  const limits = Object.entries({ samples, tokens }).flatMap(([name, limit]) =>
    typeof limit === 'number' && Number.isFinite(limit) ? [[name, limit] as const] : [],
  );
  const scenario = spec.scenario_spec.class_name.split('.').at(-1) ?? spec.scenario_spec.class_name;
  return {
    task: text.parse(spec.name.split(':')[0]),
    model: text.parse(model),
    dataset: scenario,
    limits: Object.fromEntries(limits),
    facts: { run_name: spec.name, scenario },
    protocol: jsonMembers({
      scenario_spec: spec.scenario_spec,
      adapter_spec: adapter,
      metric_specs: spec.metric_specs ?? null,
      data_augmenter_spec: spec.data_augmenter_spec ?? null,
    }),
  };
}

async function besideIt(source: LogSource, fileName: string): Promise<Document | null> {
  const beside = await source.sibling(fileName);
  if (beside === null) return null;
  try {
    return await readDocument(beside);
  } finally {
    await beside.close();
  }
}

// --- scores per sample ---------------------------------------------------------------------------------

const InstanceSchema = z.looseObject({
  instance_id: z.string(),
  perturbation: z.unknown().optional(),
  stats: z.array(StatSchema),
});

async function scoresBeside(source: LogSource): Promise<SampleScores[] | Refusal> {
  const beside = await source.sibling('per_instance_stats.json');
  if (beside === null) return [];
  const sheets = new ScoreSheets();
  try {
    const refused = await readSelected(beside, [
      { path: [ANY], onValue: (value) => stop(takeInstance(value, sheets)) },
    ]);
    return refused ?? sheets.list();
  } finally {
    await beside.close();
  }
}

function takeInstance(value: unknown, sheets: ScoreSheets): Refusal | undefined {
  const parsed = InstanceSchema.safeParse(value);
  if (!parsed.success) return layoutProblem('HELM statistics per sample', parsed.error);
  const { instance_id: sample, perturbation, stats } = parsed.data;
  if (perturbation != null) return undefined;
  for (const { name, count, mean } of stats.filter(isResult)) {
    sheets.add({ scorer: name.split ?? null, name: name.name }, { sample, value: count === 0 ? null : mean });
  }
  return sheets.isFull ? refusal('log-too-large', 'has more scores beside it than are read') : undefined;
}
