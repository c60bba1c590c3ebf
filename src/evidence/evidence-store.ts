/**
 * Where evidence is kept: logs of evaluations, named by the SHA-256 of their bytes, never in the ledger.
 *
 * A blob is written once and never changed; the same again is no second one. `write` returns when it is durable. Blobs are
 * streams: a log may be larger than memory. Reading checks nothing: whoever asked for a digest compares it (service/evidence.ts).
 * Expected outcomes are values; a store that cannot be reached throws InterlockError `evidence.unavailable`, retryable.
 */
import { InterlockError } from '../errors.ts';

/** `sha256` holds plain bytes, `sealed` what seal.ts made of bytes of that digest. */
export type BlobKind = 'sha256' | 'sealed';

export interface BlobName {
  readonly kind: BlobKind;
  /** 64 hexadecimal digits, of the bytes before they were sealed. */
  readonly hex: string;
}

export interface EvidenceStore {
  /** Whether there is such a blob. */
  has(name: BlobName): Promise<boolean>;
  /** Of a complete local file; nothing happens where the blob is there already. */
  write(name: BlobName, file: string, signal: AbortSignal): Promise<void>;
  /** Null where there is none. */
  read(name: BlobName, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | null>;
  /** Nothing happens where there is none. */
  remove(name: BlobName, signal: AbortSignal): Promise<void>;
  /** Removes what was written before an instant; answers how many. A store that expires by itself removes nothing. */
  expire(before: Date): Promise<number>;
}

/** `sha256/ab/cdef...`: no directory gets too large, and a listing shows what is sealed. */
export function pathOf({ kind, hex }: BlobName): string {
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new TypeError('a blob is named by 64 hexadecimal digits');
  return `${kind}/${hex.slice(0, 2)}/${hex.slice(2)}`;
}

/** `what` is ours: never a path, an address or a key. */
export function unavailable(what: string, cause?: unknown): InterlockError {
  return new InterlockError(`the evidence store ${what}`, {
    code: 'evidence.unavailable',
    retryable: true,
    cause,
  });
}
