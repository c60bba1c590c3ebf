/** A cluster as its owner has it: workloads made, pods run and ended, and credentials for Interlock written. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { KubernetesDeps } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import { KINDS, type Resource } from '../../src/orchestrators/kubernetes/resources.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';

export interface KubernetesWorld {
  readonly url: string;
  readonly ca: string;
  /** Of somebody who may do everything, of Interlock, and of somebody with no right at all. */
  readonly tokens: { readonly admin: string; readonly watchdog: string; readonly stranger: string };
  /** Whether a Job has `suspend` there. */
  readonly knowsSuspend: boolean;
  /** Lets Interlock do in a new namespace what it needs there. */
  grant?(admin: Admin, namespace: string): Promise<void>;
  /** Gives a pod a node, as a scheduler does. */
  place(admin: Admin, namespace: string, pod: string): Promise<void>;
  close(): Promise<void>;
}

export const anyObject = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    uid: z.string(),
    labels: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.record(z.string(), z.unknown()).optional(),
  status: z.record(z.string(), z.unknown()).optional(),
});
export type AnyObject = z.infer<typeof anyObject>;
const anyList = z.object({ items: z.array(anyObject) });

/** Whoever made the workload: everything but Interlock. */
export interface Admin {
  ask(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    body?: object,
  ): Promise<{ status: number; body: unknown }>;
  create(path: string, body: object): Promise<AnyObject>;
  read(path: string): Promise<AnyObject>;
  patch(path: string, body: object): Promise<AnyObject>;
  list(path: string): Promise<readonly AnyObject[]>;
}

export function adminOf({ url, ca, tokens }: Pick<KubernetesWorld, 'url' | 'ca' | 'tokens'>): Admin {
  const outbound = createOutbound({ allow: ['loopback'] });
  const ask: Admin['ask'] = async (method, path, body) => {
    const answer = await outbound.request(
      {
        url: `${url}${path}`,
        method,
        headers: {
          authorization: `Bearer ${tokens.admin}`,
          'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        timeoutMs: 10_000,
        maxResponseBytes: 4_000_000,
        tls: { ca },
      },
      new AbortController().signal,
    );
    return { status: answer.status, body: JSON.parse(answer.body.toString('utf8')) };
  };
  const good = async (...all: Parameters<Admin['ask']>): Promise<unknown> => {
    const { status, body } = await ask(...all);
    if (status > 299) throw new Error(`${all[0]} ${all[1]}: ${status} ${JSON.stringify(body)}`);
    return body;
  };
  return {
    ask,
    create: async (path, body) => anyObject.parse(await good('POST', path, body)),
    read: async (path) => anyObject.parse(await good('GET', path)),
    patch: async (path, body) => anyObject.parse(await good('PATCH', path, body)),
    list: async (path) => anyList.parse(await good('GET', path)).items,
  };
}

export function kubeconfig({ url, ca }: Pick<KubernetesWorld, 'url' | 'ca'>, user: object): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'here',
    clusters: [
      {
        name: 'c',
        cluster: { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') },
      },
    ],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'here', context: { cluster: 'c', user: 'u' } }],
  });
}

export function depsFor(
  world: Pick<KubernetesWorld, 'url' | 'ca' | 'tokens'>,
  directory: string,
  more: Partial<KubernetesDeps> = {},
): KubernetesDeps {
  for (const user of ['watchdog', 'stranger'] as const) {
    writeFileSync(join(directory, user), kubeconfig(world, { token: world.tokens[user] }), { mode: 0o600 });
  }
  return {
    clusters: {
      training: { kubeconfig: join(directory, 'watchdog') },
      foreign: { kubeconfig: join(directory, 'stranger') },
    },
    outbound: createOutbound({ allow: ['loopback'] }),
    now: () => new Date(),
    variable: () => undefined,
    ...more,
  };
}

export const containers = [
  {
    name: 'train',
    image: 'none',
    resources: { requests: { 'nvidia.com/gpu': '8' }, limits: { 'nvidia.com/gpu': '8' } },
  },
];
const podTemplate = (labels: object) => ({
  metadata: { labels },
  spec: { containers, restartPolicy: 'Never', terminationGracePeriodSeconds: 30 },
});

/** A workload of each kind as small as its API takes it, and the labels that its controller puts on its pods. */
export const WORKLOADS: Readonly<
  Record<Resource, { path: string; apiVersion: string; spec: object; podLabels: Record<string, string> }>
> = {
  job: {
    path: 'apis/batch/v1',
    apiVersion: 'batch/v1',
    spec: { parallelism: 2, completions: 2, template: podTemplate({}) },
    podLabels: { 'job-name': 'run-1' },
  },
  jobset: {
    path: 'apis/jobset.x-k8s.io/v1alpha2',
    apiVersion: 'jobset.x-k8s.io/v1alpha2',
    spec: {},
    podLabels: { 'jobset.sigs.k8s.io/jobset-name': 'run-1' },
  },
  pytorchjob: {
    path: 'apis/kubeflow.org/v1',
    apiVersion: 'kubeflow.org/v1',
    spec: { runPolicy: { cleanPodPolicy: 'None' } },
    podLabels: { 'training.kubeflow.org/job-name': 'run-1' },
  },
  trainjob: {
    path: 'apis/trainer.kubeflow.org/v1alpha1',
    apiVersion: 'trainer.kubeflow.org/v1alpha1',
    spec: {},
    podLabels: { 'jobset.sigs.k8s.io/jobset-name': 'run-1' },
  },
  rayjob: {
    path: 'apis/ray.io/v1',
    apiVersion: 'ray.io/v1',
    spec: { shutdownAfterJobFinishes: true },
    podLabels: { 'ray.io/cluster': 'run-1-x2k4p' },
  },
  deployment: {
    path: 'apis/apps/v1',
    apiVersion: 'apps/v1',
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'run-1' } },
      template: { ...podTemplate({ app: 'run-1' }), spec: { containers } },
    },
    podLabels: { app: 'run-1' },
  },
  statefulset: {
    path: 'apis/apps/v1',
    apiVersion: 'apps/v1',
    spec: {
      replicas: 2,
      serviceName: 'run-1',
      selector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['run-1'] }] },
      template: { ...podTemplate({ app: 'run-1' }), spec: { containers } },
    },
    podLabels: { app: 'run-1' },
  },
  pod: { path: 'api/v1', apiVersion: 'v1', spec: { containers, restartPolicy: 'Never' }, podLabels: {} },
};

export const objectPath = (resource: Resource, namespace: string): string =>
  `/${WORKLOADS[resource].path}/namespaces/${namespace}/${KINDS[resource].plural}`;
export const podsPath = (namespace: string): string => `/api/v1/namespaces/${namespace}/pods`;
