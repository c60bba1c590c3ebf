/**
 * The trainer: a real training run that asks Interlock's permit guard before every single step.
 *
 * It saves a checkpoint at every doubling of FLOP, reports it by a signed webhook, and goes on under its
 * permit while the evaluators work; at the permit's ceiling it waits. A signed halt, by heartbeat or by
 * webhook, ends it. Nothing else knows how to stop it early: no score is looked at here.
 *
 * Standard output is JSON lines, `{event, at, ...}`: listening, permit, step, checkpoint, paused, resumed,
 * notice, halt-received and, always last, stopped with `by`: halt | sigterm | finished | gave-up | failed.
 * Exit codes: 0 stopped by a signed halt, or finished; 143 SIGTERM; 1 gave up or failed; 2 usage.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate as yieldToEvents } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import {
  createInterlockClient,
  type GuardEvent,
  InterlockClientError,
  listenForHalts,
  PermitGuard,
  type ReceivedHalt,
} from '../../clients/typescript/index.ts';
import { computeAt, createLearner, firstCheckpointStep, flopPerStep, shape } from './learner.ts';
import { parameterCount } from './network.ts';
import { readOptions, type TrainOptions, UsageError, usage } from './options.ts';
import { saveCheckpoint } from './weights.ts';

type Ending =
  | { by: 'halt'; halt: ReceivedHalt }
  | { by: 'sigterm' | 'finished' | 'gave-up' }
  | { by: 'failed'; code: string };

const stepLineEveryMs = 250;
const leavingMaxMs = 1_000;
const receivedAtMs = new Map<string, number>();
let lastNotice = '';

function tell(event: string, details: Record<string, unknown> = {}): void {
  process.stdout.write(`${JSON.stringify({ event, at: new Date().toISOString(), ...details })}\n`);
}

async function main(): Promise<number> {
  let options: TrainOptions;
  try {
    options = readOptions(process.argv.slice(2), process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n${usage}`);
    return 2;
  }
  // Whoever reads the lines may go away; that is no reason to stop, and no reason to crash.
  process.stdout.on('error', () => undefined);
  mkdirSync(options.modelsDirectory, { recursive: true });

  const terminated = new AbortController();
  const halted = new AbortController();
  process.on('SIGTERM', () => terminated.abort());
  process.on('SIGINT', () => terminated.abort());

  const client = createInterlockClient(options);
  const guard = await openGuard(options, client, terminated.signal, (event) => {
    relay(event);
    if (event.kind === 'halt-received') halted.abort();
  });
  if (guard === null) {
    tell('stopped', {
      by: terminated.signal.aborted ? 'sigterm' : 'gave-up',
      step: 0,
      effectiveCompute: '0',
    });
    return terminated.signal.aborted ? 143 : 1;
  }
  const { haltPort, webhookSecret } = options;
  const receiver =
    haltPort === null ? null : await listenForHalts({ guard, secrets: [webhookSecret], port: haltPort });
  tell('listening', {
    pid: process.pid,
    haltUrl: receiver?.url ?? null,
    parameters: parameterCount(shape),
    flopPerStep,
  });
  guard.start();

  const { ending, step, stoppedAt } = await train(options, client, guard, {
    terminated: terminated.signal,
    halted: halted.signal,
  });
  // The last word to Interlock goes out before the last line here: who reads it may look at once.
  if (ending.by === 'halt') await guard.acknowledgeStopped();
  // So that the next process of this run need not wait for the permit to run out. Not worth waiting for.
  if (ending.by === 'finished' || ending.by === 'sigterm') {
    await Promise.race([guard.leave(), delay(leavingMaxMs, undefined, { ref: false })]);
  }
  await receiver?.close();
  await guard.close();
  tell('stopped', { ...describe(ending, stoppedAt), step, effectiveCompute: computeAt(step) });
  return exitCode(ending);
}

/** The service may still be starting: keys are asked for until they come or patience ends. */
async function openGuard(
  options: TrainOptions,
  client: ReturnType<typeof createInterlockClient>,
  terminated: AbortSignal,
  onEvent: (event: GuardEvent) => void,
): Promise<PermitGuard | null> {
  const { runId, stateDirectory, heartbeatIntervalMs, patienceMs } = options;
  const giveUpAtMs = performance.now() + patienceMs;
  while (!terminated.aborted && performance.now() < giveUpAtMs) {
    try {
      return await PermitGuard.open({
        client,
        runId,
        stateDirectory,
        heartbeatIntervalMs,
        patienceMs: 0,
        onEvent,
      });
    } catch (error) {
      if (!(error instanceof InterlockClientError) || !error.retryable) throw error;
      tell('notice', { what: 'waiting for Interlock', code: error.code });
      await delay(500, undefined, { signal: terminated }).catch(() => undefined);
    }
  }
  return null;
}

async function train(
  options: TrainOptions,
  client: ReturnType<typeof createInterlockClient>,
  guard: PermitGuard,
  signals: { terminated: AbortSignal; halted: AbortSignal },
): Promise<{ ending: Ending; step: number; stoppedAt: number }> {
  const learner = createLearner(options.seed);
  let checkpointStep = firstCheckpointStep;
  let lossSum = 0;
  let lossCount = 0;
  let busyMs = 0;
  let toldAtMs = performance.now();

  const end = (ending: Ending) => ({ ending, step: learner.step, stoppedAt: Date.now() });
  try {
    while (learner.step < options.stepsMax) {
      const permission = await permissionFor(computeAt(learner.step + 1), options, guard, signals.terminated);
      if (permission.by !== 'permit') return end(permission);

      const startedAtMs = performance.now();
      lossSum += learner.train();
      lossCount += 1;
      busyMs += performance.now() - startedAtMs;

      if (learner.step === checkpointStep) {
        checkpointStep *= 2;
        await checkpoint(options, client, learner, AbortSignal.any([signals.terminated, signals.halted]));
      }
      // After the checkpoint was reported: compute past the due point without one would read as overdue.
      guard.report(computeAt(learner.step), learner.step);
      if (performance.now() - toldAtMs >= stepLineEveryMs) {
        tell('step', {
          step: learner.step,
          effectiveCompute: computeAt(learner.step),
          loss: Number((lossSum / lossCount).toFixed(4)),
          trainingSeconds: Number((busyMs / 1000).toFixed(2)),
          nextCheckpointStep: checkpointStep,
        });
        lossSum = 0;
        lossCount = 0;
        toldAtMs = performance.now();
      }
      // One core does both: without this, halts and heartbeats would wait for the arithmetic.
      await yieldToEvents();
    }
    const [late] = guard.halts;
    return end(late === undefined ? { by: 'finished' } : { by: 'halt', halt: late });
  } catch (error) {
    const [halt] = guard.halts;
    if (halt !== undefined) return end({ by: 'halt', halt });
    if (signals.terminated.aborted) return end({ by: 'sigterm' });
    return end({ by: 'failed', code: error instanceof InterlockClientError ? error.code : String(error) });
  }
}

/** Resolves when the next step may run, or with the reason why there will be none. */
async function permissionFor(
  compute: string,
  { patienceMs }: TrainOptions,
  guard: PermitGuard,
  terminated: AbortSignal,
): Promise<{ by: 'permit' } | Ending> {
  if (terminated.aborted) return { by: 'sigterm' };
  if (guard.mayTrain(compute).verdict === 'go') return { by: 'permit' };

  const pausedAtMs = performance.now();
  let paused = false;
  try {
    const verdict = await guard.wait(compute, {
      signal: terminated,
      timeoutMs: patienceMs,
      onPause: (reason) => {
        paused = true;
        tell('paused', { reason, effectiveCompute: compute });
      },
    });
    if (verdict.verdict === 'stop') return { by: 'halt', halt: verdict.halt };
    if (verdict.verdict === 'pause') return { by: 'gave-up' };
    if (paused) tell('resumed', { pausedMs: Math.round(performance.now() - pausedAtMs) });
    return { by: 'permit' };
  } catch (error) {
    if (terminated.aborted) return { by: 'sigterm' };
    throw error;
  }
}

async function checkpoint(
  { runId, modelsDirectory, seed }: TrainOptions,
  client: ReturnType<typeof createInterlockClient>,
  learner: ReturnType<typeof createLearner>,
  signal: AbortSignal,
): Promise<void> {
  const { step } = learner;
  const effectiveCompute = computeAt(step);
  const checkpointId = `step-${step}`;
  const file = join(modelsDirectory, `${checkpointId}.weights`);
  const header = { checkpointId, seed, step, effectiveCompute, shape };
  const sha256 = saveCheckpoint(file, header, learner.network.parameters);
  const modelUri = pathToFileURL(file).href;
  const report = { runId, checkpointId, effectiveCompute, step, modelUri };
  const { disposition, attempts } = await client.reportCheckpoint(report, signal);
  tell('checkpoint', { checkpointId, step, effectiveCompute, modelUri, sha256, disposition, attempts });
}

/** Turns what the guard says into lines; the same notice twice running is told once. */
function relay(event: GuardEvent): void {
  if (event.kind === 'permit') {
    const { epoch, seq, ceiling, remainingMs } = event;
    tell('permit', { epoch, seq, ceiling, remainingMs: Math.round(remainingMs) });
  } else if (event.kind === 'halt-received') {
    const { haltId, action, via } = event.halt;
    receivedAtMs.set(haltId, Date.now());
    tell('halt-received', { haltId, action, via });
  } else {
    const { kind: what, ...details } = event;
    const notice = JSON.stringify([what, details]);
    if (notice !== lastNotice) tell('notice', { what, ...details });
    lastNotice = notice;
    return;
  }
  lastNotice = '';
}

function describe(ending: Ending, stoppedAt: number): Record<string, unknown> {
  const when = { by: ending.by, stoppedAt: new Date(stoppedAt).toISOString() };
  if (ending.by === 'failed') return { ...when, code: ending.code };
  if (ending.by !== 'halt') return when;
  const { haltId, action, via } = ending.halt;
  const received = receivedAtMs.get(haltId);
  return {
    ...when,
    haltId,
    action,
    via,
    msFromReceiptToStop: received === undefined ? null : stoppedAt - received,
  };
}

function exitCode({ by }: Ending): number {
  if (by === 'halt' || by === 'finished') return 0;
  return by === 'sigterm' ? 143 : 1;
}

process.exitCode = await main();
