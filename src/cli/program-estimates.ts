/** The commands of estimate rounds: asking experts, answering, closing, reading what came out. */
import { type Command, Option } from 'commander';
import type { CloseOptions, GiveOptions, OpenOptions, ShowOptions } from './estimate.ts';
import { collect, describe, EXITS, JSON_OPTION, overHttp, type Register } from './program-parts.ts';

export function addEstimateCommands(program: Command, perform: Register): void {
  const estimate = program.command('estimate').description("ask experts about a run's next checkpoint");

  overHttp(
    describe(estimate.command('open'), {
      summary: 'ask experts how likely a level is before the next checkpoint',
      details:
        'Looks ahead from the furthest evaluated checkpoint. Each category, stage and level is asked once per checkpoint, in two rounds at most.',
      example: 'interlock estimate open --run gpt-next-7 --category cybersecurity --level critical',
      exits: EXITS,
    }),
  )
    .requiredOption('--run <id>', 'the run')
    .requiredOption('--category <id>', "a category of the run's policy")
    .addOption(
      new Option('--stage <stage>', 'default: pre-mitigation').choices(['pre-mitigation', 'post-mitigation']),
    )
    .requiredOption('--level <level>', 'medium, high, critical, or a number up to 5')
    .option('--closes <when>', 'a span (48h) or an instant (default: as long as a scorecard may take)')
    .option(...JSON_OPTION('the round'))
    .action((options: OpenOptions) =>
      perform(async (t) => (await import('./estimate.ts')).openRound(options, t)),
    );

  overHttp(
    describe(estimate.command('give'), {
      summary: 'give your estimate in an open round',
      details:
        'Nobody else sees it while the round is open; another one replaces it until then. The rationale is shown to the others without your name. Arguments show in process lists: on a shared machine use --file.',
      example:
        'interlock estimate give --run gpt-next-7 --round round_x --probability 0.08 --rationale "new scaffold"',
      exits: EXITS,
    }),
  )
    .requiredOption('--run <id>', 'the run')
    .requiredOption('--round <id>', 'the round; `interlock estimate show` lists them')
    .option('--probability <p>', 'of reaching the level before the next checkpoint, 0 to 1')
    .option('--quantile <p=level>', 'where the level will be, rising; repeatable', collect)
    .option('--rationale <text>', 'why')
    .option('--file <file>', 'all of it as JSON instead: {probability, quantiles?, rationale}')
    .option(...JSON_OPTION('the estimate'))
    .action((options: GiveOptions) =>
      perform(async (t) => (await import('./estimate.ts')).giveEstimate(options, t)),
    );

  overHttp(
    describe(estimate.command('close'), {
      summary: 'close a round and pool it, or go on to the second one',
      details:
        'A round also closes by itself at its deadline. In the second round, the last, whoever does not answer again stands by the first estimate.',
      example: 'interlock estimate close --run gpt-next-7 --round round_x --second',
      exits: EXITS,
    }),
  )
    .requiredOption('--run <id>', 'the run')
    .requiredOption('--round <id>', 'the round')
    .option('--second', 'begin the second round')
    .option('--closes <when>', 'when the second round closes: a span (48h) or an instant')
    .option(...JSON_OPTION('the round that was closed, or the one that was begun'))
    .action((options: CloseOptions) =>
      perform(async (t) => (await import('./estimate.ts')).closeRound(options, t)),
    );

  overHttp(
    describe(estimate.command('show'), {
      summary: 'list rounds, or show one: how far apart the experts are, and why',
      details: 'While a round is open it shows how many have answered, and your own estimate.',
      example: 'interlock estimate show --run gpt-next-7 --round round_x',
      exits: EXITS,
    }),
  )
    .requiredOption('--run <id>', 'the run')
    .option('--round <id>', 'this round')
    .option('--cursor <cursor>', 'nextCursor of the page before')
    .option(...JSON_OPTION('{items, nextCursor}, or with --round the round'))
    .action((options: ShowOptions) =>
      perform(async (t) => (await import('./estimate.ts')).showRounds(options, t)),
    );
}
