/** Evaluations as jobs of a real cluster: submitted, found again, collected, cancelled. */
import { randomBytes } from 'node:crypto';
import { access, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { SlurmExecutorSchema } from '../../src/domain/slurm-executor.ts';
import { EVALUATION_CANCELLED, type EvaluationRequest } from '../../src/evaluators/evaluator.ts';
import { readLog } from '../../src/evaluators/formats/detect.ts';
import { createSlurmEvaluator } from '../../src/evaluators/slurm.ts';
import { exampleRequest, expectFailed } from '../contract/describe-evaluator.ts';
import { clusterMissing, type SlurmCluster, startSlurmCluster } from '../support/slurm/cluster.ts';

const missing = clusterMissing('22.05');
const RESULT = '{"status":"success","score":0.42,"n":200}';
const WAITS = 'touch begun; while [ ! -e go ]; do sleep 0.1; done; ';
const REPORTS = `printf '%s' '${RESULT}' > "$0"`;

describe.skipIf(missing !== null)(
  `evaluations on Slurm${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    let cluster: SlurmCluster;
    let jobs: string;
    /** Of its own: Slurm still lists what earlier tests submitted. */
    let request: EvaluationRequest;
    beforeAll(async () => {
      cluster = await startSlurmCluster('22.05');
    });
    afterAll(() => cluster?.stop());
    beforeEach(async () => {
      request = { ...exampleRequest, evaluationId: `ev_${randomBytes(8).toString('hex')}` };
      jobs = await mkdtemp(path.join(tmpdir(), 'interlock-slurm-evaluations-'));
    });
    afterEach(async () => {
      await cluster.clear();
      await rm(jobs, { recursive: true, force: true });
    });

    const evaluator = (script: string, more: object = {}) =>
      createSlurmEvaluator(
        SlurmExecutorSchema.parse({
          kind: 'slurm',
          command: ['/bin/sh', '-c', script, '{resultFile}'],
          timeout: '60s',
          poll: '200ms',
          ...more,
        }),
        {
          readLog,
          cluster: { directory: cluster.commands, conf: cluster.conf, jobs },
          modelRoots: [],
          baseEnvironment: { PATH: '/usr/bin:/bin', HOME: '/', LANG: 'C' },
          environmentVariable: () => undefined,
        },
      );
    const live = () => new AbortController().signal;
    const file = async (name: string) => path.join(jobs, (await readdir(jobs))[0] ?? '', name);
    const begun = () =>
      vi.waitFor(async () => access(await file('begun')), { timeout: 20_000, interval: 50 });
    const go = async () => (await import('node:fs/promises')).writeFile(await file('go'), '');

    test('brings back what the job wrote', async () => {
      expect(await evaluator(REPORTS, { nodes: 1, time: '5' }).run(request, live())).toEqual({
        kind: 'reported',
        result: { status: 'success', score: 0.42, n: 200 },
      });
    });

    test('reads the log that its harness wrote', async () => {
      const log = JSON.stringify({
        results: { ctf: { 'acc,none': 0.42, 'acc_stderr,none': 0.01 } },
        versions: { ctf: 1 },
        config: { model: 'hf', model_args: 'pretrained=org/model' },
      });
      const command = ['/bin/sh', '-c', `printf '%s' '${log}' > "$0/results_1.json"`, '{logDirectory}'];
      expect(await evaluator('', { command, format: 'lm-eval' }).run(request, live())).toMatchObject({
        kind: 'reported',
        result: { harnessLog: { harness: 'lm-eval', model: 'org/model' } },
        launch: { exitCode: 0 },
      });
    });

    test('tells how a job failed', async () => {
      expect(await evaluator('exit 3').run(request, live())).toEqual({
        kind: 'failed',
        reason: 'exit-nonzero',
        detail: 'exit code 3',
      });
    });

    test('finds its job again after a shutdown, and submits none', async () => {
      const shutdown = new AbortController();
      const first = evaluator(WAITS + REPORTS).run(request, shutdown.signal);
      await begun();
      shutdown.abort('queue.closing');
      expectFailed(await first, 'cancelled');
      const next = { ...request, attempt: 3, submission: 2 };
      const second = evaluator('exit 9').run(next, live());
      await go();
      expect(await second).toMatchObject({ kind: 'reported', result: { score: 0.42 } });
    });

    test('ends its job when the attempt is cancelled', async () => {
      const cancel = new AbortController();
      const outcome = evaluator(WAITS + REPORTS).run(request, cancel.signal);
      await begun();
      cancel.abort(EVALUATION_CANCELLED);
      expectFailed(await outcome, 'cancelled');
      // Whoever comes back for it finds a job that was cancelled, and no result.
      expectFailed(await evaluator('exit 9').run({ ...request, submission: 2 }, live()), 'job-lost');
    });

    test('ends its job when its time is up', async () => {
      const late = evaluator(WAITS, { timeout: '3s' }).run(request, live());
      expectFailed(await late, 'timed-out');
      expectFailed(await evaluator('exit 9').run(request, live()), 'job-lost');
    });

    test('says that what the cluster refuses was not started', async () => {
      expectFailed(await evaluator(REPORTS, { partition: 'nowhere' }).run(request, live()), 'spawn-failed');
    });
  },
);
