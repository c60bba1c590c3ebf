import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { OrchestratorsConfigSchema } from '../../src/config/orchestrators.ts';
import { admitKubernetesRun } from '../../src/orchestrators/kubernetes/admission.ts';
import type { KubernetesDeps } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import { createKubernetesOrchestrator } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import { confirmationOf, defaultLadder } from '../../src/orchestrators/ladders.ts';
import { openOrchestrators } from '../../src/orchestrators/registry.ts';
import { type KubernetesTarget, targetSchema } from '../../src/orchestrators/targets.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { type KubernetesServer, type Reply, startKubernetesServer } from '../support/kubernetes-server.ts';
import {
  type Admin,
  adminOf,
  containers,
  depsFor,
  kubeconfig,
  objectPath,
  podsPath,
  WORKLOADS,
} from '../support/kubernetes-world.ts';
import { selfSigned } from '../support/self-signed.ts';
import { describeKubernetes } from './describe-kubernetes.ts';
import { describeOrchestrator, haltMessage, live } from './describe-orchestrator.ts';
import { CANARY, type FixtureWorld, HOSTILE_ANSWERS, kubernetesFixture } from './kubernetes-fixture.ts';

const TOKENS = { admin: 'admin-token', watchdog: 'watchdog-token-7f3a', stranger: 'stranger-token-7f3a' };

async function startServer(): Promise<KubernetesServer> {
  const server = await startKubernetesServer();
  server.tokens.set(TOKENS.watchdog, 'watchdog').set(TOKENS.stranger, 'stranger');
  server.may = ({ user }) => user === 'watchdog';
  return server;
}

async function startWorld(): Promise<FixtureWorld> {
  const server = await startServer();
  return {
    url: server.url,
    ca: server.ca,
    tokens: TOKENS,
    knowsSuspend: true,
    place: async (admin, namespace, pod) => {
      await admin.ask('PATCH', `${podsPath(namespace)}/${pod}`, { spec: { nodeName: 'node-1' } });
    },
    readOnly: async () => {
      server.may = ({ user, verb }) => user === 'watchdog' && (verb === 'get' || verb === 'list');
    },
    close: server.close,
  };
}

describeKubernetes('a halt on Kubernetes (the server of this repository)', startWorld);

/** A Job `run-1` in `team`, registered, with two pods that run. */
interface Scene {
  server: KubernetesServer;
  directory: string;
  admin: Admin;
  deps: KubernetesDeps;
  target: KubernetesTarget;
  close(): Promise<void>;
}

async function stage(more: Partial<KubernetesDeps> = {}): Promise<Scene> {
  const directory = mkdtempSync(join(tmpdir(), 'interlock-kubernetes-'));
  const server = await startServer();
  const world = { url: server.url, ca: server.ca, tokens: TOKENS };
  const admin = adminOf(world);
  const deps = depsFor(world, directory, more);
  await admin.create('/api/v1/namespaces', { metadata: { name: 'team' } });
  await admin.create(objectPath('job', 'team'), { metadata: { name: 'run-1' }, spec: WORKLOADS.job.spec });
  for (const { metadata } of await admin.list(podsPath('team'))) {
    await admin.patch(`${podsPath('team')}/${metadata.name}`, {
      spec: { nodeName: 'node-1' },
      status: { phase: 'Running' },
    });
  }
  const stated = {
    kind: 'kubernetes',
    cluster: 'training',
    namespace: 'team',
    resource: 'job',
    name: 'run-1',
  } as const;
  const admission = await admitKubernetesRun(stated, deps, live());
  if (!admission.ok) throw new Error(admission.reason);
  server.asked.splice(0);
  return {
    ...{ server, directory, admin, deps, target: admission.target },
    async close() {
      await server.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

describeOrchestrator('the kubernetes orchestrator', async () => kubernetesFixture(await startWorld()));

describe('the kubernetes orchestrator', () => {
  let scene: Scene;
  beforeEach(async () => {
    scene = await stage();
  });
  afterEach(() => scene.close());
  const orchestrator = (change: Partial<KubernetesTarget> = {}) =>
    createKubernetesOrchestrator({ ...scene.target, ...change }, scene.deps);

  const hostile: readonly (readonly [string, Reply | 'hang'])[] = [
    ['never answers', 'hang'],
    ...Object.entries(HOSTILE_ANSWERS),
  ];

  test.each(hostile)('where the server %s, nothing is accepted and nothing is believed', async (_, reply) => {
    const isHanging = reply === 'hang';
    scene.server.intercept = () => (isHanging ? new Promise<Reply>(() => undefined) : reply);
    const deps = { ...scene.deps, ...(isHanging ? { requestTimeoutMs: 200 } : {}) };
    const one = createKubernetesOrchestrator(scene.target, deps);
    for (const step of one.steps) {
      const outcome = await one.take(step, haltMessage(), live());
      expect(['retry', 'rejected']).toContain(outcome.kind);
      expectSafe(outcome.detail);
    }
    const seen = await one.observe(live());
    expect(seen.state).toBe('unknown');
    expectSafe(seen.detail);
    expect(await one.usage?.(live())).toBeNull();
    const admission = await admitKubernetesRun(scene.target, deps, live());
    expect(admission.ok).toBe(false);
    if (!admission.ok) expectSafe(admission.reason);
  });

  function expectSafe(text: string): void {
    expect(text.length).toBeLessThan(300);
    expect(text).toMatch(/^[\x20-\x7e]+$/);
    for (const secret of [CANARY, ...Object.values(TOKENS)]) expect(text).not.toContain(secret);
  }

  test('a server that says of every pod list that it is empty does not make a Job stop that is not suspended', async () => {
    scene.server.intercept = ({ path }) =>
      path.endsWith('/pods')
        ? { status: 200, body: { kind: 'PodList', metadata: {}, items: [] } }
        : undefined;
    expect((await orchestrator().observe(live())).state).toBe('running');
  });

  test('pods that cannot be listed are not absent', async () => {
    await orchestrator().take('suspend', haltMessage(), live());
    scene.server.intercept = ({ path }) => (path.endsWith('/pods') ? { status: 500, body: {} } : undefined);
    expect((await orchestrator().observe(live())).state).toBe('unknown');
  });

  test('a list that goes on is not empty', async () => {
    await orchestrator().take('suspend', haltMessage(), live());
    scene.server.intercept = ({ path, query }) =>
      path.endsWith('/pods') && query.get('fieldSelector')?.includes('!=')
        ? { status: 200, body: { kind: 'PodList', metadata: { continue: 'more' }, items: [] } }
        : undefined;
    expect(await orchestrator().observe(live())).toEqual({
      state: 'unknown',
      detail: 'there are more pods to look through than were looked at',
    });
  });

  test('a pod on the second page is seen', async () => {
    await orchestrator().take('suspend', haltMessage(), live());
    scene.server.intercept = ({ path, query }) =>
      path.endsWith('/pods') && query.get('continue') === null
        ? { status: 200, body: { kind: 'PodList', metadata: { continue: '0' }, items: [] } }
        : undefined;
    expect(await orchestrator().observe(live())).toMatchObject({
      state: 'running',
      detail: '2 of its pods still there (2 being deleted, 2 Running)',
    });
  });

  test('a kind whose field is dropped says so, and its pods are deleted all the same', async () => {
    await scene.admin.create(objectPath('pytorchjob', 'team'), { metadata: { name: 'run-1' } });
    await scene.admin.create(podsPath('team'), {
      metadata: { name: 'worker-0', labels: { 'training.kubeflow.org/job-name': 'run-1' } },
      spec: { containers, nodeName: 'node-1' },
    });
    const uid = { uid: 'u', name: 'run-1' };
    scene.server.intercept = ({ method, path }) =>
      method === 'PATCH' && path.endsWith('/pytorchjobs/run-1')
        ? { status: 200, body: { metadata: uid, spec: { runPolicy: {} } } }
        : undefined;
    const one = orchestrator({ resource: 'pytorchjob' });
    const outcome = await one.take('suspend', haltMessage(), live());
    expect(outcome).toEqual({
      kind: 'rejected',
      detail:
        'PyTorchJob team/run-1: the server accepted the suspension and dropped it, as one does that does not know the field',
    });
    expect(await one.rehearse?.('suspend', haltMessage(), live())).toEqual(outcome);
    expect(await one.take('delete', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    const pod = await scene.admin.read(`${podsPath('team')}/worker-0`);
    expect(pod.metadata['deletionTimestamp']).toBeDefined();
    const stated = { ...scene.target, resource: 'pytorchjob' as const };
    expect(await admitKubernetesRun(stated, scene.deps, live())).toMatchObject({
      ok: false,
      field: 'resource',
    });
  });

  test('where an admission webhook keeps a suspension out, a Job is left without work instead', async () => {
    const isSuspension = z.object({ spec: z.object({ suspend: z.literal(true) }) });
    scene.server.intercept = ({ method, body }) =>
      method === 'PATCH' && isSuspension.safeParse(body).success ? { status: 403, body: {} } : undefined;
    expect(await orchestrator().take('suspend', haltMessage(), live())).toEqual({
      kind: 'accepted',
      detail: 'Job team/run-1: its suspension was refused; its parallelism is set to 0 instead',
    });
    const job = await scene.admin.read(`${objectPath('job', 'team')}/run-1`);
    expect(job.spec).toMatchObject({ parallelism: 0 });
  });

  test('where Kueue cannot be told, the workload is suspended all the same, and the step is tried again', async () => {
    scene.server.intercept = ({ path }) =>
      path.includes('/workloads') ? { status: 500, body: {} } : undefined;
    const outcome = await orchestrator({ queue: 'kueue' }).take('suspend', haltMessage(), live());
    expect(outcome).toEqual({ kind: 'retry', detail: 'the Kueue Workloads in team: refused (HTTP 500)' });
    const job = await scene.admin.read(`${objectPath('job', 'team')}/run-1`);
    expect(job.spec).toMatchObject({ suspend: true });
  });

  test('Kueue is told before the workload is suspended', async () => {
    await scene.admin.create('/apis/kueue.x-k8s.io/v1beta1/namespaces/team/workloads', {
      metadata: { name: 'job-run-1-abcde', labels: { 'kueue.x-k8s.io/job-uid': scene.target.uid } },
      spec: { active: true },
    });
    scene.server.asked.splice(0);
    await orchestrator({ queue: 'kueue' }).take('suspend', haltMessage(), live());
    const patched = scene.server.asked
      .filter((line) => line.startsWith('PATCH'))
      .map((line) => new URL(line.slice(6), scene.server.url).pathname.split('/').slice(-2).join('/'));
    expect(patched).toEqual(['workloads/job-run-1-abcde', 'jobs/run-1']);
  });

  test('pods are deleted by their labels and by the second, never without', async () => {
    for (const step of ['delete', 'kill']) await orchestrator().take(step, haltMessage(), live());
    const deletions = scene.server.asked.filter((line) => line.startsWith('DELETE'));
    const queries = deletions.map((line) => [...new URL(line.slice(7), scene.server.url).searchParams]);
    const labels = ['batch.kubernetes.io/job-name=run-1', 'job-name=run-1'];
    expect(queries.sort()).toEqual([
      ...labels.map((label) => [
        ['gracePeriodSeconds', '1'],
        ['labelSelector', label],
      ]),
      ...labels.map((label) => [['labelSelector', label]]),
    ]);
  });

  test('what the caller gives up ends at once, and no connection is left open', async () => {
    const patient = createKubernetesOrchestrator(scene.target, { ...scene.deps, requestTimeoutMs: 60_000 });
    const controller = new AbortController();
    scene.server.intercept = () => {
      controller.abort();
      return new Promise<Reply>(() => undefined);
    };
    const outcome = await patient.take('kill', haltMessage(), controller.signal);
    expect(outcome.kind).toBe('retry');
    expect((await patient.observe(controller.signal)).state).toBe('unknown');
    scene.server.intercept = () => undefined;
    await patient.take('suspend', haltMessage(), live());
    await patient.observe(live());
    await vi.waitFor(async () => expect(await scene.server.connections()).toBe(0));
  });

  test('only a server with the right certificate is spoken to, whatever the environment says', async () => {
    const { cert } = selfSigned({ notAfter: new Date(Date.now() + 3_600_000) });
    const file = join(scene.directory, 'watchdog');
    const user = { token: TOKENS.watchdog };
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    try {
      writeFileSync(file, kubeconfig({ url: scene.server.url, ca: cert }, user));
      expect(await orchestrator().take('suspend', haltMessage(), live())).toMatchObject({ kind: 'retry' });
      expect(scene.server.asked).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test('only an address in outbound.allow is dialled', async () => {
    const outbound = createOutbound({ allow: ['10.0.0.0/8'] });
    const bounded = { ...scene.deps, outbound };
    const one = createKubernetesOrchestrator(scene.target, bounded);
    expect(await one.take('suspend', haltMessage(), live())).toMatchObject({
      kind: 'rejected',
      detail: expect.stringContaining('outbound.allow'),
    });
    expect(await admitKubernetesRun(scene.target, bounded, live())).toMatchObject({
      ok: false,
      field: 'cluster',
    });
    expect(scene.server.asked).toEqual([]);
  });

  test('the registry opens it where it is enabled, and only there', async () => {
    const setting = (enabled: boolean) => ({
      ...scene.deps,
      config: OrchestratorsConfigSchema.parse({ kubernetes: { enabled, clusters: scene.deps.clusters } }),
      webhookSecrets: () => [],
    });
    const { kind, ...config } = scene.target;
    const open = openOrchestrators(setting(true));
    expect(await open.admit(scene.target)).toEqual({ ok: true, target: scene.target });
    const opened = open.of({ kind, config }, 'trainer');
    expect(await opened?.take('suspend', haltMessage(), live())).toMatchObject({ kind: 'accepted' });

    const closed = openOrchestrators(setting(false));
    expect(closed.of({ kind, config }, 'trainer')).toBeNull();
    expect(await closed.admit(scene.target)).toMatchObject({ ok: false, field: 'kind' });
  });

  test('a cluster that interlock.yaml does not name any more is told of, and known nothing of', async () => {
    for (const cluster of ['gone', 'constructor', '__proto__']) {
      const one = orchestrator({ cluster });
      expect(await one.take('suspend', haltMessage(), live())).toEqual({
        kind: 'rejected',
        detail: `there is no cluster ${cluster} in interlock.yaml`,
      });
      expect(await one.observe(live())).toMatchObject({ state: 'unknown' });
    }
  });
});

describe('kubernetes targets', () => {
  const target = { kind: 'kubernetes', cluster: 'a', namespace: 'team', resource: 'job', name: 'run-1' };

  test.each<object>([
    {},
    { resource: 'rayjob', queue: 'kueue', after: '30s' },
    { uid: '8a6c1f0e-1111-2222-3333-444455556666', namespaceUid: 'u', selector: 'app in (a,b),!c' },
  ])('with %j is one', (change) =>
    expect(targetSchema.parse({ ...target, ...change })).toEqual({ ...target, ...change }),
  );

  test.each<object>([
    { cluster: 'https://10.0.0.1' },
    { cluster: '' },
    { namespace: 'Team' },
    { namespace: '../kube-system' },
    { namespace: 'a'.repeat(64) },
    { resource: 'secret' },
    { name: 'run-1,app=other' },
    { name: 'run 1' },
    { name: 'run-1/status' },
    { name: '..' },
    { name: 'a'.repeat(254) },
    { queue: 'slurm' },
    { token: 'x' },
    { server: 'https://10.0.0.1' },
  ])('with %j is none', (change) =>
    expect(targetSchema.safeParse({ ...target, ...change }).success).toBe(false),
  );

  test('its ladder names the steps that it has, and only what it sees confirms a stop', () => {
    expect(defaultLadder('kubernetes').map(({ step }) => step)).toEqual(['suspend', 'delete', 'kill']);
    expect(confirmationOf('kubernetes')).toBe('observed');
  });
});
