/** Ledgers made by hand, for tests that then break them: no database, real signatures. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canonicalJson, type JsonObject } from '../../src/domain/canonical-json.ts';
import { eventId, GENESIS_HASH, sealEnvelope } from '../../src/ledger/envelope.ts';
import { CompactRange } from '../../src/ledger/merkle.ts';
import type { VerifyHeadJws } from '../../src/ledger/verification.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';
import { createTokenSigner, createTokenVerifier } from '../../src/signing/tokens.ts';

export interface HeadKeys {
  sign(claims: { size: number; root: string; hash: string }): Promise<string>;
  verifyHeadJws: VerifyHeadJws;
}

export async function createHeadKeys(): Promise<HeadKeys> {
  const directory = await mkdtemp(join(tmpdir(), 'interlock-ledger-keys-'));
  const path = join(directory, 'keys.json');
  await createKeyringFile(path);
  const keyring = await loadKeyring(path);
  await rm(directory, { recursive: true });
  const issuer = 'https://interlock.test';
  const signer = createTokenSigner({ keyring, issuer });
  const verifier = createTokenVerifier({ jwks: () => keyring.jwks(), issuer });
  return {
    sign: ({ size, root, hash }) => signer.signHead({ iat: 1_800_000_000, size, root, hash }),
    async verifyHeadJws(jws) {
      const verified = await verifier.verifyHead(jws);
      if (!verified.ok) throw new Error(verified.reason);
      return verified.claims;
    },
  };
}

export interface Entry {
  stream: string;
  kind?: string;
  data?: JsonObject;
  /** Where it should not be the next one. */
  version?: number;
  recordedAt?: string;
  id?: string;
}

export interface Built {
  lines: string[];
  /** The claims of the ledger of that many entries. */
  claims: { size: number; root: string; hash: string }[];
}

export function buildLedger(entries: readonly Entry[]): Built {
  const tree = new CompactRange();
  const versions = new Map<string, number>();
  let prevHash = GENESIS_HASH;
  const claimsNow = () => ({ size: tree.size, root: tree.root().toString('hex'), hash: prevHash });
  const built: Built = { lines: [], claims: [claimsNow()] };
  for (const [index, entry] of entries.entries()) {
    const { stream, data = { n: index + 1 } } = entry;
    const version = entry.version ?? (versions.get(stream) ?? 0) + 1;
    versions.set(stream, version);
    const { text, leaf } = sealEnvelope({
      actor: 'trainer',
      dataJson: canonicalJson(data),
      id: entry.id ?? eventId(stream, version),
      kind: entry.kind ?? 'CheckpointReported',
      prevHash,
      recordedAt: entry.recordedAt ?? new Date(1_800_000_000_000 + index).toISOString(),
      stream,
      version,
    });
    tree.append(leaf);
    prevHash = leaf.toString('hex');
    built.lines.push(text);
    built.claims.push(claimsNow());
  }
  return built;
}

export const headLine = (jws: string): string => canonicalJson({ signedHead: jws });

export async function* linesOf(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

export async function* bytesOf(file: Uint8Array, chunkBytes = 64): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < file.length; at += chunkBytes) yield file.subarray(at, at + chunkBytes);
}
