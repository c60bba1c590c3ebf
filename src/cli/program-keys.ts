/** The commands below `keys`. */
import type { Command } from 'commander';
import { CONFIG_OPTION, describe, JSON_OPTION, type Register } from './program-parts.ts';

export function addKeyCommands(program: Command, perform: Register): void {
  const keys = program.command('keys').description('list, rotate and revoke the signing keys');

  describe(keys.command('list'), {
    summary: 'show which key signs, which one is next, and which are retired or revoked',
    details: 'With their windows. Never a private half. `ledger keys` prints the public halves.',
    example: 'interlock keys list',
    exits: '0 printed; 2 the keyring cannot be read',
  })
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{keys: [{kid, state, notBefore, notAfter, revokedAt, revokedBecause}]}'))
    .action((options: { config?: string; json?: true }) =>
      perform(async (t) => (await import('./keys.ts')).keysList(options, t)),
    );

  describe(keys.command('rotate'), {
    summary: 'bring a new key, without a restart',
    details:
      'Published at once, signs after the overlap: long enough for every trainer to heartbeat meanwhile. What the key before it has signed stays verifiable. Needs write access to the keyring; replicas share its file.',
    example: 'interlock keys rotate --overlap 1h',
    exits: '0 rotated; 2 not changed',
  })
    .option('--overlap <duration>', 'how long the new key is only published', '10m')
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{kid, retiredKid, activeFrom}'))
    .action((options: { overlap: string; config?: string; json?: true }) =>
      perform(async (t) => (await import('./keys.ts')).keysRotate(options, t)),
    );

  describe(keys.command('secrets'), {
    summary: 'show the webhook secrets of identities.yaml, and when each was last used',
    details:
      'By an id that gives nothing away. To rotate one, put the new one beside it and write the old one as { secret, notAfter }: each use of it is then counted and told, until it ends.',
    example: 'interlock keys secrets',
    exits: '0 shown; 2 the configuration cannot be read',
  })
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{secrets: [{identity, id, state, notBefore, notAfter, lastUsedAt}]}'))
    .action((options: { config?: string; json?: true }) =>
      perform(async (t) => (await import('./keys.ts')).keysSecrets(options, t)),
    );

  describe(keys.command('party'), {
    summary: 'make the key pair that an outside evaluator signs with',
    details:
      'Prints the public key for publicKeys in identities.yaml and writes the private one, readable by you alone. The party makes it, and hands over the public key.',
    example: 'interlock keys party --out party.key',
    exits: '0 made; 2 the file is there already, or cannot be written',
  })
    .requiredOption('--out <file>', 'where the private key goes')
    .option(...JSON_OPTION('{publicKey, privateKeyFile}'))
    .action((options: { out: string; json?: true }) =>
      perform(async (t) => (await import('./keys.ts')).keysParty(options, t)),
    );

  describe(keys.command('revoke'), {
    summary: 'say that a key is not to be believed any more',
    details:
      'Trainers refuse its permits from their next heartbeat on; a halt order signed by it still stops a run, until Interlock says otherwise. The active key is replaced at once.',
    example: 'interlock keys revoke wHn1... --reason "laptop lost"',
    exits: '0 revoked; 2 not changed',
  })
    .argument('<kid>', 'the key, as `keys list` names it')
    .requiredOption('--reason <text>', 'why, at most 200 characters; published')
    .addOption(CONFIG_OPTION())
    .option(...JSON_OPTION('{revoked, activeKid}'))
    .action((kid: string, options: { reason: string; config?: string; json?: true }) =>
      perform(async (t) => (await import('./keys.ts')).keysRevoke(kid, options, t)),
    );
}
