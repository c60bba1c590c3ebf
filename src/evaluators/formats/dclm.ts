/**
 * DCLM and llm-foundry: the record of one model's evaluation, `eval_metrics` with in-context learning tasks and a perplexity.
 *
 * No counts, no standard errors. The figures that are aggregated over tasks are DCLM's own and stay facts.
 */
import { z } from 'zod';
import { readDocumentAs } from './documents.ts';
import type { HarnessFormat, ReadLog } from './format.ts';
import {
  draft,
  finish,
  jsonMembers,
  plainMetric,
  record,
  refusal,
  text,
  textOrNumber,
} from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith } from './outline.ts';

export const dclm: HarnessFormat = {
  name: 'dclm',
  kinds: ['dclm-evaluation'],
  claims: ({ head }) =>
    isObjectWith(head, { all: ['eval_metrics'], any: ['uuid', 'creation_date', 'eval_metrics.icl'] }),
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
  const document = await readDocumentAs(source, 'DCLM evaluation', RecordSchema);
  if (!document.ok) return document;
  const {
    name,
    uuid,
    model,
    creation_date: created,
    eval_version: version,
    eval_metrics: measured,
  } = document.value;
  const metrics = [
    ...Object.entries(measured.icl ?? {}).flatMap(([task, value]) => plainMetric('icl', task, value)),
    ...('perplexity' in measured ? plainMetric(null, 'perplexity', measured.perplexity) : []),
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
        Core: document.value['Core'],
        Extended: document.value['Extended'],
      }),
      protocol: jsonMembers({ eval_version: version }),
    }),
    source,
  );
}
