/**
 * What a halt on Kubernetes must do, as cases that know the API alone: run on the server of this repository and on a real
 * one, so that neither can drift from the other unseen. The cases play what is absent from both: the kubelet, and the
 * operators of custom resources.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { admitKubernetesRun } from '../../src/orchestrators/kubernetes/admission.ts';
import type { KubernetesDeps } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import { createKubernetesOrchestrator } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import { KINDS, type Resource } from '../../src/orchestrators/kubernetes/resources.ts';
import type { Orchestrator } from '../../src/orchestrators/orchestrator.ts';
import type { KubernetesTarget } from '../../src/orchestrators/targets.ts';
import {
  type Admin,
  type AnyObject,
  adminOf,
  containers,
  depsFor,
  type KubernetesWorld,
  kubeconfig,
  objectPath,
  podsPath,
  WORKLOADS,
} from '../support/kubernetes-world.ts';
import { haltMessage, live } from './describe-orchestrator.ts';

const SETTLED = { timeout: 10_000, interval: 20 };

export function describeKubernetes(
  title: string,
  start: () => Promise<KubernetesWorld>,
  report: (step: string, ms: number) => void = () => undefined,
): void {
  describe(title, () => {
    let world: KubernetesWorld;
    let admin: Admin;
    let deps: KubernetesDeps;
    let directory: string;
    const prefix = `ns-${randomBytes(3).toString('hex')}`;
    let count = 0;

    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), 'interlock-kubernetes-'));
      world = await start();
      admin = adminOf(world);
      deps = depsFor(world, directory);
    });
    afterAll(async () => {
      await world?.close();
      rmSync(directory, { recursive: true, force: true });
    });

    const inNamespace = async (): Promise<string> => {
      count += 1;
      const name = `${prefix}-${count}`;
      await admin.create('/api/v1/namespaces', { metadata: { name } });
      await world.grant?.(admin, name);
      return name;
    };
    const createWorkload = (resource: Resource, namespace: string, more: object = {}): Promise<AnyObject> => {
      const { apiVersion, spec } = WORKLOADS[resource];
      const kind = KINDS[resource].title;
      const metadata = { name: 'run-1', ...more };
      return admin.create(objectPath(resource, namespace), { apiVersion, kind, metadata, spec });
    };
    const run = async (namespace: string, pod: string): Promise<void> => {
      await world.place(admin, namespace, pod);
      const startTime = new Date(Date.now() - 60_000).toISOString().replace(/\.\d+/, '');
      await admin.patch(`${podsPath(namespace)}/${pod}/status`, { status: { phase: 'Running', startTime } });
    };
    const createPod = async (namespace: string, name: string, labels: object): Promise<void> => {
      await admin.create(podsPath(namespace), {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, labels },
        spec: { containers, restartPolicy: 'Never' },
      });
      await run(namespace, name);
    };
    /** As the kubelet does when the last container has ended. */
    const end = (namespace: string, pod: string): Promise<unknown> =>
      admin.ask('DELETE', `${podsPath(namespace)}/${pod}?gracePeriodSeconds=0`);
    const admitted = async (
      resource: Resource,
      namespace: string,
      more: object = {},
    ): Promise<KubernetesTarget> => {
      const stated: KubernetesTarget = {
        kind: 'kubernetes',
        cluster: 'training',
        namespace,
        resource,
        name: 'run-1',
        ...more,
      };
      const admission = await admitKubernetesRun(stated, deps, live());
      if (!admission.ok) throw new Error(`${admission.field}: ${admission.reason}`);
      return admission.target;
    };
    const take = async (orchestrator: Orchestrator, step: string) => {
      const from = performance.now();
      const outcome = await orchestrator.take(step, haltMessage(), live());
      report(step, performance.now() - from);
      return outcome;
    };
    const look = async (orchestrator: Orchestrator) => {
      const from = performance.now();
      const seen = await orchestrator.observe(live());
      report('observe', performance.now() - from);
      return seen;
    };
    const runningJob = async (namespace: string) => {
      await createWorkload('job', namespace);
      await vi.waitFor(async () => expect(await admin.list(podsPath(namespace))).toHaveLength(2), SETTLED);
      const pods = (await admin.list(podsPath(namespace))).map(({ metadata }) => metadata.name);
      for (const pod of pods) await run(namespace, pod);
      const target = await admitted('job', namespace);
      return { pods, target, orchestrator: createKubernetesOrchestrator(target, deps) };
    };
    const allDeleting = (namespace: string) =>
      vi.waitFor(async () => {
        const pods = await admin.list(podsPath(namespace));
        expect(pods.filter(({ metadata }) => metadata['deletionTimestamp'] === undefined)).toEqual([]);
      }, SETTLED);

    test('a Job is suspended, and has stopped when its last pod is gone and not before', async () => {
      const namespace = await inNamespace();
      const { pods, target, orchestrator } = await runningJob(namespace);
      expect(target).toMatchObject({ uid: expect.any(String), namespaceUid: expect.any(String) });
      expect(await look(orchestrator)).toEqual({
        state: 'running',
        detail: '2 of its pods still there (2 Running)',
      });
      const from = performance.now();
      expect(await take(orchestrator, 'suspend')).toEqual({
        kind: 'accepted',
        detail: world.knowsSuspend
          ? `Job ${namespace}/run-1 suspended`
          : `Job ${namespace}/run-1: the server accepted the suspension and dropped it, as one does that does not know the field; its parallelism is set to 0 instead`,
      });
      await allDeleting(namespace);
      report('suspend to all pods being deleted', performance.now() - from);
      expect(await look(orchestrator)).toEqual({
        state: 'running',
        detail: '2 of its pods still there (2 being deleted, 2 Running)',
      });
      await end(namespace, pods[0] ?? '');
      expect((await look(orchestrator)).state).toBe('running');
      await end(namespace, pods[1] ?? '');
      const stopped = {
        state: 'stopped',
        detail: `Job ${namespace}/run-1 is suspended, and no pod of it is left`,
      };
      expect(await look(orchestrator)).toEqual(stopped);

      // Again, on what has stopped.
      expect(await take(orchestrator, 'suspend')).toMatchObject({ kind: 'accepted' });
      expect(await look(orchestrator)).toEqual(stopped);
    });

    test('a Job that is set going again is running, before it has a pod', async () => {
      const namespace = await inNamespace();
      const { pods, orchestrator } = await runningJob(namespace);
      await take(orchestrator, 'suspend');
      await allDeleting(namespace);
      for (const pod of pods) await end(namespace, pod);
      expect((await look(orchestrator)).state).toBe('stopped');
      await admin.patch(`${objectPath('job', namespace)}/run-1`, {
        spec: { suspend: false, parallelism: 1 },
      });
      expect((await look(orchestrator)).state).toBe('running');
      expect(await take(orchestrator, 'suspend')).toMatchObject({ kind: 'accepted' });
    });

    test('a Job that was made again under its name is running, said to be another, and halted all the same', async () => {
      const namespace = await inNamespace();
      const { pods, orchestrator } = await runningJob(namespace);
      await admin.ask('DELETE', `${objectPath('job', namespace)}/run-1?propagationPolicy=Background`);
      await allDeleting(namespace);
      for (const pod of pods) await end(namespace, pod);
      await vi.waitFor(async () => expect((await look(orchestrator)).state).toBe('stopped'), SETTLED);
      expect((await look(orchestrator)).detail).toBe(
        `Job ${namespace}/run-1 is missing, and no pod of it is left`,
      );

      await createWorkload('job', namespace);
      const again = await look(orchestrator);
      expect(again.state).toBe('running');
      expect(again.detail).toContain('another uid');
      const outcome = await take(orchestrator, 'suspend');
      expect(outcome).toMatchObject({ kind: 'accepted' });
      expect(outcome.detail).toContain('another uid');
    });

    test('pods that ended by themselves do not count, one on a dead node does', async () => {
      const namespace = await inNamespace();
      const { pods, orchestrator } = await runningJob(namespace);
      const [ended = '', dead = ''] = pods;
      await take(orchestrator, 'suspend');
      await allDeleting(namespace);
      await admin.patch(`${podsPath(namespace)}/${ended}/status`, { status: { phase: 'Failed' } });
      expect((await look(orchestrator)).detail).toBe(
        '1 of its pods still there (1 being deleted, 1 Running)',
      );
      // Whatever is taken, no node confirms.
      for (const step of ['delete', 'kill'])
        expect(await take(orchestrator, step)).toMatchObject({ kind: 'accepted' });
      expect((await look(orchestrator)).state).toBe('running');
      const left = await admin.read(`${podsPath(namespace)}/${dead}`);
      expect(left.metadata['deletionGracePeriodSeconds']).toBe(1);
      await admin.patch(`${podsPath(namespace)}/${dead}/status`, { status: { phase: 'Unknown' } });
      expect((await look(orchestrator)).state).toBe('unknown');
    });

    test('a failed pod with a running container has not stopped', async () => {
      const namespace = await inNamespace();
      const { pods, orchestrator } = await runningJob(namespace);
      await take(orchestrator, 'suspend');
      await allDeleting(namespace);
      const startedAt = '2026-01-01T00:00:00Z';
      const containerStatuses = [
        {
          name: 'train',
          image: 'none',
          imageID: '',
          ready: false,
          restartCount: 0,
          state: { running: { startedAt } },
        },
      ];
      for (const pod of pods) {
        await admin.patch(`${podsPath(namespace)}/${pod}/status`, {
          status: { phase: 'Failed', containerStatuses },
        });
      }
      expect(await look(orchestrator)).toEqual({
        state: 'unknown',
        detail: 'a pod in phase Failed has a container that still runs',
      });
    });

    const OPERATED = ['jobset', 'pytorchjob', 'trainjob', 'rayjob', 'deployment', 'statefulset'] as const;
    test.each(OPERATED)(
      'a %s whose operator does not listen is running, until its pods are deleted',
      async (resource) => {
        const namespace = await inNamespace();
        await createWorkload(resource, namespace);
        await createPod(namespace, 'worker-0', WORKLOADS[resource].podLabels);
        await createPod(namespace, 'bystander', {
          'job-name': 'run-10',
          app: 'other',
          'ray.io/cluster': 'run-10-x2k4p',
        });
        const target = await admitted(resource, namespace);
        const orchestrator = createKubernetesOrchestrator(target, deps);
        expect((await look(orchestrator)).state).toBe('running');
        expect(await take(orchestrator, 'suspend')).toMatchObject({ kind: 'accepted' });
        const object = await admin.read(`${objectPath(resource, namespace)}/run-1`);
        expect(
          KINDS[resource].isSuspended({
            ...object,
            metadata: { ...object.metadata, deletionTimestamp: null, ownerReferences: null },
          }),
        ).toBe(true);
        expect((await look(orchestrator)).state).toBe('running');

        expect(await take(orchestrator, 'delete')).toMatchObject({ kind: 'accepted' });
        const pod = await admin.read(`${podsPath(namespace)}/worker-0`);
        expect(pod.metadata['deletionTimestamp']).toBeDefined();
        expect((await look(orchestrator)).state).toBe('running');
        await end(namespace, 'worker-0');
        expect(await look(orchestrator)).toMatchObject({ state: 'stopped' });
        const bystander = await admin.read(`${podsPath(namespace)}/bystander`);
        expect(bystander.metadata['deletionTimestamp']).toBeUndefined();
      },
    );

    test('a bare pod is deleted with its grace period, and has stopped when it is gone', async () => {
      const namespace = await inNamespace();
      await createPod(namespace, 'run-1', {});
      await createPod(namespace, 'bystander', {});
      const orchestrator = createKubernetesOrchestrator(await admitted('pod', namespace), deps);
      expect((await look(orchestrator)).state).toBe('running');
      expect(await take(orchestrator, 'suspend')).toMatchObject({ kind: 'accepted' });
      expect((await look(orchestrator)).detail).toBe(
        '1 of its pods still there (1 being deleted, 1 Running)',
      );
      expect(await take(orchestrator, 'kill')).toMatchObject({ kind: 'accepted' });
      await end(namespace, 'run-1');
      expect((await look(orchestrator)).state).toBe('stopped');
      expect(await admin.list(podsPath(namespace))).toHaveLength(1);
    });

    test('what Kueue has is deactivated first, and has not stopped while Kueue may start it again', async () => {
      const namespace = await inNamespace();
      const labels = { 'kueue.x-k8s.io/queue-name': 'gpus' };
      const { metadata } = await createWorkload('jobset', namespace, { labels });
      const workloads = `/apis/kueue.x-k8s.io/v1beta1/namespaces/${namespace}/workloads`;
      const workload = {
        apiVersion: 'kueue.x-k8s.io/v1beta1',
        kind: 'Workload',
        metadata: { name: 'jobset-run-1-abcde', labels: { 'kueue.x-k8s.io/job-uid': metadata.uid } },
        spec: { active: true, queueName: 'gpus' },
      };
      await admin.create(workloads, workload);
      const target = await admitted('jobset', namespace);
      expect(target.queue).toBe('kueue');
      const orchestrator = createKubernetesOrchestrator(target, deps);
      // Suspended by hand or by a preemption, it has no pod and is in the queue.
      await admin.patch(`${objectPath('jobset', namespace)}/run-1`, { spec: { suspend: true } });
      expect(await look(orchestrator)).toEqual({
        state: 'running',
        detail: 'suspended, but Kueue may start it again: its Workload is active',
      });
      expect(await take(orchestrator, 'suspend')).toEqual({
        kind: 'accepted',
        detail: `its Kueue Workload deactivated; JobSet ${namespace}/run-1 suspended`,
      });
      expect((await admin.read(`${workloads}/jobset-run-1-abcde`)).spec).toMatchObject({ active: false });
      expect((await look(orchestrator)).state).toBe('stopped');
    });

    test('a namespace of the same name elsewhere is not where the run stopped', async () => {
      const namespace = await inNamespace();
      const target: KubernetesTarget = {
        kind: 'kubernetes',
        cluster: 'training',
        namespace,
        resource: 'job',
        name: 'run-1',
        uid: 'u',
      };
      for (const namespaceUid of [undefined, 'another']) {
        const lost = createKubernetesOrchestrator(
          { ...target, ...(namespaceUid === undefined ? {} : { namespaceUid }) },
          deps,
        );
        expect(await look(lost)).toMatchObject({ state: 'unknown' });
        expect(await take(lost, 'suspend')).toEqual({
          kind: 'retry',
          detail: `Job ${namespace}/run-1: there is none (HTTP 404)`,
        });
      }
    });

    test('without a right nothing is accepted, nothing is known, and the right is named', async () => {
      const namespace = await inNamespace();
      const { target } = await runningJob(namespace);
      const refused = createKubernetesOrchestrator({ ...target, cluster: 'foreign' }, deps);
      for (const step of refused.steps) {
        const outcome = await take(refused, step);
        expect(outcome.kind).toBe('retry');
        expect(outcome.detail).toContain('Interlock has no right to it (HTTP 403)');
      }
      expect(await look(refused)).toMatchObject({ state: 'unknown' });
      expect(await refused.rehearse?.('suspend', haltMessage(), live())).toEqual({
        kind: 'retry',
        detail: `Interlock may not get jobs run-1 in ${namespace}`,
      });
    });

    test('a rehearsal reaches everything and changes nothing', async () => {
      const namespace = await inNamespace();
      const { orchestrator } = await runningJob(namespace);
      const before = await admin.read(`${objectPath('job', namespace)}/run-1`);
      for (const step of orchestrator.steps) {
        const from = performance.now();
        const outcome = await orchestrator.rehearse?.(step, haltMessage(), live());
        report('rehearse', performance.now() - from);
        expect(outcome).toMatchObject({ kind: 'accepted' });
      }
      expect(await admin.read(`${objectPath('job', namespace)}/run-1`)).toEqual(before);
      expect((await look(orchestrator)).detail).toBe('2 of its pods still there (2 Running)');
    });

    test('credentials that expire in the middle of a halt are read again at the next attempt', async () => {
      const namespace = await inNamespace();
      const { target } = await runningJob(namespace);
      const file = join(directory, 'rotated');
      const clusters = { ...deps.clusters, rotated: { kubeconfig: file } };
      const tokenFile = join(directory, 'rotated-token');
      writeFileSync(file, kubeconfig(world, { tokenFile: 'rotated-token' }));
      writeFileSync(tokenFile, 'expired-by-now');
      const orchestrator = createKubernetesOrchestrator(
        { ...target, cluster: 'rotated' },
        { ...deps, clusters },
      );
      expect(await take(orchestrator, 'suspend')).toEqual({
        kind: 'retry',
        detail: `Job ${namespace}/run-1: the credential is not accepted (HTTP 401)`,
      });
      expect((await look(orchestrator)).state).toBe('unknown');
      writeFileSync(tokenFile, `${world.tokens.watchdog}\n`);
      expect(await take(orchestrator, 'suspend')).toMatchObject({ kind: 'accepted' });
    });

    test('the seconds of its nodes, and of the accelerators of its pods, are told', async () => {
      const namespace = await inNamespace();
      const { orchestrator } = await runningJob(namespace);
      const usage = await orchestrator.usage?.(live());
      expect(usage?.nodeSeconds).toBeGreaterThanOrEqual(59);
      expect(usage?.nodeSeconds).toBeLessThan(300);
      expect(usage?.acceleratorSeconds).toBeGreaterThanOrEqual(16 * 59);
      expect(usage?.acceleratorSeconds).toBeLessThan(16 * 300);
    });

    test('what could not be halted is refused when it is registered, by the field that is wrong', async () => {
      const namespace = await inNamespace();
      const job = await createWorkload('job', namespace);
      await createWorkload('rayjob', namespace);
      await admin.patch(`${objectPath('rayjob', namespace)}/run-1`, {
        spec: { shutdownAfterJobFinishes: false },
      });
      await vi.waitFor(async () => expect(await admin.list(podsPath(namespace))).not.toEqual([]), SETTLED);
      const part = (await admin.list(podsPath(namespace)))[0]?.metadata.name ?? '';
      const cases: readonly (readonly [Partial<KubernetesTarget>, string, RegExp])[] = [
        [
          { cluster: 'nowhere' },
          'cluster',
          /^there is no cluster nowhere in interlock.yaml; there are: foreign, training$/,
        ],
        [{ cluster: 'foreign' }, 'namespace', /no right to it \(HTTP 403\)$/],
        [{ name: 'run-2' }, 'name', /^Job .*\/run-2: there is none \(HTTP 404\)$/],
        [{ resource: 'rayjob' }, 'resource', /shutdownAfterJobFinishes: true$/],
        [
          { resource: 'pod', name: part },
          'name',
          /is managed by Job run-1, which would start it again; name that instead$/,
        ],
      ];
      for (const [change, field, reason] of cases) {
        const stated: KubernetesTarget = {
          kind: 'kubernetes',
          cluster: 'training',
          namespace,
          resource: 'job',
          name: 'run-1',
          ...change,
        };
        const admission = await admitKubernetesRun(stated, deps, live());
        expect(admission).toMatchObject({ ok: false, field, reason: expect.stringMatching(reason) });
      }
      const bounded = {
        ...deps,
        clusters: { training: { kubeconfig: '/nowhere', namespaces: ['team-a', 'team-b'] } },
      };
      const stated: KubernetesTarget = {
        kind: 'kubernetes',
        cluster: 'training',
        namespace,
        resource: 'job',
        name: 'run-1',
      };
      expect(await admitKubernetesRun(stated, bounded, live())).toEqual({
        ok: false,
        field: 'namespace',
        reason: `namespace ${namespace} is not one that interlock.yaml allows: team-a, team-b`,
      });
      // What a caller states of what is recorded is not believed.
      const lied = await admitKubernetesRun(
        { ...stated, uid: 'x', namespaceUid: 'y', selector: 'z' },
        deps,
        live(),
      );
      expect(lied).toMatchObject({ ok: true, target: { uid: job.metadata.uid } });
      expect(JSON.stringify(lied)).not.toMatch(/"(x|y|z)"/);
    });
  });
}
