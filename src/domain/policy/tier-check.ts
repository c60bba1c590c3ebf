/** `policy check`, of the two tiers: who approved that tripwires clear alone, and whether they can. */
import { durationMs } from '../duration.ts';
import type { PolicyProblem } from './check.ts';
import { isControl, levelAt, type Policy } from './schema.ts';
import { clearsBelow, clearsWithinMs, isTripwire } from './tier-schema.ts';

/** Tripwires are there for evidence within minutes. A judgement. */
const TRIPWIRE_USUAL_MAX_MS = 3_600_000;

export function tierProblems(policy: Policy): PolicyProblem[] {
  const clears = policy.tiers?.tripwireClears;
  if (clears === undefined) return [];
  const path = 'tiers.tripwireClears';
  const problems: PolicyProblem[] = [];
  if (clears.belowCompute === undefined && clears.belowLevel === undefined) {
    problems.push({ path, message: 'must state belowCompute, belowLevel or both' });
  }
  const lowest = Math.min(...policy.rules.flatMap(haltsAt));
  if (clearsBelow(clears) > lowest) {
    problems.push({
      path: `${path}.belowLevel`,
      message: `must not exceed ${lowest}, the lowest level that halts: only far below it tripwires speak for the whole suite`,
    });
  }
  const { scorecardDeadline } = policy.cadence;
  if (clearsWithinMs(clears) >= durationMs(scorecardDeadline)) {
    problems.push({
      path: `${path}.within`,
      message: `must be shorter than cadence.scorecardDeadline (${scorecardDeadline}), by which the suite that it brings has to be in`,
    });
  }
  for (const [i, { id }] of policy.categories.entries()) {
    const watched = policy.evaluations.some(
      (spec) =>
        spec.category === id &&
        spec.stage === 'pre-mitigation' &&
        spec.required &&
        isTripwire(spec) &&
        !isControl(spec),
    );
    if (!watched) {
      problems.push({
        path: `categories.${i}`,
        message: `${id} has no required pre-mitigation tripwire, so tripwires cannot clear a checkpoint alone`,
      });
    }
  }
  return [...problems, ...referenceProblems(policy, clears.reference.approvedBy)];
}

/** Who may let a halted run go on is who may say that tripwires stand in for the suite. */
function referenceProblems({ governance }: Policy, approvedBy: readonly string[]): PolicyProblem[] {
  const path = 'tiers.tripwireClears.reference.approvedBy';
  const { groups, resume } = governance;
  return [
    ...approvedBy
      .filter((group) => !groups.includes(group))
      .map((group) => ({ path, message: `${group} is not one of governance.groups (${groups.join(', ')})` })),
    ...resume.approvals
      .filter((group) => !approvedBy.includes(group))
      .map((group) => ({
        path,
        message: `${group} must approve it too: it is named in governance.resume.approvals`,
      })),
  ];
}

const haltsAt = (rule: Policy['rules'][number]): number[] =>
  rule.kind === 'level' && rule.stage === 'pre-mitigation' && rule.then.some(stops)
    ? [levelAt(rule.atLeast)]
    : [];

const stops = (consequence: string): boolean => consequence === 'halt' || consequence === 'quarantine';

export function tierWarnings({ evaluations }: Policy): PolicyProblem[] {
  return evaluations.flatMap((spec, i) =>
    isTripwire(spec) && durationMs(spec.executor.timeout) > TRIPWIRE_USUAL_MAX_MS
      ? [
          {
            path: `evaluations.${i}.executor.timeout`,
            message: `is ${spec.executor.timeout}: a tripwire is there for evidence within minutes`,
          },
        ]
      : [],
  );
}
