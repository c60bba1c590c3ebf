/** The calls that a halt makes, each with the shape of the answer that is believed. */
import { z } from 'zod';
import type { ClusterAccess } from './access.ts';
import { type Answer, type ClientCall, type ClientDeps, call } from './client.ts';
import { KINDS, type KubernetesObject, objectSchema, type Resource, type Selection } from './resources.ts';

export interface Session {
  readonly access: ClusterAccess;
  readonly signal: AbortSignal;
  readonly client: ClientDeps;
}

export interface ObjectName {
  readonly namespace: string;
  readonly resource: Resource;
  readonly name: string;
}

/** What the cluster records beside the fields that a patch sets, for whoever asks it who that was. */
const FIELD_MANAGER = 'interlock';

/** As messages name it. A name may be 253 characters long, and a message must not be. */
export function titleOf({ namespace, resource, name }: ObjectName): string {
  const full = `${namespace}/${name}`;
  return `${KINDS[resource].title} ${full.length > 100 ? `${full.slice(0, 97)}...` : full}`;
}

const named = (name: string) => objectSchema.refine(({ metadata }) => metadata.name === name);

export function readObject(session: Session, of: ObjectName): Promise<Answer<KubernetesObject>> {
  const { namespace, name, resource } = of;
  const { group, version, plural } = KINDS[resource];
  return ask(session, {
    what: titleOf(of),
    name,
    answer: named(name),
    run: ({ CustomObjectsApi, CoreV1Api }, configuration) =>
      resource === 'pod'
        ? new CoreV1Api(configuration).readNamespacedPod({ name, namespace })
        : new CustomObjectsApi(configuration).getNamespacedCustomObject({
            group,
            version,
            namespace,
            plural,
            name,
          }),
  });
}

export function readNamespace(session: Session, name: string): Promise<Answer<KubernetesObject>> {
  return ask(session, {
    what: `Namespace ${name}`,
    name,
    answer: named(name),
    run: ({ CoreV1Api }, configuration) => new CoreV1Api(configuration).readNamespace({ name }),
  });
}

export function patchObject(
  session: Session,
  of: ObjectName,
  body: object,
  { dryRun = false } = {},
): Promise<Answer<KubernetesObject>> {
  const { namespace, name, resource } = of;
  const { group, version, plural } = KINDS[resource];
  return ask(session, {
    what: titleOf(of),
    name,
    answer: named(name),
    run: ({ CustomObjectsApi }, configuration) =>
      new CustomObjectsApi(configuration).patchNamespacedCustomObject({
        ...{ group, version, namespace, plural, name, body },
        ...patching(dryRun),
      }),
  });
}

const scaleSchema = z.object({
  kind: z.literal('Scale'),
  metadata: z.object({ name: z.string(), uid: z.string() }),
  // Go leaves a zero out.
  spec: z.object({ replicas: z.int().default(0) }),
});

/** By the subresource, so that the right to it is a right to the number alone. */
export function scaleToZero(
  session: Session,
  of: ObjectName,
  { dryRun = false } = {},
): Promise<Answer<z.infer<typeof scaleSchema>>> {
  const { namespace, name, resource } = of;
  const { group, version, plural } = KINDS[resource];
  return ask(session, {
    what: titleOf(of),
    name,
    answer: scaleSchema.refine(({ metadata }) => metadata.name === name),
    run: ({ CustomObjectsApi }, configuration) =>
      new CustomObjectsApi(configuration).patchNamespacedCustomObjectScale({
        ...{ group, version, namespace, plural, name },
        body: { spec: { replicas: 0 } },
        ...patching(dryRun),
      }),
  });
}

export const patching = (dryRun: boolean) => ({
  fieldManager: FIELD_MANAGER,
  ...(dryRun ? { dryRun: 'All' } : {}),
});

// --- pods ----------------------------------------------------------------------------------------------

const quantities = z.record(z.string(), z.string()).nullish();
const podSchema = z.object({
  metadata: z.object({
    name: z.string(),
    uid: z.string(),
    labels: z.record(z.string(), z.string()).nullish(),
    deletionTimestamp: z.unknown().optional(),
  }),
  spec: z.object({
    nodeName: z.string().nullish(),
    containers: z.array(
      z.object({ resources: z.object({ requests: quantities, limits: quantities }).nullish() }),
    ),
  }),
  status: z
    .object({
      phase: z.string().nullish(),
      startTime: z.string().nullish(),
      containerStatuses: z
        .array(z.object({ state: z.object({ running: z.unknown().optional() }).nullish() }))
        .nullish(),
    })
    .nullish(),
});
export type Pod = z.infer<typeof podSchema>;

const podListSchema = z.object({
  kind: z.literal('PodList'),
  metadata: z.object({ continue: z.string().nullish() }),
  items: z.array(podSchema),
});

export type PodPhase = 'active' | 'failed';

const PAGE = 100;
const PAGES_MAX = 50;
const PHASES: Readonly<Record<PodPhase, string>> = {
  // The server chooses, so that a thousand ended pods cost nothing. A phase that it has not heard of is active.
  active: 'status.phase!=Succeeded,status.phase!=Failed',
  failed: 'status.phase=Failed',
};

export interface PodsSeen {
  readonly pods: readonly Pod[];
  /** False where there are more than were looked at. */
  readonly isComplete: boolean;
}

/** No resource version is given, so the answer is the store's and not a cache's. `some`: no further than the first. */
export async function listPods(
  session: Session,
  { namespace, selection, phase }: { namespace: string; selection: Selection; phase: PodPhase },
  wanted: 'some' | 'all',
): Promise<Answer<PodsSeen>> {
  const { labelSelector, fieldSelector, isOurs } = selection;
  const fields = [fieldSelector, PHASES[phase]].filter((term) => term !== undefined).join(',');
  const pods: Pod[] = [];
  let next: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await ask(session, {
      what: `the pods in ${namespace}`,
      answer: podListSchema,
      run: ({ CoreV1Api }, configuration) =>
        new CoreV1Api(configuration).listNamespacedPod({
          namespace,
          fieldSelector: fields,
          limit: PAGE,
          ...(labelSelector === undefined ? {} : { labelSelector }),
          ...(next === undefined ? {} : { _continue: next }),
        }),
    });
    if (!answer.ok) return answer;
    pods.push(...answer.value.items.filter(({ metadata }) => isOurs?.(metadata.labels ?? {}) ?? true));
    next = answer.value.metadata.continue ?? '';
    if (next === '') return { ok: true, value: { pods, isComplete: true } };
    if (wanted === 'some' && pods.length > 0) break;
  }
  return { ok: true, value: { pods, isComplete: false } };
}

/** A list of what was deleted, or a Status; of one object, the object itself. */
const deletedSchema = z
  .object({ kind: z.enum(['PodList', 'Status', 'Pod']), status: z.unknown().optional() })
  .refine(({ status }) => status !== 'Failure');

export function deletePods(
  session: Session,
  { namespace, labelSelector }: { namespace: string; labelSelector: string },
  gracePeriodSeconds: number | null,
): Promise<Answer<unknown>> {
  // Without a selector the same call deletes every pod of the namespace.
  if (labelSelector === '') throw new RangeError('pods are never deleted without a selector');
  return ask(session, {
    what: `the pods in ${namespace}`,
    answer: deletedSchema,
    run: ({ CoreV1Api }, configuration) =>
      new CoreV1Api(configuration).deleteCollectionNamespacedPod({
        namespace,
        labelSelector,
        ...grace(gracePeriodSeconds),
      }),
  });
}

export function deletePod(
  session: Session,
  { namespace, name }: { namespace: string; name: string },
  gracePeriodSeconds: number | null,
): Promise<Answer<unknown>> {
  return ask(session, {
    what: titleOf({ namespace, name, resource: 'pod' }),
    name,
    answer: deletedSchema,
    run: ({ CoreV1Api }, configuration) =>
      new CoreV1Api(configuration).deleteNamespacedPod({ namespace, name, ...grace(gracePeriodSeconds) }),
  });
}

const grace = (gracePeriodSeconds: number | null) =>
  gracePeriodSeconds === null ? {} : { gracePeriodSeconds };

// --- rights --------------------------------------------------------------------------------------------

export interface Right {
  readonly namespace: string;
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly name?: string;
}

const reviewSchema = z.object({ status: z.object({ allowed: z.boolean() }) });

export async function mayI(session: Session, right: Right): Promise<Answer<boolean>> {
  const answer = await ask(session, {
    what: 'the review of our own rights',
    answer: reviewSchema,
    run: ({ AuthorizationV1Api }, configuration) =>
      new AuthorizationV1Api(configuration).createSelfSubjectAccessReview({
        body: {
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SelfSubjectAccessReview',
          spec: { resourceAttributes: { ...right } },
        },
      }),
  });
  return answer.ok ? { ok: true, value: answer.value.status.allowed } : answer;
}

export function ask<T>(session: Session, one: Omit<ClientCall<T>, 'access' | 'signal'>): Promise<Answer<T>> {
  const { access, signal, client } = session;
  return call({ access, signal, ...one }, client);
}
