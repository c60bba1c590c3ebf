/**
 * A trainer by the TypeScript client in a process of its own, to be killed or to see how it ends. What to do comes as
 * JSON in the last argument; one JSON line for each thing done.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { CheckpointQueue } from '../../clients/typescript/checkpoint-queue.ts';
import { createInterlockClient, TrainingGuard } from '../../clients/typescript/index.ts';

const Task = z.discriminatedUnion('kind', [
  /** Puts reports on disk for as long as it lives, and says the number of each that is safe. */
  z.object({
    kind: z.literal('queue'),
    directory: z.string(),
    life: z.string(),
    /** Of this one half is written when the process is killed. */
    halfWritten: z.number().optional(),
  }),
  /** Trains until it is ended; `hook` is what it does when a halt ends it. */
  z.object({
    kind: z.literal('train'),
    url: z.string(),
    token: z.string(),
    webhookSecret: z.string(),
    runId: z.string(),
    stateDirectory: z.string(),
    checkpoints: z.array(z.string()).default([]),
    hook: z.enum(['none', 'hangs']).default('none'),
    maxPauseMs: z.number().optional(),
  }),
]);
const task = Task.parse(JSON.parse(process.argv.at(-1) ?? ''));

function dieInTheNextWrite(): void {
  const write = fs.writeFileSync;
  fs.writeFileSync = (file, data) => {
    write(file, z.instanceof(Uint8Array).parse(data).subarray(0, 1_000));
    process.kill(process.pid, 'SIGKILL');
  };
  syncBuiltinESMExports();
}

const say = (fields: object): void => void process.stdout.write(`${JSON.stringify(fields)}\n`);

if (task.kind === 'queue') {
  const queue = new CheckpointQueue(task.directory);
  for (let n = 1; ; n += 1) {
    if (n === task.halfWritten) dieInTheNextWrite();
    queue.put(Buffer.from(`${task.life} ${n} `.repeat(2_000)));
    say({ safe: n });
    await delay(0); // or nothing of what is said leaves the process
  }
} else {
  const { url, token, webhookSecret, runId, stateDirectory, maxPauseMs } = task;
  const guard = await TrainingGuard.open({
    client: createInterlockClient({ url, token, webhookSecret, timeoutMs: 60_000 }),
    runId,
    stateDirectory,
    heartbeatIntervalMs: 50,
    impatientIntervalMs: 50,
    finalCheckpointMs: 500,
    ...(maxPauseMs === undefined ? {} : { maxPauseMs }),
    ...(task.hook === 'none' ? {} : { onHalt: () => new Promise<void>(() => undefined) }),
  });
  for (let step = 1; ; step += 1) {
    await guard.step(step, step);
    for (const checkpointId of step === 1 ? task.checkpoints : []) {
      guard.checkpoint({
        checkpointId,
        effectiveCompute: step,
        step,
        modelUri: `file:///models/${checkpointId}`,
      });
      say({ safe: checkpointId });
    }
    if (step === 1) say({ training: true });
    await delay(5);
  }
}
