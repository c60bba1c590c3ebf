/**
 * Every command: its options, its help, and which file does it. The command line's contract on one page.
 *
 * A command's file is loaded when the command runs, so that help costs nothing and `halt` does not wait for a
 * database driver. Each `run…` gets parsed options and the terminal, and answers with an exit code.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { SERVICE_ROLES, type ServiceRole, WORKER_LABELS_MAX } from '../config/schema.ts';
import { VERSION } from '../version.ts';
import type { BacktestOptions } from './backtest.ts';
import { EXIT, type ExitCode, exitCodeOf, explainError } from './exit.ts';
import type { PolicyCheckOptions } from './policy-check.ts';
import { addBreakGlassCommands } from './program-break-glass.ts';
import { addCheckpointCommands } from './program-checkpoints.ts';
import { addEstimateCommands } from './program-estimates.ts';
import { addEvaluationCommands } from './program-evaluations.ts';
import { addEvidenceCommands } from './program-evidence.ts';
import { addForecastCommands } from './program-forecast.ts';
import { addKeyCommands } from './program-keys.ts';
import { addLedgerCommands } from './program-ledger.ts';
import { CONFIG_OPTION, describe, JSON_OPTION, type Register } from './program-parts.ts';
import { addRunCommands } from './program-runs.ts';
import { addTokenCommands } from './program-tokens.ts';
import type { ResultsParseOptions } from './results-parse.ts';
import type { Terminal } from './terminal.ts';

export async function run(argv: readonly string[], terminal: Terminal): Promise<number> {
  let code: ExitCode = EXIT.ok;
  const program = createProgram(terminal, async (work) => {
    code = await work(terminal);
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    // Commander has said on standard error what it did not understand.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.failed;
    const isDebugging = (terminal.env['INTERLOCK_DEBUG'] ?? '') !== '';
    terminal.complain(`interlock: ${explainError(error, isDebugging)}`);
    return exitCodeOf(error);
  }
}

export function createProgram(terminal: Terminal, perform: Register): Command {
  const program = new Command('interlock')
    .description('A watchdog for AI training runs: no evidence, no permit; High or forecast Critical, halt.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'explain a command')
    .helpCommand(false)
    .showHelpAfterError('(add --help to see what is possible)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.print(text.trimEnd()),
      writeErr: (text) => terminal.complain(text.trimEnd()),
      getOutHelpWidth: () => Math.min(terminal.width, 120),
      getErrHelpWidth: () => Math.min(terminal.width, 120),
    })
    .addHelpText(
      'after',
      `
Where things come from:
  configuration   --config FILE, else INTERLOCK_CONFIG, else ./config/interlock.yaml
  the service     --url URL, else INTERLOCK_URL, else server.publicUrl or host and port of the configuration
  who is asking   --token-file FILE, else INTERLOCK_TOKEN (never an argument: those show in process lists)

Exit codes, everywhere: 0 done or yes; 1 the answer is no; 2 usage, configuration or a system out of reach.
Colours only on a terminal and without NO_COLOR. INTERLOCK_DEBUG=1 shows stacks.

Begin with:
  interlock init --dir ./interlock-data
  interlock serve --config ./interlock-data/interlock.yaml`,
    );

  describe(program.command('serve'), {
    summary: 'run the service until SIGTERM or SIGINT',
    details:
      'Prints one line, "listening on http://HOST:PORT", when it answers; logs are JSON on standard error. The first signal stops in order within 30 s, a second one at once; neither loses what was acknowledged.',
    example: 'interlock serve --config ./interlock-data/interlock.yaml --port 8099',
    exits: '0 stopped by a signal; 2 it could not start, with every problem named',
  })
    .addOption(CONFIG_OPTION())
    .option('--port <n>', 'port to listen on, 0 for a free one (default: server.port)', port)
    .option(
      '--roles <list>',
      'what this process does, with commas: api, worker, scheduler, button (default: roles)',
      roles,
    )
    .option(
      '--labels <list>',
      'a worker for evaluations that need one of these labels, with commas, and for nothing else (how many at once: workers.labels)',
      labels,
    )
    .action((options: ServeOptions) =>
      perform(async (t) => {
        // The red button alone loads neither database nor queue.
        const isButton = options.roles?.every((role) => role === 'button') === true;
        return isButton
          ? (await import('./serve-button.ts')).serveButton(options, t)
          : (await import('./serve.ts')).serve(options, t);
      }),
    );

  describe(program.command('init'), {
    summary: 'write a directory from which the service starts as it is',
    details:
      'Writes interlock.yaml, identities.yaml, a signing key and the shipped policies. Overwrites nothing. Identities: trainer, evaluator, operator, oncall, auditor and one per governance group. Their tokens are printed once; only hashes are kept.',
    example: 'interlock init --dir ./interlock-data',
    exits: '0 written; 2 something is there already, or cannot be written',
  })
    .requiredOption('--dir <dir>', 'directory to write, made if it is not there')
    .option(...JSON_OPTION('{configFile, tokens: {identity: token}, webhookSecrets: {trainer}}'))
    .action((options: { dir: string; json?: true }) =>
      perform(async (t) => (await import('./init.ts')).init(options, t)),
    );

  describe(program.command('demo'), {
    summary: 'train a small real model and watch Interlock stop it',
    details:
      'Starts its own service in a temporary directory, trains, evaluates at each doubling of compute, trips High, and halts the run. Needs nothing but Node; takes under two minutes.',
    example: 'interlock demo --exit',
    exits: '0 the run was stopped by Interlock, the ledger verifies and the replay agrees; 1 otherwise',
  })
    .option('--exit', 'end when the story has been told, instead of leaving the service up for a look', false)
    .action((options: { exit: boolean }) =>
      perform(async () =>
        (await (await import('./demo.ts')).runDemo(options)) === 0 ? EXIT.ok : EXIT.negative,
      ),
    );

  const policy = program.command('policy').description('check policies');
  describe(policy.command('check'), {
    summary: 'check a policy as a whole, and show how its trip system behaves',
    details:
      'Names every problem with its path, or prints the digest that runs pin, warnings, and per evaluation the chance of a false hold or halt at true levels below High and the smallest rise it can see. With --characteristics also, by simulation of categories of eight evaluations under all its rules: false holds and halts per 100 checkpoints, crossings of Critical halted before, at, after or never, and how often each rule fired.',
    example: 'interlock policy check config/policies/preparedness-beta.yaml --characteristics',
    exits: '0 usable (warnings may be there); 1 refused, or the series are; 2 a file cannot be read',
  })
    .argument('<file>', 'the policy, YAML')
    .option('--characteristics', 'simulate how often the rules trip falsely, and what they miss')
    .option('--series <file>', 'on real curves, JSON as for backtest, instead of generated ones')
    .option('--seed <n>', 'draws everything; the same seed gives the same figures', seed)
    .option('--bags <n>', 'bags of each of the six kinds (default: 100)', bags)
    .option('--config <file>', 'also look whether this configuration offers what the policy needs')
    .option(...JSON_OPTION('{ok, policy, digest, problems, warnings, characteristics, trips?}'))
    .action((file: string, options: PolicyCheckOptions) =>
      perform(async (t) => (await import('./policy-check.ts')).policyCheck(file, options, t)),
    );

  const results = program.command('results').description('read evaluation results');
  describe(results.command('parse'), {
    summary: "show what Interlock takes from an evaluation harness's log",
    details:
      'Recognises the format by the content. Of a directory, every log in it, one line each. A file that accompanies logs, or is none, is said to be so. Prompts, answers and samples are never printed.',
    example: 'interlock results parse results_2026-07-08T18-15-33.json --json',
    exits:
      '0 read; 1 a log that cannot be read, or not of that format; 2 the file or the format cannot be used',
  })
    .argument('<file>', 'the log, or a directory')
    .option(
      '--format <format>',
      'what it is: inspect, lm-eval, promptfoo, helm, openai-evals, swe-bench, garak, bigcode, metr, intercode, mle-bench, lighteval, dclm, native, or a kind of file of one of these',
    )
    .option(
      ...JSON_OPTION(
        '{format, status, task, model, created, metrics, samples, error, harness, ...}, of a directory one line each',
      ),
    )
    .action((file: string, options: ResultsParseOptions) =>
      perform(async (t) => (await import('./results-parse.ts')).resultsParse(file, options, t)),
    );

  describe(program.command('backtest'), {
    summary: 'judge the forecast on series of scores, beside the baselines',
    details:
      'Forecasts every point from the third on from the points before it. Reads a JSON list of {series_id, source, model, task, chance, points: [{flop, value, stderr, n}]}, at most 256 MiB, where value is a score whose best is 1. Several points at one compute are averaged. Prints a table, or with --json one line per forecast.',
    example: 'interlock backtest --series series.json --by source',
    exits: '0 done, however good the forecast was; 1 the series are refused; 2 the file cannot be read',
  })
    .requiredOption('--series <file>', 'the series, JSON')
    .option(
      '--json',
      'print JSON Lines: {series_id, index, flop, q05, q50, q95, q99, actual, pit, basis}, as scores',
    )
    .addOption(new Option('--by <what>', 'a table for each').choices(['source']))
    .option('--horizon <n>', 'checkpoints ahead', horizon, 1)
    .option('--plot <dir>', 'write a fan chart (SVG) for each series there, and index.html')
    .action((options: BacktestOptions) =>
      perform(async (t) => (await import('./backtest.ts')).backtestCommand(options, t)),
    );

  addEvaluationCommands(program, perform);
  addRunCommands(program, perform);
  addCheckpointCommands(program, perform);
  addEstimateCommands(program, perform);
  addEvidenceCommands(program, perform);
  addForecastCommands(program, perform);
  addLedgerCommands(program, perform);
  addTokenCommands(program, perform);
  addBreakGlassCommands(program, perform);
  addKeyCommands(program, perform);
  return program;
}

interface ServeOptions {
  config?: string;
  port?: number;
  roles?: readonly ServiceRole[];
  labels?: readonly string[];
}

function labels(text: string): readonly string[] {
  const all = [...new Set(text.split(','))];
  const wrong = all.find((label) => !/^[a-z0-9][a-z0-9-]{0,30}$/.test(label));
  if (wrong !== undefined) {
    throw new InvalidArgumentError(`"${wrong}" is no label: lower-case letters, digits and dashes`);
  }
  if (all.length > WORKER_LABELS_MAX) throw new InvalidArgumentError(`at most ${WORKER_LABELS_MAX} labels`);
  return all;
}

function roles(text: string): readonly ServiceRole[] {
  const parsed = z.array(z.enum(SERVICE_ROLES)).min(1).safeParse(text.split(','));
  if (!parsed.success) throw new InvalidArgumentError(`Roles are ${SERVICE_ROLES.join(', ')}.`);
  return parsed.data;
}

function horizon(text: string): number {
  const value = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 100) throw new InvalidArgumentError('A horizon is a whole number from 1 to 100.');
  return value;
}

function seed(text: string): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= 4_294_967_295)) throw new InvalidArgumentError('A seed is a whole number below 2^32.');
  return value;
}

function bags(text: string): number {
  const value = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError('A number of bags is a whole number from 1 to 9999.');
  return value;
}

function port(text: string): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= 65_535)) throw new InvalidArgumentError('A port is a whole number from 0 to 65535.');
  return value;
}
