/**
 * The site's own commands that targets may name: programs that stop a run and say whether it runs. They are the
 * operator's to write and to trust; what a trainer states reaches them as JSON on standard input and no other way.
 */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { DurationSchema, durationMs } from '../domain/duration.ts';
import { OWN_STEPS } from '../domain/policy/ladder.ts';
import { SystemName } from './system-names.ts';

const argument = z
  .string()
  .min(1)
  .max(4_096)
  .refine((text) => !text.includes('\0'), 'must not hold NUL');

export const SiteArgv = z
  .array(argument)
  .min(1)
  .max(64)
  .refine(([program = '']) => isAbsolute(program), 'must begin with the absolute path of a program');

/** The service gives a step ten seconds, and the ending of a program that does not end needs some of them. */
const TIMEOUT_MAX_MS = 8_000;

const POLL_MIN_MS = 50;
const POLL_MAX_MS = 10_000;

/** What would hand Interlock's own keys to a program that has no use for them. */
const OWN = /^(DATABASE_URL|DATABASE_DIRECT_URL|REDIS_URL|INTERLOCK_.*|LD_.*|NODE_OPTIONS)$/;

const variableName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be the name of an environment variable')
  .refine(
    (name) => !OWN.test(name),
    "is Interlock's own, or changes how programs are loaded, and is not passed on",
  );

/** How a program of the site is run, whatever it is for. */
export const siteProgram = {
  timeout: DurationSchema.refine(
    // What is no duration at all is told by the schema itself.
    (text) => !DurationSchema.safeParse(text).success || durationMs(text) <= TIMEOUT_MAX_MS,
    'must be at most 8s: a step of a halt has ten seconds in all',
  ).default('8s'),
  /** What is passed on of Interlock's environment, besides PATH, HOME and LANG. */
  environment: z.array(variableName).max(64).default([]),
};

const command = z.strictObject({
  stop: SiteArgv,
  /** The harder step, later; `stop` again, told which step it is, where there is none. */
  kill: SiteArgv.optional(),
  /** Further steps, which a ladder may name: cutting the network, locking the weights. */
  steps: z
    .record(
      z
        .string()
        .regex(/^[a-z][a-z0-9-]{0,31}$/, 'must be lower case letters, digits or "-", at most 32')
        .refine((name) => !['stop', 'kill', 'status'].includes(name), 'stands beside steps, not in it')
        .refine(
          (name) => !OWN_STEPS.has(name),
          'is a step that Interlock takes by itself; give it another name',
        ),
      SiteArgv,
    )
    .default({}),
  status: SiteArgv,
  ...siteProgram,
  /** The pause between two looks during a halt: each is a program. */
  pollEvery: DurationSchema.refine(
    (text) =>
      !DurationSchema.safeParse(text).success ||
      (durationMs(text) >= POLL_MIN_MS && durationMs(text) <= POLL_MAX_MS),
    'must be from 50ms to 10s: a stop is not confirmed before it is looked for',
  ).default('1s'),
  /** The steps know `drill: true` and then change nothing. Otherwise a rehearsal does not run them. */
  drill: z.boolean().default(false),
});
export type SiteCommand = z.output<typeof command>;

export const CommandConfigSchema = z
  .strictObject({
    enabled: z.boolean().default(false),
    commands: z.record(SystemName, command).default({}),
  })
  .prefault({});
