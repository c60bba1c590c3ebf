/**
 * `scanBlock` for several blocks at once, one thread each; answers come in the order of the questions.
 *
 * The first blocks are looked at here: most ledgers that somebody verifies are over before a thread would have begun.
 * A thread that dies fails what it was asked, and verification with it: what could not be looked at is no yes.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { InterlockError } from '../errors.ts';
import { type BlockPart, scanBlock } from './verify-block.ts';

export interface ScannedBlock {
  readonly block: Uint8Array<ArrayBuffer>;
  readonly parts: readonly BlockPart[];
}

export interface BlockScanners {
  /** How many blocks it is worth asking about before the first answer is awaited. */
  readonly underWayMax: number;
  /** Takes the block away, and gives it back with the answer. */
  scan(block: Uint8Array<ArrayBuffer>): Promise<ScannedBlock>;
  close(): Promise<void>;
}

const HERE_MAX_BYTES = 4 * 1024 * 1024;
const THREADS_MAX = 4;
/** Each thread has one before it and one waiting, so that it never rests. */
const BLOCKS_PER_THREAD = 2;

export function createBlockScanners({
  threads = Math.min(availableParallelism(), THREADS_MAX),
  hereMaxBytes = HERE_MAX_BYTES,
} = {}): BlockScanners {
  let workers: ScanThread[] = [];
  let bytesHere = 0;
  let next = 0;
  return {
    underWayMax: Math.max(1, threads * BLOCKS_PER_THREAD),
    async scan(block) {
      bytesHere += block.length;
      if (threads < 2 || bytesHere <= hereMaxBytes) return { block, parts: scanBlock(block) };
      if (workers.length === 0) workers = Array.from({ length: threads }, () => new ScanThread());
      const worker = workers[next % workers.length];
      next += 1;
      return worker === undefined ? { block, parts: scanBlock(block) } : worker.scan(block);
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.end()));
    },
  };
}

/** From the sources a thread has to be taught TypeScript first, as bin/interlock.mjs is. */
function startThread(): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('scan-thread.js', import.meta.url));
  const entry = JSON.stringify(new URL('scan-thread.ts', import.meta.url).href);
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const start = `import(${tsx}).then(({ register }) => { register(); return import(${entry}); });`;
  return new Worker(start, { eval: true });
}

interface Question {
  readonly resolve: (answer: ScannedBlock) => void;
  readonly reject: (error: Error) => void;
}

class ScanThread {
  readonly #worker: Worker;
  readonly #waiting: Question[] = [];
  #ended: InterlockError | null = null;

  constructor() {
    this.#worker = startThread();
    this.#worker.on('message', (answer: ScannedBlock) => this.#waiting.shift()?.resolve(answer));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => this.#fail());
  }

  scan(block: Uint8Array<ArrayBuffer>): Promise<ScannedBlock> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(block, [block.buffer]);
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(cause?: Error): void {
    this.#ended ??= new InterlockError(
      'a thread that verified a part of the ledger ended before it was done',
      {
        code: 'ledger.verification-ended',
        cause,
      },
    );
    for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
  }
}
