/** The commands below `evidence`. */
import type { Command } from 'commander';
import { describe, JSON_OPTION, type Register } from './program-parts.ts';

export function addEvidenceCommands(program: Command, perform: Register): void {
  const evidence = program.command('evidence').description('keys for sealed evidence, and opening it');

  describe(evidence.command('keygen'), {
    summary: 'make the key pair that hazardous logs are sealed with',
    details:
      'Prints the public key for evidence.sealing.publicKey and writes the private one, readable by you alone. Keep that where no service and no single person can reach it, or name it as privateKeyFile so that the service opens what two people have released.',
    example: 'interlock evidence keygen --out sealing.key',
    exits: '0 made; 2 the file is there already, or cannot be written',
  })
    .requiredOption('--out <file>', 'where the private key goes')
    .option(...JSON_OPTION('{publicKey, privateKeyFile}'))
    .action((options: { out: string; json?: true }) =>
      perform(async (t) => (await import('./evidence.ts')).evidenceKeygen(options, t)),
    );

  describe(evidence.command('open'), {
    summary: 'open sealed evidence that was released, with the private key',
    details:
      'Needs no service. What does not open to the digest that the ledger names is not kept. The output file is readable by you alone.',
    example: 'interlock evidence open 3f0c...sealed --key sealing.key --digest 3f0c... --out log.eval',
    exits: '0 opened; 1 changed, cut short, or sealed for another key; 2 a file cannot be used',
  })
    .argument('<file>', 'the sealed bytes')
    .requiredOption('--key <file>', 'the private key')
    .requiredOption('--digest <hex>', 'as the ledger names the log')
    .requiredOption('--out <file>', 'where the log goes; must not be there yet')
    .action((file: string, options: { key: string; digest: string; out: string }) =>
      perform(async (t) => (await import('./evidence.ts')).evidenceOpen(file, options, t)),
    );
}
