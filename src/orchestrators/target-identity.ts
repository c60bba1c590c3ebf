/**
 * What a target is, whatever ladder or note it is stated with: two that name the same job, object or address are the same.
 *
 * For drills, which must not be held on what a run trains on. A drill names one job: a target that also stands for others, by name or
 * label, could take real ones with it.
 */
import { assertNever } from '../domain/assert-never.ts';
import type { Target } from './targets.ts';

export function targetIdentity(target: Target): string {
  switch (target.kind) {
    case 'webhook':
      return `webhook ${target.url}`;
    case 'process':
      return `process ${target.pid}`;
    case 'ray':
      return `ray ${target.cluster} ${target.submissionId}`;
    case 'command':
      return `command ${target.command} ${target.run}`;
    case 'kubernetes':
      return `kubernetes ${target.cluster} ${target.namespace} ${target.resource} ${target.name}`;
    case 'slurm':
      return `slurm ${target.cluster} ${target.jobId}`;
    default:
      return assertNever(target);
  }
}

/** The field by which it stands for more than what it names; null where it does not. */
export function widerBy(target: Target): string | null {
  if (target.kind === 'slurm' && target.jobName !== undefined) return 'jobName';
  if (target.kind === 'ray' && target.submissionPrefix !== undefined) return 'submissionPrefix';
  if (target.kind === 'ray' && target.run !== undefined) return 'run';
  return null;
}
