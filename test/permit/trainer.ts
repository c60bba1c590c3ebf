/**
 * A small real trainer for the permit trials: a process that does nothing but ask the guard before each step.
 *
 * Says on standard output, one JSON line each: `waiting` and why, `training` after its first permitted step, `permit`,
 * `paused` whenever a step was not allowed, `checkpoint` when Interlock has it, and `stopped` with the instant of its
 * last step, upon which it ends. With `goOn` it waits through pauses instead, and ends only by a halt (with the exit
 * code of docs/clients.md, once Interlock has been told) or a signal. trainer.py is the same in Python. Instants are of the system's monotonic
 * clock, which all processes of one machine share.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import {
  createInterlockClient,
  EXIT_HALTED,
  InterlockClientError,
  PermitGuard,
  type PermitGuardOptions,
} from '../../clients/typescript/index.ts';

const optionsSchema = z.strictObject({
  url: z.string(),
  token: z.string(),
  webhookSecret: z.string(),
  runId: z.string(),
  stateDirectory: z.string(),
  heartbeatIntervalMs: z.number(),
  checkPeriodMs: z.number(),
  goOn: z.boolean(),
  /** Reported once, after that many steps. */
  checkpoint: z.strictObject({ afterSteps: z.number(), modelUri: z.string() }).optional(),
});
export type TrainerOptions = z.infer<typeof optionsSchema>;

const nowMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

function tell(event: string, more: object = {}): void {
  process.stdout.write(`${JSON.stringify({ event, atMs: nowMs(), ...more })}\n`);
}

const options = optionsSchema.parse(JSON.parse(process.env['TRAINER'] ?? ''));
const { url, token, webhookSecret, runId, checkPeriodMs, goOn, checkpoint } = options;
const client = createInterlockClient({ url, token, webhookSecret, timeoutMs: 2_000 });
const guardOptions: PermitGuardOptions = {
  client,
  runId,
  stateDirectory: options.stateDirectory,
  heartbeatIntervalMs: options.heartbeatIntervalMs,
  onEvent: (event) => {
    if (event.kind === 'permit') tell('permit', { seq: event.seq });
  },
};
// Many start at once: the service may be too busy for the first question of all of them.
const startedAtMs = nowMs();
let opened: PermitGuard | null = null;
while (opened === null) {
  try {
    opened = await PermitGuard.open(guardOptions);
  } catch (error) {
    const passing = error instanceof InterlockClientError && error.retryable;
    if (!passing || nowMs() - startedAtMs > 60_000) throw error;
    await delay(250);
  }
}
const guard = opened;
guard.start();

function reportCheckpoint(modelUri: string): void {
  const report = { runId, checkpointId: 'c1', effectiveCompute: 1000 + steps, step: steps, modelUri };
  client.reportCheckpoint(report).then(
    ({ attempts }) => tell('checkpoint', { attempts }),
    (error: unknown) => tell('checkpoint-lost', { code: String(error) }),
  );
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
    isPaused = false;
    guard.report(1000 + steps, steps);
    if (steps === 1) tell('training');
    if (steps === checkpoint?.afterSteps) reportCheckpoint(checkpoint.modelUri);
  } else if (steps === 0) {
    if (leave.reason !== waitingFor) tell('waiting', { reason: leave.reason });
    waitingFor = leave.reason;
  } else {
    if (!isPaused) tell('paused', { reason: leave.reason });
    isPaused = true;
    if (!goOn || leave.verdict === 'stop') break;
  }
  await delay(checkPeriodMs);
}
tell('stopped', { lastStepAtMs, steps });
if (goOn) {
  await guard.acknowledgeStopped();
  process.exit(EXIT_HALTED);
}
// At once: the point of the trial is a process that has ended, not one that says goodbye to a service that is away.
process.exit(0);
