/**
 * How an evaluation is carried out, as the policy states it. The adapters in src/evaluators read
 * these; nothing here runs anything.
 */
import { z } from 'zod';
import { DurationSchema } from './duration.ts';

const attempts = z.int().min(1).max(10).default(2).meta({ description: 'Automatic attempts before inconclusive' });
const backoff = DurationSchema.default('10s').meta({
  description: 'Wait before the second attempt; doubled before each further one, at most 10m',
});
const EnvironmentName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be an environment variable name');

/** `env:NAME`: a secret is named, never written into a policy. */
export const SecretReferenceSchema = z
  .string()
  .regex(/^env:[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must name an environment variable, as in env:EVAL_SECRET');

export const EnvironmentSchema = z.record(EnvironmentName, z.string().max(4096));

export const CommandExecutorSchema = z.strictObject({
  kind: z.literal('command'),
  command: z
    .array(z.string().min(1).max(4096))
    .min(1)
    .max(100)
    .meta({ description: 'Program and arguments; run without a shell; {placeholders} inside arguments' }),
  format: z.literal('native').default('native'),
  timeout: DurationSchema,
  attempts,
  backoff,
  env: EnvironmentSchema.default({}),
});

export const HttpExecutorSchema = z.strictObject({
  kind: z.literal('http'),
  url: z.url({ protocol: /^https?$/ }),
  mode: z.enum(['sync', 'callback']),
  secret: SecretReferenceSchema.optional(),
  timeout: DurationSchema,
  attempts,
  backoff,
});

export const ExecutorSchema = z.discriminatedUnion('kind', [CommandExecutorSchema, HttpExecutorSchema]);

export type CommandExecutor = z.infer<typeof CommandExecutorSchema>;
export type HttpExecutor = z.infer<typeof HttpExecutorSchema>;
export type Executor = z.infer<typeof ExecutorSchema>;
