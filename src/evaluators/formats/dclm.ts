/**
 * DCLM and llm-foundry: the record of one model's evaluation, `eval_metrics` with in-context learning tasks and a perplexity.
 *
 * No counts, no standard errors. The figures that are aggregated over tasks are DCLM's own and stay facts.
 */
import { z } from 'zod';
import type { HarnessMetric } from '../../domain/harness-log.ts';
import { readDocument } from './documents.ts';
import type { HarnessFormat, ReadLog } from './format.ts';
import {
  draft,
  finish,
  harnessNumber,
  jsonMembers,
  layoutProblem,
  record,
  refusal,
  text,
  textOrNumber,
} from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { outlineOf } from './outline.ts';

export const dclm: HarnessFormat = {
  name: 'dclm',
  kinds: ['dclm-evaluation'],
  claims: ({ head }) => {
    const { root, paths } = outlineOf(head);
    const isRecord = paths.has('uuid') || paths.has('creation_date') || paths.has('eval_metrics.icl');
    return root === 'object' && paths.has('eval_metrics') && isRecord;
  },
  kind: () => 'dclm-evaluation',
  read,
};

const RecordSchema = z.looseObject({
  name: text,
  uuid: text,
  model: text,
  creation_date: text,
  eval_metrics: z.looseObject({ icl: record.nullish(), perplexity: z.unknown().optional() }),
  eval_version: textOrNumber,
});

async function read(source: LogSource): Promise<ReadLog> {
  const document = await readDocument(source);
  if (!document.ok) return document;
  const parsed = RecordSchema.safeParse(document.value);
  if (!parsed.success) return layoutProblem('DCLM evaluation', parsed.error);
  const {
    name,
    uuid,
    model,
    creation_date: created,
    eval_version: version,
    eval_metrics: measured,
  } = parsed.data;
  const metrics = [
    ...Object.entries(measured.icl ?? {}).flatMap(([task, value]) => metricOf('icl', task, value)),
    ...('perplexity' in measured ? metricOf(null, 'perplexity', measured.perplexity) : []),
  ];
  if (metrics.length === 0) return refusal('log-unreadable', 'has no metrics');
  return finish(
    draft('dclm-evaluation', 'dclm', {
      status: 'success',
      task: name,
      model,
      created,
      metrics,
      facts: jsonMembers({
        uuid,
        eval_version: version,
        Core: parsed.data['Core'],
        Extended: parsed.data['Extended'],
      }),
      protocol: jsonMembers({ eval_version: version }),
    }),
    source,
  );
}

function metricOf(scorer: string | null, name: string, value: unknown): HarnessMetric[] {
  const number = harnessNumber(value);
  return number === undefined ? [] : [{ scorer, name, value: number, stderr: null }];
}
