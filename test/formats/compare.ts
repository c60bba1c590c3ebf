/**
 * Every genuine log of a directory with an `expected.json`, read, and compared fact by fact.
 *
 * What a reader says beside the expected facts is not compared; what is expected has to be said, with equal values.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { HarnessLog, HarnessMetric } from '../../src/domain/harness-log.ts';
import { type Reading, readLog } from '../../src/evaluators/formats/detect.ts';
import { openLog } from '../../src/evaluators/formats/log-source.ts';

const MetricSchema = z.looseObject({ scorer: z.string().nullable(), name: z.string() });
const FileSchema = z.looseObject({
  format: z.string(),
  metrics: z.array(MetricSchema),
  source: z.unknown(),
});
export const ExpectedSchema = z.record(z.string(), FileSchema);
export type Expected = z.infer<typeof FileSchema>;

export interface Comparison {
  readonly file: string;
  readonly format: string;
  /** Facts that were compared. */
  readonly facts: number;
  /** One line each: which fact, what was expected, what was read. */
  readonly differences: readonly string[];
  readonly ms: number;
}

export async function compareAll(directory: string): Promise<Comparison[]> {
  const expected = ExpectedSchema.parse(JSON.parse(await readFile(join(directory, 'expected.json'), 'utf8')));
  const comparisons: Comparison[] = [];
  for (const [file, facts] of Object.entries(expected))
    comparisons.push(await compareOne(directory, file, facts));
  return comparisons;
}

async function compareOne(directory: string, file: string, expected: Expected): Promise<Comparison> {
  const source = await openLog(join(directory, file));
  if (source === null) return { file, format: '', facts: 0, differences: ['there is no such file'], ms: 0 };
  const from = performance.now();
  const reading = await readLog(source).finally(() => source.close());
  const ms = performance.now() - from;
  const said = reading.ok ? saidBy(reading.log) : saidOf(reading);
  const differences: string[] = [];
  let facts = 0;
  const compare = (name: string, wanted: unknown, found: unknown): void => {
    facts += 1;
    if (!isDeepStrictEqual(wanted, found))
      differences.push(`${name}: expected ${show(wanted)}, read ${show(found)}`);
  };
  const { source: _source, metrics, ...top } = expected;
  for (const [name, wanted] of Object.entries(top)) compare(name, wanted, said.facts[name]);
  compare('metrics', metrics.length, said.metrics.length);
  for (const [index, metric] of metrics.entries()) {
    const found = said.metrics[index] ?? {};
    for (const [name, wanted] of Object.entries(metric)) {
      compare(`metrics.${index} ${metric.scorer ?? '-'}/${metric.name} ${name}`, wanted, found[name]);
    }
  }
  return {
    file,
    format: reading.ok ? reading.log.format : (reading.kind ?? reading.problem),
    facts,
    differences,
    ms,
  };
}

interface Said {
  facts: Record<string, unknown>;
  metrics: Record<string, unknown>[];
}

/** Under the names of expected.json. */
function saidBy({ samples, metrics, facts, ...log }: HarnessLog): Said {
  return {
    facts: {
      epochs: log.epochs,
      revision: log.revision,
      started_at: log.startedAt,
      completed_at: log.completedAt,
      samples_logged: samples.logged,
      ...facts,
      format: log.format,
      status: log.status,
      task: log.task,
      model: log.model,
      created: log.created,
      error: log.error,
      samples_total: samples.total,
      samples_completed: samples.completed,
    },
    metrics: metrics.map(metricSaid),
  };
}

function metricSaid({ facts, ...metric }: HarnessMetric): Record<string, unknown> {
  return { ...facts, ...metric };
}

const NOTHING = { task: null, model: null, created: null, samples_total: null, samples_completed: null };

/** What no reader claims is no log; what one claims and cannot read is one that is unreadable. */
function saidOf(reading: Extract<Reading, { ok: false }>): Said {
  const facts =
    reading.kind === null && reading.problem === 'format-unknown'
      ? { ...NOTHING, format: 'not-an-eval-log', status: null, error: null }
      : { ...NOTHING, format: reading.kind, status: 'unreadable', error: reading.detail };
  return { facts, metrics: [] };
}

function show(value: unknown): string {
  const json = JSON.stringify(value) ?? 'nothing';
  return json.length > 80 ? `${json.slice(0, 77)}...` : json;
}
