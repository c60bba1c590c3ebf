/** `interlock ledger accept-restore`: an operator says that a ledger put back from a backup is the one that counts. */
import { z } from 'zod';
import { EXIT, type ExitCode } from './exit.ts';
import { json, plural } from './output.ts';
import { connect, read, type ServiceOptions } from './service-client.ts';
import type { Terminal } from './terminal.ts';

export interface AcceptRestoreOptions extends ServiceOptions {
  reason: string;
  json?: true;
}

const Accepted = z.object({ size: z.number(), anchoredSize: z.number(), runsHalted: z.number() });
/** Every unfinished run is halted in the same request. */
const TIMEOUT_MS = 70_000;

export async function acceptRestore(options: AcceptRestoreOptions, terminal: Terminal): Promise<ExitCode> {
  const client = await connect(options, terminal);
  const answer = await client.post('/v1/ledger/accept-restore', { reason: options.reason }, TIMEOUT_MS);
  const { size, anchoredSize, runsHalted } = read(Accepted, answer);
  if (options.json) terminal.print(json(answer));
  else {
    terminal.print(
      `the ledger of ${size} events counts from here on; a head of ${anchoredSize} events was signed before`,
    );
    terminal.print(`${plural(runsHalted, 'run')} halted: each goes on only by a governed resume`);
  }
  return EXIT.ok;
}
