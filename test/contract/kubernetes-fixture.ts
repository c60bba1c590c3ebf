/**
 * The fixture of the contract of all orchestrators, on a Kubernetes API server: a Job `run-1` with two pods that run, in a
 * namespace of its own. Its knobs are turned by the cluster's owner, or by what stands between Interlock and the server
 * (kubernetes-front.ts), so that this repository's server and a real one are held to the same cases.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { admitKubernetesRun } from '../../src/orchestrators/kubernetes/admission.ts';
import { createKubernetesOrchestrator } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import type { KubernetesTarget } from '../../src/orchestrators/targets.ts';
import { type KubernetesFront, startKubernetesFront } from '../support/kubernetes-front.ts';
import type { Reply } from '../support/kubernetes-server.ts';
import {
  type Admin,
  type AnyObject,
  adminOf,
  depsFor,
  type KubernetesWorld,
  kubeconfig,
  objectPath,
  podsPath,
  WORKLOADS,
} from '../support/kubernetes-world.ts';
import { does, live, type OrchestratorFixture, type OtherSide } from './describe-orchestrator.ts';

const SETTLED = { timeout: 30_000, interval: 20 };

export const CANARY = 'canary-of-the-other-side';
const metadata = { name: 'run-1', uid: 'u' };
const plain = { 'content-type': 'text/plain' };
const failure = (body: object): object => ({ kind: 'Status', status: 'Failure', ...body });

/** What no API server in its right mind answers to a patch, a list and a look alike. */
export const HOSTILE_ANSWERS: Readonly<Record<string, Reply>> = {
  'answers without end': { status: 200, text: ' '.repeat(17_000_000) },
  'answers HTML': { status: 200, text: `<html>${CANARY}`, headers: { 'content-type': 'text/html' } },
  'answers HTML as JSON': { status: 200, text: `<html>${CANARY}` },
  'answers nothing': { status: 200, text: '' },
  'answers null': { status: 200, text: 'null' },
  'answers a list': { status: 200, body: [] },
  'answers depth without end': { status: 200, text: `${'['.repeat(50_000)}${']'.repeat(50_000)}` },
  'answers with wrong types': { status: 200, body: { kind: 'PodList', metadata: [], items: 'none' } },
  'answers with pods of wrong types': { status: 200, body: { kind: 'PodList', metadata: {}, items: [7] } },
  'answers for another object': {
    status: 200,
    body: { metadata: { ...metadata, name: CANARY }, spec: { suspend: true } },
  },
  'answers 200 with a failure inside': { status: 200, body: failure({ message: CANARY }) },
  'answers 200 with an error inside': { status: 200, body: { error: CANARY } },
  redirects: { status: 307, headers: { location: 'https://127.0.0.1:1/' } },
  'answers 404 in plain text': { status: 404, text: `404 ${CANARY}`, headers: plain },
  'answers 404 for something else': {
    status: 404,
    body: failure({ reason: 'NotFound', details: { name: 'other', kind: 'jobs' } }),
  },
  'refuses with a story': {
    status: 403,
    body: failure({ message: `${CANARY}\u0000\r\n${'x'.repeat(5000)}` }),
  },
  conflicts: { status: 409, body: failure({ message: CANARY }) },
  'is overloaded': { status: 429, headers: { 'retry-after': '3600' } },
  'is broken': { status: 500, text: CANARY, headers: plain },
  'names no content type': { status: 200, text: '{}', headers: { 'content-type': '' } },
  'uses a prototype': {
    status: 200,
    text: '{"__proto__":{"spec":{"suspend":true}},"metadata":{"name":"run-1","uid":"u"}}',
  },
};

export interface FixtureWorld extends KubernetesWorld {
  /** Takes Interlock's right to change anything in the namespace; it may look still. */
  readOnly(admin: Admin, namespace: string): Promise<void>;
}

export async function kubernetesFixture(world: FixtureWorld): Promise<OrchestratorFixture> {
  const directory = mkdtempSync(join(tmpdir(), 'interlock-kubernetes-'));
  const admin = adminOf(world);
  const front = await startKubernetesFront(world);
  const deps = depsFor({ ...world, url: front.url, ca: front.ca }, directory);
  const namespace = `run-${randomBytes(4).toString('hex')}`;
  await open(world, admin, namespace);
  const { apiVersion, spec } = WORKLOADS.job;
  await admin.create(objectPath('job', namespace), {
    apiVersion,
    kind: 'Job',
    metadata: { name: 'run-1' },
    spec,
  });
  const kubelet = playKubelet(world, admin, namespace);
  await kubelet.runs(2);
  const stated = {
    kind: 'kubernetes',
    cluster: 'training',
    namespace,
    resource: 'job',
    name: 'run-1',
  } as const;
  const admission = await admitKubernetesRun(stated, deps, live());
  if (!admission.ok) throw new Error(`${admission.field}: ${admission.reason}`);
  const { target } = admission;
  front.asked.splice(0);
  // A server that does not know the field is asked for none at work besides.
  const patchesOfStep = world.knowsSuspend ? 1 : 2;
  const steps = (): number =>
    Math.ceil(front.asked.filter((line) => line.startsWith('PATCH')).length / patchesOfStep);
  return {
    orchestrator: createKubernetesOrchestrator(target, deps),
    refused: createKubernetesOrchestrator({ ...target, cluster: 'foreign' }, deps),
    secrets: [...Object.values(world.tokens), CANARY],
    reached: (n) => vi.waitUntil(() => steps() >= n).then(() => undefined),
    count: steps,
    side: sideOf({ world, admin, front, kubelet, target, directory }),
    async close() {
      await front.close();
      await kubelet.stop();
      await admin.ask('DELETE', `/api/v1/namespaces/${namespace}`);
      await world.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function open(world: KubernetesWorld, admin: Admin, namespace: string): Promise<void> {
  await admin.create('/api/v1/namespaces', { metadata: { name: namespace } });
  await world.grant?.(admin, namespace);
}

interface Scene {
  readonly world: FixtureWorld;
  readonly admin: Admin;
  readonly front: KubernetesFront;
  readonly kubelet: Kubelet;
  readonly target: KubernetesTarget;
  readonly directory: string;
}

function sideOf({ world, admin, front, kubelet, target, directory }: Scene): OtherSide {
  const { namespace } = target;
  const job = `${objectPath('job', namespace)}/run-1`;
  const pods = podsPath(namespace);
  const inNamespace = `/api/v1/namespaces/${namespace}`;
  const credential = (token: string): void =>
    writeFileSync(join(directory, 'watchdog'), kubeconfig(front, { token }));
  const answersWith = (reply: Reply) =>
    does(() => {
      front.intercept = () => reply;
    });
  return {
    end: does(async () => {
      // The Job first: a controller that finds its pods ended would count them itself.
      const startTime = new Date().toISOString();
      await admin.patch(`${job}/status`, {
        status: { startTime, succeeded: 2, active: 0, conditions: [{ type: 'Complete', status: 'True' }] },
      });
      for (const { metadata: pod } of await admin.list(pods)) {
        await admin.patch(`${pods}/${pod.name}/status`, { status: { phase: 'Succeeded' } });
      }
    }),
    // A namespace of the same name, as in another cluster behind the same address.
    forget: does(async () => {
      await admin.ask('DELETE', `${job}?propagationPolicy=Background`);
      await vi.waitFor(async () => expect(await admin.list(pods)).toEqual([]), SETTLED);
      await admin.ask('DELETE', inNamespace);
      await vi.waitFor(async () => expect((await admin.ask('GET', inNamespace)).status).toBe(404), SETTLED);
      await open(world, admin, namespace);
    }),
    refuse: does(() => world.readOnly(admin, namespace)),
    hang: does(() => {
      front.intercept = () => new Promise<Reply>(() => undefined);
    }),
    // Says what a suspended Job would say, and keeps it as it is.
    lie: does(() => {
      const body = { metadata: { name: 'run-1', uid: target.uid }, spec: { suspend: true } };
      front.intercept = ({ method, path }) =>
        method === 'PATCH' && path === job ? { status: 200, body } : undefined;
    }),
    comeBack: does(async () => {
      await admin.patch(job, { spec: { suspend: false, parallelism: 2 } });
      await kubelet.runs(2);
    }),
    keepOne: does(() => kubelet.keepOne()),
    othersGone: () => vi.waitFor(async () => expect(await admin.list(pods)).toHaveLength(1), SETTLED),
    expire: does(() => credential('expired-by-now')),
    renew: does(() => credential(world.tokens.watchdog)),
    answers: Object.fromEntries(
      Object.entries(HOSTILE_ANSWERS).map(([name, reply]) => [name, answersWith(reply)]),
    ),
  };
}

interface Kubelet {
  /** Resolves when so many pods run. */
  runs(count: number): Promise<void>;
  /** From now on one of those that run does not heed its end. */
  keepOne(): Promise<void>;
  stop(): Promise<void>;
}

const isRunning = ({ metadata: { deletionTimestamp }, status }: AnyObject): boolean =>
  deletionTimestamp === undefined && status?.['phase'] === 'Running';

/** The scheduler and the kubelet: gives every new pod a node, says that it runs, and ends it when it is to go. */
function playKubelet(world: KubernetesWorld, admin: Admin, namespace: string): Kubelet {
  const path = podsPath(namespace);
  const kept = new Set<string>();
  let isOver = false;
  async function tend({ metadata: pod, status }: AnyObject): Promise<void> {
    if (pod['deletionTimestamp'] !== undefined) {
      if (!kept.has(pod.name)) await admin.ask('DELETE', `${path}/${pod.name}?gracePeriodSeconds=0`);
    } else if (status?.['phase'] === 'Pending') {
      await world.place(admin, namespace, pod.name);
      // It may be gone by now.
      await admin.ask('PATCH', `${path}/${pod.name}/status`, { status: { phase: 'Running' } });
    }
  }
  async function work(): Promise<void> {
    // Each look waits for the server's answer, which sets the pace.
    while (!isOver) for (const pod of await admin.list(path)) await tend(pod);
  }
  const working = work();
  // Told by `stop`; unhandled until then, it would end the process.
  working.catch(() => undefined);
  return {
    async runs(count) {
      await vi.waitFor(
        async () => expect((await admin.list(path)).filter(isRunning)).toHaveLength(count),
        SETTLED,
      );
    },
    async keepOne() {
      const [first] = await admin.list(path);
      if (first === undefined) throw new Error('there is no pod to keep');
      kept.add(first.metadata.name);
    },
    async stop() {
      isOver = true;
      await working;
    },
  };
}
