/**
 * How an evaluation is carried out, as the policy states it. The adapters in src/evaluators read
 * these; nothing here runs anything.
 *
 * Whatever can be refused without running anything is refused here, so that `policy check` says it before
 * a checkpoint waits for it: an unknown placeholder, a program chosen by an event, an inline secret, a URL
 * with credentials. What depends on the event is refused when it runs.
 */
import { z } from 'zod';
import {
  attempts,
  backoff,
  programAndArguments,
  programFields,
  SecretReferenceSchema,
  timeout,
} from './executor-fields.ts';
import { InspectExecutorSchema, LmEvalExecutorSchema, PromptfooExecutorSchema } from './harness-executors.ts';
import { logFields, logProblems } from './log-fields.ts';
import { SlurmExecutorSchema } from './slurm-executor.ts';

export const CommandExecutorSchema = z
  .strictObject({
    kind: z.literal('command'),
    command: programAndArguments.meta({
      description: 'Program and arguments; run without a shell; {placeholders} inside arguments',
    }),
    ...logFields('as {resultFile} or last line of JSON'),
    ...programFields,
  })
  .superRefine((executor, context) => {
    for (const issue of logProblems(executor)) context.addIssue({ code: 'custom', ...issue });
  });

export const EvaluatorUrlSchema = z.url({ protocol: /^https?$/ }).superRefine((text, context) => {
  // URL folds a look-alike host to punycode in silence: what people review must be what is called.
  if (!/^[\x21-\x7e]+$/.test(text)) context.addIssue({ code: 'custom', message: 'must be plain ASCII' });
  if (/^[a-z]+:\/\/[^/?]*@/i.test(text)) {
    context.addIssue({ code: 'custom', message: 'must not hold credentials; name a secret instead' });
  }
  if (text.includes('#')) context.addIssue({ code: 'custom', message: 'must not have a fragment' });
});

export const HttpExecutorSchema = z
  .strictObject({
    kind: z.literal('http'),
    url: EvaluatorUrlSchema.optional().meta({
      description:
        'Left out with mode callback: nobody is called, the evaluator watches the run and posts its result',
    }),
    mode: z.enum(['sync', 'callback']),
    callOff: EvaluatorUrlSchema.optional().meta({
      description: 'Told, signed, when an evaluation that had begun is cancelled, until it answers 2xx',
    }),
    secret: SecretReferenceSchema.optional(),
    timeout,
    attempts,
    backoff,
  })
  .superRefine(({ url, mode, secret, callOff }, context) => {
    if (url === undefined && mode === 'sync') {
      context.addIssue({ code: 'custom', path: ['url'], message: 'is required with mode sync' });
    }
    if ((url !== undefined || callOff !== undefined) && secret === undefined) {
      context.addIssue({
        code: 'custom',
        path: ['secret'],
        message: `is required with ${url === undefined ? 'callOff' : 'url'}: requests are signed`,
      });
    }
  });

/** Nobody is called: a named outside party sees what is asked of it and reports under its own signature. */
export const OutsideExecutorSchema = z.strictObject({
  kind: z.literal('outside'),
  party: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be the id of an identity')
    .meta({ description: 'The identity with the role outside-evaluator that carries it out' }),
  timeout,
  attempts,
  backoff,
});

export const ExecutorSchema = z.discriminatedUnion('kind', [
  CommandExecutorSchema,
  HttpExecutorSchema,
  OutsideExecutorSchema,
  InspectExecutorSchema,
  LmEvalExecutorSchema,
  PromptfooExecutorSchema,
  SlurmExecutorSchema,
]);

/** Whoever carries it out elsewhere has to be told when it is cancelled. */
export const mustBeCalledOff = (executor: Executor): boolean =>
  executor.kind === 'slurm' || (executor.kind !== 'outside' && executor.callOff !== undefined);

export type CommandExecutor = z.infer<typeof CommandExecutorSchema>;
export type HttpExecutor = z.infer<typeof HttpExecutorSchema>;
export type Executor = z.infer<typeof ExecutorSchema>;
