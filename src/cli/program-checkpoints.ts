/** The commands below `checkpoint`. */
import type { Command } from 'commander';
import { describe, JSON_OPTION, type Register } from './program-parts.ts';

export function addCheckpointCommands(program: Command, perform: Register): void {
  const checkpoint = program.command('checkpoint').description('what a checkpoint is made of');

  describe(checkpoint.command('digest'), {
    summary: "work out the digest of a checkpoint's weights, as Interlock does",
    details:
      'Of a file the SHA-256 of its bytes; of a directory the SHA-256 of what `sha256sum` prints of every file below it, sorted by path. State it as weightsDigest with the checkpoint, or compare it with the one in the ledger. Reads everything; needs no service.',
    example: 'interlock checkpoint digest /models/step-1000',
    exits: '0 printed; 1 the weights cannot be read, or were written to meanwhile',
  })
    .argument('<path>', 'a file or a directory')
    .option(...JSON_OPTION('{digest, files, bytes}'))
    .action((path: string, options: { json?: true }) =>
      perform(async (t) => (await import('./checkpoint-digest.ts')).checkpointDigest(path, options, t)),
    );
}
