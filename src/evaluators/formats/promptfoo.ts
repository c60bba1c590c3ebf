/**
 * promptfoo: the JSON that `eval --output` writes (version 1 to 4 and the one before versions), its JSON lines, and the record of
 * an evaluation that its Node package returns.
 *
 * From version 3 on counts are kept per prompt and provider; before, over all of them. A provider that could not be asked is an
 * error (`failureReason` 2), an assertion that failed is a failure (1); older rows do not tell them apart except that a row without
 * an output has nothing that could have failed. A file says nothing of how the run ended: that it is complete is all that is known.
 */
import { z } from 'zod';
import type { HarnessLog, HarnessMetric } from '../../domain/harness-log.ts';
import { readDocumentAs, readLines, readSelected, stop } from './documents.ts';
import { GLIMPSE_BYTES, type HarnessFormat, type ReadLog, type ReadOptions } from './format.ts';
import {
  counts,
  type Draft,
  digestOf,
  distinct,
  draft,
  figure,
  finish,
  instantOfEpoch,
  isRecord,
  joined,
  jsonMembers,
  layoutProblem,
  named,
  type Refusal,
  ratio,
  record,
  refusal,
  tally,
  text,
} from './harness-values.ts';
import { ANY, type Selection } from './json-select.ts';
import type { LogSource } from './log-source.ts';
import { type Outline, outlineOf } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

export const promptfoo: HarnessFormat = {
  name: 'promptfoo',
  kinds: ['promptfoo-json', 'promptfoo-eval-record', 'promptfoo-jsonl'],
  claims: ({ head }) => kindOf(head) !== null,
  kind: ({ head }) => kindOf(head) ?? 'promptfoo-json',
  async read(source, options) {
    switch (kindOf(await source.read(0, GLIMPSE_BYTES))) {
      case 'promptfoo-jsonl':
        return readRowLines(source, options);
      case 'promptfoo-eval-record':
        return readRecord(source, options);
      default:
        return readSummary(source, options);
    }
  },
};

type Kind = 'promptfoo-json' | 'promptfoo-eval-record' | 'promptfoo-jsonl';

function kindOf(head: Uint8Array): Kind | null {
  const outline = outlineOf(head);
  const { paths, root } = outline;
  if (root !== 'object') return null;
  const has = (...names: string[]): boolean => names.every((name) => paths.has(name));
  if (
    has('results.version') &&
    ['results', 'prompts', 'table', 'stats'].some((name) => has(`results.${name}`))
  ) {
    return 'promptfoo-json';
  }
  if (has('createdAt', 'config', 'prompts', 'results.*')) return 'promptfoo-eval-record';
  if (has('results.*.prompt', 'results.*.vars') || has('results.*', 'stats.successes', 'table'))
    return 'promptfoo-json';
  return isRow(outline) ? 'promptfoo-jsonl' : null;
}

const isRow = ({ root, paths }: Outline): boolean =>
  root === 'object' &&
  ['prompt', 'vars', 'success'].every((name) => paths.has(name)) &&
  ['promptIdx', 'namedScores', 'testCase'].some((name) => paths.has(name));

// --- rows --------------------------------------------------------------------------------------------

const RowSchema = z.looseObject({
  provider: z.unknown().optional(),
  success: z.boolean().nullish(),
  failureReason: z.number().nullish(),
  error: text,
  response: record.nullish(),
  gradingResult: record.nullish(),
  namedScores: record.nullish(),
  promptIdx: z.number().nullish(),
  testIdx: z.number().nullish(),
  vars: record.nullish(),
  testCase: record.nullish().catch(null),
});
type Row = z.infer<typeof RowSchema>;

type Outcome = 'pass' | 'fail' | 'error';
/** Of passes and failures, those of an answer that never came stand beside. */
type Outcomes = Record<Outcome | 'blankPass' | 'blankFail', number>;
const noOutcomes = (): Outcomes => ({ pass: 0, fail: 0, error: 0, blankPass: 0, blankFail: 0 });

/** Null: the row does not say (the oldest layout). */
function outcomeOf({ success, failureReason, response, gradingResult }: Row): Outcome | null {
  if (success == null) return null;
  if (success) return 'pass';
  if (failureReason === 2) return 'error';
  if (failureReason === 1 || failureReason === 0) return 'fail';
  const hasOutput = response?.['output'] != null || gradingResult != null;
  return hasOutput ? 'fail' : 'error';
}

/** An answer that never came is a failure, and of a red team an attack withstood. Nothing was judged there. */
function isBlank({ response, gradingResult, failureReason }: Row, outcome: Outcome | null): boolean {
  if (response?.['output'] != null || gradingResult != null) return false;
  return outcome === 'pass' ? response != null : outcome === 'fail' && failureReason === 0;
}

const providerOf = ({ provider }: Row): string | null =>
  text.parse(isRecord(provider) ? provider['id'] : provider);

class Rows {
  readonly providers = new Set<string>();
  readonly sheets: ScoreSheets | null;
  /** Over all prompts and providers, as the one metric is of a file that does not count by prompt. */
  readonly overall: ScoreSheets | null;
  readonly #cluster: string | undefined;
  readonly tally = noOutcomes();
  readonly byPrompt = new Map<number | null, Outcomes>();
  count = 0;
  unsaid = 0;
  refused: number | null = null;
  firstError: string | null = null;

  constructor({ scores }: ReadOptions) {
    this.sheets = scores === undefined ? null : new ScoreSheets();
    this.overall = scores === undefined ? null : new ScoreSheets();
    this.#cluster = scores?.cluster;
  }

  take(value: unknown): Refusal | undefined {
    const parsed = RowSchema.safeParse(value);
    if (!parsed.success) return layoutProblem('row of promptfoo results', parsed.error);
    const row = parsed.data;
    const outcome = outcomeOf(row);
    this.count += 1;
    if (outcome === null) this.unsaid += 1;
    else {
      const ofPrompt = this.byPrompt.get(row.promptIdx ?? null) ?? noOutcomes();
      this.byPrompt.set(row.promptIdx ?? null, ofPrompt);
      for (const tally of [this.tally, ofPrompt]) {
        tally[outcome] += 1;
        if (isBlank(row, outcome)) tally[outcome === 'pass' ? 'blankPass' : 'blankFail'] += 1;
      }
    }
    if (outcome === 'error') this.firstError ??= row.error ?? text.parse(row.response?.['error']);
    const isRefusal = row.response?.['isRefusal'];
    if (typeof isRefusal === 'boolean') this.refused = (this.refused ?? 0) + Number(isRefusal);
    const provider = providerOf(row);
    if (provider !== null) this.providers.add(provider);
    this.#score(row, outcome, provider);
    return this.sheets?.isFull ? refusal('log-too-large', 'holds more results than are read') : undefined;
  }

  #score(row: Row, outcome: Outcome | null, scorer: string | null): void {
    if (this.sheets === null) return;
    const errored = outcome === 'error';
    const cluster = this.#cluster === undefined ? undefined : row.vars?.[this.#cluster];
    const common = { sample: this.#sampleOf(row), cluster, errored };
    const isJudged = outcome !== null && !errored && !isBlank(row, outcome);
    const passed = isJudged ? outcome === 'pass' : null;
    const { promptIdx: index } = row;
    const prompt = tally.safeParse(index).success && index != null ? { prompt: index } : {};
    this.sheets.add({ scorer, name: 'pass_rate', ...prompt }, { ...common, value: passed });
    this.overall?.add({ scorer: null, name: 'pass_rate' }, { ...common, value: passed });
    for (const [name, value] of Object.entries(row.namedScores ?? {})) {
      this.sheets.add({ scorer, name, ...prompt }, { ...common, value });
    }
  }

  /** By what was asked, where the row says: each repetition of a test has a `testIdx` of its own, and is no further sample. */
  #sampleOf({ testCase, vars, testIdx }: Row): unknown {
    const asked = [vars, testCase?.['vars'], testCase?.['assert']];
    const isSaid = asked.some(
      (part) => typeof part === 'object' && part !== null && Object.keys(part).length > 0,
    );
    return isSaid ? digestOf(asked) : (testIdx ?? [this.count]);
  }
}

// --- counts ------------------------------------------------------------------------------------------

interface Tally {
  pass: number;
  fail: number;
  errors: number;
}

const sumOf = ({ pass, fail, errors }: Tally): number => pass + fail + errors;

function passRate(
  scorer: string | null,
  tally: Tally,
  rows: Outcomes | undefined,
  more: { prompt_index?: number } = {},
): HarnessMetric {
  const n = sumOf(tally);
  const { blankPass: passes = 0, blankFail: failures = 0 } = rows ?? {};
  const blank = passes + failures === 0 ? {} : { blank_passes: passes, blank_failures: failures };
  return {
    scorer,
    name: 'pass_rate',
    value: ratio(tally.pass, n),
    stderr: null,
    n,
    facts: { ...more, pass: tally.pass, fail: tally.fail, errors: tally.errors, ...blank },
  };
}

const MetricsSchema = z.looseObject({
  testPassCount: tally,
  testFailCount: tally,
  testErrorCount: tally.nullish(),
  namedScores: z.record(z.string(), figure.nullable()).nullish(),
  namedScoresCount: z.record(z.string(), tally).nullish(),
  namedScoreWeights: z.record(z.string(), z.number().min(0)).nullish(),
});
const PromptSchema = z.looseObject({
  id: text,
  raw: z.unknown().optional(),
  provider: text,
  metrics: MetricsSchema.nullish(),
});
type Prompt = z.infer<typeof PromptSchema>;

/**
 * Before prompts counted their errors apart, these were among the failures. Then the rows tell how many, if they are the same ones.
 */
function tallyOf({ metrics }: Prompt, index: number, rows: Rows): Tally {
  const pass = metrics?.testPassCount ?? 0;
  const fail = metrics?.testFailCount ?? 0;
  if (metrics?.testErrorCount != null) return { pass, fail, errors: metrics.testErrorCount };
  const ofRows = rows.byPrompt.get(index) ?? noOutcomes();
  const isSame = ofRows.pass === pass && ofRows.fail + ofRows.error === fail;
  return isSame ? { pass, fail: ofRows.fail, errors: ofRows.error } : { pass, fail, errors: 0 };
}

/** All of them, or the file's counts are those of its rows. */
const countsItself = (prompts: readonly Prompt[]): boolean =>
  prompts.length > 0 && prompts.every(({ metrics }) => metrics != null);

/** A named score is a sum: of as many parts as count, or, from late 2025 on, weighed. */
function metricsOf(prompt: Prompt, index: number, rows: Rows): HarnessMetric[] {
  const { provider, metrics } = prompt;
  if (metrics == null) return [];
  const scores = Object.entries(metrics.namedScores ?? {}).map(([name, sum]): HarnessMetric => {
    const n = metrics.namedScoresCount?.[name] ?? null;
    const parts = metrics.namedScoreWeights?.[name] ?? n;
    const value = sum === null || parts === null || parts === 0 ? null : named(Number(sum) / parts);
    return { scorer: provider, name, value, stderr: null, n, facts: { prompt_index: index } };
  });
  const outcomes = rows.byPrompt.get(index);
  return [passRate(provider, tallyOf(prompt, index, rows), outcomes, { prompt_index: index }), ...scores];
}

const StatsSchema = z.looseObject({ successes: tally, failures: tally, errors: tally.nullish() });
type Stats = z.infer<typeof StatsSchema>;

function total(tallies: readonly Tally[]): Tally {
  return tallies.reduce(
    (sum, { pass, fail, errors }) => ({
      pass: sum.pass + pass,
      fail: sum.fail + fail,
      errors: sum.errors + errors,
    }),
    { pass: 0, fail: 0, errors: 0 },
  );
}

function samplesOf(tally: Tally, rows: Rows): HarnessLog['samples'] {
  const completed = tally.pass + tally.fail;
  const { refused, count: logged } = rows;
  const { blankPass, blankFail } = rows.tally;
  return counts({
    total: sumOf(tally),
    completed,
    scored: Math.max(0, completed - blankPass - blankFail),
    errored: tally.errors,
    refused,
    logged,
  });
}

// --- the three kinds ---------------------------------------------------------------------------------

const SummarySchema = z.looseObject({
  evalId: text,
  config: record.nullish(),
  metadata: record.nullish(),
  version: z.number().nullish(),
  timestamp: text,
  prompts: z.array(PromptSchema).nullish(),
  head: z.unknown().optional(),
  stats: StatsSchema.nullish(),
});

/** Since version 2 the summary is a member of the file; before, the file itself. Rows are taken one at a time. */
async function readSummary(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const isFileItself = outlineOf(await source.read(0, GLIMPSE_BYTES)).paths.has('results.*');
  const base = isFileItself ? [] : ['results'];
  const rows = new Rows(options);
  const members: Record<string, unknown> = {};
  const keep = (...path: string[]): Selection => ({
    path,
    onValue: (value) => {
      members[path.at(-1) ?? ''] = value;
    },
  });
  const refused = await readSelected(source, [
    { path: [...base, 'results', ANY], onValue: (row) => stop(rows.take(row)) },
    ...['version', 'timestamp', 'prompts', 'stats'].map((name) => keep(...base, name)),
    keep(...base, 'table', 'head'),
    ...['evalId', 'config', 'metadata'].map((name) => keep(name)),
  ]);
  if (refused !== undefined) return refused;
  const parsed = SummarySchema.safeParse(members);
  if (!parsed.success) return layoutProblem('promptfoo output', parsed.error);
  const { version, timestamp, prompts, stats, head, config, metadata, evalId } = parsed.data;
  const tally = settle(rows, prompts ?? null, stats ?? null);
  if ('ok' in tally) return tally;
  const models = prompts?.flatMap(({ provider }) => provider ?? []) ?? [
    ...providersOfTable(head),
    ...rows.providers,
  ];
  return finish(
    summaryLog('promptfoo-json', {
      config: config ?? {},
      prompts: prompts ?? [],
      models,
      rows,
      tally,
      created: timestamp,
      version: version ?? null,
      evalId,
      harnessVersion: text.parse(metadata?.['promptfooVersion']),
    }),
    source,
  );
}

/** Counts of the prompts or of the statistics, and of the rows: where the same rows are counted otherwise, one of them is wrong. */
function settle(rows: Rows, prompts: readonly Prompt[] | null, stats: Stats | null): Tally | Refusal {
  const ofRows: Tally = { pass: rows.tally.pass, fail: rows.tally.fail, errors: rows.tally.error };
  const ofStats: Tally | null =
    stats === null ? null : { pass: stats.successes, fail: stats.failures, errors: stats.errors ?? 0 };
  const stated =
    prompts !== null && countsItself(prompts)
      ? total(prompts.map((prompt, index) => tallyOf(prompt, index, rows)))
      : null;
  const saysAll = rows.count > 0 && rows.unsaid === 0;
  const found = stated ?? (saysAll ? ofRows : ofStats);
  if (found === null) return refusal('log-unreadable', 'counts neither passes nor failures');
  for (const other of [ofStats, saysAll ? ofRows : null]) {
    if (other !== null && sumOf(other) === sumOf(found) && other.pass !== found.pass) {
      return refusal('log-unreadable', 'counts the passes of the same results in two ways');
    }
  }
  return found;
}

function providersOfTable(head: unknown): string[] {
  const prompts = isRecord(head) && Array.isArray(head['prompts']) ? head['prompts'] : [];
  return prompts.flatMap((prompt: unknown) =>
    isRecord(prompt) ? (text.parse(prompt['provider']) ?? []) : [],
  );
}

interface Summary {
  config: Record<string, unknown>;
  prompts: readonly Prompt[];
  models: readonly string[];
  rows: Rows;
  tally: Tally;
  created: string | null;
  version: number | null;
  evalId: string | null;
  harnessVersion: string | null;
}

function summaryLog(format: Kind, said: Summary): Draft {
  const { config, prompts, models, rows, tally, created, version, evalId, harnessVersion } = said;
  const options = isRecord(config['evaluateOptions']) ? config['evaluateOptions'] : {};
  const { repeat } = options;
  return draft(format, 'promptfoo', {
    status: 'success',
    harnessVersion,
    task: text.parse(config['description']),
    model: joined(distinct(models)),
    created,
    startedAt: created,
    epochs: typeof repeat === 'number' && repeat > 0 ? repeat : null,
    metrics: countsItself(prompts)
      ? prompts.flatMap((prompt, index) => metricsOf(prompt, index, rows))
      : [passRate(null, tally, rows.tally)],
    samples: samplesOf(tally, rows),
    facts: jsonMembers({
      sample_errors: tally.errors,
      results_version: version,
      eval_id: evalId,
      promptfoo_version: harnessVersion,
      first_error: rows.firstError,
    }),
    protocol: jsonMembers({
      promptfoo_version: harnessVersion,
      prompts: prompts.map(({ id, raw }) => id ?? digestOf(raw)),
      tests: digestOf([config['tests'] ?? null, config['defaultTest'] ?? null, config['scenarios'] ?? null]),
      evaluate_options: options,
    }),
    sampleScores: [
      ...(countsItself(prompts) ? [] : (rows.overall?.list() ?? [])),
      ...(rows.sheets?.list() ?? []),
    ],
  });
}

const RecordSchema = z.looseObject({
  id: text,
  createdAt: z.union([z.number(), z.string()]),
  config: record,
  prompts: z.array(PromptSchema),
  results: z.array(z.unknown()),
});

/** Its results are in the harness's own database; what there is here are the counts of its prompts. */
async function readRecord(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const document = await readDocumentAs(source, 'promptfoo evaluation record', RecordSchema);
  if (!document.ok) return document;
  const { id, createdAt, config, prompts, results } = document.value;
  const rows = new Rows(options);
  for (const row of results) {
    const refused = rows.take(row);
    if (refused !== undefined) return refused;
  }
  const tally = settle(rows, prompts, null);
  if ('ok' in tally) return tally;
  return finish(
    summaryLog('promptfoo-eval-record', {
      config,
      prompts,
      models: prompts.flatMap(({ provider }) => provider ?? []),
      rows,
      tally,
      created: typeof createdAt === 'number' ? instantOfEpoch(createdAt / 1000) : createdAt,
      version: null,
      evalId: id,
      harnessVersion: null,
    }),
    source,
  );
}

/** One row a line; nothing of the run as a whole. */
async function readRowLines(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const rows = new Rows(options);
  const lines = await readLines(source, (value) => rows.take(value));
  if (!lines.ok) return lines;
  if (lines.isCut) return refusal('log-truncated', 'ends in the middle of a line');
  const tally = settle(rows, null, null);
  if ('ok' in tally) return tally;
  return finish(
    summaryLog('promptfoo-jsonl', {
      config: {},
      prompts: [],
      models: [...rows.providers],
      rows,
      tally,
      created: null,
      version: null,
      evalId: null,
      harnessVersion: null,
    }),
    source,
  );
}
