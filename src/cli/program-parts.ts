/** What the commands' descriptions share. Costs nothing to load. */
import { type Command, Option } from 'commander';
import type { ExitCode } from './exit.ts';
import type { Terminal } from './terminal.ts';

/** Runs a command's work and keeps its exit code. */
export type Register = (work: (terminal: Terminal) => Promise<ExitCode>) => Promise<void>;

export interface Description {
  /** One line, without a full stop: shown in lists of commands. */
  readonly summary: string;
  readonly details: string;
  readonly example: string;
  readonly exits: string;
}

export function describe(command: Command, { summary, details, example, exits }: Description): Command {
  const lead = summary.charAt(0).toUpperCase() + summary.slice(1);
  return command
    .summary(summary)
    .description(`${lead}.\n\n${details}`)
    .allowExcessArguments(false)
    .addHelpText('after', `\nExample:\n  ${example}\n\nExit codes: ${exits}.`);
}

/** Of commands that ask the service for something that it may refuse. */
export const EXITS =
  '0 done; 1 the service refused (no such thing, not allowed, or in conflict); 2 usage, or no answer';

export const JSON_OPTION = (shape: string): [string, string] => ['--json', `print JSON: ${shape}`];

export const CONFIG_OPTION = (): Option =>
  new Option('--config <file>', 'configuration (default: INTERLOCK_CONFIG, then config/interlock.yaml)');

export function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

/** The options of every command that speaks to the running service. */
export function overHttp(command: Command): Command {
  return command
    .option('--url <url>', 'the service (default: INTERLOCK_URL, then the configuration)')
    .option('--token-file <file>', 'file with the bearer token (default: INTERLOCK_TOKEN)')
    .addOption(CONFIG_OPTION());
}
