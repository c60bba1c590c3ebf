/** A whole Interlock and a real cluster: a run is registered by its job, somebody presses, and the job is gone. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { testPolicy } from '../support/evaluation-policy.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { clusterMissing, type SlurmCluster, startSlurmCluster } from '../support/slurm/cluster.ts';
import { ready, SAVES } from './scene.ts';

const missing = clusterMissing('22.05');

describe.skipIf(missing !== null)(
  `a halt of a Slurm job through the service${missing === null ? '' : ` (skipped: ${missing})`}`,
  () => {
    let cluster: SlurmCluster;
    let interlock: TestInterlock;
    beforeAll(async () => {
      cluster = await startSlurmCluster('22.05');
      const rest = { url: cluster.url, user: cluster.owner.user, token: cluster.owner.tokenFile };
      interlock = await startTestInterlock({
        policies: { main: testPolicy() },
        settings: { orchestrators: { slurm: { enabled: true, clusters: { train: { rest } } } } },
      });
    });
    afterAll(async () => {
      await interlock?.close();
      await cluster?.stop();
    });

    const registration = (runId: string, jobId: number) => ({
      runId,
      targets: [{ kind: 'slurm', cluster: 'train', jobId, jobName: 'training' }],
    });

    test('refuses a job that the cluster does not know', async () => {
      const { status, text } = await interlock.call('POST', '/v1/runs', {
        as: 'trainer',
        body: registration('r0', 999_999),
      });
      expect(status).toBe(422);
      expect(text).toContain('knows no job 999999');
    });

    test('stops the job on the red button, confirms by what the cluster shows, and stops it again when it was requeued', async () => {
      const jobId = await cluster.submit(SAVES);
      await ready(cluster, jobId);
      const registered = await interlock.call('POST', '/v1/runs', {
        as: 'trainer',
        body: registration('r1', jobId),
      });
      expect(registered.status).toBe(201);
      const beganMs = performance.now();
      const pressed = await interlock.call('POST', '/v1/runs/r1/halt', {
        as: 'board',
        body: { reason: 'enough' },
      });
      expect(pressed.status).toBe(202);
      await vi.waitFor(
        async () => {
          const { text } = await interlock.call('GET', '/v1/runs/r1/events', { as: 'auditor' });
          expect(text).toContain('HaltConfirmed');
        },
        { timeout: 30_000, interval: 50 },
      );
      console.log(`red button to confirmed halt: ${(performance.now() - beganMs).toFixed(0)} ms`);
      expect(await cluster.output(jobId)).toMatch(/^saved$/m);
      const { text } = await interlock.call('GET', '/v1/runs/r1/events', { as: 'auditor' });
      expect(text).not.toContain(cluster.owner.token);
      expect(interlock.logs.join('\n')).not.toContain(cluster.owner.token);

      // Whoever requeues it is found out, and it is halted again.
      await cluster.run('scontrol', 'requeue', String(jobId));
      await vi.waitFor(
        async () => {
          const events = (await interlock.call('GET', '/v1/runs/r1/events', { as: 'auditor' })).text;
          expect(events.split('"HaltReopened"')).toHaveLength(2);
          expect(events.split('"HaltConfirmed"')).toHaveLength(3);
        },
        { timeout: 30_000, interval: 50 },
      );
      const states = await cluster.run('squeue', '-h', '-t', 'all', '-j', String(jobId), '-o', '%T');
      expect(states.trim()).toBe('CANCELLED');
    });
  },
);
