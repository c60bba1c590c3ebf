/** The commands of those who check: replay, and everything below `ledger`. */
import type { Command } from 'commander';
import { CONFIG_OPTION, describe, JSON_OPTION, overHttp, type Register } from './program-parts.ts';

export function addLedgerCommands(program: Command, perform: Register): void {
  describe(program.command('replay'), {
    summary: 'recompute every state and verdict from the ledger and compare',
    details:
      'Folds the events of the live database, or of an export, under the policies the runs had pinned. Believes the bytes: run `ledger verify` first.',
    example: 'interlock replay --file ledger.jsonl --run gpt-next-7',
    exits: '0 everything agrees; 1 something does not, or there is no such run; 2 it could not be read',
  })
    .option('--run <id>', 'judge this run only')
    .option('--file <export>', 'an export instead of the database; needs no configuration')
    .addOption(CONFIG_OPTION())
    .option(
      ...JSON_OPTION(
        '{ok, events, streams, streamsNotFolded, mismatches: [{stream, version, seq, kind, message}]}',
      ),
    )
    .action((options: import('./replay.ts').ReplayOptions) =>
      perform(async (t) => (await import('./replay.ts')).replay(options, t)),
    );

  describe(program.command('what-if'), {
    summary: 'where another policy would have held or halted a run, and why',
    details:
      'Judges the recorded evidence of a finished or running run again, checkpoint by checkpoint, under the rules, levels, deadlines and cadence of another policy; forecasts are made anew. Evaluations that it requires and that were never run hold: missing is not safe. Changes nothing. From the first stop on, what follows is what the evidence says, not what would have happened.',
    example: 'interlock what-if --run gpt-next-7 --policy policies/precautionary.yaml --file ledger.jsonl',
    exits: '0 answered, whatever the answer; 1 no such run, or the policy is refused; 2 it could not be read',
  })
    .requiredOption('--run <id>', 'the run')
    .requiredOption('--policy <file>', 'the other policy, YAML')
    .option('--file <export>', 'an export instead of the database; needs no configuration')
    .addOption(CONFIG_OPTION())
    .option(
      ...JSON_OPTION(
        '{runId, recordedPolicy, policy, samePolicy, events, until, stop: {recorded, whatIf, apartFromMissing}, partsAt, checkpoints, notComparable, limits}',
      ),
    )
    .action((options: import('./what-if.ts').WhatIfOptions) =>
      perform(async (t) => (await import('./what-if.ts')).whatIfCommand(options, t)),
    );

  const ledger = program.command('ledger').description('verify, export and rebuild the ledger');

  describe(ledger.command('verify'), {
    summary: 'prove that nothing was removed, changed, moved or added',
    details:
      'Without --file: the live database, with the keys of its keyring. With --file and --key: an export, with no database, no configuration and no network. A signed head that was kept elsewhere (--trusted-head) also proves that history before it was not rewritten and that no tail was cut.',
    example: 'interlock ledger verify --file ledger.jsonl --key jwks.json --trusted-head head.json',
    exits: '0 verified; 1 not verified, each problem with its place; 2 it could not be read',
  })
    .option('--file <export>', 'an export (JSON Lines) instead of the database')
    .option('--key <jwks>', 'public keys, as `ledger keys` or /.well-known/jwks.json give them')
    .option(
      '--trusted-head <jws>',
      'an older signed head: the JWS, or a file with it or with GET /v1/ledger/head',
    )
    .option(
      '--issuer <name>',
      'accept only heads of this issuer (default: whatever the heads say; the keys decide)',
    )
    .addOption(CONFIG_OPTION())
    .option(
      ...JSON_OPTION(
        '{ok, events, head: {size, root, hash}, headsVerified, headsUnchecked, unsignedEvents, problems, problemsTotal}',
      ),
    )
    .action((options: import('./ledger-verify.ts').LedgerVerifyOptions) =>
      perform(async (t) => (await import('./ledger-verify.ts')).ledgerVerify(options, t)),
    );

  describe(ledger.command('export'), {
    summary: 'write the ledger as JSON Lines, events first, then signed heads',
    details:
      'Each line is exactly the bytes that were hashed. Signs a head first, so that the last event is covered. An existing file is never replaced.',
    example: 'interlock ledger export --out ledger.jsonl',
    exits: '0 written; 2 it could not be read or written',
  })
    .option('--out <file>', 'file to write (default: standard output)')
    .option('--no-sign', 'do not sign a new head; export those that are there')
    .addOption(CONFIG_OPTION())
    .action((options: { out?: string; sign: boolean; config?: string }) =>
      perform(async (t) => (await import('./ledger-export.ts')).ledgerExport(options, t)),
    );

  describe(ledger.command('keys'), {
    summary: 'print the public keys (JSON Web Key Set)',
    details: 'Active and retired keys; never a private one. Give them to whoever verifies offline.',
    example: 'interlock ledger keys > jwks.json',
    exits: '0 printed; 2 the keyring cannot be read',
  })
    .addOption(CONFIG_OPTION())
    .action((options: { config?: string }) =>
      perform(async (t) => (await import('./ledger-keys.ts')).ledgerKeys(options, t)),
    );

  overHttp(
    describe(ledger.command('accept-restore'), {
      summary: 'go on with a ledger that was put back from a backup',
      details:
        'Where the ledger contradicts a signed head kept in ledger.anchors, no permit is issued (`/readyz` says why). Accepting it halts every unfinished run first, because halts may be missing from it: each goes on only by a governed resume. Needs a token of an operator.',
      example: 'interlock ledger accept-restore --reason "disk of db-1 lost, backup of 03:00 restored"',
      exits: '0 accepted; 1 refused, or there is nothing to accept; 2 usage, or no answer',
    }),
  )
    .requiredOption('--reason <text>', 'why; stands in the ledger')
    .option(...JSON_OPTION('{size, anchoredSize, runsHalted}'))
    .action((options: import('./accept-restore.ts').AcceptRestoreOptions) =>
      perform(async (t) => (await import('./accept-restore.ts')).acceptRestore(options, t)),
    );

  describe(ledger.command('rebuild-views'), {
    summary: 'make the lists that people read anew from the events',
    details: 'All or nothing, beside a running service. Changes no event and no decision.',
    example: 'interlock ledger rebuild-views',
    exits: '0 rebuilt; 2 left as they were',
  })
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{events, rows}'))
    .action((options: { config?: string; json?: true }) =>
      perform(async (t) => (await import('./ledger-rebuild-views.ts')).ledgerRebuildViews(options, t)),
    );
}
