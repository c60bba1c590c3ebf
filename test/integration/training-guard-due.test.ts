/** What the clients' guard is asked for by a running Interlock, beside the doubling of compute. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { createInterlockClient, TrainingGuard } from '../../clients/typescript/index.ts';
import { score } from '../support/evaluation-policy.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, type RunDriver } from '../support/run-driver.ts';

let interlock: TestInterlock;
let directory: string;
beforeAll(async () => {
  interlock = await startTestInterlock({ policies: { one: oneEvaluationPolicy() } });
  directory = await mkdtemp(join(tmpdir(), 'interlock-guard-'));
});
afterAll(async () => {
  await interlock?.close();
  await rm(directory, { recursive: true, force: true });
});

/** A run that has cleared its first checkpoint, and trained on for a while. */
async function trained(): Promise<{ run: RunDriver; guard: TrainingGuard }> {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
  expect((await run.register()).status).toBe(201);
  const guard = await TrainingGuard.open({
    client: createInterlockClient({
      url: interlock.url,
      token: interlock.tokens['trainer'] ?? '',
      webhookSecret: interlock.webhookSecrets['trainer'] ?? '',
    }),
    runId: run.runId,
    stateDirectory: join(directory, run.runId),
    start: false,
  });
  guard.checkpoint({ checkpointId: 'c1', effectiveCompute: '1e20', modelUri: 's3://b/c1' });
  await guard.permitGuard.beat();
  const { data } = await run.event('CheckpointReported');
  const [evaluation] = z.array(z.object({ evaluationId: z.string() })).parse(data['evaluations']);
  expect((await run.result(evaluation?.evaluationId ?? '', 1, score(0.05))).status).toBe(200);
  await run.event('CheckpointAssessed');
  guard.report('1.2e20');
  await guard.permitGuard.beat();
  expect(guard.checkpointDue('1.2e20')).toBe(false);
  return { run, guard };
}

const reported = async (run: RunDriver, guard: TrainingGuard, checkpointId: string) => {
  guard.checkpoint({ checkpointId, effectiveCompute: '1.2e20', modelUri: `s3://b/${checkpointId}` });
  await guard.permitGuard.beat();
  const { data } = await run.event('CheckpointReported', 2);
  expect(guard.checkpointDue('1.2e20')).toBe(false);
  return data;
};

it('asks for a checkpoint at once where the trainer says another training stage', async () => {
  const { run, guard } = await trained();
  guard.enterStage('rl');
  await guard.permitGuard.beat();
  expect(guard.checkpointDue('1.2e20')).toBe(true);
  expect(await reported(run, guard, 'c2')).toMatchObject({
    due: true,
    reason: 'stage',
    trainingStage: { name: 'rl' },
  });
  await guard.close();
});

it('asks for a checkpoint at once where a breakthrough is declared', async () => {
  const { run, guard } = await trained();
  const body = { breakthroughId: 'b1', reason: 'a scaffold that doubles what it solves' };
  const sent = await interlock.call('POST', `/v1/runs/${run.runId}/breakthroughs`, { as: 'operator', body });
  expect(sent.status, sent.text).toBe(201);
  await guard.permitGuard.beat();
  expect(guard.checkpointDue('1.2e20')).toBe(true);
  expect(await reported(run, guard, 'c2')).toMatchObject({ due: true, reason: 'breakthrough' });
  await guard.close();
});
