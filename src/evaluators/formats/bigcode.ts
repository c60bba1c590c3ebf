/**
 * bigcode-evaluation-harness: `{<task>: {<metric>: value}, config}`, written once when all tasks are done.
 *
 * The configuration is the command line's arguments, defaults included; people cut it down. Nothing in the file says how many
 * problems were solved, or how sure a value is.
 */
import { z } from 'zod';
import { readDocumentAs } from './documents.ts';
import type { HarnessFormat, ReadLog } from './format.ts';
import { draft, finish, joined, jsonMembers, plainMetric, record, refusal, text } from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith, outlineOf } from './outline.ts';

export const bigcode: HarnessFormat = {
  name: 'bigcode',
  kinds: ['bigcode-eval-harness'],
  claims: ({ head }) =>
    isObjectWith(head, {
      all: ['config.model'],
      any: ['config.n_samples', 'config.max_length_generation'],
    }) && !outlineOf(head).paths.has('results'),
  kind: () => 'bigcode-eval-harness',
  read,
};

const ResultsSchema = z.object({ config: record }).catchall(record);

async function read(source: LogSource): Promise<ReadLog> {
  const document = await readDocumentAs(source, 'bigcode results', ResultsSchema);
  if (!document.ok) return document;
  const { config, ...tasks } = document.value;
  // A task may add tables of its own, such as how its programs failed.
  const metrics = Object.entries(tasks).flatMap(([task, values]) =>
    Object.entries(values).flatMap(([name, value]) => plainMetric(task, name, value)),
  );
  if (metrics.length === 0) return refusal('log-unreadable', 'has no metrics');
  const { model: _model, revision, checkpoint_path: _checkpoint, limit, ...rest } = config;
  return finish(
    draft('bigcode-eval-harness', 'bigcode', {
      status: 'success',
      task: joined(Object.keys(tasks)),
      // An adapter is what was measured; the model is what it was laid on.
      model: text.parse(config['peft_model'] ?? config['model']),
      revision: text.parse(revision),
      limits: typeof limit === 'number' && Number.isFinite(limit) ? { samples: limit } : {},
      metrics,
      facts: jsonMembers({ n_samples_per_problem: config['n_samples'] ?? null, revision: revision ?? null }),
      protocol: jsonMembers({
        limit: limit ?? null,
        ...Object.fromEntries(OF_PROTOCOL.map((name) => [name, rest[name]])),
      }),
    }),
    source,
  );
}

/** Paths, tokens and machines are in the configuration too, and are none of the protocol. */
const OF_PROTOCOL = [
  'prefix',
  'do_sample',
  'temperature',
  'top_k',
  'top_p',
  'n_samples',
  'eos',
  'seed',
  'tasks',
  'instruction_tokens',
  'max_length_generation',
  'precision',
  'load_in_8bit',
  'load_in_4bit',
  'limit_start',
  'postprocess',
  'prompt',
];
