/**
 * Kueue decides when what it queues may run, and owns its `suspend`: the Workload that it keeps for each object is what
 * has to be told.
 */
import { z } from 'zod';
import { ask, patching, type Session } from './api.ts';
import type { Answer } from './client.ts';
import type { KubernetesObject } from './resources.ts';

export const KUEUE_GROUP = 'kueue.x-k8s.io';
/** The older first: it is what most clusters have, and those that have both answer either. */
const KUEUE_VERSIONS = ['v1beta1', 'v1beta2'] as const;

const workloadSchema = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({ active: z.boolean().default(true) }),
  status: z
    .object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })).nullish() })
    .nullish(),
});
export type KueueWorkload = z.infer<typeof workloadSchema> & { readonly version: string };

const workloadListSchema = z.object({ kind: z.literal('WorkloadList'), items: z.array(workloadSchema) });

/** Of the object of that uid. None where the server has no Kueue. */
export async function listWorkloads(
  session: Session,
  { namespace, uid }: { namespace: string; uid: string },
): Promise<Answer<readonly KueueWorkload[]>> {
  for (const version of KUEUE_VERSIONS) {
    const answer = await ask(session, {
      what: `the Kueue Workloads in ${namespace}`,
      answer: workloadListSchema,
      run: ({ CustomObjectsApi }, configuration) =>
        new CustomObjectsApi(configuration).listNamespacedCustomObject({
          ...{ group: KUEUE_GROUP, version, namespace, plural: 'workloads' },
          labelSelector: `${KUEUE_GROUP}/job-uid=${uid}`,
        }),
    });
    if (answer.ok) return { ok: true, value: answer.value.items.map((item) => ({ ...item, version })) };
    if (answer.status !== 404) return answer;
  }
  return { ok: true, value: [] };
}

export function deactivateWorkload(
  session: Session,
  { namespace, workload }: { namespace: string; workload: KueueWorkload },
): Promise<Answer<unknown>> {
  const { name } = workload.metadata;
  return ask(session, {
    what: 'its Kueue Workload',
    name,
    // An older Kueue, without the field, drops it and answers 200.
    answer: workloadSchema.refine(({ spec }) => !spec.active),
    run: ({ CustomObjectsApi }, configuration) =>
      new CustomObjectsApi(configuration).patchNamespacedCustomObject({
        ...{ group: KUEUE_GROUP, version: workload.version, namespace, plural: 'workloads', name },
        body: { spec: { active: false } },
        ...patching(false),
      }),
  });
}

export function isLabelledForKueue({ metadata }: KubernetesObject): boolean {
  return metadata.labels?.[`${KUEUE_GROUP}/queue-name`] !== undefined;
}

/** It is to run, now or when there is room. */
export function isWaiting({ spec, status }: KueueWorkload): boolean {
  const isFinished = (status?.conditions ?? []).some(
    ({ type, status: holds }) => type === 'Finished' && holds === 'True',
  );
  return spec.active && !isFinished;
}
