/**
 * What a trainer must remember over a restart: halts it was ordered, which of them were cleared, the highest
 * epoch and sequence of any permit, the keys it believes, and which process trained last. One small file per run
 * in a directory of its own.
 *
 * Written beside, fsynced and renamed, before anyone acts on it: a halt that was acknowledged is on
 * disk. Which way it fails: a file that is there but cannot be read stops the start, because it may
 * hold a halt; only a file that is not there means a fresh run.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from './durable-file.ts';
import { InterlockClientError } from './errors.ts';
import { isKnownKey, isRecord, type KnownKey } from './trusted-keys.ts';

export interface ReceivedHalt {
  haltId: string;
  action: 'halt' | 'quarantine';
  epoch: number;
  via: 'heartbeat' | 'webhook';
  receivedAt: string;
  /** The signed order itself, for whoever asks later why the run stopped. */
  order: string;
}

export interface GuardMemory {
  runId: string;
  epoch: number;
  seq: number;
  halts: readonly ReceivedHalt[];
  /** Every one that any permit has listed, the newest last. */
  clearedHalts: readonly string[];
  keys?: readonly KnownKey[];
  /** Interlock's name for the key set that `keys` was last learned from. */
  keySet?: string;
  holder?: Holder;
  /** The process that was taken over from, until Interlock has heard of it. */
  supersedes?: string;
}

/** The process that used this memory last: one at a time may. */
export interface Holder {
  instance: string;
  host: string;
  pid: number;
  /** Distinguishes it from a later process with the same number; null where the platform cannot say. */
  startedAt: string | null;
}

export interface GuardStateFile {
  readonly path: string;
  load(): GuardMemory;
  save(memory: GuardMemory): void;
}

/** What a run's files in its state directory begin with; the Python client's are the same. */
export function guardFileName(runId: string): string {
  // The digest keeps two run ids apart on file systems that ignore case.
  const suffix = createHash('sha256').update(runId).digest('hex').slice(0, 12);
  return `interlock-${runId.replaceAll(/[^A-Za-z0-9._-]/g, '_')}-${suffix}`;
}

export function guardStateFile(directory: string, runId: string): GuardStateFile {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${guardFileName(runId)}.json`);
  return {
    path,
    load: () => read(path, runId),
    save(memory) {
      writeDurably(path, `${JSON.stringify(memory)}\n`);
    },
  };
}

function read(path: string, runId: string): GuardMemory {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (isRecord(cause) && cause['code'] === 'ENOENT') {
      return { runId, epoch: 0, seq: 0, halts: [], clearedHalts: [] };
    }
    throw unreadable(path, cause);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (!isMemory(value) || value.runId !== runId) throw unreadable(path, undefined);
  return value;
}

function unreadable(path: string, cause: unknown): InterlockClientError {
  return new InterlockClientError(
    `${path} cannot be read and may hold a halt: see to it before this run trains again`,
    { code: 'bad-configuration', retryable: false, cause },
  );
}

function isMemory(value: unknown): value is GuardMemory {
  return (
    isRecord(value) &&
    typeof value['runId'] === 'string' &&
    Number.isSafeInteger(value['epoch']) &&
    Number.isSafeInteger(value['seq']) &&
    Array.isArray(value['halts']) &&
    value['halts'].every(isReceivedHalt) &&
    Array.isArray(value['clearedHalts']) &&
    value['clearedHalts'].every((id) => typeof id === 'string') &&
    (value['keys'] === undefined || (Array.isArray(value['keys']) && value['keys'].every(isKnownKey))) &&
    (value['keySet'] === undefined || typeof value['keySet'] === 'string') &&
    (value['holder'] === undefined || isHolder(value['holder'])) &&
    (value['supersedes'] === undefined || typeof value['supersedes'] === 'string')
  );
}

function isHolder(value: unknown): value is Holder {
  return (
    isRecord(value) &&
    typeof value['instance'] === 'string' &&
    typeof value['host'] === 'string' &&
    Number.isSafeInteger(value['pid']) &&
    (value['startedAt'] === null || typeof value['startedAt'] === 'string')
  );
}

function isReceivedHalt(value: unknown): value is ReceivedHalt {
  return (
    isRecord(value) &&
    typeof value['haltId'] === 'string' &&
    (value['action'] === 'halt' || value['action'] === 'quarantine') &&
    (value['via'] === 'heartbeat' || value['via'] === 'webhook') &&
    Number.isSafeInteger(value['epoch']) &&
    typeof value['receivedAt'] === 'string' &&
    typeof value['order'] === 'string'
  );
}
