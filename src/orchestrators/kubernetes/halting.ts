/**
 * The steps of a halt on Kubernetes.
 *
 * `suspend` keeps the controller from running pods, which takes those that run away with their own grace period;
 * `delete` does so again and deletes the pods, for a controller that is dead or does not listen; `kill` the same with one
 * second of grace. Never with none: that removes the object at once, whether or not a node ever hears of it, and
 * with it the last thing that says that a process may live.
 *
 * Kueue owns `suspend` of what it queues and may set it back, so its Workload is deactivated first; where that fails
 * the workload is suspended all the same.
 */
import { assertNever } from '../../domain/assert-never.ts';
import type { StepOutcome } from '../orchestrator.ts';
import type { KubernetesTarget } from '../targets.ts';
import {
  deletePod,
  deletePods,
  listPods,
  patchObject,
  readObject,
  type Session,
  scaleToZero,
  titleOf,
} from './api.ts';
import type { Answer } from './client.ts';
import { deactivateWorkload, isLabelledForKueue, listWorkloads } from './kueue.ts';
import { KINDS, type KubernetesObject, RAY_CLUSTER_LABEL } from './resources.ts';

export const STEPS = ['suspend', 'delete', 'kill'] as const;
export type Step = (typeof STEPS)[number];

export function isStep(text: string): text is Step {
  return STEPS.some((step) => step === text);
}

/** The least that still goes by way of the node: its kubelet sends SIGKILL when the second is over. */
const KILL_GRACE_S = 1;

export async function takeStep(step: Step, session: Session, target: KubernetesTarget): Promise<StepOutcome> {
  switch (step) {
    case 'suspend':
      return suspend(session, target);
    case 'delete':
      return both(suspend(session, target), removePods(session, target, null));
    case 'kill':
      return both(suspend(session, target), removePods(session, target, KILL_GRACE_S));
    default:
      return assertNever(step);
  }
}

/** Side by side: a suspension that hangs must not hold the deletion up. */
async function both(one: Promise<StepOutcome>, other: Promise<StepOutcome>): Promise<StepOutcome> {
  const [suspended, removed] = await Promise.all([one, other]);
  const detail = `${suspended.detail}; ${removed.detail}`;
  // A kind that cannot be suspended here is halted by its pods alone, again and again.
  const kind = removed.kind !== 'accepted' ? removed.kind : suspended.kind === 'retry' ? 'retry' : 'accepted';
  return { kind, detail };
}

async function suspend(session: Session, target: KubernetesTarget): Promise<StepOutcome> {
  const kind = KINDS[target.resource];
  switch (kind.suspend.by) {
    case 'delete': {
      const answer = await deletePod(session, target, null);
      return answer.ok ? accepted(`${titleOf(target)} is being deleted`) : refused(answer);
    }
    case 'scale': {
      const answer = await scaleToZero(session, target);
      if (!answer.ok) return refused(answer);
      return answer.value.spec.replicas === 0
        ? accepted(`${titleOf(target)} scaled to zero${otherObject(target, answer.value.metadata.uid)}`)
        : { kind: 'retry', detail: `${titleOf(target)}: the server did not scale it to zero` };
    }
    case 'patch': {
      const uid = target.queue === undefined ? undefined : target.uid;
      const queued = uid === undefined ? null : await deactivate(session, target.namespace, uid);
      const suspended = await patchSuspended(session, target, kind.suspend);
      if (!suspended.ok) return suspended.outcome;
      // Queued since it was registered, or recreated: then under another uid.
      const { object } = suspended;
      const isQueued = target.queue !== undefined || isLabelledForKueue(object);
      const after =
        isQueued && object.metadata.uid !== uid
          ? await deactivate(session, target.namespace, object.metadata.uid)
          : queued;
      const detail = `${suspended.detail}${otherObject(target, object.metadata.uid)}`;
      if (after === null) return accepted(detail);
      return after.ok ? accepted(`${after.value}; ${detail}`) : { ...refused(after), kind: 'retry' };
    }
    default:
      return assertNever(kind.suspend);
  }
}

type Suspension =
  | { readonly ok: true; readonly object: KubernetesObject; readonly detail: string }
  | { readonly ok: false; readonly outcome: StepOutcome };

async function patchSuspended(
  session: Session,
  target: KubernetesTarget,
  { body, instead }: { body: object; instead?: object },
): Promise<Suspension> {
  const { isSuspended } = KINDS[target.resource];
  const title = titleOf(target);
  const answer = await patchObject(session, target, body);
  if (!answer.ok) {
    // An admission webhook may not see a suspension in an object from which the server has dropped it.
    const other =
      instead === undefined || answer.status !== 403 ? null : await patchObject(session, target, instead);
    return other?.ok && isSuspended(other.value)
      ? {
          ok: true,
          object: other.value,
          detail: `${title}: its suspension was refused; its parallelism is set to 0 instead`,
        }
      : { ok: false, outcome: refused(answer) };
  }
  if (isSuspended(answer.value)) return { ok: true, object: answer.value, detail: `${title} suspended` };
  // A field that the server does not know is dropped with a 200.
  if (instead === undefined) return { ok: false, outcome: { kind: 'rejected', detail: dropped(title) } };
  const second = await patchObject(session, target, instead);
  if (!second.ok) return { ok: false, outcome: refused(second) };
  return isSuspended(second.value)
    ? { ok: true, object: second.value, detail: `${dropped(title)}; its parallelism is set to 0 instead` }
    : { ok: false, outcome: { kind: 'rejected', detail: `${dropped(title)}, and keeps its parallelism` } };
}

export function dropped(title: string): string {
  return `${title}: the server accepted the suspension and dropped it, as one does that does not know the field`;
}

async function deactivate(session: Session, namespace: string, uid: string): Promise<Answer<string>> {
  const found = await listWorkloads(session, { namespace, uid });
  if (!found.ok) return found;
  const answers = await Promise.all(
    found.value.map((workload) => deactivateWorkload(session, { namespace, workload })),
  );
  const failure = answers.find(({ ok }) => !ok);
  if (failure !== undefined && !failure.ok) return failure;
  const { length } = answers;
  return { ok: true, value: length === 0 ? 'no Kueue Workload of it' : 'its Kueue Workload deactivated' };
}

async function removePods(
  session: Session,
  target: KubernetesTarget,
  graceS: number | null,
): Promise<StepOutcome> {
  const kind = KINDS[target.resource];
  if (kind.suspend.by === 'delete') {
    const answer = await deletePod(session, target, graceS);
    return answer.ok ? accepted(deletionOf(graceS)) : refused(answer);
  }
  const object = await readObject(session, target);
  const selections = kind.podsOf(target, object.ok ? object.value : null);
  if (selections === null) return { kind: 'retry', detail: 'its pods cannot be told from others' };
  const answers = await Promise.all(
    selections.map(async ({ labelSelector = '', isOurs }): Promise<Answer<unknown>> => {
      if (isOurs === undefined)
        return deletePods(session, { namespace: target.namespace, labelSelector }, graceS);
      const clusters = await rayClusters(session, target, { labelSelector, isOurs });
      if (!clusters.ok || clusters.value.length === 0) return clusters;
      const those = `${RAY_CLUSTER_LABEL} in (${clusters.value.join(',')})`;
      return deletePods(session, { namespace: target.namespace, labelSelector: those }, graceS);
    }),
  );
  const failure = answers.find(({ ok }) => !ok);
  return failure === undefined || failure.ok ? accepted(deletionOf(graceS)) : refused(failure);
}

async function rayClusters(
  session: Session,
  { namespace }: KubernetesTarget,
  selection: { labelSelector: string; isOurs: (labels: Readonly<Record<string, string>>) => boolean },
): Promise<Answer<readonly string[]>> {
  const seen = await listPods(session, { namespace, selection, phase: 'active' }, 'all');
  if (!seen.ok) return seen;
  const names = seen.value.pods.map(({ metadata }) => metadata.labels?.[RAY_CLUSTER_LABEL] ?? '');
  return { ok: true, value: [...new Set(names)].filter((name) => name !== '') };
}

function deletionOf(graceS: number | null): string {
  return `its pods are deleted with ${graceS === null ? 'their own grace period' : `${graceS} s of grace`}`;
}

/** A relaunch under the same name is the same run: it is halted, and said. */
export function otherObject({ uid }: KubernetesTarget, seen: string): string {
  return uid === undefined || uid === seen ? '' : ' (recreated since its registration: another uid)';
}

export function accepted(detail: string): StepOutcome {
  return { kind: 'accepted', detail };
}

export function refused(answer: Answer<unknown> & { ok: false }): StepOutcome {
  return { kind: answer.isFinal ? 'rejected' : 'retry', detail: answer.detail };
}
