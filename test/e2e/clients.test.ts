/**
 * Each client in a process of its own against a real Interlock, over a network that is cut and mended.
 *
 * The heartbeat interval of the policy is what confirms the stop of a webhook target, so it is short here; permits live
 * for as long as a test wants to wait for their end.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../contract/work-queue-proxy.ts';
import type { TrainerOptions } from '../permit/trainer.ts';
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
/** Takes one message of a trainer in two seconds. */
let crowded: TestInterlock;
let network: FaultProxy;
let modelUri: string;
const trainers: Trainer[] = [];

beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: { long: policy('long', LONG_TTL_MS), short: policy('short', TTL_MS) },
  });
  crowded = await startTestInterlock({
    policies: { main: policy('main', LONG_TTL_MS) },
    settings: { limits: { intake: { perSecond: 0.5, burst: 1 } } },
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
  await crowded.close();
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
  checkpoint?: TrainerOptions['checkpoint'],
): Promise<{ run: RunDriver; trainer: Trainer }> {
  const run = drive(interlock, nobody);
  // Only an operator may choose another policy than the default.
  if (policyName === 'short') {
    const registered = await run.register({ policy: policyName, sources: ['trainer'] }, 'operator');
    expect(registered.status, registered.text).toBe(201);
  }
  const trainer = start(client, run, {
    ...(policyName === 'long' ? { register: { haltUrl: nobody.url } } : {}),
    ...(checkpoint === undefined ? {} : { checkpoint }),
  });
  await trainer.heard(({ event }) => event === 'training');
  return { run, trainer };
}

function start(client: ClientLanguage, run: RunDriver, more: Partial<TrainerOptions> = {}): Trainer {
  const trainer = startTrainer(client, {
    url: `http://127.0.0.1:${network.port}`,
    ...settingOf(run),
    ...more,
  });
  trainers.push(trainer);
  return trainer;
}

const reported = async (run: RunDriver): Promise<unknown[]> => {
  const events = await run.events();
  return events.filter(({ kind }) => kind === 'CheckpointReported').map(({ data }) => data['checkpointId']);
};

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
    it('registers its run, trains, reports a checkpoint, and obeys a halt, which is confirmed', async () => {
      const { run, trainer } = await train(client, 'long', { afterSteps: 3, modelUri });
      await trainer.heard(isEvent('checkpoint'));
      expect(await reported(run)).toEqual(['c1']);
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
      const again = start(client, run);
      await again.heard(isEvent('waiting'));
      const { openHalt } = await run.show();
      await run.resume(openHalt?.haltId ?? null, ['board']);
      await again.heard(isEvent('training'));
      expect(again.lines.findIndex(isEvent('training'))).toBeGreaterThan(
        again.lines.findIndex(isEvent('waiting')),
      );
    });

    it('trains through a cut that is shorter than its permit, and delivers what it reported in the dark', async () => {
      const { run, trainer } = await train(client, 'long', { afterSteps: 20, modelUri, count: 2 });
      await network.cut();
      const cutAtMs = nowMs();
      // The twentieth step and its checkpoints come in the dark, and there they stay.
      await trainer.heard(isEvent('queued', cutAtMs));
      await trainer.heard(isEvent('checkpoint-waits', cutAtMs));
      expect(await reported(run)).toEqual([]);
      await network.mend();
      const mendedAtMs = nowMs();
      await trainer.heard(isEvent('permit', mendedAtMs));
      await soon(async () => expect(await reported(run)).toEqual(['c1', 'c2']));
      expect(trainer.lines.filter(isEvent('paused'))).toEqual([]);
      expect(trainer.exitCode()).toBeNull();
    });

    it('delivers what a process had reported that was killed in the dark, once', async () => {
      const { run, trainer } = await train(client, 'long', { afterSteps: 20, modelUri, count: 3 });
      await network.cut();
      await trainer.heard(isEvent('queued'));
      await trainer.heard(isEvent('checkpoint-waits'));
      trainer.kill();
      await trainer.ended;
      await network.mend();
      const again = start(client, run);
      await again.heard(isEvent('training'));
      await soon(async () => expect(await reported(run)).toEqual(['c1', 'c2', 'c3']));
    });

    it('comes again when Interlock says so, where it asks for more than its budget', async () => {
      const run = drive(crowded, nobody);
      const registered = await run.register({ sources: ['trainer'] }, 'operator');
      expect(registered.status, registered.text).toBe(201);
      const { trainer: token = '' } = crowded.tokens;
      const { trainer: webhookSecret = '' } = crowded.webhookSecrets;
      const trainer = start(client, run, {
        ...{ url: crowded.url, token, webhookSecret, stateDirectory: `${crowded.directory}/state` },
        checkpoint: {
          afterSteps: 1,
          modelUri: await writeModel(crowded.models, `${client}-model`, {}),
          count: 3,
        },
      });
      await trainer.heard(isEvent('checkpoint-waits'));
      await soon(async () => expect(await reported(run)).toEqual(['c1', 'c2', 'c3']));
      await soon(() => expect(trainer.lines.filter(isEvent('checkpoint'))).toHaveLength(3));
      const waits = trainer.lines.filter(isEvent('checkpoint-waits'));
      expect(new Set(waits.map(({ code }) => code))).toEqual(new Set(['http-429']));
      // A budget of one in two seconds: each of the two that were refused came again once, in time.
      expect(waits.length).toBeLessThanOrEqual(3);
    });

    it('pauses in a cut that is longer than its permit, and goes on by itself after it', async () => {
      const { trainer } = await train(client, 'short');
      const cutAtMs = nowMs();
      await network.cut();
      const paused = await trainer.heard(isEvent('paused'));
      expect(paused.reason).toBe('permit expired');
      expect(paused.atMs - cutAtMs).toBeLessThan(TTL_MS + CHECK_MS + 1_000);
      expect(trainer.exitCode()).toBeNull();
      await network.mend();
      const mendedAtMs = nowMs();
      await trainer.heard(isEvent('permit', mendedAtMs));
      await trainer.heard(isEvent('resumed', mendedAtMs));
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
