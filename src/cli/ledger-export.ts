/**
 * `interlock ledger export`: the ledger as JSON Lines, for people who need not trust this database.
 *
 * Signs a head first, so that the export is covered to its last event. Where that is refused (the ledger
 * contradicts an earlier head) the export is written all the same: it is the evidence.
 * A file is written beside its name and moved there when it is whole; one that exists is never replaced.
 */
import { access, link, open, unlink } from 'node:fs/promises';
import type { InterlockConfiguration } from '../composition/configuration.ts';
import { exportBytes } from '../ledger/export.ts';
import type { SignedHeads } from '../ledger/heads.ts';
import { loadKeyring } from '../signing/keyring.ts';
import { createTokenSigner } from '../signing/tokens.ts';
import { loadConfig, withStore } from './configuration.ts';
import { EXIT, type ExitCode, explainError, UsageError } from './exit.ts';
import type { Terminal } from './terminal.ts';

const CHUNK_BYTES = 256 * 1024;

export async function ledgerExport(
  options: { out?: string; sign: boolean; config?: string },
  terminal: Terminal,
): Promise<ExitCode> {
  const config = await loadConfig(options.config, terminal);
  if (options.out !== undefined) await assertAbsent(options.out);
  return withStore(config, async ({ database, heads }) => {
    if (options.sign) await signHead(config, heads, terminal);
    const chunks = inChunks(exportBytes(database.pool));
    const bytes =
      options.out === undefined
        ? await writeAll(chunks, (chunk) => terminal.write(chunk))
        : await writeFile(options.out, chunks);
    if (options.out !== undefined) terminal.complain(`wrote ${options.out}, ${bytes} bytes`);
    return EXIT.ok;
  });
}

async function signHead(
  config: InterlockConfiguration,
  heads: SignedHeads,
  terminal: Terminal,
): Promise<void> {
  try {
    const signer = createTokenSigner({
      keyring: await loadKeyring(config.signingKey),
      issuer: config.issuer,
    });
    await heads.recordHead(({ size, root, hash, at }) =>
      signer.signHead({ iat: Math.floor(Date.parse(at) / 1000), size, root, hash }),
    );
  } catch (error) {
    terminal.complain(`interlock: no head was signed for this export: ${explainError(error, false)}`);
  }
}

/** One write per line would cost more than reading it. */
async function* inChunks(lines: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let waiting: Uint8Array[] = [];
  let size = 0;
  for await (const line of lines) {
    waiting.push(line);
    size += line.length;
    if (size < CHUNK_BYTES) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(waiting);
}

async function writeAll(
  chunks: AsyncIterable<Uint8Array>,
  write: (chunk: Uint8Array) => Promise<unknown>,
): Promise<number> {
  let bytes = 0;
  for await (const chunk of chunks) {
    await write(chunk);
    bytes += chunk.length;
  }
  return bytes;
}

async function assertAbsent(path: string): Promise<void> {
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (isThere) throw new UsageError(`${path} is there already; an export replaces nothing`);
}

async function writeFile(path: string, chunks: AsyncIterable<Uint8Array>): Promise<number> {
  const partial = `${path}.partial-${process.pid}`;
  const handle = await open(partial, 'wx');
  try {
    const bytes = await writeAll(chunks, (chunk) => handle.appendFile(chunk));
    await handle.sync();
    // A link, not a rename: it refuses to replace what is there.
    await link(partial, path);
    return bytes;
  } finally {
    await handle.close();
    await unlink(partial);
  }
}
