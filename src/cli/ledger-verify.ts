/**
 * `interlock ledger verify`: was anything removed, changed, moved or added behind our back?
 *
 * Live: the database of the configuration, with the keys of its keyring. Offline: an export and a key set, no
 * database and no configuration; this is what an auditor runs. Exit 0 only where everything could be checked.
 */
import type { Problem, Verification } from '../ledger/verification.ts';
import { verifyExportFile } from '../ledger/verify-export.ts';
import { verifyLive } from '../ledger/verify-live.ts';
import { loadKeyring } from '../signing/keyring.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { headVerifier, readJwks, readTrustedHead } from './head-verifier.ts';
import { json, plural, printable, type Style } from './output.ts';
import type { Terminal } from './terminal.ts';

export interface LedgerVerifyOptions {
  file?: string;
  key?: string;
  trustedHead?: string;
  issuer?: string;
  config?: string;
  json?: true;
}

export async function ledgerVerify(options: LedgerVerifyOptions, terminal: Terminal): Promise<ExitCode> {
  const verification = await verify(options, terminal);
  terminal.print(options.json ? json(verification) : verdict(verification, terminal.style));
  return verification.ok ? EXIT.ok : EXIT.negative;
}

async function verify(options: LedgerVerifyOptions, terminal: Terminal): Promise<Verification> {
  const { file, key, issuer } = options;
  if (file !== undefined && key === undefined && options.config === undefined) {
    throw new UsageError(
      'an export is checked against public keys: give --key JWKS_FILE (`interlock ledger keys` prints it), or --config',
    );
  }
  const trustedHead =
    options.trustedHead === undefined ? {} : { trustedHead: await readTrustedHead(options.trustedHead) };
  if (file !== undefined && key !== undefined) {
    const verifyHeadJws = headVerifier(await readJwks(key), issuer);
    return verifyExportFile(file, { verifyHeadJws, ...trustedHead });
  }
  const { loadConfig, withStore } = await import('./configuration.ts');
  const config = await loadConfig(options.config, terminal);
  const jwks = key === undefined ? (await loadKeyring(config.signingKey)).jwks() : await readJwks(key);
  const verifyOptions = { verifyHeadJws: headVerifier(jwks, issuer), ...trustedHead };
  return file === undefined
    ? withStore(config, ({ database }) => verifyLive(database.pool, verifyOptions))
    : verifyExportFile(file, verifyOptions);
}

export function verdict(verification: Verification, style: Style): string {
  const { ok, events, head, headsVerified, headsUnchecked, unsignedEvents, problems, problemsTotal } =
    verification;
  const lines = [
    ok ? style.green('the ledger verifies') : style.red('the ledger does NOT verify'),
    `events          ${events}`,
    `Merkle root     ${head.root}`,
    `last hash       ${head.hash}`,
    `signed heads    ${headsVerified} verified${headsUnchecked > 0 ? `, ${headsUnchecked} too far back to compare` : ''}`,
  ];
  if (unsignedEvents > 0) {
    lines.push(
      `not yet signed  ${plural(unsignedEvents, 'event')} after the newest verified head: whoever writes the database could have changed them`,
    );
  }
  if (problems.length > 0) lines.push('', ...problems.map(problemLine));
  if (problemsTotal > problems.length) lines.push(`  and ${problemsTotal - problems.length} more`);
  if (problems.some(({ code }) => code === 'no-signed-head')) {
    lines.push(
      '',
      'A running service signs a head every minute while the ledger grows, and at every halt; `interlock ledger export` signs one too.',
    );
  }
  return lines.join('\n');
}

/** The message begins with the entry, or with the line where no entry could be read. */
function problemLine({ code, seq, line, message }: Problem): string {
  return `  ${line === null || seq === null ? '' : `line ${line}: `}${printable(message)} [${code}]`;
}
