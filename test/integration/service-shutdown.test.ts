/** Closing is bounded, hands unfinished work back, and leaves nothing behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateSharedSecret } from '../../src/config/credentials.ts';
import { evaluatorPids, isAlive } from '../support/alive.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { drive, expectSoundLedger, soon } from '../support/run-driver.ts';

const EVAL_SECRET = generateSharedSecret();
const Requested = z.object({ data: z.object({ callbackUrl: z.string(), attempt: z.number() }) });

describe('a restart on the same data directory', () => {
  let interlock: TestInterlock;
  let service: Receiver;
  let trainer: Receiver;
  let isAway = false;

  beforeAll(async () => {
    service = await startReceiver(
      () => EVAL_SECRET,
      ({ path }) => (path === '/quiz' ? { status: 200, body: score(0.1) } : { status: 202 }),
    );
    trainer = await startReceiver(
      () => interlock.webhookSecrets['trainer'] ?? '',
      () => ({ status: isAway ? 503 : 200 }),
    );
    interlock = await startTestInterlock({
      policies: { main: testPolicy({ serviceUrl: service.url }) },
      settings: { evaluators: { concurrency: 2 } },
      env: { EVAL_SECRET },
    });
    await writeEvaluator(interlock.directory);
  });
  afterAll(async () => {
    await interlock?.close();
    await service?.close();
    await trainer?.close();
  });

  it('hands unfinished evaluations back, and finishes them', async () => {
    const pidFile = join(interlock.directory, 'pids');
    const runs = Array.from({ length: 4 }, () =>
      drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` }),
    );
    for (const [i, run] of runs.entries()) {
      expect((await run.register()).status).toBe(201);
      // Two hang in their first attempt and hold both slots; the others wait in the queue.
      const hanging = i < 2 ? { hang: 1, pidFile } : {};
      const uri = await writeModel(interlock.models, run.runId, { result: score(0.1), ...hanging });
      await run.report('c1', '1e21', uri);
    }
    const pids = await soon(async () => {
      const found = await evaluatorPids(pidFile);
      expect(found).toHaveLength(2);
      return found;
    });
    const startedMs = performance.now();
    await interlock.stop();
    expect(performance.now() - startedMs).toBeLessThan(12_000);
    for (const pid of pids) expect(await isAlive(pid), `evaluator ${pid}`).toBe(false);

    await interlock.start();
    for (const run of runs) {
      // The debate has only been asked for: its answer comes by callback, to where the service is now.
      const { data } = await soon(() => {
        const asked = service
          .at('/debate')
          .filter(({ body }) => body.includes(run.runId))
          .at(-1);
        return Requested.parse(JSON.parse(asked?.body ?? '{}'));
      });
      expect(data.callbackUrl).toContain(interlock.url);
      const { pathname, search } = new URL(data.callbackUrl);
      expect(
        (await interlock.call('POST', pathname + search, { as: 'evaluator', body: score(0.1) })).status,
      ).toBe(200);
    }
    for (const run of runs) {
      expect((await run.event('CheckpointAssessed')).data, run.runId).toMatchObject({ verdict: 'proceed' });
      expect((await run.kinds()).filter((kind) => kind === 'EvaluationReported')).toHaveLength(3);
    }
    const returned = (await Promise.all(runs.map((run) => run.events())))
      .flat()
      .filter(({ kind }) => kind === 'EvaluationReturned');
    expect(returned.map(({ data }) => data['reason'])).toEqual(['shutdown', 'shutdown']);
    await expectSoundLedger(interlock);
  });

  it('goes on delivering a halt whose target did not take it before the stop', async () => {
    const run = drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` });
    expect((await run.register()).status).toBe(201);
    isAway = true;
    await run.press();
    await interlock.stop();
    expect(trainer.received.length).toBeGreaterThan(0);
    isAway = false;
    const before = trainer.received.length;
    await interlock.start();
    await soon(() => expect(trainer.received.length).toBeGreaterThan(before));
    await soon(() =>
      expect(trainer.received.some(({ body, verified }) => verified && body.includes(run.runId))).toBe(true),
    );
    expect((await run.kinds()).filter((kind) => kind === 'HaltOrdered')).toHaveLength(1);
  });
});

it('leaves no timer, connection or child behind: the process ends by itself', async () => {
  const script = fileURLToPath(new URL('../support/interlock-process.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  try {
    const closedMs = await soon(
      () => {
        expect(said).toContain('closed');
        return performance.now();
      },
      { timeout: 60_000, interval: 50 },
    );
    if (child.exitCode === null) await once(child, 'exit', { signal: AbortSignal.timeout(10_000) });
    expect(performance.now() - closedMs).toBeLessThan(10_000);
    expect(child.exitCode).toBe(0);
    const evaluator = Number(/started (\d+)/.exec(said)?.[1]);
    expect(evaluator).toBeGreaterThan(1);
    expect(await isAlive(evaluator)).toBe(false);
  } finally {
    child.kill('SIGKILL');
  }
});
