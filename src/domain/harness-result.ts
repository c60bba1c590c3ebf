/**
 * From a harness's log to a native result: the one number that the policy names, and all that a judgement of it needs.
 *
 * A metric is chosen by name, scorer, task, reducer and prompt. None fits: the score is missing. Several fit: it is ambiguous,
 * and none is taken, for the first one may be the flattering one. Nothing is judged here but that; whatever the log says of
 * its run, its samples and itself is carried along for domain/read-result.ts. Text of the log survives only as a name.
 */
import { z } from 'zod';
import { canonicalJson, type JsonObject } from './canonical-json.ts';
import type { HarnessLog, HarnessMetric, HarnessNumber, SampleScore } from './harness-log.ts';
import {
  count,
  defined,
  isMetricName,
  type NativeArm,
  type NativeMetric,
  type NativeResult,
  SCORES_MAX,
  safeName,
  safeProtocol,
  safeUri,
  stated,
} from './native-result.ts';
import type { Leads } from './policy/evaluation-schema.ts';
import type { Score } from './policy/score-schema.ts';
import type { ReasonCode } from './reasons.ts';

/** What names one metric of a log. */
export type MetricNames = Pick<Score, 'metric' | 'scorer' | 'task' | 'reducer' | 'prompt'>;

export interface ResultWanted {
  readonly score: Score;
  readonly leads?: Leads | undefined;
}

/** What a reader is asked for beside the metrics, so that intervals can be made from single samples. */
export function scoresWanted({ score }: Pick<ResultWanted, 'score'>): { cluster?: string } {
  return score.cluster === undefined ? {} : { cluster: score.cluster };
}

export function resultOfLog(
  log: HarnessLog,
  { score, leads }: ResultWanted,
  digest: (text: string) => string,
): NativeResult {
  const doubts: ReasonCode[] = [];
  const chosen = chooseMetric(log, score);
  const row = chosen.kind === 'one' ? withoutErrors(chosen.metric, log) : null;
  if (chosen.kind === 'several') doubts.push('metric-ambiguous');
  if (log.status === null) doubts.push('status-missing');
  if (log.facts['invalidated'] === true) doubts.push('invalidated');
  if (log.facts['unfinished'] === true) doubts.push('status-started');
  const led = leads === undefined ? null : chooseMetric(log, leads);

  return defined({
    // Of a companion nothing is a success; its own reason says why.
    status: log.status ?? 'error',
    score: row === null ? undefined : statedValue(row.value),
    stderr: row === null ? undefined : statedStderr(row.stderr),
    n: row === null ? undefined : samplesOf(log, row),
    errorLength: log.error === null || log.error === '' ? undefined : log.error.length,
    startedAt: instant(log.startedAt),
    completedAt: instant(log.completedAt),
    createdAt: instant(log.created),
    protocol: protocolOf(log, digest),
    doubts: doubts.length === 0 ? undefined : doubts,
    harness: safeName(log.harness),
    harnessVersion: safeName(log.harnessVersion),
    task: safeName(row?.task ?? log.task),
    model: safeName(log.model),
    revision: safeName(log.revision),
    dataset: safeName(log.dataset),
    endpoint: log.modelBaseUrl === null ? undefined : safeUri(log.modelBaseUrl),
    samples: countsOf(log, row),
    epochs: count(log.epochs),
    limits: limitsOf(log),
    outputTokens: count(log.outputTokens),
    fileDigest: log.fileDigest,
    scores: row === null ? undefined : scoresOf(log, row),
    control: controlOf(log, score),
    lead: led?.kind === 'one' ? metricOf(led.metric) : undefined,
  });
}

// --- the metric ----------------------------------------------------------------------------------------

export type Chosen =
  | { readonly kind: 'one'; readonly metric: HarnessMetric }
  | { readonly kind: 'none' }
  | { readonly kind: 'several'; readonly metrics: readonly HarnessMetric[] };

export function chooseMetric({ metrics }: Pick<HarnessLog, 'metrics'>, names: MetricNames): Chosen {
  const fitting = metrics.filter((metric) => fits(metric, names));
  const [first, second] = fitting;
  if (first === undefined) return { kind: 'none' };
  return second === undefined ? { kind: 'one', metric: first } : { kind: 'several', metrics: fitting };
}

/**
 * A row that does not name its task is of the log's only one, whose name is judged with the rest of its provenance. Null names
 * the row that has no scorer, task or reducer.
 */
function fits(row: HarnessMetric, { metric, scorer, task, reducer, prompt }: MetricNames): boolean {
  return (
    row.name === metric &&
    (scorer === undefined || row.scorer === scorer) &&
    (task === undefined || row.task == null || row.task === task) &&
    (reducer === undefined || (row.reducer ?? null) === reducer) &&
    (prompt === undefined || row.facts?.['prompt_index'] === prompt)
  );
}

/**
 * A pass rate may count errors among its failures (promptfoo does), and answers that never came among either: a provider that is
 * down would lower a danger score.
 * Where the row says how many of each there were, the rate is that of the samples that were judged. What it counts is each
 * epoch, and epochs of one sample are no further samples.
 */
function withoutErrors(metric: HarnessMetric, { epochs }: Pick<HarnessLog, 'epochs'>): HarnessMetric {
  const {
    pass,
    fail,
    errors,
    blank_passes: blankPasses = 0,
    blank_failures: blankFailures = 0,
  } = metric.facts ?? {};
  const tally = z.array(z.int()).safeParse([pass, fail, errors, blankPasses, blankFailures]);
  if (!tally.success) return metric;
  const [passes = 0, failures = 0, broken = 0, unpassed = 0, unfailed = 0] = tally.data;
  const succeeded = Math.max(0, passes - unpassed);
  const judged = succeeded + Math.max(0, failures - unfailed);
  const n = Math.ceil(judged / Math.max(1, epochs ?? 1));
  if (broken + unpassed + unfailed === 0) return { ...metric, n };
  return { ...metric, n, value: judged > 0 ? succeeded / judged : null };
}

const metricOf = ({ value, stderr }: HarnessMetric): NativeMetric =>
  defined({ value: statedValue(value), stderr: statedStderr(stderr) });

/** True and false are no numbers, as NaN is none. */
const statedValue = (value: HarnessNumber | boolean) =>
  stated(typeof value === 'boolean' ? 'boolean' : value);
const statedStderr = (value: HarnessNumber) => stated(value);

function controlOf(log: HarnessLog, score: Score): NativeArm | undefined {
  const { control } = score;
  if (control === undefined) return undefined;
  const chosen = chooseMetric(log, {
    metric: control.metric ?? score.metric,
    scorer: control.scorer === undefined ? score.scorer : control.scorer,
    task: control.task === undefined ? score.task : control.task,
    reducer: control.reducer === undefined ? score.reducer : control.reducer,
    prompt: control.prompt === undefined ? score.prompt : control.prompt,
  });
  if (chosen.kind !== 'one') return undefined;
  const row = withoutErrors(chosen.metric, log);
  return defined({
    score: statedValue(row.value),
    stderr: statedStderr(row.stderr),
    n: samplesOf(log, row),
    scores: scoresOf(log, row),
  });
}

// --- its samples ---------------------------------------------------------------------------------------

/** Whether other rows of the log have samples of their own: then its counts are not those of this one. */
function isOneOfSeveral({ metrics }: Pick<HarnessLog, 'metrics'>, row: HarnessMetric): boolean {
  return metrics.some(
    (other) =>
      (other.task ?? null) !== (row.task ?? null) ||
      other.facts?.['prompt_index'] !== row.facts?.['prompt_index'],
  );
}

/** Distinct samples: epochs of one are no further ones. Undefined where the log does not say. */
function samplesOf(log: HarnessLog, row: HarnessMetric): NativeResult['n'] {
  if (row.n != null) return count(row.n);
  const { scored } = log.samples;
  if (scored === null || isOneOfSeveral(log, row)) return undefined;
  const epochs = log.epochs !== null && log.epochs > 1 ? log.epochs : 1;
  return count(Math.floor(scored / epochs));
}

function countsOf(log: HarnessLog, row: HarnessMetric | null): NativeResult['samples'] {
  const { total, completed, errored, refused, logged, blank = 0 } = log.samples;
  const counts = defined({
    total: count(total),
    // What was left blank did end: it has no score, and is none that is still to come.
    completed: count(completed === null ? null : completed + blank),
    scored: count(row === null ? log.samples.scored : scoredOf(log, row)),
    errored: count(errored),
    refused: count(refused),
    logged: count(logged),
  });
  return Object.keys(counts).length === 0 ? undefined : counts;
}

/** Of this very metric, where epochs are stated and so its own n can be held against samples x epochs. */
function scoredOf(log: HarnessLog, row: HarnessMetric): number | null {
  if (isOneOfSeveral(log, row)) return null;
  const { scored } = log.samples;
  if (log.epochs === null || row.n == null) return scored;
  const ofMetric = row.n * log.epochs;
  const most = scored ?? log.samples.completed;
  return most === null ? ofMetric : Math.min(most, ofMetric);
}

/** None where more than one list of scores could be meant; one that names just this row goes before one that names less. */
function scoresOf(log: HarnessLog, row: HarnessMetric): SampleScore[] | undefined {
  const fitting = log.sampleScores.filter(
    ({ scorer, name, task, prompt }) =>
      (scorer === null || scorer === row.scorer) &&
      (name === null || name === row.name) &&
      (prompt === undefined || prompt === row.facts?.['prompt_index']) &&
      (task == null || task === (row.task ?? log.task)),
  );
  const exact = fitting.filter(
    ({ scorer, name, task }) =>
      scorer === row.scorer && name === row.name && (task ?? null) === (row.task ?? null),
  );
  const [only, ...others] = exact.length > 0 ? exact : fitting;
  if (only === undefined || others.length > 0 || only.scores.length > SCORES_MAX) return undefined;
  return only.scores.map((each) => ({ ...each, value: each.value === null ? null : each.value + 0 }));
}

function limitsOf({ limits }: HarnessLog): NativeResult['limits'] {
  const named = Object.entries(limits)
    .filter(([name]) => isMetricName(name))
    .slice(0, 32)
    .map(([name, value]): [string, number] => [name, value + 0]);
  return named.length === 0 ? undefined : Object.fromEntries(named);
}

// --- its provenance ------------------------------------------------------------------------------------

/** A harness's own text is taken for an instant only with its zone: a local time is hours off, and nobody knows which way. */
function instant(text: string | null): string | undefined {
  const match =
    text === null
      ? null
      : /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)$/.exec(
          text.trim().replace(' ', 'T'),
        );
  const [, clock, fraction = '', zone = ''] = match ?? [];
  if (clock === undefined) return undefined;
  const written = `${clock}${fraction}${zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone}`;
  return Number.isNaN(Date.parse(written)) ? undefined : written;
}

/** `harness/task@` and the digest of what was done: the same for every run that is measured alike. */
function protocolOf(
  { harness, task, protocol }: HarnessLog,
  digest: (text: string) => string,
): string | undefined {
  const facts: JsonObject = protocol;
  let text: string;
  try {
    text = canonicalJson(facts);
  } catch {
    // A lone surrogate in a prompt: no canonical form, and so no name that could be compared.
    return safeProtocol(' ');
  }
  const named = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,63}$/.test(task ?? '') ? task : 'unnamed';
  return safeProtocol(`${harness}/${named}@${digest(text).slice(0, 16)}`);
}
