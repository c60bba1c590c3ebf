/** `interlock ledger keys`: the public keys, for whoever verifies exports, permits and halt orders offline. */
import { loadKeyring } from '../signing/keyring.ts';
import { loadConfig } from './configuration.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { json } from './output.ts';
import type { Terminal } from './terminal.ts';

export async function ledgerKeys(options: { config?: string }, terminal: Terminal): Promise<ExitCode> {
  const config = await loadConfig(options.config, terminal);
  terminal.print(json((await loadKeyring(config.signingKey)).jwks()));
  return EXIT.ok;
}
