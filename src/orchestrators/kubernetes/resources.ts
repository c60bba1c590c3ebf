/**
 * The workloads that can be halted, as data: where each is found, what suspends it, how it says that it starts no more
 * pods, and which pods are its own. Pure.
 *
 * A condition (`Suspended`, `Complete`) is what a controller says, not proof that a process ended; what a workload says
 * here only settles whether pods may come, and the pods themselves settle the rest.
 */
import { z } from 'zod';
import type { KubernetesTarget } from '../targets.ts';

export type Resource = KubernetesTarget['resource'];

export const objectSchema = z.object({
  metadata: z.object({
    name: z.string(),
    uid: z.string().min(1).max(64),
    labels: z.record(z.string(), z.string()).nullish(),
    deletionTimestamp: z.unknown().optional(),
    ownerReferences: z
      .array(z.object({ kind: z.string(), name: z.string(), controller: z.boolean().nullish() }))
      .nullish(),
  }),
  spec: z.record(z.string(), z.unknown()).nullish(),
  status: z.record(z.string(), z.unknown()).nullish(),
});
export type KubernetesObject = z.infer<typeof objectSchema>;

/** Pods of a workload, as the server is asked for them; `isOurs` says which of the answer, where it cannot be asked. */
export interface Selection {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly isOurs?: IsOurs;
}
type IsOurs = (labels: Readonly<Record<string, string>>) => boolean;

export interface Kind {
  readonly title: string;
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  /** The merge patch that keeps its controller from running pods; `scale` is for kinds that have a number of them instead. */
  readonly suspend:
    | { readonly by: 'patch'; readonly body: object; readonly instead?: object }
    | { readonly by: 'scale' }
    | { readonly by: 'delete' };
  /** Its controller starts no pods while this holds. */
  readonly isSuspended: (object: KubernetesObject) => boolean;
  /** It has come to its end, and does not begin again. */
  readonly isFinished: (object: KubernetesObject) => boolean;
  /** Null where they cannot be told. */
  readonly podsOf: (target: KubernetesTarget, object: KubernetesObject | null) => readonly Selection[] | null;
}

const suspendedInSpec = ({ spec }: KubernetesObject): boolean => spec?.['suspend'] === true;
const scaledToZero = ({ spec }: KubernetesObject): boolean => spec?.['replicas'] === 0;
const byLabel =
  (...keys: readonly string[]) =>
  ({ name }: KubernetesTarget): readonly Selection[] =>
    keys.map((key) => ({ labelSelector: `${key}=${name}` }));

/** The first is new in 1.27, and meant to replace the second. */
const JOB_LABELS = ['batch.kubernetes.io/job-name', 'job-name'] as const;
const JOBSET_LABEL = 'jobset.sigs.k8s.io/jobset-name';
export const RAY_CLUSTER_LABEL = 'ray.io/cluster';

export const KINDS: Readonly<Record<Resource, Kind>> = {
  job: {
    title: 'Job',
    group: 'batch',
    version: 'v1',
    plural: 'jobs',
    // Before 1.22 there is no `suspend`, and what there is not is dropped with a 200.
    suspend: { by: 'patch', body: { spec: { suspend: true } }, instead: { spec: { parallelism: 0 } } },
    isSuspended: (object) => suspendedInSpec(object) || object.spec?.['parallelism'] === 0,
    isFinished: hasCondition('Complete', 'Failed'),
    podsOf: byLabel(...JOB_LABELS),
  },
  jobset: {
    title: 'JobSet',
    group: 'jobset.x-k8s.io',
    version: 'v1alpha2',
    plural: 'jobsets',
    suspend: { by: 'patch', body: { spec: { suspend: true } } },
    isSuspended: suspendedInSpec,
    isFinished: hasCondition('Completed', 'Failed'),
    podsOf: byLabel(JOBSET_LABEL),
  },
  pytorchjob: {
    title: 'PyTorchJob',
    group: 'kubeflow.org',
    version: 'v1',
    plural: 'pytorchjobs',
    suspend: { by: 'patch', body: { spec: { runPolicy: { suspend: true } } } },
    isSuspended: ({ spec }) => fieldsOf(spec?.['runPolicy'])['suspend'] === true,
    isFinished: hasCondition('Succeeded', 'Failed'),
    podsOf: byLabel('training.kubeflow.org/job-name'),
  },
  trainjob: {
    title: 'TrainJob',
    group: 'trainer.kubeflow.org',
    version: 'v1alpha1',
    plural: 'trainjobs',
    suspend: { by: 'patch', body: { spec: { suspend: true } } },
    isSuspended: suspendedInSpec,
    isFinished: hasCondition('Complete', 'Failed'),
    // It runs as a JobSet of its own name.
    podsOf: byLabel(JOBSET_LABEL),
  },
  rayjob: {
    title: 'RayJob',
    group: 'ray.io',
    version: 'v1',
    plural: 'rayjobs',
    suspend: { by: 'patch', body: { spec: { suspend: true } } },
    isSuspended: suspendedInSpec,
    isFinished: ({ status }) =>
      ['Complete', 'Failed'].includes(String(status?.['jobDeploymentStatus'] ?? '')),
    // The submitter, a Job of its name; and its clusters, whose names it forgets before their pods are gone.
    podsOf: (target, object) => [
      ...byLabel(...JOB_LABELS)(target),
      { labelSelector: RAY_CLUSTER_LABEL, isOurs: madeBy(target.name, object) },
    ],
  },
  deployment: {
    title: 'Deployment',
    group: 'apps',
    version: 'v1',
    plural: 'deployments',
    suspend: { by: 'scale' },
    isSuspended: scaledToZero,
    isFinished: () => false,
    podsOf: bySelector,
  },
  statefulset: {
    title: 'StatefulSet',
    group: 'apps',
    version: 'v1',
    plural: 'statefulsets',
    suspend: { by: 'scale' },
    isSuspended: scaledToZero,
    isFinished: () => false,
    podsOf: bySelector,
  },
  pod: {
    title: 'Pod',
    group: '',
    version: 'v1',
    plural: 'pods',
    suspend: { by: 'delete' },
    isSuspended: () => false,
    isFinished: ({ status }) => ['Succeeded', 'Failed'].includes(String(status?.['phase'] ?? '')),
    podsOf: ({ name }) => [{ fieldSelector: `metadata.name=${name}` }],
  },
};

/** The kinds whose own controller would undo what is done to a part of theirs. */
const CONTROLLERS = new Set([...Object.values(KINDS).map(({ title }) => title), 'ReplicaSet', 'RayCluster']);

/** What manages an object and would start it again, as far as we know that kind. */
export function controllerOf({ metadata }: KubernetesObject): { kind: string; name: string } | null {
  const owner = metadata.ownerReferences?.find(
    ({ controller, kind }) => controller === true && CONTROLLERS.has(kind),
  );
  return owner ?? null;
}

/** Why a halt of this object could not hold, whatever our rights; null where nothing speaks against it. */
export function obstacleOf(resource: Resource, { spec }: KubernetesObject): string | null {
  if (resource !== 'rayjob') return null;
  if (Object.keys(fieldsOf(spec?.['clusterSelector'])).length > 0) {
    return 'KubeRay does not suspend a RayJob with a clusterSelector: name what runs the cluster instead';
  }
  return spec?.['shutdownAfterJobFinishes'] === true
    ? null
    : 'KubeRay suspends a RayJob only with shutdownAfterJobFinishes: true';
}

function hasCondition(...types: readonly string[]): (object: KubernetesObject) => boolean {
  return ({ status }) => {
    const conditions = z.array(z.looseObject({})).safeParse(status?.['conditions']);
    return (
      conditions.success &&
      conditions.data.some(
        ({ type, status: holds }) => typeof type === 'string' && types.includes(type) && holds === 'True',
      )
    );
  };
}

/** Clusters of a RayJob: the one that it names, and those named after it (its name, and five characters of chance). */
function madeBy(name: string, object: KubernetesObject | null): IsOurs {
  const current = object?.status?.['rayClusterName'];
  const pattern = new RegExp(`^${name.replaceAll('.', '\\.')}(-raycluster)?-[a-z0-9]{5}$`);
  return (labels) => {
    const cluster = labels[RAY_CLUSTER_LABEL] ?? '';
    return cluster === current || pattern.test(cluster);
  };
}

function bySelector(target: KubernetesTarget, object: KubernetesObject | null): readonly Selection[] | null {
  const now = object === null ? null : selectorOf(object);
  // One that was recreated with other labels has pods of both kinds, for a while.
  const all = [...new Set([now, target.selector ?? null])].filter((selector) => selector !== null);
  return all.length === 0 ? null : all.map((labelSelector) => ({ labelSelector }));
}

const labelSelectorSchema = z.object({
  matchLabels: z.record(z.string(), z.string()).default({}),
  matchExpressions: z
    .array(z.object({ key: z.string(), operator: z.string(), values: z.array(z.string()).default([]) }))
    .default([]),
});

/** As text; null where it is missing, or empty and so means every pod there is. */
export function selectorOf({ spec }: KubernetesObject): string | null {
  const parsed = labelSelectorSchema.safeParse(spec?.['selector']);
  if (!parsed.success) return null;
  const { matchLabels, matchExpressions } = parsed.data;
  const terms = [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(termOf),
  ];
  return terms.length === 0 || terms.includes(null) ? null : terms.join(',');
}

function termOf({
  key,
  operator,
  values,
}: {
  key: string;
  operator: string;
  values: readonly string[];
}): string | null {
  switch (operator) {
    case 'In':
      return `${key} in (${values.join(',')})`;
    case 'NotIn':
      return `${key} notin (${values.join(',')})`;
    case 'Exists':
      return key;
    case 'DoesNotExist':
      return `!${key}`;
    default:
      return null;
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  const parsed = z.record(z.string(), z.unknown()).safeParse(value);
  return parsed.success ? parsed.data : {};
}
