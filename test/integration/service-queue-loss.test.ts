/** The queue is disposable: wiped, dropped or stopped in the middle of loaded runs, it loses nothing. */
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { evaluatorPids, isAlive } from '../support/alive.ts';
import { dropQueue } from '../support/drop-queue.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import {
  GRADES,
  type Grade,
  gradeMissing,
  startTestInterlock,
  type TestInterlock,
} from '../support/interlock.ts';
import { drive, expectSoundLedger, type RunDriver, soon } from '../support/run-driver.ts';

const RUNS = 6;
const PATIENT = { timeout: 60_000, interval: 200 };

async function startWith(grade: Grade): Promise<TestInterlock> {
  const interlock = await startTestInterlock({
    grade,
    policies: { main: testPolicy() },
    settings: { evaluators: { concurrency: 2 } },
  });
  await writeEvaluator(interlock.directory);
  return interlock;
}

/** As many runs as keep both evaluator slots busy, each with work that is queued, running or waiting to be tried again. */
async function load(interlock: TestInterlock, url: string): Promise<RunDriver[]> {
  const runs = Array.from({ length: RUNS }, () => drive(interlock, { kind: 'webhook', url }));
  await Promise.all(
    runs.map(async (run, i) => {
      expect((await run.register()).status).toBe(201);
      const result = i % 2 === 0 ? score(0.1) : [null, score(0.5)];
      await run.report('c1', '1e21', await writeModel(interlock.models, run.runId, { result }));
    }),
  );
  return runs;
}

/** Every even run is cleared, every odd one halted and told so, each result counted once. */
async function expectNothingLost(runs: readonly RunDriver[], trainer: Receiver): Promise<void> {
  for (const [i, run] of runs.entries()) {
    await soon(async () => {
      const { halt, lastCleared } = await run.show();
      if (i % 2 === 0) expect(lastCleared?.checkpointId).toBe('c1');
      else expect(halt).not.toBeNull();
    }, PATIENT);
    expect((await run.kinds()).filter((kind) => kind === 'EvaluationReported')).toHaveLength(1);
    if (i % 2 === 0) continue;
    await soon(() =>
      expect(trainer.received.some(({ body, verified }) => verified && body.includes(run.runId))).toBe(true),
    );
  }
}

for (const grade of GRADES) {
  const missing = gradeMissing(grade);
  if (missing !== null) console.warn(`the ${grade} grade is skipped: ${missing}`);
  describe.skipIf(missing !== null)(`the queue of the ${grade} grade`, () => {
    let interlock: TestInterlock;
    let trainer: Receiver;
    beforeAll(async () => {
      trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
      interlock = await startWith(grade);
    });
    afterAll(async () => {
      await interlock?.close();
      await trainer?.close();
    });

    it('may be wiped in the middle of everything', async () => {
      const runs = await load(interlock, `${trainer.url}/halt`);
      await soon(async () =>
        expect((await Promise.all(runs.map((run) => run.kinds()))).flat()).toContain('EvaluationStarted'),
      );
      await wipe(interlock);
      const more = await load(interlock, `${trainer.url}/halt`);
      await wipe(interlock);
      await expectNothingLost(runs, trainer);
      await expectNothingLost(more, trainer);
      await expectSoundLedger(interlock);
    });

    if (grade !== 'distributed') return;
    it('may be away: the red button halts, and evaluations still run', async () => {
      const { redis } = interlock;
      if (redis === null) throw new Error('this grade has a Redis');
      const pidFile = join(interlock.directory, 'away.pids');
      const busy = drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` });
      expect((await busy.register()).status).toBe(201);
      await busy.report(
        'c1',
        '1e21',
        await writeModel(interlock.models, busy.runId, { hang: true, pidFile }),
      );
      const [evaluating = -1] = await soon(() => evaluatorPids(pidFile));
      await redis.kill9();

      const startedMs = performance.now();
      await busy.press();
      await soon(() => expect(trainer.received.some(({ body }) => body.includes(busy.runId))).toBe(true));
      expect(performance.now() - startedMs).toBeLessThan(5_000);
      await soon(async () => expect(await isAlive(evaluating)).toBe(false));

      const run = drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` });
      expect((await run.register()).status).toBe(201);
      await run.report('c1', '1e21', await writeModel(interlock.models, run.runId, { result: score(0.1) }));
      await soon(async () => expect((await run.show()).lastCleared?.checkpointId).toBe('c1'), PATIENT);
      // Still ready, because it serves and halts; what is amiss is said.
      expect((await readyz(interlock)).ready).toBe(true);
      await soon(async () => expect(failing(await readyz(interlock))).not.toEqual([]), PATIENT);
      await redis.restart();
      await soon(async () => expect(failing(await readyz(interlock))).toEqual([]), PATIENT);
    });

    it('may be away when the service starts, and is used once it is back', async () => {
      await interlock.stop();
      await interlock.redis?.kill9();
      await interlock.start();
      // Not before its first sweep; and the queue has no part in it.
      await soon(async () => expect((await readyz(interlock)).ready).toBe(true), PATIENT);

      const run = drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` });
      expect((await run.register()).status).toBe(201);
      await run.report('c1', '1e21', await writeModel(interlock.models, run.runId, { result: score(0.1) }));
      await soon(async () => expect((await run.show()).lastCleared?.checkpointId).toBe('c1'), PATIENT);
      await run.press();
      await soon(() => expect(trainer.received.some(({ body }) => body.includes(run.runId))).toBe(true));

      await interlock.redis?.restart();
      await soon(async () => expect(failing(await readyz(interlock))).toEqual([]), PATIENT);
    });
  });
}

const Ready = z.object({
  ready: z.boolean(),
  checks: z.array(z.object({ name: z.string(), ok: z.boolean() })),
});

async function readyz(interlock: TestInterlock): Promise<z.infer<typeof Ready>> {
  return Ready.parse((await interlock.call('GET', '/readyz')).body);
}

const failing = ({ checks }: z.infer<typeof Ready>): string[] =>
  checks.filter(({ ok }) => !ok).map(({ name }) => name);

async function wipe(interlock: TestInterlock): Promise<void> {
  if (interlock.redis === null) {
    await interlock.withStore(({ database }) => dropQueue(database.pool));
    return;
  }
  const client = new Redis(interlock.redis.url);
  try {
    await client.flushall();
  } finally {
    client.disconnect();
  }
}
