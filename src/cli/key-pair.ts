/** A key pair made here: the private half into a file that only its maker can read, the public half for everybody. */
import { writeFile } from 'node:fs/promises';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json } from './output.ts';
import type { Terminal } from './terminal.ts';

export async function handOutKeyPair(
  { publicKey, privateKey }: { publicKey: string; privateKey: string },
  { out, json: asJson }: { out: string; json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  await writeFile(out, `${privateKey}\n`, { flag: 'wx', mode: 0o600 }).catch(() => {
    throw new UsageError(`${out} is there already or cannot be written; nothing was made`);
  });
  terminal.print(asJson ? json({ publicKey, privateKeyFile: out }) : publicKey);
  return EXIT.ok;
}
