/**
 * What stands beside Inspect logs and is none: the manifest of an eval set, and the listing of a directory of logs with their headers.
 *
 * They say nothing of the outcome of one run: read with status null, so that nobody takes a companion for a failed evaluation.
 */
import { z } from 'zod';
import type { HarnessLog } from '../../domain/harness-log.ts';
import { draft } from './harness-values.ts';
import { HeaderCollector } from './inspect-header.ts';
import { metricsOfScore } from './inspect-log.ts';
import { JsonScanner, type JsonValue } from './json-select.ts';
import { LogFault } from './log-fault.ts';

const ManifestSchema = z.looseObject({
  eval_set_id: z.string(),
  tasks: z.array(z.looseObject({ model: z.string().nullish() })),
});

export function readManifest(document: JsonValue, fileDigest: string): HarnessLog {
  const parsed = ManifestSchema.safeParse(document);
  if (!parsed.success)
    throw new LogFault('log-unreadable', 'tasks: not what a manifest of an eval set has there');
  const models = parsed.data.tasks.flatMap(({ model }) => (typeof model === 'string' ? [model] : []));
  return companion('inspect-eval-set-manifest', fileDigest, {
    eval_set_id: parsed.data.eval_set_id,
    models: [...new Set(models)],
  });
}

/** `{file name: header}` of every log of a directory. */
export function readListing(document: JsonValue, fileDigest: string): HarnessLog {
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw new LogFault('log-unreadable', 'a listing of logs: not an object');
  const logs = Object.entries(document).map(([name, header]): [string, JsonValue] => [name, listed(header)]);
  return companion('inspect-logs-listing', fileDigest, { logs: Object.fromEntries(logs) });
}

function listed(value: JsonValue): JsonValue {
  const collector = new HeaderCollector();
  const bytes = Buffer.from(JSON.stringify(value));
  const scanner = new JsonScanner(collector.selections(), { valueBytes: bytes.length });
  scanner.write(bytes);
  scanner.end();
  const header = collector.header();
  const metrics = (header.results?.scores ?? []).flatMap(metricsOfScore);
  return {
    status: header.status,
    model: header.eval.model,
    metrics: metrics.map(({ scorer, name, value: measured, stderr, reducer, n }) => ({
      scorer,
      name,
      value: measured,
      stderr,
      ...(reducer === undefined ? {} : { reducer }),
      ...(n === undefined ? {} : { scored_samples: n }),
    })),
  };
}

function companion(format: string, fileDigest: string, facts: HarnessLog['facts']): HarnessLog {
  return { ...draft(format, 'inspect_ai', { facts }), fileDigest };
}
