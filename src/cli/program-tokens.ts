/** The commands below `token`: who is let in, changed while the service runs. */
import type { Command } from 'commander';
import { CONFIG_OPTION, describe, JSON_OPTION, type Register } from './program-parts.ts';

export function addTokenCommands(program: Command, perform: Register): void {
  const token = program.command('token').description('create, list and revoke bearer tokens');

  describe(token.command('create'), {
    summary: 'give an identity a new token',
    details:
      'Prints the token once and writes its hash into identities.yaml, where comments stay as they are. Other tokens of the identity go on working: give the new one out, then revoke the old one.',
    example: 'interlock token create --identity trainer --expires 90d > trainer.token',
    exits: '0 made; 2 there is no such identity, or the file cannot be changed',
  })
    .requiredOption('--identity <id>', 'whose token, as identities.yaml calls it')
    .option('--expires <duration>', 'how long it is good, at most 366d', '90d')
    .option('--note <text>', 'for people, stands beside the hash')
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{identity, id, createdAt, expiresAt, token}'))
    .action((options: { identity: string; expires: string; note?: string; config?: string; json?: true }) =>
      perform(async (t) => (await import('./token.ts')).tokenCreate(options, t)),
    );

  describe(token.command('list'), {
    summary: 'show who has which tokens, until when, and when each was last used',
    details: 'Last use is what services on this data directory saw, to the minute.',
    example: 'interlock token list --identity trainer',
    exits: '0 shown; 2 the configuration cannot be read',
  })
    .option('--identity <id>', 'only of this identity')
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{tokens: [{identity, id, state, createdAt, expiresAt, lastUsedAt, note}]}'))
    .action((options: { identity?: string; config?: string; json?: true }) =>
      perform(async (t) => (await import('./token.ts')).tokenList(options, t)),
    );

  describe(token.command('revoke'), {
    summary: 'take tokens of an identity out',
    details:
      'A running service refuses them within a second, ends their open streams and signs their pages out.',
    example: 'interlock token revoke --identity trainer --id tk_3fa94c01de',
    exits: '0 revoked; 1 there was none; 2 the file cannot be changed',
  })
    .requiredOption('--identity <id>', 'whose tokens')
    .option('--id <id>', 'the token, as `token list` calls it')
    .option('--all', 'every token of the identity')
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{identity, revoked}'))
    .action((options: { identity: string; id?: string; all?: true; config?: string; json?: true }) =>
      perform(async (t) => (await import('./token.ts')).tokenRevoke(options, t)),
    );
}
