/** The commands below `break-glass`: printed codes for the red button. */
import type { Command } from 'commander';
import { CONFIG_OPTION, describe, JSON_OPTION, type Register } from './program-parts.ts';

export function addBreakGlassCommands(program: Command, perform: Register): void {
  const codes = program
    .command('break-glass')
    .description('printed one-time codes that press the red button when nobody can sign in');

  describe(codes.command('create'), {
    summary: 'make codes for an identity, to be printed',
    details:
      'Each code presses the red button once, on its page, with curl or with `interlock halt`, attributed to the identity; it opens nothing else. Shown once; only hashes are kept.',
    example: 'interlock break-glass create --identity leadership --count 10',
    exits: '0 made; 2 there is no such identity, or the file cannot be written',
  })
    .requiredOption('--identity <id>', 'who presses with them, as identities.yaml calls it')
    .requiredOption('--count <n>', 'how many, 1 to 100', Number)
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{identity, codes: [{codeId, code}]}'))
    .action((options: { identity: string; count: number; config?: string; json?: true }) =>
      perform(async (t) => (await import('./break-glass.ts')).codesCreate(options, t)),
    );

  describe(codes.command('list'), {
    summary: 'show which codes there are, and which were used',
    details: 'By name, never the code itself.',
    example: 'interlock break-glass list',
    exits: '0 shown; 2 the configuration cannot be read',
  })
    .option('--identity <id>', 'only of this identity')
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{codes: [{codeId, identity, createdAt, usedAt}]}'))
    .action((options: { identity?: string; config?: string; json?: true }) =>
      perform(async (t) => (await import('./break-glass.ts')).codesList(options, t)),
    );

  describe(codes.command('revoke'), {
    summary: 'take codes back, all of an identity or one',
    details: 'At once: a running button looks every code up when it is used.',
    example: 'interlock break-glass revoke --identity leadership',
    exits: '0 revoked; 1 there was none; 2 the file cannot be written',
  })
    .option('--identity <id>', 'all codes of this identity')
    .option('--id <id>', 'this code, as `break-glass list` calls it')
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{revoked: [codeId]}'))
    .action((options: { identity?: string; id?: string; config?: string; json?: true }) =>
      perform(async (t) => (await import('./break-glass.ts')).codesRevoke(options, t)),
    );
}
