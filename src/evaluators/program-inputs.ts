/**
 * What the program of one attempt is given, wherever it runs: its arguments, with their placeholders replaced, and its environment.
 *
 * It gets what is declared and nothing else. What an event says goes into one argument and stays there; where it would become an
 * option, or is missing, the attempt is refused before anything runs. Pure but for reading `env:NAME`.
 */
import { type CommandPlaceholder, replacePlaceholders } from '../domain/executor-fields.ts';
import { AXES, axisVariable } from '../domain/policy/axes.ts';
import { type EvaluationRequest, type Failed, failed } from './evaluator.ts';

export type PlaceholderValues = { [placeholder in CommandPlaceholder]?: string | undefined };

export interface BuiltCommand {
  readonly ok: true;
  readonly program: string;
  readonly args: readonly string[];
  /** Stated beside the executor's own; values `env:NAME` are read here. The executor's stand over these. */
  readonly env?: Readonly<Record<string, string>>;
}

/** `modelUri` as it was resolved, which the request's own is not. */
export function placeholderValues(
  request: EvaluationRequest,
  { modelUri, resultFile }: { readonly modelUri: string; readonly resultFile: string },
): PlaceholderValues {
  const { runId, checkpointId, endpoint, effectiveCompute, evaluation, variant, axes } = request;
  return {
    runId,
    checkpointId,
    modelUri,
    endpoint,
    effectiveCompute,
    evaluation,
    variant,
    resultFile,
    ...axes,
  };
}

export type Filled = { ok: true; text: string } | { ok: false; failure: Failed };

/** One argument with its values in place, or why it must not be one. */
export function fillArgument(template: string, values: PlaceholderValues): Filled {
  const refused = (detail: string): Filled => ({ ok: false, failure: failed('argument-refused', detail) });
  let missing: CommandPlaceholder | null = null;
  const text = replacePlaceholders(template, (placeholder) => {
    const value = values[placeholder];
    if (value === undefined) missing = placeholder;
    return value ?? '';
  });
  if (missing !== null) return refused(`{${missing}} was not reported`);
  // The policy wrote no dash there, so the event did: it would be read as an option.
  if (text.startsWith('-') && !template.startsWith('-')) return refused('a value begins with a dash');
  if (text.includes('\0')) return refused('a value holds NUL');
  return { ok: true, text };
}

export function buildArguments(
  command: readonly string[],
  values: PlaceholderValues,
): BuiltCommand | { ok: false; failure: Failed } {
  const [program, ...templates] = command;
  if (program === undefined) return { ok: false, failure: failed('argument-refused', 'empty command') };
  const args: string[] = [];
  for (const template of templates) {
    const filled = fillArgument(template, values);
    if (!filled.ok) return filled;
    args.push(filled.text);
  }
  return { ok: true, program, args };
}

/** Where the values of an environment come from. */
export interface EnvironmentSources {
  /** What is passed on of Interlock's own environment: PATH, HOME, LANG. */
  readonly baseEnvironment: {
    readonly PATH?: string | undefined;
    readonly HOME?: string | undefined;
    readonly LANG?: string | undefined;
  };
  /** Reads one variable of Interlock's environment, for values written `env:NAME`. */
  readonly environmentVariable: (name: string) => string | undefined;
}

export type Environment = { ok: true; env: Record<string, string> } | { ok: false; failure: Failed };

export function buildEnvironment(
  statedBy: Readonly<Record<string, string>>,
  request: EvaluationRequest,
  values: PlaceholderValues,
  { baseEnvironment, environmentVariable }: EnvironmentSources,
): Environment {
  const env: Record<string, string> = {};
  const put = (name: string, value: string | undefined) => {
    if (value !== undefined) env[name] = value;
  };
  const { PATH, HOME, LANG } = baseEnvironment;
  put('PATH', PATH);
  put('HOME', HOME);
  put('LANG', LANG);
  for (const [name, stated] of Object.entries({ ...statedBy, ...request.variantEnv })) {
    const value = stated.startsWith('env:') ? environmentVariable(stated.slice('env:'.length)) : stated;
    // Running without the key would measure something else than the policy says.
    if (value === undefined) return { ok: false, failure: failed('not-configured', `${stated} is not set`) };
    put(name, value);
  }
  // Last, so that nothing listed can stand in for what Interlock says.
  put('INTERLOCK_RUN_ID', values.runId);
  put('INTERLOCK_CHECKPOINT_ID', values.checkpointId);
  put('INTERLOCK_MODEL_URI', values.modelUri);
  put('INTERLOCK_ENDPOINT', values.endpoint);
  put('INTERLOCK_EFFECTIVE_COMPUTE', values.effectiveCompute);
  put('INTERLOCK_EVALUATION', values.evaluation);
  put('INTERLOCK_VARIANT', values.variant);
  for (const axis of AXES) put(axisVariable(axis), values[axis]);
  put('INTERLOCK_RESULT_FILE', values.resultFile);
  put('INTERLOCK_LOG_DIRECTORY', values.logDirectory);
  put('INTERLOCK_ATTEMPT', String(request.attempt));
  put('INTERLOCK_TOP_UP', request.topUp === undefined ? undefined : String(request.topUp));
  return { ok: true, env };
}
