/**
 * Executors that start a harness by itself: a few fields of the policy, from which the command is built
 * (src/evaluators/launchers).
 *
 * The model is the checkpoint's own endpoint unless the policy says otherwise: what is measured must be the checkpoint.
 * Options that decide where the log goes, which model answers or which task runs belong to Interlock: `args` that would
 * set them again are refused, abbreviations too, so that the last of two words is never the one that nobody reviewed.
 */
import { z } from 'zod';
import { DurationSchema } from './duration.ts';
import {
  argument,
  isPlainText,
  PLAIN_TEXT,
  placeholdersIn,
  programFields,
  SecretReferenceSchema,
} from './executor-fields.ts';

/** Of what is only known once the harness runs, nothing: its own options name those. */
const UNKNOWN_BEFORE = ['resultFile', 'logDirectory'];

const template = argument
  .refine((text) => !text.startsWith('-'), 'must not begin with a dash: it would be read as an option')
  .refine((text) => !placeholdersIn(text).some((name) => UNKNOWN_BEFORE.includes(name)), {
    message: 'must not name {resultFile} or {logDirectory}: Interlock says where the log goes',
  });

const program = z
  .string()
  .min(1)
  .max(4096)
  .refine(isPlainText, PLAIN_TEXT)
  .refine((text) => !text.startsWith('-') && placeholdersIn(text).length === 0, {
    message: 'the program is fixed by the policy: a name on PATH, or a path relative to the configuration',
  })
  .optional();

const settings = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,127}$/, 'must be the name of an argument'),
    z.union([argument, z.number(), z.boolean()]),
  )
  .optional();

const count = z.int().min(1).max(10_000_000);

/** Options that Interlock sets. Prefixes of long ones count: some harnesses take those for the whole. */
const extraArguments = (reserved: readonly string[]) =>
  z
    .array(argument)
    .max(100)
    .superRefine((given, context) => {
      for (const [index, text] of given.entries()) {
        const [name = ''] = text.split('=');
        if (name.startsWith('-') && placeholdersIn(name).length > 0) {
          const message = 'an option is chosen by the policy: no placeholder in its name';
          context.addIssue({ code: 'custom', path: [index], message });
        }
        const taken = reserved.find((option) => sets(text, option));
        if (taken === undefined) continue;
        context.addIssue({
          code: 'custom',
          path: [index],
          message: `${taken} is set by Interlock; use the fields of the executor`,
        });
      }
    })
    .optional()
    .meta({ description: "Further options of the harness's own command line, added at the end" });

function sets(text: string, option: string): boolean {
  const [name = ''] = text.split('=');
  if (!option.startsWith('--')) return text.startsWith(option) && !text.startsWith('--');
  return name.length > 2 && (name === option || option.startsWith(name));
}

const common = {
  program: program.meta({ description: 'By default found on PATH by the name of the harness' }),
  endpoint: template.optional().meta({
    description:
      "Base URL of an OpenAI-compatible server that answers for the checkpoint, such as {endpoint}/v1; by default the checkpoint's endpoint",
  }),
  apiKey: SecretReferenceSchema.optional().meta({
    description: 'What the server asks for; left out: a word that means none',
  }),
  limit: count.optional().meta({ description: 'Samples at most' }),
  ...programFields,
};

const INSPECT_RESERVED = [
  '--model',
  '--model-base-url',
  '--model-config',
  '--model-spec',
  '--run-config',
  '--log-dir',
  '--log-format',
  '--display',
  '--json',
  '--detach',
  '--limit',
  '--epochs',
  '--message-limit',
  '--token-limit',
  '--time-limit',
  '--no-score',
] as const;

export const InspectExecutorSchema = z.strictObject({
  kind: z.literal('inspect'),
  task: template.meta({ description: 'As `inspect eval` takes it: package/task, or file.py@task' }),
  model: template.optional().meta({
    description:
      "As `--model` takes it. By default openai-api/checkpoint/{checkpointId}: an OpenAI-compatible server at the checkpoint's endpoint. Where it or modelArgs name {modelUri}, it loads the weights itself and is given no base URL",
  }),
  taskArgs: settings.meta({ description: 'Each as -T name=value' }),
  modelArgs: settings.meta({ description: 'Each as -M name=value' }),
  epochs: count.optional(),
  messageLimit: count.optional(),
  tokenLimit: count.optional(),
  timeLimit: DurationSchema.optional().meta({ description: 'Of each sample' }),
  args: extraArguments(INSPECT_RESERVED),
  ...common,
});

const LM_EVAL_RESERVED = [
  '--config',
  '--model',
  '--model_args',
  '--tasks',
  '--limit',
  '--num_fewshot',
  '--batch_size',
  '--output_path',
  '--log_samples',
  '--use_cache',
  '--predict_only',
  '--write_out',
  '-C',
  '-M',
  '-m',
  '-a',
  '-t',
  '-L',
  '-f',
  '-b',
  '-o',
  '-s',
  '-c',
  // Of those that take no value: behind one of them another option may stand in the same word.
  '-x',
  '-w',
] as const;

const TaskName = template.refine((text) => !/[\s,]/.test(text), 'must be one name, without comma or space');

export const LmEvalExecutorSchema = z.strictObject({
  kind: z.literal('lm-eval'),
  tasks: z.array(TaskName).min(1).max(50),
  backend: z
    .string()
    .regex(
      /^[A-Za-z][A-Za-z0-9_-]{0,63}$/,
      'must be a name that `--model` takes, such as local-chat-completions or hf',
    )
    .optional()
    .meta({
      description:
        'As `--model` takes it; by default local-chat-completions. hf, vllm and their like load the weights of {modelUri}',
    }),
  model: template.optional().meta({
    description:
      'The name that the server knows it by; default {checkpointId}. Where weights are loaded: {modelUri}',
  }),
  revision: template.optional().meta({ description: 'Of weights that a hub keeps' }),
  modelArgs: settings.meta({ description: 'Further members of --model_args' }),
  fewshot: z.int().min(0).max(1_000).optional(),
  batchSize: z
    .union([count, z.string().regex(/^auto(:[1-9][0-9]{0,3})?$/, 'must be a number, auto or auto:N')])
    .optional(),
  applyChatTemplate: z.boolean().optional().meta({
    description: 'By default true with local-chat-completions, which takes nothing else',
  }),
  args: extraArguments(LM_EVAL_RESERVED),
  ...common,
});

const PROMPTFOO_RESERVED = [
  '--config',
  '--providers',
  '--output',
  '--filter-first-n',
  '--repeat',
  '--cache',
  '--no-cache',
  '--resume',
  '--retry-errors',
  '--no-write',
  '--share',
  '--watch',
  '--model-outputs',
  '-c',
  '-r',
  '-o',
  '-n',
  '-w',
] as const;

export const PromptfooExecutorSchema = z.strictObject({
  kind: z.literal('promptfoo'),
  config: template.meta({ description: 'The evaluation, relative to the configuration (or to cwd)' }),
  model: template.optional().meta({
    description:
      'The name that the server knows it by; default {checkpointId}. Asked as openai:chat:<model> instead of the providers of the file',
  }),
  provider: z
    .string()
    .regex(/^[a-z][a-z0-9-]*(:[a-z][a-z0-9-]*)*$/, 'must be the beginning of a provider, such as openai:chat')
    .optional()
    .meta({ description: 'By default openai:chat' }),
  repeat: z.int().min(1).max(1_000).optional().meta({ description: 'Each test so many times' }),
  concurrency: z.int().min(1).max(1_000).optional(),
  args: extraArguments(PROMPTFOO_RESERVED),
  ...common,
});

export type InspectExecutor = z.infer<typeof InspectExecutorSchema>;
export type LmEvalExecutor = z.infer<typeof LmEvalExecutorSchema>;
export type PromptfooExecutor = z.infer<typeof PromptfooExecutorSchema>;
export type HarnessExecutor = InspectExecutor | LmEvalExecutor | PromptfooExecutor;

export const isHarnessExecutor = (executor: { readonly kind: string }): executor is HarnessExecutor =>
  ['inspect', 'lm-eval', 'promptfoo'].includes(executor.kind);
