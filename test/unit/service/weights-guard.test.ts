/** The look at weights: what is not plainly the same is not evaluated. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ComputeSchema } from '../../../src/domain/compute.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { createDigester } from '../../../src/evaluators/weights/digester.ts';
import { createMemoryRuns } from '../../../src/service/memory-runs.ts';
import { pin } from '../../../src/service/policies.ts';
import { createWeightsGuard } from '../../../src/service/weights-guard.ts';
import { oneEvaluationPolicy } from '../../support/one-evaluation-policy.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'interlock-weights-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function scene() {
  const check = checkPolicy(oneEvaluationPolicy());
  if (!check.ok) throw new Error(JSON.stringify(check.problems));
  const { policy } = check;
  const runs = createMemoryRuns(policy, () => new Date());
  const by = { by: 'trainer', contentDigest: 'd' };
  const options = { actor: 'trainer' };
  await runs.execute(
    'r1',
    {
      type: 'RegisterRun',
      ...{ runId: 'r1', title: null, policyDigest: pin(policy).digest, initialCompute: null },
      ...{ parents: [], sources: null, targets: [], labels: {}, operator: true, ...by },
    },
    options,
  );
  const modelUri = path.join(root, 'weights');
  await writeFile(modelUri, 'weights');
  const compute = { effectiveCompute: ComputeSchema.parse('1e19'), step: null };
  const place = { modelUri, endpoint: null, evaluate: true, priorDigest: null, correlationId: '' };
  const checkpointId = 'c1';
  const report = { type: 'ReportCheckpoint' as const, checkpointId, ...compute, ...place, ...by };
  await runs.execute('r1', report, options);
  const loaded = await runs.load('r1');
  return { runs, evaluationId: loaded?.state.checkpoints[0]?.evaluations[0]?.evaluationId ?? '' };
}

test('lets an evaluation begin of weights whose digest is recorded, and of no others', async () => {
  const { runs, evaluationId } = await scene();
  const warned: string[] = [];
  const deps = {
    digester: createDigester([root]),
    modelRoots: [root],
    logger: { warn: (_fields: object, message: string) => void warned.push(message) },
  };
  const unrecorded = createWeightsGuard({
    ...deps,
    runs: {
      load: runs.load,
      execute: async () => ({ outcome: 'rejected', rejection: { code: 'conflict', message: 'no' } }),
    },
  });
  expect(await unrecorded.look('r1', evaluationId)).toEqual({ ok: false, reason: 'weights-unreadable' });
  expect(await createWeightsGuard({ ...deps, runs }).look('r1', evaluationId)).toEqual({ ok: true });
});
