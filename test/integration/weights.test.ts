/** Weights in a local path, through the service: digested, kept, and no longer scored once others lie there. */
import { createHash } from 'node:crypto';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { answered, drive, expectSoundLedger, type RunDriver, soon } from '../support/run-driver.ts';

const Answer = z.object({
  status: z.string(),
  conclusive: z.boolean().nullable(),
  reasons: z.array(z.string()),
});

let interlock: TestInterlock;
beforeAll(async () => {
  interlock = await startTestInterlock({ policies: { main: testPolicy({ silentDebate: true }) } });
  await writeEvaluator(interlock.directory);
});
afterAll(() => interlock?.close());

async function registered(): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
  const sent = await run.register();
  expect(sent.status, sent.text).toBe(201);
  return run;
}
const model = (run: RunDriver) => writeModel(interlock.models, run.runId, { result: score(0.1) });
const digestOf = async (file: string) =>
  `sha256:${createHash('sha256')
    .update(await readFile(file))
    .digest('hex')}`;

describe('weights in a local path', () => {
  it('are digested before they are evaluated, and kept until their deadline', async () => {
    const run = await registered();
    const file = await model(run);
    const sent = await run.checkpoint({ checkpointId: 'c1', effectiveCompute: '1e21', modelUri: file });
    const { retainUntil } = answered(sent, 202, z.object({ retainUntil: z.string() }));
    const digested = await run.event('WeightsDigested');
    expect(digested.data).toMatchObject({ checkpointId: 'c1', digest: await digestOf(file), files: 1 });
    await run.event('EvaluationStarted');
    const kinds = await run.kinds();
    expect(kinds.indexOf('WeightsDigested')).toBeLessThan(kinds.indexOf('EvaluationStarted'));
    const beat = await run.beat('1e21');
    expect(beat.retain).toEqual(['c1']);
    expect(Date.parse(beat.retainUntil['c1'] ?? '')).toBeGreaterThanOrEqual(Date.parse(retainUntil));
  });

  it('say how much of them has been read, before the first evaluation begins', async () => {
    const run = await registered();
    const file = join(interlock.models, `${run.runId}.safetensors`);
    await writeFile(file, '');
    await truncate(file, 1_000_000_000);
    await run.report('c1', '1e21', file);
    await soon(async () => {
      const { running = [] } = await run.scorecard('c1');
      expect(running).toContainEqual(
        expect.objectContaining({
          status: 'queued',
          progress: expect.objectContaining({ total: 1_000, unit: 'MB of weights' }),
        }),
      );
    });
    await run.event('WeightsDigested');
  });

  it('that are exchanged before a result of them comes hold the run, and are told as a security event', async () => {
    const run = await registered();
    const file = await model(run);
    const { debate = '' } = await run.report('c1', '1e21', file);
    await run.event('EvaluationReported');
    const before = await digestOf(file);
    await writeFile(file, JSON.stringify({ probe: { result: score(0.01) } }));
    const answer = answered(await run.result(debate, 1, score(0.1)), 200, Answer);
    expect(answer).toMatchObject({ conclusive: false, reasons: ['weights-changed'] });
    expect((await run.event('WeightsChanged')).data).toMatchObject({
      expected: before,
      found: await digestOf(file),
    });
    expect(await run.beat('1e21')).toMatchObject({ permit: null, directive: { action: 'pause' } });
    const findings = (await run.scorecard('c1')).findings;
    expect(findings.find(({ kind }) => kind === 'weights')?.explanation).toContain(before);
    await soon(async () => {
      const stream = await interlock.call('GET', '/v1/ledger?limit=200&stream=security', { as: 'auditor' });
      const all =
        stream.status === 200
          ? stream
          : await interlock.call('GET', '/v1/ledger?limit=200', { as: 'auditor' });
      expect(all.text).toContain('weights-changed');
    });
  });

  it('that are not those the trainer named are never evaluated', async () => {
    const run = await registered();
    const file = await model(run);
    const weightsDigest = `sha256:${'a'.repeat(64)}`;
    await run.checkpoint({ checkpointId: 'c1', effectiveCompute: '1e21', modelUri: file, weightsDigest });
    expect((await run.event('WeightsChanged')).data).toMatchObject({ expected: weightsDigest });
    await run.event('HoldPlaced');
    expect(await run.kinds()).not.toContain('EvaluationReported');
  });

  it('that were deleted while they were evaluated settle nothing', async () => {
    const run = await registered();
    const file = await model(run);
    const { debate = '' } = await run.report('c1', '1e21', file);
    await run.event('EvaluationReported');
    await rm(file);
    // What is none of an attempt, and no result, is refused as ever: doubt is no reason to take it.
    expect((await run.result(debate, 7, score(0.1))).status).toBe(404);
    expect((await run.result(debate, 1, { status: 'success', score: {} })).status).toBe(422);
    await run.result(debate, 1, score(0.1));
    expect((await run.event('EvaluationAttemptFailed')).data).toMatchObject({ reason: 'weights-gone' });
  });

  it('leave a ledger that folds and judges the same again', () => expectSoundLedger(interlock));
});
