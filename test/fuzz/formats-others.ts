/**
 * Fuzz targets: every reader but Inspect's.
 *
 * The oracle reads the file with JSON.parse, finds each figure again where the format has it, or computes it anew, and knows by
 * itself when a run is over. What it does not find, the reader must not have said.
 */
import type { HarnessLog, HarnessMetric } from '../../src/domain/harness-log.ts';
import type { Random } from '../../src/domain/statistics/random.ts';
import { FORMATS } from '../../src/evaluators/formats/registry.ts';
import { SPECIMENS } from '../formats/specimens.ts';
import { damageJson, type JsonNode, nodeOf, plainJson } from './damage.ts';
import type { FuzzSeed, FuzzTarget } from './engine.ts';

type Members = { readonly [name: string]: unknown };

/** Null: found again. The file is its one document, or the list of its lines. */
type Oracle = (log: HarnessLog, document: unknown, lines: readonly Members[]) => string | null;

export const OTHER_FORMATS: readonly string[] = FORMATS.map(({ name }) => name).filter(
  (name) => name !== 'inspect',
);

export function otherTarget(name: string, genuine: readonly FuzzSeed[]): FuzzTarget {
  const format = FORMATS.find((each) => each.name === name);
  const oracle = ORACLES[name];
  if (format === undefined || oracle === undefined) throw new Error(`no reader or no oracle for ${name}`);
  const seeds = [...syntheticOf(format.kinds), ...genuine];
  const documents = new Map<FuzzSeed, JsonNode | Line[]>();
  return {
    format,
    seeds,
    linesStandAlone: true,
    damage(seed, random) {
      const document = documents.get(seed) ?? documentOf(seed);
      documents.set(seed, document);
      return Buffer.from(
        Array.isArray(document) ? damageLines(document, random) : damageJson(document, random),
      );
    },
    async unsupported(bytes, log) {
      if (log.status === null) return null;
      if (log.fileDigest.length !== 64) return 'no digest';
      const { samples } = log;
      if (samples.total !== null && (samples.completed ?? 0) > samples.total)
        return 'completed more than there are';
      const text = decoded(bytes);
      // A writer that died may have died in the middle of a character: such a log is unfinished, and no more.
      if (text === null && log.status === 'started' && isCutOff(bytes)) return null;
      if (text === null) return 'what it says of a file that is no UTF-8';
      const lines = linesOf(text);
      const document = parsed(text);
      if (document === undefined && lines === null)
        return 'what it says of a file that no other reader takes';
      return oracle(log, document, lines ?? []);
    },
  };
}

function syntheticOf(kinds: readonly string[]): FuzzSeed[] {
  return kinds.flatMap((kind) => {
    const specimen = SPECIMENS[kind];
    return specimen === undefined ? [] : [{ fileName: specimen.fileName, bytes: Buffer.from(specimen.text) }];
  });
}

// --- files -------------------------------------------------------------------------------------------

interface Line {
  readonly node: JsonNode;
  readonly text: string;
}

function documentOf({ bytes }: FuzzSeed): JsonNode | Line[] {
  const text = bytes.toString('utf8');
  const document = parsed(text);
  if (document !== undefined) return nodeOf(document);
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => ({ node: nodeOf(plainJson(line)), text: line }));
}

/** Lines are damaged, dropped, and repeated, beside themselves or at the end. */
function damageLines(lines: readonly Line[], random: Random): string {
  const damaged = lines.map(({ text }) => text);
  for (let times = 1 + random.below(3); times > 0; times -= 1) {
    const at = random.below(lines.length);
    const { node, text } = random.pick(lines);
    const edit = random.below(10);
    if (edit < 2) damaged.splice(at, 1);
    else if (edit < 3) damaged.splice(at, 0, text);
    else if (edit < 4) damaged.push(text);
    else damaged[at] = damageJson(node, random);
  }
  return damaged.map((line) => `${line}\n`).join('');
}

/** UTF-8, but for a character at its end of which bytes are missing. */
function isCutOff(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}

function decoded(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function parsed(text: string): unknown {
  try {
    return plainJson(text);
  } catch {
    return undefined;
  }
}

/** All lines but a last one that breaks off. */
function linesOf(text: string): Members[] | null {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const values = lines.map(parsed);
  if (values.at(-1) === undefined) values.pop();
  return values.every(isMembers) ? values : null;
}

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** By names that are the value's own. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let here = value;
  for (const step of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, step)) return undefined;
    here = Object.entries(here).find(([name]) => name === String(step))?.[1];
  }
  return here;
}

const itemsOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** As the form writes a number; undefined: it is none. */
function figure(value: unknown): number | string | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  return value === 'NaN' || value === 'Infinity' || value === '-Infinity' ? value : undefined;
}

/** Null is no claim. */
function says(said: unknown, found: unknown, what: string): string | null {
  if (said === null || said === undefined || said === (figure(found) ?? found)) return null;
  return `${what} is ${JSON.stringify(said)}, and the file has ${JSON.stringify(found)}`;
}

const first = (checks: Iterable<string | null>): string | null => {
  for (const check of checks) if (check !== null) return check;
  return null;
};

/** Each metric's value and standard error, where the file has them. */
const each = (
  log: HarnessLog,
  find: (metric: HarnessMetric) => { value: unknown; stderr?: unknown; n?: unknown },
) =>
  first(
    log.metrics.flatMap((metric) => {
      const { value, stderr, n } = find(metric);
      const what = `${metric.scorer}/${metric.name}`;
      return [
        says(metric.value, value, what),
        says(metric.stderr, stderr, `the stderr of ${what}`),
        ...(n === undefined ? [] : [says(metric.n, n, `n of ${what}`)]),
      ];
    }),
  );

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

// --- oracles -----------------------------------------------------------------------------------------

const ORACLES: Readonly<Record<string, Oracle>> = {
  'lm-eval': (log, document, lines) =>
    log.format === 'lm-eval-results' ? lmEvalResults(log, document) : lmEvalSamples(log, document, lines),

  promptfoo: (log, document, lines) => {
    const inner = Array.isArray(at(document, 'results')) ? document : at(document, 'results');
    const prompts = itemsOf(at(inner, 'prompts') ?? at(document, 'prompts'));
    const rows = log.format === 'promptfoo-jsonl' ? lines : itemsOf(at(inner, 'results'));
    return first([
      ...log.metrics.map((metric) => promptfooMetric(metric, prompts, rows, at(inner, 'stats'))),
      says(log.samples.total, sum(log.metrics, ['pass', 'fail', 'errors']), 'the samples'),
      says(log.samples.completed, sum(log.metrics, ['pass', 'fail']), 'the samples completed'),
    ]);
  },

  helm: (log, document) =>
    first(
      log.metrics.map((metric) => {
        const isIt = (stat: unknown): boolean =>
          named(at(stat, 'name', 'name')) === metric.name &&
          named(at(stat, 'name', 'split')) === metric.scorer &&
          (at(stat, 'name', 'perturbation') ?? null) === null;
        const means = itemsOf(document)
          .filter(isIt)
          .map((stat) => figure(at(stat, 'mean')));
        return metric.value === null || means.some((value) => value === metric.value)
          ? null
          : `${metric.name} is ${metric.value}, and no statistic is`;
      }),
    ),

  'openai-evals': (log, _document, lines) => {
    const reports = lines.filter((line) => Object.hasOwn(line, 'final_report'));
    if (log.status === 'success' && reports.length === 0) return 'a success without a final report';
    if (log.status !== 'success' && log.metrics.length > 0) return 'metrics of a run that is not over';
    return each(log, ({ name }) => ({ value: at(reports.at(-1), 'final_report', name) }));
  },

  'swe-bench': (log, document) => {
    if (log.format === 'swe-bench-instance-report') {
      return each(log, ({ task }) => ({ value: at(document, task ?? log.task ?? '', 'resolved') }));
    }
    const resolved = Number(at(document, 'resolved_instances'));
    const total = Number(at(document, 'total_instances'));
    const listed = at(document, 'resolved_ids');
    if (Array.isArray(listed) && listed.length !== resolved) return 'resolved instances that are not listed';
    return each(log, ({ name }) => ({
      value: name === 'resolved_of_total' ? resolved / total : at(document, name),
    }));
  },

  garak: (log, _document, lines) => {
    const has = (type: string): boolean => lines.some((line) => line['entry_type'] === type);
    const isOld =
      /^0\.9\.0\.(\d|1[0-3])(\D|$)/.test(log.harnessVersion ?? '') ||
      /^0\.([0-8])\./.test(log.harnessVersion ?? '');
    const saysDone = has('completion') || (has('eval') && (has('digest') || isOld));
    if (log.status === 'success' && !saysDone && log.facts['unfinished'] !== true)
      return 'a success without its completion line';
    if (log.facts['unfinished'] === true && (saysDone || !has('eval') || log.harnessVersion !== null))
      return 'unfinished, and its release is known or no evaluation is there';
    const evals = lines.filter((line) => line['entry_type'] === 'eval');
    return first(
      log.metrics.map((metric) => {
        const rates = evals
          .filter((line) => named(line['probe']) === metric.task && named(line['detector']) === metric.scorer)
          .map((line) => Number(line['passed']) / Number(line['total_evaluated'] ?? line['total']));
        return metric.value === null || rates.some((rate) => rate === metric.value)
          ? null
          : `${metric.scorer} is ${metric.value}, and no evaluation is`;
      }),
    );
  },

  bigcode: (log, document) => each(log, ({ scorer, name }) => ({ value: at(document, scorer ?? '', name) })),

  metr: (log, document, lines) => {
    const rows = lines.length > 0 ? lines : isMembers(document) ? [document] : [];
    return each(log, ({ scorer, task }) => {
      const own = rows.filter((row) => {
        const family = textOf(row['task_family']) ?? String(row['task_id']).split('/')[0];
        return task == null || (family === task && (textOf(row['alias']) ?? textOf(row['model'])) === scorer);
      });
      const scores = own.flatMap(({ score_binarized: score }) => numeric(score));
      return { value: mean(scores), n: scores.length };
    });
  },

  intercode: (log, document) => {
    const rewards = Object.values(isMembers(document) ? document : {}).flatMap((task) => {
      const reward = at(task, 'summary', 'max_reward');
      return figure(reward) === undefined ? [] : [reward];
    });
    return each(log, () => ({
      value: rewards.filter((reward) => reward === 1).length / rewards.length,
      n: rewards.length,
    }));
  },

  'mle-bench': (log, document) => {
    const reports = itemsOf(at(document, 'competition_reports'));
    const medals = reports.filter((report) => at(report, 'any_medal') === true).length;
    return each(log, ({ name }) => ({
      value: name === 'any_medal_rate' ? medals / reports.length : at(document, name),
    }));
  },

  lighteval: (log, document) =>
    each(log, ({ task, name }) => {
      const row = at(document, 'results', task ?? '');
      return { value: at(row, name), stderr: at(row, `${name}_stderr`) };
    }),

  dclm: (log, document) =>
    each(log, ({ scorer, name }) => ({
      value: at(document, 'eval_metrics', ...(scorer === null ? [] : [scorer]), name),
    })),

  native: (log, document) => {
    if (at(document, 'status') !== log.status) return 'another status than the file says';
    return each(log, ({ name }) => {
      const named = at(document, 'metrics', name);
      const isScore = name === 'score' && named === undefined;
      // A metric may be called score, too.
      if (name === 'score' && named !== undefined) return { value: undefined };
      return isScore
        ? { value: at(document, 'score'), stderr: at(document, 'stderr') }
        : { value: at(named, 'value'), stderr: at(named, 'stderr') };
    });
  },
};

/** A number that is not finite is the text of its name, to the reader; where a name belongs, it is one. */
const named = (value: unknown): unknown => figure(value) ?? value ?? null;

function textOf(value: unknown): string | null {
  const name = typeof value === 'number' && Number.isFinite(value) ? null : named(value);
  return typeof name === 'string' && name !== '' ? name.toWellFormed() : null;
}

function numeric(value: unknown): number[] {
  if (typeof value === 'boolean') return [Number(value)];
  const number = figure(value);
  return number === undefined ? [] : [Number(number)];
}

function lmEvalResults(log: HarnessLog, document: unknown): string | null {
  return each(log, ({ task, scorer, name, group }) => {
    const key = (of: string): string => (scorer === null ? of : `${of},${scorer}`);
    const row = at(document, 'results', task ?? '') ?? at(document, 'groups', task ?? '');
    const n = at(document, 'n-samples', task ?? '', 'effective');
    return {
      value: at(row, key(name)),
      stderr: at(row, key(`${name}_stderr`)),
      ...(group === true || !isCount(n) ? {} : { n }),
    };
  });
}

const FIXED = /^(doc_id|doc|target|arguments|resps|filtered_resps|filter|metrics|(doc|prompt|target)_hash)$/;

/** Null counts as not said. */
const namesOf = (row: Members): readonly unknown[] =>
  row['metrics'] == null ? Object.keys(row).filter((name) => !FIXED.test(name)) : itemsOf(row['metrics']);

function lmEvalSamples(log: HarnessLog, document: unknown, lines: readonly Members[]): string | null {
  const rows = Array.isArray(document) ? document.filter(isMembers) : lines;
  return first([
    each(log, ({ scorer, name }) => {
      const own = rows.filter(
        (row) => named(row['filter']) === scorer && namesOf(row).some((each) => named(each) === name),
      );
      // A row may name a metric twice.
      const values = own.flatMap((row) =>
        namesOf(row).flatMap((each) => (named(each) === name ? numeric(at(row, name)) : [])),
      );
      return { value: mean(values), n: values.length };
    }),
    says(log.samples.total, new Set(rows.map((row) => row['doc_id'])).size, 'the samples'),
  ]);
}

function promptfooMetric(
  metric: HarnessMetric,
  prompts: readonly unknown[],
  rows: readonly unknown[],
  stats: unknown,
): string | null {
  const index = metric.facts?.['prompt_index'];
  const { pass, fail, errors } = metric.facts ?? {};
  if (metric.name === 'pass_rate' && isCount(pass) && isCount(fail) && isCount(errors)) {
    const rate = says(metric.value, pass / (pass + fail + errors), 'the pass rate');
    if (rate !== null) return rate;
    if (typeof index === 'number')
      return says(pass, at(prompts[index], 'metrics', 'testPassCount'), 'passes');
    const passed = rows.filter((row) => at(row, 'success') === true).length;
    const saysAll = rows.length > 0 && rows.every((row) => typeof at(row, 'success') === 'boolean');
    return says(pass, saysAll ? passed : at(stats, 'successes'), 'passes');
  }
  if (typeof index !== 'number') return `${metric.name} of no prompt`;
  const score = at(prompts[index], 'metrics', 'namedScores', metric.name);
  const count = at(prompts[index], 'metrics', 'namedScoresCount', metric.name);
  return says(metric.value, Number(score) / Number(count), metric.name);
}

function sum(metrics: readonly HarnessMetric[], names: readonly string[]): number {
  return metrics
    .filter(({ name, facts }) => name === 'pass_rate' && facts?.['pass'] !== undefined)
    .flatMap(({ facts }) => names.map((name) => Number(facts?.[name] ?? 0)))
    .reduce((total, value) => total + value, 0);
}
