/**
 * What executors of several kinds have in common: placeholders, attempts, times, environment.
 *
 * Whatever can be refused without running anything is refused by these, with the path of the member.
 */
import { z } from 'zod';
import { DurationSchema, durationMs } from './duration.ts';
import { AXES } from './policy/axes.ts';

/** What a command may name in its arguments; the same come as INTERLOCK_* variables. */
export const COMMAND_PLACEHOLDERS = [
  'runId',
  'checkpointId',
  'modelUri',
  'endpoint',
  'effectiveCompute',
  'evaluation',
  'variant',
  'resultFile',
  'logDirectory',
  ...AXES,
] as const;
export type CommandPlaceholder = (typeof COMMAND_PLACEHOLDERS)[number];

/** Braces around a name; JSON in an argument (`{"a":1}`) and an empty pair are left alone. */
const PLACEHOLDER = /\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

export const isPlaceholder = (name: string): name is CommandPlaceholder =>
  COMMAND_PLACEHOLDERS.some((known) => known === name);

/** Every name in braces, in order, known or not. */
export function placeholdersIn(argument: string): string[] {
  return [...argument.matchAll(PLACEHOLDER)].map(([, name]) => name ?? '');
}

/** One pass: braces inside a replaced value are text, never a placeholder again. Unknown names stay as they are. */
export function replacePlaceholders(
  argument: string,
  replacement: (placeholder: CommandPlaceholder) => string,
): string {
  return argument.replace(PLACEHOLDER, (whole, name: string) =>
    isPlaceholder(name) ? replacement(name) : whole,
  );
}

export const attempts = z
  .int()
  .min(1)
  .max(10)
  .default(2)
  .meta({ description: 'Automatic attempts before inconclusive' });
export const backoff = DurationSchema.default('10s').meta({
  description: 'Wait before the second attempt; doubled before each further one, at most 10m',
});

/** A timer of Node holds 2^31 - 1 ms, and one set beyond that fires at once. */
const TIMEOUT_LIMIT_MS = 24 * 86_400_000;
export const timeout = DurationSchema.refine(
  // What is no duration has its own issue already, and refinements go on after one.
  (text) => !DurationSchema.safeParse(text).success || durationMs(text) <= TIMEOUT_LIMIT_MS,
  'must be at most 24d',
);

export const isPlainText = (text: string) => !text.includes('\u0000') && text.isWellFormed();
export const PLAIN_TEXT = 'must be text without NUL';

const EnvironmentName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be an environment variable name')
  .refine((name) => !name.toUpperCase().startsWith('INTERLOCK_'), 'INTERLOCK_ names are set by Interlock');

/** `env:NAME`: a secret is named, never written into a policy. */
export const SecretReferenceSchema = z
  .string()
  .regex(/^env:[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must name an environment variable, as in env:EVAL_SECRET');

/** What a child gets beside PATH, HOME, LANG and INTERLOCK_*; a value `env:NAME` is read where Interlock runs. */
export const EnvironmentSchema = z.record(
  EnvironmentName,
  z.string().max(4096).refine(isPlainText, PLAIN_TEXT),
);

export const argument = z
  .string()
  .min(1)
  .max(4096)
  .refine(isPlainText, PLAIN_TEXT)
  .superRefine((text, context) => {
    for (const name of placeholdersIn(text).filter((found) => !isPlaceholder(found))) {
      context.addIssue({
        code: 'custom',
        message: `unknown placeholder {${name}}; known are ${COMMAND_PLACEHOLDERS.map((known) => `{${known}}`).join(' ')}`,
      });
    }
  });

/** Program and arguments of a policy: the program is never chosen by an event. */
export const programAndArguments = z
  .array(argument)
  .min(1)
  .max(100)
  .refine(([program]) => program === undefined || placeholdersIn(program).length === 0, {
    message: 'the program is fixed by the policy: no placeholder in its name',
    path: [0],
  });

const network = z.enum(['none', 'host']).optional().meta({
  description: 'none: no network at all, not even loopback; by default the one of the machine',
});

const callOffCommand = programAndArguments.optional().meta({
  description:
    'Run when an evaluation that had begun is cancelled: ends what the command made outside of its own processes, such as containers. Exit code 0: done',
});

const cwd = z
  .string()
  .min(1)
  .max(4096)
  .refine(isPlainText, PLAIN_TEXT)
  .optional()
  .meta({ description: 'Where it runs, relative to the configuration; by default a fresh directory' });

/** Of every executor that starts a program on this machine: how long, how often, and in what surroundings. */
export const programFields = {
  timeout,
  attempts,
  backoff,
  env: EnvironmentSchema.default({}),
  network,
  callOff: callOffCommand,
  cwd,
};
