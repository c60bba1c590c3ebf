/** The thread of digester.ts: works out one digest, tells how far it is, and ends with the answer. */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { digestWeights, WeightsError } from './digest.ts';
import type { DigestMessage } from './digester.ts';

const Job = z.strictObject({ path: z.string(), roots: z.array(z.string()) });

/** Enough to watch, and no flood. */
const TOLD_EVERY_BYTES = 64 * 1024 * 1024;

const say = (message: DigestMessage): void => parentPort?.postMessage(message);

async function run(): Promise<void> {
  const { path, roots } = Job.parse(workerData);
  let told = 0;
  try {
    const found = await digestWeights(path, {
      roots,
      onProgress(done, total) {
        if (done - told < TOLD_EVERY_BYTES && done !== total) return;
        told = done;
        say({ kind: 'progress', done, total });
      },
    });
    say({ kind: 'digested', found });
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    say({ kind: 'failed', problem: error.problem, detail: error.message });
  }
}

await run();
