/**
 * What a launcher's pure part answers: one command line of a harness, and what its log should then say.
 *
 * A value is put into one argument and stays one: what would become two (a comma in a list), an option (a dash) or another type
 * (a name that reads as a number) is refused before anything runs, because the harness would run all the same, on something else.
 */
import type { LaunchFacts } from '../../domain/launch-facts.ts';
import type { HarnessFormatName } from '../../domain/log-pattern.ts';
import { type Failed, failed } from '../evaluator.ts';
import { fillArgument, type PlaceholderValues } from '../program-inputs.ts';

export interface LaunchContext {
  readonly values: PlaceholderValues;
  /** Fresh: whatever lies in it afterwards is of this attempt. */
  readonly logDirectory: string;
  /** Of this evaluation of this checkpoint: answers of the model that a further attempt need not ask for again. */
  readonly cacheDirectory: string;
  /** Of an attempt that did not settle it; null where there is none. */
  readonly previousLog: string | null;
  /** Absolute; what a relative path of the policy is relative to. */
  readonly baseDirectory: string;
}

export interface Launch {
  readonly ok: true;
  readonly program: string;
  readonly args: readonly string[];
  /** Values `env:NAME` are read where Interlock runs. */
  readonly env: Readonly<Record<string, string>>;
  /** Below the log directory. */
  readonly log: string;
  readonly format: HarnessFormatName;
  readonly completedExitCodes: readonly number[];
  readonly expects: Pick<LaunchFacts, 'task' | 'model' | 'revision'>;
}
export type Launched = Launch | { readonly ok: false; readonly failure: Failed };

/** The server asks for no key, and the harness for one all the same. */
export const NO_KEY = 'none';

export class Refused extends Error {
  readonly failure: Failed;
  constructor(failure: Failed) {
    super(failure.detail ?? failure.reason);
    this.failure = failure;
  }
}

export const refuse = (detail: string): never => {
  throw new Refused(failed('argument-refused', detail));
};

/** The builders below throw a Refused where a value must not be used: this is where it becomes a value again. */
export function launching(build: () => Launch): Launched {
  try {
    return build();
  } catch (error) {
    if (error instanceof Refused) return { ok: false, failure: error.failure };
    throw error;
  }
}

/** A template of the policy with its values; throws Refused. */
export function fill(template: string, values: PlaceholderValues): string {
  const filled = fillArgument(template, values);
  if (!filled.ok) throw new Refused(filled.failure);
  return filled.text;
}

type Setting = string | number | boolean;

/** `name=value` each, for options that take one such pair. */
export function pairs(settings: Readonly<Record<string, Setting>> = {}, values: PlaceholderValues): string[] {
  return Object.entries(settings).map(([name, value]) => `${name}=${settingText(value, values)}`);
}

export const settingText = (value: Setting, values: PlaceholderValues): string =>
  typeof value === 'string' ? fill(value, values) : String(value);

/** Nothing where it is left out. */
export function option(name: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [name, String(value)];
}

/** Without a last slash, so that a path can be added: by the policy behind {endpoint}, and by us behind all of it. */
export function baseUrl(template: string, values: PlaceholderValues): string {
  const endpoint = values.endpoint === undefined ? undefined : withoutLastSlash(values.endpoint);
  return withoutLastSlash(fill(template, { ...values, endpoint }));
}

const withoutLastSlash = (url: string): string => (url.endsWith('/') ? url.slice(0, -1) : url);
