/** `policy check`, of how evaluations are scheduled: budgets, replicas, closing in. */
import { durationMs } from '../duration.ts';
import type { PolicyProblem } from './check.ts';
import { closingInTerms } from './scheduling-schema.ts';
import type { Policy } from './schema.ts';

export function schedulingProblems({ evaluations, cadence }: Policy): PolicyProblem[] {
  return evaluations.flatMap(({ replicas = [], budget, closingIn, topUps, resources = [] }, i) => {
    const path = `evaluations.${i}`;
    const problems: PolicyProblem[] = [];
    const add = (field: string, message: string): void => {
      problems.push({ path: `${path}.${field}`, message });
    };
    for (const [k, { timeout }] of replicas.entries()) {
      if (durationMs(timeout) > durationMs(cadence.scorecardDeadline)) {
        add(
          `replicas.${k}.timeout`,
          `must not exceed cadence.scorecardDeadline (${cadence.scorecardDeadline})`,
        );
      }
    }
    for (const label of new Set(resources.filter((each, k) => resources.indexOf(each) !== k))) {
      add('resources', `${label} is listed twice`);
    }
    if (budget !== undefined && Object.keys(budget).every((part) => part === 'gpus')) {
      add('budget', 'must limit something: attempts, wallTime, gpuHours or samples');
    }
    if (budget?.gpus !== undefined && budget.gpuHours === undefined) {
      add('budget.gpus', 'says nothing without budget.gpuHours');
    }
    if (closingIn !== undefined && topUps > 0) {
      add('topUps', 'has closingIn in its place: leave it out');
    }
    if (closingIn !== undefined && closingInTerms(closingIn).withinMs >= durationMs(cadence.holdDeadline)) {
      add(
        'closingIn.within',
        `must be shorter than cadence.holdDeadline (${cadence.holdDeadline}): people are to be woken before the hold becomes a halt`,
      );
    }
    return problems;
  });
}
