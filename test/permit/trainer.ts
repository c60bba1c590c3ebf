/**
 * A small real trainer for the permit trials: a process that does nothing but ask the guard before each step.
 *
 * Says on standard output, one JSON line each: `waiting` and why, `training` after its first permitted step, `permit`,
 * `paused` whenever a step was not allowed, `resumed` when one is again, `queued` when checkpoints are on disk, `checkpoint` when Interlock has one,
 * `checkpoint-waits` and why, and `stopped` with the instant of its
 * last step, upon which it ends. With `goOn` it waits through pauses instead, and ends only by a halt (with the exit
 * code of docs/clients.md, once Interlock has been told) or a signal. trainer.py is the same in Python. Instants are of the system's monotonic
 * clock, which all processes of one machine share.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { createInterlockClient, Halted, TrainingGuard } from '../../clients/typescript/index.ts';

const optionsSchema = z.strictObject({
  url: z.string(),
  token: z.string(),
  webhookSecret: z.string(),
  runId: z.string(),
  stateDirectory: z.string(),
  heartbeatIntervalMs: z.number(),
  checkPeriodMs: z.number(),
  goOn: z.boolean(),
  /** Reported after that many steps: c1, or as many as `count`, one after the other. */
  checkpoint: z
    .strictObject({ afterSteps: z.number(), modelUri: z.string(), count: z.number().optional() })
    .optional(),
  /** By the trainer itself, before it begins. */
  register: z.strictObject({ haltUrl: z.string() }).optional(),
});
export type TrainerOptions = z.infer<typeof optionsSchema>;

const nowMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

function tell(event: string, more: object = {}): void {
  process.stdout.write(`${JSON.stringify({ event, atMs: nowMs(), ...more })}\n`);
}

const options = optionsSchema.parse(JSON.parse(process.env['TRAINER'] ?? ''));
const { url, token, webhookSecret, runId, checkPeriodMs, goOn, checkpoint } = options;
const client = createInterlockClient({ url, token, webhookSecret, timeoutMs: 2_000 });
const { register } = options;
if (register !== undefined) {
  const targets = [{ kind: 'webhook', url: register.haltUrl }];
  const { permit } = await client.register({ runId, targets });
  tell('registered', { permit: permit !== null });
}
const guard = await TrainingGuard.open({
  client,
  runId,
  stateDirectory: options.stateDirectory,
  heartbeatIntervalMs: options.heartbeatIntervalMs,
  onEvent: (event) => {
    if (event.kind === 'permit') tell('permit', { seq: event.seq });
    else if (event.kind === 'checkpoint-delivered') tell('checkpoint', { file: event.file });
    else if (event.kind === 'checkpoint-waits') tell('checkpoint-waits', { code: event.code });
  },
});

function reportCheckpoints({ modelUri, count = 1 }: { modelUri: string; count?: number | undefined }): void {
  for (let n = 1; n <= count; n += 1) {
    guard.checkpoint({ checkpointId: `c${n}`, effectiveCompute: 1000 + steps, step: steps, modelUri });
  }
  tell('queued', { count });
}

/** With the exit code of the contract, which an uncaught `Halted` has too, and without its words. */
async function endBy(stop: Parameters<TrainingGuard['end']>[0]): Promise<void> {
  await guard.end(stop).catch((error: unknown) => {
    if (!(error instanceof Halted)) throw error;
    process.exit(error.exitCode);
  });
}

let steps = 0;
let lastStepAtMs = 0;
let isPaused = false;
let waitingFor = '';
for (;;) {
  const leave = guard.mayTrain(1000 + steps);
  if (leave.verdict === 'go') {
    lastStepAtMs = nowMs();
    steps += 1;
    if (isPaused) tell('resumed');
    isPaused = false;
    if (checkpoint !== undefined && steps === checkpoint.afterSteps) reportCheckpoints(checkpoint);
    guard.report(1000 + steps, steps);
    if (steps === 1) tell('training');
  } else if (steps === 0) {
    if (leave.reason !== waitingFor) tell('waiting', { reason: leave.reason });
    waitingFor = leave.reason;
  } else {
    if (!isPaused) tell('paused', { reason: leave.reason });
    isPaused = true;
    if (!goOn || leave.verdict === 'stop') {
      tell('stopped', { lastStepAtMs, steps });
      if (goOn && leave.verdict === 'stop') await endBy(leave);
      break;
    }
  }
  await delay(checkPeriodMs);
}
// At once: the point of the trial is a process that has ended, not one that says goodbye to a service that is away.
process.exit(0);
