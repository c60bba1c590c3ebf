/**
 * The `command` orchestrator: a site's own programs stop the run, and one of them says whether it runs.
 *
 * Each call is one program: absolute path and arguments as interlock.yaml has them, no shell, PATH, HOME, LANG and the
 * variables it names, a process group of its own. What it is to do comes as JSON on standard input, so that nothing a
 * trainer stated is ever an argument. When it ends, by itself or by its timeout or because the caller gives up,
 * everything it started is ended with it: it must have asked for the stop, not wait beside it.
 *
 * Exit codes of a step: 0 is taken; 64 and 65 (EX_USAGE, EX_DATAERR) say that this message can never be taken; any
 * other, a signal and a timeout are tried again, for what is broken may be mended.
 * Fails toward "still running": a status that is not one JSON object alone, with exit code 0, is `unknown`.
 * Not here: limits of memory and processors. The operator wrote these programs; an evaluation's came from elsewhere.
 */
import { z } from 'zod';
import type { SiteCommand } from '../config/orchestrators-command.ts';
import { durationMs } from '../domain/duration.ts';
import { JSON_DEPTH_MAX, nestsDeeperThan } from '../domain/json-depth.ts';
import { markedJob } from '../subprocess/marked-job.ts';
import { programFault } from '../subprocess/program-file.ts';
import { type Ended, type ProgramLimits, runProgram } from '../subprocess/run-program.ts';
import type { HaltMessage, Observation, Orchestrator, StepOutcome } from './orchestrator.ts';
import { unknownStep } from './orchestrator.ts';
import type { CommandTarget } from './targets.ts';

export interface CommandDeps {
  commands: Readonly<Record<string, SiteCommand>>;
  variable: (reference: string) => string | undefined;
}

const LIMITS: ProgramLimits = { outputBytes: 2 ** 20, keptBytes: 16_384, killGraceMs: 500, drainMs: 200 };
const PLAIN_PATH = '/usr/local/bin:/usr/bin:/bin';

export function createCommandOrchestrator(target: CommandTarget, deps: CommandDeps): Orchestrator {
  const command = named(target, deps);
  const steps = command === null ? ['stop', 'kill'] : ['stop', 'kill', ...Object.keys(command.steps)];
  const gone = `there is no command ${target.command} in interlock.yaml any more`;

  const run = (one: SiteCommand, argv: readonly string[], input: object, signal: AbortSignal) =>
    start(argv, { ...input, run: target.run, parameters: target.parameters ?? {} }, one, deps, signal);

  return {
    kind: 'command',
    steps,
    ...(command === null ? {} : { pollMs: durationMs(command.pollEvery) }),
    async take(step, message, signal) {
      if (command === null) return { kind: 'rejected', detail: gone };
      const argv = programOf(command, step);
      if (argv === null) return unknownStep('command', steps);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was started' };
      const { ended, unset } = await run(command, argv, toInput(step, message), signal);
      return classify(ended, `${step} of ${target.command}`, unset);
    },
    async observe(signal) {
      if (command === null) return { state: 'unknown', detail: gone };
      if (signal.aborted) return { state: 'unknown', detail: 'given up before it was started' };
      return askStatus(target, command, deps, signal);
    },
    async rehearse(step, message, signal) {
      if (command === null) return { kind: 'rejected', detail: gone };
      const argv = programOf(command, step);
      if (argv === null) return unknownStep('command', steps);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was started' };
      const what = `${step} of ${target.command}`;
      if (command.drill) {
        const { ended, unset } = await run(command, argv, { ...toInput(step, message), drill: true }, signal);
        return classify(ended, `drill: ${what}`, unset);
      }
      const fault = programFault(argv[0] ?? '');
      return fault === null
        ? { kind: 'accepted', detail: `the program for ${what} is there and may be run; it was not` }
        : { kind: 'retry', detail: `the program for ${what} cannot be run (${fault})` };
    },
  };
}

/** What to record at registration: the run must be seen to run, or nobody could tell whether it ever stopped. */
export async function describeCommandRun(
  target: CommandTarget,
  deps: CommandDeps,
): Promise<{ ok: true; target: CommandTarget } | { ok: false; reason: string; field: string }> {
  const refused = (field: string, reason: string) => ({ ok: false as const, reason, field });
  const command = named(target, deps);
  if (command === null) {
    const names = Object.keys(deps.commands).join(', ');
    return refused('command', `there is no command ${target.command}; there is ${names || 'none'}`);
  }
  for (const [step, argv] of Object.entries({ stop: command.stop, kill: command.kill, ...command.steps })) {
    const fault = argv === undefined ? null : programFault(argv[0] ?? '');
    if (fault !== null) {
      return refused('command', `the program for ${step} of ${target.command} cannot be run (${fault})`);
    }
  }
  const { state, detail } = await askStatus(target, command, deps, new AbortController().signal);
  return state === 'running'
    ? { ok: true, target }
    : refused('run', `must be running, and its state is ${state}: ${detail}`);
}

function named({ command }: CommandTarget, { commands }: CommandDeps): SiteCommand | null {
  return Object.hasOwn(commands, command) ? (commands[command] ?? null) : null;
}

function programOf(command: SiteCommand, step: string): readonly string[] | null {
  if (step === 'stop') return command.stop;
  if (step === 'kill') return command.kill ?? command.stop;
  return Object.hasOwn(command.steps, step) ? (command.steps[step] ?? null) : null;
}

function toInput(step: string, { runId, haltId, action, reason, epoch, order }: HaltMessage): object {
  return { step, runId, haltId, action, reason, epoch, order };
}

// --- running it ---------------------------------------------------------------------------------------

interface Started {
  ended: Ended;
  /** Variables that interlock.yaml names and nobody set. */
  unset: readonly string[];
  /** What the program was given and nobody else may read. */
  secrets: readonly string[];
}

async function start(
  argv: readonly string[],
  input: object,
  command: SiteCommand,
  { variable }: CommandDeps,
  signal: AbortSignal,
): Promise<Started> {
  const [file = '', ...args] = argv;
  const { job, env: mark } = markedJob();
  const env: Record<string, string> = { PATH: variable('env:PATH') ?? PLAIN_PATH };
  const unset: string[] = [];
  for (const name of ['HOME', 'LANG', ...command.environment]) {
    const value = variable(`env:${name}`);
    if (value !== undefined) env[name] = value;
    else if (command.environment.includes(name)) unset.push(name);
  }
  const secrets = command.environment.flatMap((name) => env[name] ?? []);
  const ended = await runProgram(
    { file, args, env: { ...env, ...mark }, cwd: '/', input: `${JSON.stringify(input)}\n` },
    {
      job,
      timeoutMs: durationMs(command.timeout),
      limits: LIMITS,
      signal,
    },
  );
  return { ended, unset, secrets };
}

/** A halt is not held up for want of a variable; whoever reads the outcome sees what was missing. */
const without = (unset: readonly string[]): string =>
  unset.length === 0 ? '' : `; run without ${unset.join(', ')}`.slice(0, 100);

const NEVER = new Map([
  [64, 'it does not know how to do this'],
  [65, 'it does not understand this message'],
]);
const WORDS = new Map([
  [69, 'what it needs is not available'],
  [75, 'not now'],
  [77, 'it has no right to'],
  [78, 'it is not configured'],
]);

function classify({ ending }: Ended, what: string, unset: readonly string[]): StepOutcome {
  const note = without(unset);
  switch (ending.how) {
    case 'exited': {
      if (ending.code === 0) return { kind: 'accepted', detail: `${what}: exit code 0${note}` };
      if (ending.code === null) {
        return { kind: 'retry', detail: `${what}: ended by ${ending.signal ?? 'a signal'}${note}` };
      }
      const never = NEVER.get(ending.code);
      const words = never ?? WORDS.get(ending.code);
      const said = words === undefined ? '' : ` (${words})`;
      return {
        kind: never === undefined ? 'retry' : 'rejected',
        detail: `${what}: exit code ${ending.code}${said}${note}`,
      };
    }
    case 'not-started':
      return { kind: 'retry', detail: `${what}: could not be started (${ending.errorCode})` };
    case 'stopped':
      return { kind: 'retry', detail: `${what}: ended by Interlock, ${ending.why}${note}` };
  }
}

// --- what it says of the run --------------------------------------------------------------------------

const statusSchema = z.strictObject({
  state: z.enum(['running', 'stopped', 'unknown']),
  detail: z.string().max(4_096).optional(),
});

async function askStatus(
  target: CommandTarget,
  command: SiteCommand,
  deps: CommandDeps,
  signal: AbortSignal,
): Promise<Observation> {
  const { run, parameters = {} } = target;
  const input = { step: 'status', run, parameters };
  const { ended, unset, secrets } = await start(command.status, input, command, deps, signal);
  const what = `status of ${target.command}`;
  const { ending, stdout } = ended;
  if (ending.how !== 'exited' || ending.code !== 0) {
    return { state: 'unknown', detail: classify(ended, what, unset).detail };
  }
  const isWhole = stdout.totalBytes <= LIMITS.keptBytes;
  const parsed = statusSchema.safeParse(isWhole ? oneObject(stdout.lines()) : undefined);
  if (!parsed.success) {
    return {
      state: 'unknown',
      detail: `${what}: said no JSON object alone with state running, stopped or unknown`,
    };
  }
  const { state, detail } = parsed.data;
  return { state, detail: `${what}: ${isShowable(detail, secrets) ? detail : state}` };
}

/** Its own words are the operator's, but neither a page nor what it was trusted with. */
function isShowable(detail: string | undefined, secrets: readonly string[]): detail is string {
  return (
    detail !== undefined &&
    /^[\x20-\x7e]{1,160}$/.test(detail) &&
    !secrets.some((secret) => secret !== '' && detail.includes(secret))
  );
}

function oneObject(output: Buffer): unknown {
  if (nestsDeeperThan(output, JSON_DEPTH_MAX)) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(output));
  } catch {
    return undefined; // not repeated: the parser's message quotes the text
  }
}
