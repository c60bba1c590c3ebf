/** `policy check`, of `cadence.risk` and `riskBudget`: numbers that must agree with the rest of the policy. */
import { onePlus } from '../compute.ts';
import type { PolicyProblem } from './check.ts';
import { levelAt, type Policy } from './schema.ts';

/** Between two checkpoints there must be something to train: of the shortest step, beyond its grace. */
const DUE_STEP_MIN = 1.02;
/** A permit that may risk more than this is hardly limited. A judgement. */
const PROBABILITY_USUAL_MAX = 0.1;
/** Names of the findings. */
const FINDINGS = ['risk', 'risk-budget'];

export function riskProblems(policy: Policy): PolicyProblem[] {
  const { cadence, riskBudget, rules } = policy;
  const { ratio, grace, risk } = cadence;
  if (risk === undefined) {
    const message =
      'needs cadence.risk, which names the level, the shortest step and what one permit may risk';
    return riskBudget === undefined ? [] : [{ path: 'riskBudget', message }];
  }
  const problems: PolicyProblem[] = [];
  const add = (path: string, message: string): void => {
    problems.push({ path, message });
  };
  const { minRatio, level, probability } = risk;
  if (minRatio >= ratio) add('cadence.risk.minRatio', `must be below cadence.ratio (${ratio})`);
  const least = DUE_STEP_MIN * onePlus(grace);
  if (minRatio < least) {
    add(
      'cadence.risk.minRatio',
      `must be at least ${least.toFixed(3)}: a checkpoint is due cadence.grace (${grace}) before its ceiling, and that must lie beyond the one before`,
    );
  }
  if (levelAt(level) <= 1) add('cadence.risk.level', 'must be above 1, where every run is');
  if (riskBudget !== undefined && probability > riskBudget) {
    add('cadence.risk.probability', `must not exceed riskBudget (${riskBudget}), which all permits share`);
  }
  for (const [i, { id }] of rules.entries()) {
    if (FINDINGS.includes(id)) add(`rules.${i}.id`, `${id} names a built-in finding`);
  }
  return [...problems, ...referenceProblems(policy)];
}

/** Who may let a halted run go on is who may say that another run stands in for this one's history. */
function referenceProblems({ cadence, governance }: Policy): PolicyProblem[] {
  const { reference } = cadence.risk ?? {};
  if (reference === undefined) return [];
  const path = 'cadence.risk.reference.approvedBy';
  const { groups, resume } = governance;
  return [
    ...reference.approvedBy
      .filter((group) => !groups.includes(group))
      .map((group) => ({
        path,
        message: `${group} is not one of governance.groups (${groups.join(', ')})`,
      })),
    ...resume.approvals
      .filter((group) => !reference.approvedBy.includes(group))
      .map((group) => ({
        path,
        message: `${group} must approve it too: it is named in governance.resume.approvals`,
      })),
  ];
}

export function riskWarnings({ cadence, rules }: Policy): PolicyProblem[] {
  const { risk } = cadence;
  if (risk === undefined) return [];
  const warnings: PolicyProblem[] = [];
  if (risk.probability > PROBABILITY_USUAL_MAX) {
    warnings.push({
      path: 'cadence.risk.probability',
      message: `lets every permit risk ${(100 * risk.probability).toFixed(0)} %`,
    });
  }
  const halting = rules.flatMap((rule) =>
    rule.kind === 'level' && rule.stage === 'pre-mitigation' && rule.then.some(isHalt)
      ? [levelAt(rule.atLeast)]
      : [],
  );
  const lowest = Math.min(...halting);
  if (levelAt(risk.level) < lowest) {
    warnings.push({
      path: 'cadence.risk.level',
      message: `lies below ${lowest}, the lowest level that halts: a run may be halted for fear of a level that would not halt it`,
    });
  }
  return warnings;
}

const isHalt = (consequence: string): boolean => consequence === 'halt' || consequence === 'quarantine';
