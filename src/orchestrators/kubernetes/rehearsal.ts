/**
 * How far a step of a halt goes without taking it: the cluster reached, let in, every right held, the workload known,
 * and its suspension accepted. Changes nothing.
 */
import { assertNever } from '../../domain/assert-never.ts';
import type { StepOutcome } from '../orchestrator.ts';
import type { KubernetesTarget } from '../targets.ts';
import { mayI, patchObject, type Right, readObject, type Session, scaleToZero, titleOf } from './api.ts';
import { accepted, dropped, refused, type Step } from './halting.ts';
import { KUEUE_GROUP } from './kueue.ts';
import { KINDS } from './resources.ts';

/** All rights that the step needs, and for `suspend` the patch itself, which the server tries and does not keep. */
export async function rehearseStep(
  step: Step,
  session: Session,
  target: KubernetesTarget,
): Promise<StepOutcome> {
  const rights = rightsFor(step, target);
  const answers = await Promise.all(rights.map((right) => mayI(session, right)));
  for (const [index, answer] of answers.entries()) {
    if (!answer.ok) return refused(answer);
    const right = rights[index];
    if (!answer.value && right !== undefined) return { kind: 'retry', detail: missingRight(right) };
  }
  const tried = await trySuspension(session, target);
  if (tried.kind !== 'accepted') return tried;
  return accepted(`${tried.detail}; Interlock has every right that ${step} needs`);
}

/** `dryRun=All`: validated, admitted, and not stored. A deletion is not tried: too much hangs on that parameter. */
async function trySuspension(session: Session, target: KubernetesTarget): Promise<StepOutcome> {
  const { suspend: how, isSuspended } = KINDS[target.resource];
  const title = titleOf(target);
  switch (how.by) {
    case 'delete': {
      const answer = await readObject(session, target);
      return answer.ok ? accepted(`${title} is there`) : refused(answer);
    }
    case 'scale': {
      const answer = await scaleToZero(session, target, { dryRun: true });
      return answer.ok ? accepted(`${title} would be scaled to zero`) : refused(answer);
    }
    case 'patch': {
      const answer = await patchObject(session, target, how.body, { dryRun: true });
      if (!answer.ok) return refused(answer);
      if (isSuspended(answer.value)) return accepted(`${title} would be suspended`);
      if (how.instead === undefined) return { kind: 'rejected', detail: dropped(title) };
      const second = await patchObject(session, target, how.instead, { dryRun: true });
      if (!second.ok) return refused(second);
      return isSuspended(second.value)
        ? accepted(`${title} would get parallelism 0 (its server knows no suspension)`)
        : { kind: 'rejected', detail: dropped(title) };
    }
    default:
      return assertNever(how);
  }
}

function rightsFor(step: Step, target: KubernetesTarget): readonly Right[] {
  const { namespace, name, queue } = target;
  const { group, plural, suspend: how } = KINDS[target.resource];
  const object = { namespace, group, resource: plural, name };
  const pods = { namespace, group: '', resource: 'pods' };
  const workloads = { namespace, group: KUEUE_GROUP, resource: 'workloads' };
  const deletes =
    how.by === 'delete' ? { ...pods, verb: 'delete', name } : { ...pods, verb: 'deletecollection' };
  return [
    { ...object, verb: 'get' },
    { namespace, group: '', resource: 'namespaces', name: namespace, verb: 'get' },
    { ...pods, verb: 'list', ...(how.by === 'delete' ? { name } : {}) },
    ...(how.by === 'scale' ? [{ ...object, subresource: 'scale', verb: 'patch' }] : []),
    ...(how.by === 'patch' ? [{ ...object, verb: 'patch' }] : []),
    ...(step === 'suspend' && how.by !== 'delete' ? [] : [deletes]),
    ...(queue === undefined
      ? []
      : [
          { ...workloads, verb: 'list' },
          { ...workloads, verb: 'patch' },
        ]),
  ];
}

function missingRight({ verb, resource, subresource, namespace, name }: Right): string {
  const what = subresource === undefined ? resource : `${resource}/${subresource}`;
  const one = name === undefined ? '' : ` ${name.slice(0, 100)}`;
  return `Interlock may not ${verb} ${what}${one} in ${namespace}`;
}
