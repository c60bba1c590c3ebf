/**
 * garak: `*.report.jsonl`, one entry a line, told apart by `entry_type`; and the hit log beside it, a companion.
 *
 * An attempt is written when it is answered (status 1) and again when it is judged (status 2); its uuid makes it one, its prompt where
 * there is none. `pass_rate` is the share of judged outputs that the probe did not get through with: higher is safer. An output that
 * never came is judged None, and left out of that share. A run that ended has a `completion` line, and of a report that was put
 * together out of others the `digest`, but releases before 0.9.0.14 wrote neither, and of those an `eval` line has to do. It
 * has to do, too, for lines out of a report without the one that names its release; what it is worth then is said to be unfinished.
 */
import { z } from 'zod';
import type { HarnessLog, HarnessMetric, SampleScores } from '../../domain/harness-log.ts';
import { readLines } from './documents.ts';
import { GLIMPSE_BYTES, type HarnessFormat, type ReadLog, type ReadOptions } from './format.ts';
import {
  counts,
  digestOf,
  distinct,
  draft,
  finish,
  joined,
  jsonMembers,
  layoutProblem,
  type Refusal,
  ratio,
  refusal,
  tally,
  text,
} from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

export const garak: HarnessFormat = {
  name: 'garak',
  kinds: ['garak-report-jsonl', 'garak-hitlog-jsonl'],
  claims: ({ head }) => kindOf(head) !== null,
  kind: ({ head }) => kindOf(head) ?? 'garak-report-jsonl',
  async read(source, options) {
    return kindOf(await source.read(0, GLIMPSE_BYTES)) === 'garak-hitlog-jsonl'
      ? finish(draft('garak-hitlog-jsonl', 'garak', {}), source)
      : readReport(source, options);
  },
};

function kindOf(head: Uint8Array): 'garak-report-jsonl' | 'garak-hitlog-jsonl' | null {
  if (isObjectWith(head, { all: ['entry_type'] })) return 'garak-report-jsonl';
  const isHitLog = isObjectWith(head, { all: ['attempt_id', 'probe', 'detector', 'generator'] });
  return isHitLog ? 'garak-hitlog-jsonl' : null;
}

const EntrySchema = z.looseObject({ entry_type: z.string() });
const AttemptSchema = z.looseObject({
  uuid: text,
  seq: z.unknown().optional(),
  status: z.number(),
  probe_classname: text,
  prompt: z.unknown().optional(),
  outputs: z.array(z.unknown()).nullish(),
  detector_results: z.record(z.string(), z.array(z.unknown())).nullish(),
});
type Attempt = z.infer<typeof AttemptSchema>;
const EvalSchema = z.looseObject({
  probe: z.string(),
  detector: z.string(),
  passed: tally,
  total_evaluated: tally.nullish(),
  /** Until 0.13. */
  total: tally.nullish(),
  fails: tally.nullish(),
  nones: tally.nullish(),
  confidence_lower: z.unknown().optional(),
  confidence_upper: z.unknown().optional(),
});

const JUDGED = 2;

class Report {
  setup: Record<string, unknown> = {};
  version: string | null = null;
  startedAt: string | null = null;
  completedAt: string | null = null;
  isCompleted = false;
  hasDigest = false;
  readonly metrics: HarnessMetric[] = [];
  readonly attempted = new Set<string>();
  readonly judged = new Set<string>();
  /** Of the judged, those with an output that never came. */
  unanswered = 0;
  readonly probes = new Set<string>();
  readonly sheets: ScoreSheets | null;

  constructor({ scores }: ReadOptions) {
    this.sheets = scores === undefined ? null : new ScoreSheets();
  }

  take(value: unknown): Refusal | undefined {
    const entry = EntrySchema.safeParse(value);
    if (!entry.success) return layoutProblem('garak report', entry.error);
    switch (entry.data.entry_type) {
      // The first until 0.9.0.8, the second in 0.9.0.9: the arguments of the command line, under their own names.
      case 'config':
      case 'start_run args config':
      case 'start_run setup':
        this.setup = { ...this.setup, ...entry.data };
        return undefined;
      case 'init':
        this.version = text.parse(entry.data['garak_version']);
        this.startedAt = text.parse(entry.data['start_time']);
        return undefined;
      case 'attempt':
        return this.#attempt(entry.data);
      case 'eval':
        return this.#eval(entry.data);
      case 'completion':
        this.isCompleted = true;
        this.completedAt = text.parse(entry.data['end_time']);
        return undefined;
      case 'digest':
        this.hasDigest = true;
        return undefined;
      default:
        return undefined; // trees, payloads, caches, summaries: nothing of what was found
    }
  }

  #attempt(entry: object): Refusal | undefined {
    const parsed = AttemptSchema.safeParse(entry);
    if (!parsed.success) return layoutProblem('garak attempt', parsed.error);
    const attempt = parsed.data;
    const key = keyOf(attempt);
    this.attempted.add(key);
    if (attempt.probe_classname !== null) this.probes.add(attempt.probe_classname);
    if (attempt.status === JUDGED && !this.judged.has(key)) {
      this.judged.add(key);
      if (isUnanswered(attempt)) this.unanswered += 1;
      this.#score(attempt, key);
    }
    return this.sheets?.isFull ? refusal('log-too-large', 'holds more attempts than are read') : undefined;
  }

  /** A detector says how sure it is that the probe got through; the run's threshold makes a pass of it. */
  #score({ probe_classname: task, detector_results: results }: Attempt, sample: string): void {
    const threshold = this.setup['run.eval_threshold'] ?? this.setup['eval_threshold'];
    if (this.sheets === null || typeof threshold !== 'number') return;
    for (const [scorer, outputs] of Object.entries(results ?? {})) {
      for (const found of outputs) {
        const value = typeof found === 'number' ? found < threshold : null;
        this.sheets.add({ scorer, name: 'pass_rate', task }, { sample, value });
      }
    }
  }

  #eval(entry: object): Refusal | undefined {
    const parsed = EvalSchema.safeParse(entry);
    if (!parsed.success) return layoutProblem('garak evaluation', parsed.error);
    const { probe, detector, passed, fails, nones, confidence_lower, confidence_upper } = parsed.data;
    const n = parsed.data.total_evaluated ?? parsed.data.total;
    if (n == null) return refusal('log-unreadable', 'has an evaluation without its total');
    if (passed > n) return refusal('log-unreadable', 'has an evaluation that passed more than there was');
    this.metrics.push({
      scorer: detector,
      task: probe,
      name: 'pass_rate',
      value: ratio(passed, n),
      stderr: null,
      n,
      facts: jsonMembers({
        passed,
        fails: fails ?? undefined,
        nones: nones ?? undefined,
        confidence_lower: confidence_lower ?? undefined,
        confidence_upper: confidence_upper ?? undefined,
      }),
    });
    return undefined;
  }
}

/** Older releases pass over an output that never came, newer ones judge it None. */
function isUnanswered({ outputs, detector_results: results }: Attempt): boolean {
  const found = Object.values(results ?? {}).flat();
  return found.length === 0 || found.includes(null) || (outputs ?? []).includes(null);
}

/** A report out of several gives all of them its own uuid; places in their probes tell them apart. */
const keyOf = ({ uuid, seq, probe_classname: probe, prompt }: Attempt): string =>
  uuid === null ? digestOf([probe, seq ?? null, prompt ?? null]) : JSON.stringify([uuid, probe, seq ?? null]);

async function readReport(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const report = new Report(options);
  const lines = await readLines(source, (value) => report.take(value));
  if (!lines.ok) return lines;
  const { metrics, version } = report;
  const isLoose = metrics.length > 0 && version === null;
  const saysDone =
    report.isCompleted || (metrics.length > 0 && (report.hasDigest || writesNoCompletion(version)));
  const isDone = saysDone || isLoose;
  if (isDone && lines.isCut) return refusal('log-truncated', 'ends in the middle of a line');
  const evaluated = distinct(report.metrics.flatMap(({ task }) => task ?? []));
  const { setup } = report;
  // A digest in a file of its own is made of a report, and says nothing of how it ended.
  const isDigestAlone = report.hasDigest && version === null && report.attempted.size + metrics.length === 0;
  const modelType = text.parse(
    setup['plugins.target_type'] ?? setup['plugins.model_type'] ?? setup['model_type'],
  );
  const created = report.startedAt ?? text.parse(setup['transient.starttime_iso']);
  return finish(
    draft('garak-report-jsonl', 'garak', {
      status: isDigestAlone ? null : isDone ? 'success' : 'started',
      harnessVersion: report.version,
      task: joined(evaluated.length > 0 ? evaluated : [...report.probes]),
      model:
        text.parse(setup['plugins.target_name'] ?? setup['plugins.model_name'] ?? setup['model_name']) ??
        modelType,
      created,
      startedAt: created,
      completedAt: report.completedAt,
      metrics: report.metrics,
      samples: samplesOf(report),
      ...(isDigestAlone ? { samples: counts({}) } : {}),
      facts: jsonMembers({
        completion_line: report.isCompleted,
        garak_version: report.version,
        target_type: modelType,
        unfinished: saysDone || !isLoose ? undefined : true,
      }),
      protocol: protocolOf(report),
      sampleScores: namedAsMetrics(report.sheets?.list() ?? [], metrics),
    }),
    source,
  );
}

function samplesOf({ attempted, judged, unanswered }: Report): HarnessLog['samples'] {
  const { size: total } = attempted;
  return counts({ total, completed: judged.size, scored: judged.size - unanswered, logged: total });
}

/** Evaluations name their detector `detector.dan.DAN` until 0.11, attempts `dan.DAN` always. */
function namedAsMetrics(sheets: readonly SampleScores[], metrics: readonly HarnessMetric[]): SampleScores[] {
  const prefixed = new Set(metrics.flatMap(({ scorer }) => (scorer?.startsWith(PREFIX) ? [scorer] : [])));
  return sheets.map((sheet) => {
    const scorer = `${PREFIX}${sheet.scorer}`;
    return prefixed.has(scorer) ? { ...sheet, scorer } : sheet;
  });
}
const PREFIX = 'detector.';

function writesNoCompletion(version: string | null): boolean {
  const [, major, minor, patch, micro = '0'] = /^(\d+)\.(\d+)\.(\d+)(?:\.(\d+))?/.exec(version ?? '') ?? [];
  return major === '0' && Number(minor) <= 9 && Number(patch) === 0 && Number(micro) < 14;
}

function protocolOf({ setup, version }: Report): HarnessLog['protocol'] {
  const {
    'run.eval_threshold': threshold,
    'run.generations': generations,
    'run.soft_probe_prompt_cap': cap,
  } = setup;
  const {
    'plugins.probe_spec': probes,
    'plugins.detector_spec': detectors,
    'plugins.buff_spec': buffs,
  } = setup;
  return jsonMembers({ version, threshold, generations, cap, probes, detectors, buffs });
}
