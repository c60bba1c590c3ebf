/**
 * What a policy and a site do about runs that nothing could stop against their trainer's will. Warnings for people;
 * which targets of a run count is in run/independence.ts.
 */
import type { PolicyProblem } from './check.ts';
import type { TargetKind } from './ladder.ts';
import type { Policy } from './schema.ts';

/** Reached with credentials of interlock.yaml, whatever the trainer does. */
export const INDEPENDENT_KINDS = [
  'slurm',
  'kubernetes',
  'ray',
  'command',
] as const satisfies readonly TargetKind[];

/** As people say it. */
export const INDEPENDENT_KINDS_TEXT = 'slurm, kubernetes, ray or command';

export const requiresIndependentTarget = ({ halt }: Pick<Policy, 'halt'>): boolean =>
  halt.independentTarget === 'require';

/** `offersIndependent`: whether the site's configuration enables any target that would count; null where it was not looked at. */
export function independenceWarnings(
  policy: Pick<Policy, 'halt'>,
  offersIndependent: boolean | null,
): PolicyProblem[] {
  const isRequired = requiresIndependentTarget(policy);
  const warnings: PolicyProblem[] = [];
  if (!isRequired) {
    warnings.push({
      path: 'halt.independentTarget',
      message:
        'is not require: a run may be registered with nothing but targets that its trainer obeys or receives; set it to require',
    });
  }
  if (offersIndependent === false) {
    const then = isRequired
      ? 'no run can be registered under this policy'
      : "no run can be stopped against its trainer's will";
    warnings.push({
      path: 'halt.independentTarget',
      message: `the configuration enables no target that is independent of the trainer, so ${then}: enable ${INDEPENDENT_KINDS_TEXT} under orchestrators, or name webhook.independentReceivers there`,
    });
  }
  return warnings;
}
