/**
 * Evidence: keeps what evaluations leave behind, and gives it out to those who may read it.
 *
 * A log goes to the store first and to the ledger after that, as digest and size: what the ledger names is there. Hazardous ones
 * are sealed on their way; their plain bytes are never on disk. A sealed one is read under a release of two people, and the
 * reading is in the ledger before the first byte goes out. Bytes that are not of their digest are given to nobody.
 * Fails toward not keeping: without a sealing key a hazardous log is kept nowhere. An evaluation never waits or fails for it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { isHazardous } from '../domain/policy/schema.ts';
import { locate } from '../domain/run/evaluation.ts';
import { releaseInForce } from '../domain/run/evidence.ts';
import { evidenceKey } from '../domain/run/view.ts';
import { InterlockError } from '../errors.ts';
import type { BlobName, EvidenceStore } from '../evidence/evidence-store.ts';
import { readPrivateKey, readPublicKey, seal, unseal } from '../evidence/seal.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { realTimers, type Timers } from '../timers.ts';
import type { RunService } from './run-service.ts';

/** Bytes of a log: of a file, or in memory. */
export interface EvidenceSource {
  stream(): AsyncIterable<Uint8Array>;
}

export interface AboutEvidence {
  readonly runId: string;
  /** The attempt that it is of; null for what is of none. */
  readonly evaluationId: string | null;
  readonly attempt: number | null;
  readonly by: string;
  /** Beside what the policy says of the evaluation. */
  readonly hazardous?: boolean;
}

export interface EvidenceRow {
  readonly runId: string;
  readonly digest: string;
  readonly bytes: number;
  readonly sealed: boolean;
}

export type EvidenceReading =
  | { readonly kind: 'bytes'; readonly body: Buffer; readonly total: number; readonly sealed: boolean }
  | {
      readonly kind: 'refused';
      readonly code: 'not-found' | 'forbidden';
      readonly message: string;
    };

export interface Evidence {
  /** The log's digest, once it is kept; null where it could not be. Never rejects. */
  keep(source: EvidenceSource, about: AboutEvidence): Promise<string | null>;
  /** Of which runs a log is kept, the newest first. */
  rows(digest: string): Promise<EvidenceRow[]>;
  read(digest: string, by: string, range: { offset: number; length: number }): Promise<EvidenceReading>;
  /** Settles when what is on its way to the store is there, or a moment later has been given up. */
  close(): Promise<void>;
}

export interface EvidenceDeps {
  readonly store: EvidenceStore;
  readonly runs: Pick<RunService, 'load' | 'execute'>;
  readonly ledger: Pick<Ledger, 'view' | 'views'>;
  /** For what is on its way to the store. */
  readonly scratch: string;
  /** As `interlock evidence keygen` prints it; null: nothing can be sealed. */
  readonly sealingKey: string | null;
  /** Null: what is sealed is given out as it is. */
  readonly privateKeyFile: string | null;
  readonly clock: () => Date;
  readonly logger: { warn(fields: object, message: string): void };
  readonly timers?: Timers;
}

const Row = z.object({ runId: z.string(), digest: z.string(), bytes: z.number(), sealed: z.boolean() });
const COPIES_MAX = 50;
const STORE_TIMEOUT_MS = 3_600_000;
/** Of a service that is stopping: a log that is lost by it is a warning, and no reason not to stop. */
const CLOSE_GRACE_MS = 5_000;

export function createEvidence(deps: EvidenceDeps): Evidence {
  const { store, runs, ledger, scratch, clock, logger, timers = realTimers } = deps;
  const underWay = new Set<Promise<unknown>>();
  const closing = new AbortController();

  function keep(source: EvidenceSource, about: AboutEvidence): Promise<string | null> {
    const kept = keepOne(source, about).finally(() => underWay.delete(kept));
    underWay.add(kept);
    return kept;
  }

  async function close(): Promise<void> {
    const timer = timers.set(() => closing.abort(), CLOSE_GRACE_MS);
    await Promise.allSettled(underWay);
    timers.clear(timer);
  }

  async function keepOne(source: EvidenceSource, about: AboutEvidence): Promise<string | null> {
    const part = path.join(scratch, `${randomBytes(12).toString('hex')}.part`);
    try {
      const sealed = about.hazardous === true || (await isOfHazard(about));
      if (sealed && deps.sealingKey === null) {
        const { runId, evaluationId } = about;
        logger.warn(
          { runId, evaluationId },
          'a hazardous log is not kept: evidence.sealing is not configured',
        );
        return null;
      }
      await mkdir(scratch, { recursive: true, mode: 0o700 });
      const { hex, bytes } = await written(source, part, sealed);
      // Sealed for one run is sealed for all: it is the same text.
      if (!sealed && (await store.has({ kind: 'sealed', hex }))) {
        await note(hex, bytes, true, about);
        return hex;
      }
      const name: BlobName = { kind: sealed ? 'sealed' : 'sha256', hex };
      const signal = AbortSignal.any([AbortSignal.timeout(STORE_TIMEOUT_MS), closing.signal]);
      await store.write(name, part, signal);
      await note(hex, bytes, sealed, about);
      if (sealed) await removePlain(hex, signal, about);
      return hex;
    } catch (error) {
      const { runId, evaluationId } = about;
      logger.warn({ err: error, runId, evaluationId }, 'the log of an evaluation could not be kept');
      return null;
    } finally {
      await rm(part, { force: true }).catch(() => undefined);
    }
  }

  /** Of bytes that were kept before anybody knew that they are dangerous. */
  async function removePlain(hex: string, signal: AbortSignal, about: AboutEvidence): Promise<void> {
    const plain: BlobName = { kind: 'sha256', hex };
    try {
      if (await store.has(plain)) await store.remove(plain, signal);
    } catch (error) {
      const { runId, evaluationId } = about;
      logger.warn({ err: error, runId, evaluationId }, 'plain bytes of a sealed log could not be removed');
    }
  }

  async function isOfHazard({ runId, evaluationId }: AboutEvidence): Promise<boolean> {
    if (evaluationId === null) return false;
    const loaded = await runs.load(runId);
    if (loaded === null) return true;
    const located = locate(loaded.state, evaluationId, loaded.policy);
    // Of a checkpoint that has left the state it is not known what it was of.
    return located === null
      ? loaded.policy.evaluations.some((each) => isHazardous(loaded.policy, each))
      : isHazardous(loaded.policy, located.spec);
  }

  async function written(
    source: EvidenceSource,
    part: string,
    sealed: boolean,
  ): Promise<{ hex: string; bytes: number }> {
    const hash = createHash('sha256');
    let bytes = 0;
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const chunk of source.stream()) {
        hash.update(chunk);
        bytes += chunk.byteLength;
        yield chunk;
      }
    }
    const out = sealed ? seal(counted(), readPublicKey(deps.sealingKey ?? '')) : counted();
    await pipeline(out, createWriteStream(part, { flags: 'wx', mode: 0o600 }));
    return { hex: hash.digest('hex'), bytes };
  }

  async function note(digest: string, bytes: number, sealed: boolean, about: AboutEvidence): Promise<void> {
    const { runId, evaluationId, attempt, by } = about;
    await runs.execute(
      runId,
      async () => {
        const row = Row.safeParse((await ledger.view('evidence', evidenceKey(digest, runId)))?.doc);
        // What was plain and is dangerous now is news: from here on it takes a release.
        const known = row.success && (row.data.sealed || !sealed);
        return { type: 'NoteEvidence', digest, bytes, sealed, evaluationId, attempt, by, known };
      },
      { actor: by },
    );
  }

  async function rows(digest: string): Promise<EvidenceRow[]> {
    const found = await ledger.views({ kind: 'evidence', runId: digest, limit: COPIES_MAX, order: 'desc' });
    return found.map(({ doc }) => Row.parse(doc));
  }

  async function read(
    digest: string,
    by: string,
    range: { offset: number; length: number },
  ): Promise<EvidenceReading> {
    const known = await rows(digest);
    // Sealed for one run is sealed for all: it is the same text.
    const row = known.find(({ sealed }) => sealed) ?? known[0];
    if (row === undefined) return refused('not-found', `no evidence of digest ${digest} is kept`);
    if (row.sealed) {
      const denied = await admitted(known, digest, by);
      if (denied !== null) return denied;
    }
    const { privateKeyFile } = deps;
    // Before anything is opened that only a reading to its end would close.
    const key = row.sealed && privateKeyFile !== null ? await privateKey(privateKeyFile) : null;
    const name: BlobName = { kind: row.sealed ? 'sealed' : 'sha256', hex: digest };
    const stored = await store.read(name, AbortSignal.timeout(STORE_TIMEOUT_MS));
    if (stored === null)
      return refused('not-found', 'the evidence is no longer kept: its retention has ended');
    if (row.sealed && key === null) {
      return { kind: 'bytes', ...(await sliced(stored, range, null)), sealed: true };
    }
    const plain = key === null ? stored : unseal(stored, key);
    return { kind: 'bytes', ...(await sliced(plain, range, digest)), sealed: false };
  }

  /** Records the reading under a release that is in force; null where there is one. */
  async function admitted(
    known: readonly EvidenceRow[],
    digest: string,
    by: string,
  ): Promise<EvidenceReading | null> {
    for (const { runId, sealed } of known) {
      const loaded = sealed ? await runs.load(runId) : null;
      if (loaded === null || releaseInForce(loaded.state, digest, clock()) === null) continue;
      const noted = await runs.execute(runId, { type: 'NoteEvidenceRead', digest, by }, { actor: by });
      if (noted.outcome === 'recorded') return null;
    }
    return refused('forbidden', 'it is sealed, and no release by two people is in force');
  }

  return { keep, rows, read, close };
}

const refused = (code: 'not-found' | 'forbidden', message: string): EvidenceReading => ({
  kind: 'refused',
  code,
  message,
});

/** Reads all of it, whatever is asked for: what is not of its digest is given out in no part. */
async function sliced(
  source: AsyncIterable<Uint8Array>,
  { offset, length }: { offset: number; length: number },
  digest: string | null,
): Promise<{ body: Buffer; total: number }> {
  const hash = createHash('sha256');
  const parts: Buffer[] = [];
  let at = 0;
  for await (const bytes of source) {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    hash.update(chunk);
    const from = Math.max(0, offset - at);
    const to = Math.min(chunk.length, offset + length - at);
    if (from < to) parts.push(Buffer.from(chunk.subarray(from, to)));
    at += chunk.length;
  }
  if (digest !== null && hash.digest('hex') !== digest) {
    throw new InterlockError('what is stored is not of its digest', { code: 'evidence.damaged' });
  }
  return { body: Buffer.concat(parts), total: at };
}

async function privateKey(file: string) {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new InterlockError('the private sealing key cannot be read', { code: 'evidence.key', cause });
  });
  if (((await stat(file)).mode & 0o077) !== 0) {
    throw new InterlockError('the private sealing key can be read by others; run chmod 600 on it', {
      code: 'evidence.key',
    });
  }
  return readPrivateKey(text);
}
