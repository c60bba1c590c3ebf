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
import { programFault } from '../subprocess/program-file.ts';
import { runSiteProgram, statusOf, takenOf, type Variable } from '../subprocess/site-program.ts';
import type { HaltMessage, Observation, Orchestrator } from './orchestrator.ts';
import { unknownStep } from './orchestrator.ts';
import type { CommandTarget } from './targets.ts';

export interface CommandDeps {
  commands: Readonly<Record<string, SiteCommand>>;
  variable: Variable;
}

export function createCommandOrchestrator(target: CommandTarget, deps: CommandDeps): Orchestrator {
  const command = named(target, deps);
  const steps = command === null ? ['stop', 'kill'] : ['stop', 'kill', ...Object.keys(command.steps)];
  const gone = `there is no command ${target.command} in interlock.yaml any more`;

  const run = (one: SiteCommand, argv: readonly string[], input: object, signal: AbortSignal) =>
    runSiteProgram(
      argv,
      { ...input, run: target.run, parameters: target.parameters ?? {} },
      one,
      deps.variable,
      signal,
    );

  return {
    kind: 'command',
    steps,
    ...(command === null ? {} : { pollMs: durationMs(command.pollEvery) }),
    async take(step, message, signal) {
      if (command === null) return { kind: 'rejected', detail: gone };
      const argv = programOf(command, step);
      if (argv === null) return unknownStep('command', steps);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was started' };
      const ended = await run(command, argv, toInput(step, message), signal);
      return takenOf(ended, `${step} of ${target.command}`);
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
        const ended = await run(command, argv, { ...toInput(step, message), drill: true }, signal);
        return takenOf(ended, `drill: ${what}`);
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
  const ended = await runSiteProgram(command.status, input, command, deps.variable, signal);
  const what = `status of ${target.command}`;
  const { state, detail } = statusOf(ended, what, statusSchema, 'running, stopped or unknown');
  return { state: state ?? 'unknown', detail };
}
