/**
 * Each client in a process of its own against a real Interlock, over a network that is cut and mended.
 *
 * The heartbeat interval of the policy is what confirms the stop of a webhook target, so it is short here; permits live
 * for as long as a test wants to wait for their end.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../contract/work-queue-proxy.ts';
import { type ClientLanguage, nowMs, startTrainer, type Trainer } from '../permit/trainer-process.ts';
import { writeModel } from '../support/evaluation-policy.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { NO_PYTHON } from '../support/python.ts';
import { drive, type RunDriver, soon } from '../support/run-driver.ts';

const TTL_MS = 4_000;
const LONG_TTL_MS = 60_000;
const CHECK_MS = 50;
const policy = (name: string, ttlMs: number) =>
  oneEvaluationPolicy({
    policy: name,
    cadence: { firstCheckpointBy: '1e22' },
    permit: { ttl: `${ttlMs}ms`, heartbeatInterval: '500ms' },
  });
const nobody = { kind: 'webhook', url: 'http://127.0.0.1:9/halt' };

let interlock: TestInterlock;
let network: FaultProxy;
let modelUri: string;
const trainers: Trainer[] = [];

beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: { short: policy('short', TTL_MS), long: policy('long', LONG_TTL_MS) },
  });
  modelUri = await writeModel(interlock.models, 'model', {});
  network = await startFaultProxy({ host: '127.0.0.1', port: Number(new URL(interlock.url).port) });
});

afterEach(async () => {
  for (const trainer of trainers) trainer.kill();
  await Promise.all(trainers.splice(0).map(({ ended }) => ended));
  await network.mend();
});

afterAll(async () => {
  await network.close();
  await interlock.close();
});

const settingOf = ({ runId }: RunDriver) => ({
  token: interlock.tokens['trainer'] ?? '',
  webhookSecret: interlock.webhookSecrets['trainer'] ?? '',
  runId,
  stateDirectory: `${interlock.directory}/state`,
  heartbeatIntervalMs: 500,
  checkPeriodMs: CHECK_MS,
  goOn: true,
});

async function train(
  client: ClientLanguage,
  policyName: 'short' | 'long',
  checkpoint?: { afterSteps: number; modelUri: string },
): Promise<{ run: RunDriver; trainer: Trainer }> {
  const run = drive(interlock, nobody);
  const registered = await run.register({ policy: policyName, sources: ['trainer'] }, 'operator');
  expect(registered.status, registered.text).toBe(201);
  const trainer = startTrainer(client, {
    url: `http://127.0.0.1:${network.port}`,
    ...settingOf(run),
    ...(checkpoint === undefined ? {} : { checkpoint }),
  });
  trainers.push(trainer);
  await trainer.heard(({ event }) => event === 'training');
  return { run, trainer };
}

const isEvent =
  (name: string, afterMs = 0) =>
  (line: { event: string; atMs: number }) =>
    line.event === name && line.atMs > afterMs;
const stoppedWithin = async (trainer: Trainer, sinceMs: number): Promise<number> => {
  const stopped = await trainer.heard(isEvent('stopped'));
  await trainer.ended;
  return (stopped.lastStepAtMs ?? Number.POSITIVE_INFINITY) - sinceMs;
};

const clients: readonly { client: ClientLanguage; missing: string | null }[] = [
  { client: 'typescript', missing: null },
  { client: 'python', missing: NO_PYTHON },
];

for (const { client, missing } of clients) {
  const reason = missing === null ? '' : ` (skipped: ${missing})`;
  describe.skipIf(missing !== null)(`a trainer by the ${client} client${reason}`, () => {
    it('trains under permits, reports a checkpoint, and obeys a halt, which is confirmed', async () => {
      const { run, trainer } = await train(client, 'long', { afterSteps: 3, modelUri });
      await trainer.heard(isEvent('checkpoint'));
      expect(await run.kinds()).toContain('CheckpointReported');
      const pressedAtMs = nowMs();
      await run.press();
      // The webhook target is away: the next heartbeat brings the order.
      expect(await stoppedWithin(trainer, pressedAtMs)).toBeLessThan(5_000);
      expect(trainer.exitCode()).toBe(86);
      await soon(async () => expect((await run.show()).openHalt).toMatchObject({ state: 'stopped' }));
    });

    it('does not start again after a halt, and starts after a resume', async () => {
      const { run, trainer } = await train(client, 'long');
      await run.press();
      await trainer.heard(isEvent('stopped'));
      await trainer.ended;
      const again = startTrainer(client, {
        url: interlock.url,
        ...settingOf(run),
      });
      trainers.push(again);
      await again.heard(isEvent('waiting'));
      const { openHalt } = await run.show();
      await run.resume(openHalt?.haltId ?? null, ['board']);
      await again.heard(isEvent('training'));
      expect(again.lines.findIndex(isEvent('training'))).toBeGreaterThan(
        again.lines.findIndex(isEvent('waiting')),
      );
    });

    it('trains through a cut that is shorter than its permit, and loses no checkpoint', async () => {
      const { run, trainer } = await train(client, 'long', { afterSteps: 20, modelUri });
      await network.cut();
      const cutAtMs = nowMs();
      // The twentieth step and its checkpoint come in the dark.
      await soon(() => expect(nowMs() - cutAtMs).toBeGreaterThan(20 * CHECK_MS + 1_500));
      await network.mend();
      await trainer.heard(isEvent('checkpoint', cutAtMs));
      expect(await run.kinds()).toContain('CheckpointReported');
      expect(trainer.lines.filter(isEvent('paused'))).toEqual([]);
    });

    it('pauses in a cut that is longer than its permit, and goes on by itself after it', async () => {
      const { trainer } = await train(client, 'short');
      const cutAtMs = nowMs();
      await network.cut();
      const paused = await trainer.heard(isEvent('paused'));
      expect(paused.reason).toBe('permit expired');
      expect(paused.atMs - cutAtMs).toBeLessThan(TTL_MS + CHECK_MS + 1_000);
      await network.mend();
      const mendedAtMs = nowMs();
      await trainer.heard(isEvent('permit', mendedAtMs));
      expect(trainer.exitCode()).toBeNull();
    });

    it('stops when a halt was ordered while it was cut off', async () => {
      const { run, trainer } = await train(client, 'short');
      network.silence();
      await run.press();
      await trainer.heard(isEvent('paused'));
      await network.mend();
      await trainer.heard(isEvent('stopped'));
      await trainer.ended;
      expect(trainer.exitCode()).toBe(86);
    });
  });
}
