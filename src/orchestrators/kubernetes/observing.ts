/**
 * Whether a workload runs, by its pods: conditions are what controllers say, and most say `Suspended` when they have asked
 * for the deletion of pods, not when these are gone.
 *
 * Stopped means: its controller starts no more pods (suspended, scaled to zero, finished, or gone from the namespace that it
 * was registered in), and after that was read no pod of it is left but those in phase Succeeded or Failed without
 * a running container. Not suspended is `running`, pods or no pods: they may come at any moment, and a resumed run
 * is to be halted before they do. A pod on a node that does not answer keeps phase Running, and so is running.
 *
 * Known gap: whoever deletes a pod with a grace period of 0 removes the last thing that shows its processes.
 */
import type { Observation, Usage } from '../orchestrator.ts';
import type { KubernetesTarget } from '../targets.ts';
import {
  listPods,
  type Pod,
  type PodPhase,
  type PodsSeen,
  readNamespace,
  readObject,
  type Session,
  titleOf,
} from './api.ts';
import type { Answer } from './client.ts';
import { otherObject } from './halting.ts';
import { isLabelledForKueue, isWaiting, listWorkloads } from './kueue.ts';
import { KINDS, type KubernetesObject } from './resources.ts';

export async function observeRun(session: Session, target: KubernetesTarget): Promise<Observation> {
  const title = titleOf(target);
  // The workload first: pods that are gone before it was suspended may have been followed by others.
  const read = await readObject(session, target);
  const object = read.ok ? read.value : null;
  const pods = await podsOf(session, target, object, { phase: 'active', wanted: 'some' });
  const note = object === null ? '' : otherObject(target, object.metadata.uid);
  if (!pods.ok) return unknown(pods.detail);
  if (pods.value.pods.length > 0) return describe(pods.value, note);
  if (!pods.value.isComplete) return unknown('there are more pods to look through than were looked at');
  if (!read.ok && !read.isMissing) return unknown(read.detail);

  const standing = object === null ? 'missing' : standingOf(target, object);
  if (standing === 'going') {
    return {
      state: 'running',
      detail: `${title} is not suspended: its pods may come at any moment${note}`,
    };
  }
  if (standing === 'missing') {
    const doubt = await doubtNamespace(session, target);
    if (doubt !== null) return unknown(doubt);
  }
  const failed = await podsOf(session, target, object, { phase: 'failed', wanted: 'all' });
  if (!failed.ok) return unknown(failed.detail);
  if (!failed.value.isComplete) return unknown('there are more failed pods than were looked through');
  if (failed.value.pods.some(hasRunningContainer)) {
    return unknown('a pod in phase Failed has a container that still runs');
  }
  if (standing === 'suspended' && object !== null) {
    const queued = await doubtQueue(session, target, object);
    if (queued !== null) return queued;
  }
  return { state: 'stopped', detail: `${title} is ${standing}${note}, and no pod of it is left` };
}

type Standing = 'going' | 'suspended' | 'finished' | 'being deleted';

function standingOf({ resource }: KubernetesTarget, object: KubernetesObject): Standing {
  const { isSuspended, isFinished } = KINDS[resource];
  if (isFinished(object)) return 'finished';
  if (isSuspended(object)) return 'suspended';
  // A pod that is being deleted has not been: only the list of pods says when it is gone.
  return resource !== 'pod' && object.metadata.deletionTimestamp != null ? 'being deleted' : 'going';
}

/** What is missing may be missing because this is another place. */
async function doubtNamespace(
  session: Session,
  { namespace, namespaceUid }: KubernetesTarget,
): Promise<string | null> {
  if (namespaceUid === undefined)
    return `it is not in ${namespace}, and which namespace was meant is not known`;
  const answer = await readNamespace(session, namespace);
  if (!answer.ok) return answer.detail;
  return answer.value.metadata.uid === namespaceUid
    ? null
    : `namespace ${namespace} is another one than at its registration`;
}

/** Suspended by Kueue itself, or against its will, it comes back as soon as there is room. */
async function doubtQueue(
  session: Session,
  { namespace, queue }: KubernetesTarget,
  object: KubernetesObject,
): Promise<Observation | null> {
  if (queue === undefined && !isLabelledForKueue(object)) return null;
  const workloads = await listWorkloads(session, { namespace, uid: object.metadata.uid });
  if (!workloads.ok) return unknown(workloads.detail);
  const isActive = workloads.value.some(isWaiting);
  return isActive
    ? { state: 'running', detail: 'suspended, but Kueue may start it again: its Workload is active' }
    : null;
}

async function podsOf(
  session: Session,
  target: KubernetesTarget,
  object: KubernetesObject | null,
  { phase, wanted }: { phase: PodPhase; wanted: 'some' | 'all' },
): Promise<Answer<PodsSeen>> {
  const selections = KINDS[target.resource].podsOf(target, object);
  if (selections === null) {
    const detail = 'its pods cannot be told from others: no selector is known';
    return { ok: false, isMissing: false, status: null, isFinal: false, detail };
  }
  const { namespace } = target;
  const answers = await Promise.all(
    selections.map((selection) => listPods(session, { namespace, selection, phase }, wanted)),
  );
  const byUid = new Map<string, Pod>();
  let isComplete = true;
  for (const answer of answers) {
    if (!answer.ok) return answer;
    isComplete &&= answer.value.isComplete;
    for (const pod of answer.value.pods) byUid.set(pod.metadata.uid, pod);
  }
  return { ok: true, value: { pods: [...byUid.values()], isComplete } };
}

function describe({ pods, isComplete }: PodsSeen, note: string): Observation {
  const phases = pods.map(({ status }) => status?.phase ?? 'Unknown');
  const ending = pods.filter(({ metadata }) => metadata.deletionTimestamp != null).length;
  const count = `${isComplete ? '' : 'at least '}${pods.length} of its pods still there`;
  const terms = [
    ...(ending > 0 ? [`${ending} being deleted`] : []),
    ...['Pending', 'Running', 'Unknown'].flatMap((phase) => {
      const n = phases.filter((one) => one === phase).length;
      return n === 0 ? [] : [`${n} ${phase}`];
    }),
  ];
  const state = phases.every((phase) => phase === 'Unknown') ? 'unknown' : 'running';
  return { state, detail: `${count} (${terms.join(', ')})${note}` };
}

function hasRunningContainer({ status }: Pod): boolean {
  return (status?.containerStatuses ?? []).some(({ state }) => state?.running != null);
}

function unknown(detail: string): Observation {
  return { state: 'unknown', detail };
}

// --- usage ---------------------------------------------------------------------------------------------

const ACCELERATORS = ['nvidia.com/gpu', 'amd.com/gpu', 'google.com/tpu'] as const;

/** What the pods that have a node ask for, each since it began, and their nodes since the first of them. Ended pods are not counted. */
export async function usageOf(session: Session, target: KubernetesTarget, now: Date): Promise<Usage | null> {
  const read = await readObject(session, target);
  const seen = await podsOf(session, target, read.ok ? read.value : null, {
    phase: 'active',
    wanted: 'all',
  });
  if (!seen.ok || !seen.value.isComplete) return null;
  const nodes = new Map<string, number>();
  let acceleratorSeconds: number | null = 0;
  for (const pod of seen.value.pods) {
    const nodeName = pod.spec.nodeName ?? '';
    const startMs = Date.parse(pod.status?.startTime ?? '');
    if (nodeName === '' || !Number.isFinite(startMs)) continue;
    const seconds = Math.max(0, Math.round((now.getTime() - startMs) / 1000));
    nodes.set(nodeName, Math.max(nodes.get(nodeName) ?? 0, seconds));
    const count = acceleratorsOf(pod);
    acceleratorSeconds =
      count === null || acceleratorSeconds === null ? null : acceleratorSeconds + count * seconds;
  }
  if (nodes.size === 0) return null;
  return { nodeSeconds: [...nodes.values()].reduce((sum, seconds) => sum + seconds, 0), acceleratorSeconds };
}

/** Null where a quantity is not a plain number: half an accelerator is no figure to hold a run against. */
function acceleratorsOf({ spec }: Pod): number | null {
  const stated = spec.containers.flatMap(({ resources }) =>
    ACCELERATORS.map((key) => resources?.requests?.[key] ?? resources?.limits?.[key] ?? '0'),
  );
  return stated.every((text) => /^\d{1,6}$/.test(text))
    ? stated.reduce((sum, text) => sum + Number(text), 0)
    : null;
}
