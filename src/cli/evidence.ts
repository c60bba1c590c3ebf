/** `interlock evidence`: the sealing key pair, and opening what was sealed, away from the service. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { InterlockError } from '../errors.ts';
import { generateSealingKeys, readPrivateKey, unseal } from '../evidence/seal.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { handOutKeyPair } from './key-pair.ts';
import type { Terminal } from './terminal.ts';

export const evidenceKeygen = (
  options: { out: string; json?: true },
  terminal: Terminal,
): Promise<ExitCode> => handOutKeyPair(generateSealingKeys(), options, terminal);

export async function evidenceOpen(
  file: string,
  { key, digest, out }: { key: string; digest: string; out: string },
  terminal: Terminal,
): Promise<ExitCode> {
  if (!/^[0-9a-f]{64}$/.test(digest)) throw new UsageError('--digest must be 64 hexadecimal digits');
  const privateKey = readPrivateKey(
    await readFile(key, 'utf8').catch(() => {
      throw new UsageError(`the key ${key} cannot be read`);
    }),
  );
  const hash = createHash('sha256');
  async function* checked(): AsyncGenerator<Uint8Array> {
    for await (const bytes of unseal(createReadStream(file), privateKey)) {
      hash.update(bytes);
      yield bytes;
    }
    if (hash.digest('hex') !== digest) {
      throw new InterlockError('the evidence is not of this digest', { code: 'evidence.damaged' });
    }
  }
  const output = createWriteStream(out, { flags: 'wx', mode: 0o600 });
  let isOurs = false;
  output.once('open', () => {
    isOurs = true;
  });
  try {
    await pipeline(checked(), output);
    return EXIT.ok;
  } catch (error) {
    if (isOurs) await rm(out, { force: true });
    if (error instanceof InterlockError && error.code === 'evidence.damaged') {
      terminal.complain(error.message);
      return EXIT.negative;
    }
    // Of the system: which file, and why.
    throw error;
  }
}
