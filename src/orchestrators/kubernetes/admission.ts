/**
 * What to record of a Kubernetes workload when a run is registered, or why a halt of it would not hold.
 *
 * Looked up and not believed: which object and which namespace of that name, its pods' labels, whether Kueue has it.
 * What is refused here is what would otherwise be found out when the halt fails.
 */
import type { KubernetesTarget } from '../targets.ts';
import { readNamespace, readObject, type Session, titleOf } from './api.ts';
import type { Answer } from './client.ts';
import { type KubernetesDeps, openSession } from './kubernetes.ts';
import { isLabelledForKueue, listWorkloads } from './kueue.ts';
import { rehearseStep } from './rehearsal.ts';
import { controllerOf, KINDS, type KubernetesObject, obstacleOf, selectorOf } from './resources.ts';

export type KubernetesAdmission =
  | { readonly ok: true; readonly target: KubernetesTarget }
  | { readonly ok: false; readonly reason: string; readonly field: keyof KubernetesTarget };

export async function admitKubernetesRun(
  stated: KubernetesTarget,
  deps: KubernetesDeps,
  signal: AbortSignal,
): Promise<KubernetesAdmission> {
  const { cluster: clusterName, namespace, resource } = stated;
  const cluster = Object.hasOwn(deps.clusters, clusterName) ? deps.clusters[clusterName] : undefined;
  if (cluster === undefined) {
    const names = Object.keys(deps.clusters).sort().join(', ');
    return refuse('cluster', `there is no cluster ${clusterName} in interlock.yaml; there are: ${names}`);
  }
  if (cluster.namespaces !== undefined && !cluster.namespaces.includes(namespace)) {
    const allowed = cluster.namespaces.join(', ');
    return refuse('namespace', `namespace ${namespace} is not one that interlock.yaml allows: ${allowed}`);
  }
  const opened = await openSession(clusterName, signal, deps);
  if (!opened.ok) return refuse('cluster', opened.reason);
  const { session } = opened;
  const refusal = deps.outbound.refusal(session.access.server);
  if (refusal !== null) return refuse('cluster', refusal);

  const [object, place] = await Promise.all([readObject(session, stated), readNamespace(session, namespace)]);
  if (!object.ok) return refuse(fieldOf(object), object.detail);
  if (!place.ok) return refuse('namespace', place.detail);
  const against = whyNot(stated, object.value);
  if (against !== null) return against;
  const queue = await queueOf(session, stated, object.value);
  if (!queue.ok) return refuse('queue', queue.detail);

  const { uid: _uid, namespaceUid: _namespaceUid, selector: _selector, queue: _queue, ...rest } = stated;
  const selector = KINDS[resource].suspend.by === 'scale' ? selectorOf(object.value) : null;
  const target: KubernetesTarget = {
    ...rest,
    ...(queue.value === null ? {} : { queue: queue.value }),
    uid: object.value.metadata.uid,
    namespaceUid: place.value.metadata.uid,
    ...(selector === null ? {} : { selector }),
  };
  const rehearsed = await rehearseStep('kill', session, target);
  return rehearsed.kind === 'accepted' ? { ok: true, target } : refuse('resource', rehearsed.detail);
}

function whyNot(target: KubernetesTarget, object: KubernetesObject): KubernetesAdmission | null {
  const { resource } = target;
  const title = titleOf(target);
  if (KINDS[resource].isFinished(object)) return refuse('name', `${title} has come to its end already`);
  const controller = controllerOf(object);
  if (controller !== null) {
    const owner = `${controller.kind} ${controller.name.slice(0, 100)}`;
    return refuse('name', `${title} is managed by ${owner}, which would start it again; name that instead`);
  }
  if (KINDS[resource].suspend.by === 'scale' && selectorOf(object) === null) {
    return refuse('name', `${title} has no selector by which its pods can be told from others`);
  }
  const obstacle = obstacleOf(resource, object);
  return obstacle === null ? null : refuse('resource', obstacle);
}

/** Where we may not look and nothing speaks of Kueue, there is taken to be none: most clusters have none. */
async function queueOf(
  session: Session,
  { namespace, resource, queue }: KubernetesTarget,
  object: KubernetesObject,
): Promise<Answer<'kueue' | null>> {
  if (KINDS[resource].suspend.by !== 'patch') return { ok: true, value: null };
  const isSaid = queue !== undefined || isLabelledForKueue(object);
  const workloads = await listWorkloads(session, { namespace, uid: object.metadata.uid });
  if (!workloads.ok) return isSaid || workloads.status !== 403 ? workloads : { ok: true, value: null };
  return { ok: true, value: isSaid || workloads.value.length > 0 ? 'kueue' : null };
}

function fieldOf({ isMissing, status }: Answer<unknown> & { ok: false }): keyof KubernetesTarget {
  if (isMissing) return 'name';
  if (status === 403) return 'namespace';
  return status === 404 ? 'resource' : 'cluster';
}

function refuse(field: keyof KubernetesTarget, reason: string): KubernetesAdmission {
  return { ok: false, reason, field };
}
