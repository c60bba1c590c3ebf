/**
 * Labelled work and remote workers, on both queues: a process without the label leaves it alone, one with it takes it, and
 * a worker that serves nothing else is known to live.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { type Interlock, startInterlock } from '../../src/main.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { type Grade, gradeMissing, startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, soon } from '../support/run-driver.ts';

const RESULT = JSON.stringify({ status: 'success', score: 0.05, n: 1000 });
const policy = oneEvaluationPolicy({
  evaluation: {
    resources: ['gpu'],
    executor: {
      kind: 'command',
      command: [process.execPath, '-e', `console.log(${JSON.stringify(RESULT)})`],
      timeout: '1h',
    },
  },
});
const slow = oneEvaluationPolicy({
  policy: 'slow',
  evaluation: {
    resources: ['gpu'],
    executor: {
      kind: 'command',
      command: [process.execPath, '-e', 'setInterval(() => {}, 1000)'],
      timeout: '1h',
      attempts: 1,
    },
  },
});

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of started.splice(0).reverse()) await each.close();
});

async function service(grade: Grade): Promise<TestInterlock> {
  const interlock = await startTestInterlock({ grade, policies: { one: policy, slow } });
  started.push(interlock);
  return interlock;
}

/** As `interlock serve --roles worker --labels gpu` on another machine. */
async function remoteWorker({ config, env }: TestInterlock): Promise<Interlock> {
  const worker = await startInterlock(
    { ...config, roles: ['worker'], workers: { labels: { gpu: 1 }, only: true } },
    { env: { ...env }, logger: createLogger({ level: 'silent' }), port: 0 },
  );
  started.push(worker);
  return worker;
}

/** Of workers with a label: how long after their start they last said that they live, by the database's clock. */
const seenForMs = (interlock: TestInterlock): Promise<number[]> =>
  interlock.withStore(async ({ database: { pool } }) => {
    const ms = 'extract(epoch FROM seen_at - started_at) * 1000';
    const { rows } = await pool.query<{ ms: number }>(
      `SELECT (${ms})::float8 AS ms FROM instance WHERE labels <> '{}'`,
    );
    return rows.map((row) => row.ms);
  });

const target = { kind: 'webhook', url: 'http://127.0.0.1:9/halt' };

for (const grade of ['server', 'distributed'] as const) {
  describe.skipIf(gradeMissing(grade) !== null)(`on ${grade}`, () => {
    it('waits for a worker with its label, and is carried out by it', { timeout: 120_000 }, async () => {
      const interlock = await service(grade);
      const run = drive(interlock, target);
      await run.register();
      await run.report('c1', '1e19', 's3://w/c1');
      // A sweep of the service has come by, and taken nothing.
      await soon(async () => {
        const metrics = await interlock.call('GET', '/metrics');
        expect(metrics.text).toMatch(/interlock_queue_jobs\{kind="evaluate",state="waiting"\} 1/);
      });
      expect(await run.kinds()).not.toContain('EvaluationStarted');
      await remoteWorker(interlock);
      await run.event('CheckpointAssessed');
      expect((await run.event('EvaluationStarted')).data['attempt']).toBe(1);
    });

    it('is known to live while it works, and ends what a halt cancels', { timeout: 120_000 }, async () => {
      const interlock = await service(grade);
      await remoteWorker(interlock);
      const run = drive(interlock, target);
      await run.register({ policy: 'slow' }, 'operator');
      await run.report('c1', '1e19', 's3://w/c1');
      await run.event('EvaluationStarted');
      const [first = 0] = await seenForMs(interlock);
      await soon(async () => expect((await seenForMs(interlock))[0]).toBeGreaterThan(first));
      expect(await run.kinds()).not.toContain('EvaluationReturned');
      await run.press();
      await run.event('EvaluationsCancelled');
    });
  });
}
