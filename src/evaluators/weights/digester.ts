/**
 * Digests of weights, one after the other, in a thread of their own but for small ones: terabytes are hashed while halts
 * go out next door.
 *
 * Who asks for a path that is under way joins it. A digest is cut short by `close` alone: it is of use to whoever asks next,
 * also where the job that asked first has run out of its time.
 */
import { Worker } from 'node:worker_threads';
import { digestWeights, inventory, type WeightsDigest, WeightsError, type WeightsProblem } from './digest.ts';

export type DigestMessage =
  | { kind: 'progress'; done: number; total: number }
  | { kind: 'digested'; found: WeightsDigest }
  | { kind: 'failed'; problem: WeightsProblem; detail: string };

export type Digested =
  | { readonly ok: true; readonly found: WeightsDigest }
  /** `detail` names files below the path: for the log, not for the ledger. */
  | { readonly ok: false; readonly problem: WeightsProblem; readonly detail: string };

/** Called as bytes are read. Must not throw. */
export type DigestListener = (bytesDone: number, bytesTotal: number) => void;

export interface Digester {
  /** Small weights are read without a word. */
  digest(path: string, onProgress?: DigestListener): Promise<Digested>;
  close(): Promise<void>;
}

/** Read before a thread would have begun. */
const HERE_MAX_BYTES = 16 * 1024 * 1024;

export function createDigester(roots: readonly string[]): Digester {
  const underWay = new Map<string, { answer: Promise<Digested>; listeners: DigestListener[] }>();
  let running: Worker | null = null;
  let isClosed = false;
  let last: Promise<unknown> = Promise.resolve();

  async function work(path: string): Promise<Digested> {
    try {
      const { bytes } = await inventory(path, { roots });
      if (isClosed) return failed('digesting was ended');
      return bytes <= HERE_MAX_BYTES
        ? { ok: true, found: await digestWeights(path, { roots }) }
        : await inThread(path);
    } catch (error) {
      if (!(error instanceof WeightsError)) throw error;
      return { ok: false, problem: error.problem, detail: error.message };
    }
  }

  function inThread(path: string): Promise<Digested> {
    return new Promise((resolve) => {
      const worker = startThread({ path, roots: [...roots] });
      running = worker;
      worker.on('message', (message: DigestMessage) => {
        if (message.kind === 'digested') resolve({ ok: true, found: message.found });
        else if (message.kind === 'failed') resolve({ ok: false, ...message });
        else
          for (const listener of underWay.get(path)?.listeners ?? []) listener(message.done, message.total);
      });
      worker.on('error', (error) => resolve(failed(error.message)));
      worker.on('exit', () => {
        if (running === worker) running = null;
        resolve(failed('the thread ended before it was done'));
      });
    });
  }

  return {
    digest(path, onProgress) {
      const listeners = onProgress === undefined ? [] : [onProgress];
      const known = underWay.get(path);
      if (known !== undefined) {
        known.listeners.push(...listeners);
        return known.answer;
      }
      const answer = last.then(() => work(path)).finally(() => underWay.delete(path));
      // Whatever became of this one, the next is looked at.
      last = answer.catch(() => undefined);
      underWay.set(path, { answer, listeners });
      return answer;
    },
    async close() {
      isClosed = true;
      await running?.terminate();
      await last;
    },
  };
}

/** What could not be looked at is no yes. */
const failed = (detail: string): Digested => ({ ok: false, problem: 'weights-unreadable', detail });

/** From the sources a thread has to be taught TypeScript first, as bin/interlock.mjs is. */
function startThread(workerData: { path: string; roots: string[] }): Worker {
  if (!import.meta.url.endsWith('.ts')) {
    return new Worker(new URL('digest-thread.js', import.meta.url), { workerData });
  }
  const entry = JSON.stringify(new URL('digest-thread.ts', import.meta.url).href);
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const start = `import(${tsx}).then(({ register }) => { register(); return import(${entry}); });`;
  return new Worker(start, { eval: true, workerData });
}
