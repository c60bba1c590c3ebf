/** `policy check` of `cadence.risk` and `riskBudget`. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { type RiskStep, riskSteps } from '../../../src/domain/policy/risk-steps.ts';
import { asJson, BASE_POLICY, policyOf } from './run-life.ts';
import { rows } from './table.ts';

const RISK = { probability: 0.05 };
const REFERENCE = { evidence: 'run small-3', approvedBy: ['leadership', 'safety'], upTo: '1e24' };

function checked(risk: JsonObject | null, riskBudget: number | null, more: JsonObject = {}) {
  const cadence = { ...asJson(policyOf().cadence), ...(risk === null ? {} : { risk }) };
  return checkPolicy({ ...BASE_POLICY, ...more, cadence, ...(riskBudget === null ? {} : { riskBudget }) });
}

const refusedOf = (check: ReturnType<typeof checkPolicy>): string =>
  check.ok ? 'none' : check.problems.map(({ path }) => path).join(' ');
const warnedOf = (check: ReturnType<typeof checkPolicy>): string =>
  check.warnings.map(({ path }) => path).join(' ') || 'none';

describe('a limit of risk', () => {
  it('fills in the level, the shortest step, and what follows on the prior alone', () => {
    const check = checked(RISK, 0.1);
    const risk = { ...RISK, level: 'critical', minRatio: 1.19, whenMostlyPrior: 'alert' };
    expect(check).toMatchObject({ ok: true, policy: { cadence: { risk }, riskBudget: 0.1 } });
  });

  it('leaves a policy that has none as it was, so that its digest stays', () => {
    const policy = asJson(policyOf());
    expect(policy).not.toHaveProperty('riskBudget');
    expect(policy['cadence']).not.toHaveProperty('risk');
  });

  it.each(
    rows(`
      changed                                             | budget | refused
      {}                                                  | none   | none
      {}                                                  | 0.05   | none
      {"probability":0}                                   | none   | cadence.risk.probability
      {"probability":1}                                   | none   | cadence.risk.probability
      {"probability":0.06}                                | 0.05   | cadence.risk.probability
      {"minRatio":1}                                      | none   | cadence.risk.minRatio
      {"minRatio":1.1}                                    | none   | cadence.risk.minRatio
      {"minRatio":1.122}                                  | none   | none
      {"minRatio":2}                                      | none   | cadence.risk.minRatio
      {"level":1}                                         | none   | cadence.risk.level
      {"level":"worst"}                                   | none   | cadence.risk.level
      {"minratio":1.2}                                    | none   | cadence.risk.minratio
      {"reference":{"approvedBy":["leadership","safety"]}}| none   | none
      {"reference":{"approvedBy":["leadership"]}}         | none   | cadence.risk.reference.approvedBy
      {"reference":{"approvedBy":[]}}                     | none   | cadence.risk.reference.approvedBy
      {"reference":{"upTo":0}}                            | none   | cadence.risk.reference.upTo
      {"reference":{"evidence":""}}                       | none   | cadence.risk.reference.evidence
      {"level":1,"minRatio":2}                            | none   | cadence.risk.minRatio cadence.risk.level
    `).slice(1),
  )('with %s and a budget of %s is refused for %s', (json = '', budget = '', refused = '') => {
    const { reference, ...changes }: JsonObject = JSON.parse(json);
    const given = typeof reference === 'object' ? { reference: { ...REFERENCE, ...reference } } : {};
    const check = checked({ ...RISK, ...changes, ...given }, budget === 'none' ? null : Number(budget));
    expect(refusedOf(check)).toBe(refused);
  });

  it('is needed by a budget', () => {
    expect(refusedOf(checked(null, 0.05))).toBe('riskBudget');
  });

  it('is refused a reference approved by strangers', () => {
    const reference = { ...REFERENCE, approvedBy: ['leadership', 'safety', 'owls'] };
    expect(refusedOf(checked({ ...RISK, reference }, null))).toBe('cadence.risk.reference.approvedBy');
  });

  it('keeps the names of its findings for itself, and only where there is one', () => {
    const rule = { kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] };
    const rules = [
      { ...rule, id: 'risk' },
      { ...rule, id: 'risk-budget' },
    ];
    expect(refusedOf(checked(RISK, null, { rules }))).toBe('rules.0.id rules.1.id');
    expect(refusedOf(checked(null, null, { rules }))).toBe('none');
  });

  it.each(
    rows(`
      changed               | warned
      {}                    | none
      {"probability":0.2}   | cadence.risk.probability
      {"level":"high"}      | none
      {"level":"medium"}    | cadence.risk.level
    `).slice(1),
  )('with %s is warned of %s', (json = '', warned = '') => {
    expect(warnedOf(checked({ ...RISK, ...JSON.parse(json) }, null))).toBe(warned);
  });
});

describe('the steps that a limit comes to', () => {
  const file = new URL('../../../examples/policies/short-steps.yaml', import.meta.url);
  const example = checkPolicy(parse(readFileSync(file, 'utf8')));
  const stepsOf = (kind: string, change: JsonObject = {}): readonly RiskStep[] => {
    if (!example.ok) throw new Error(JSON.stringify(example.problems));
    const check = checkPolicy({ ...asJson(example.policy), ...change });
    if (!check.ok) throw new Error(JSON.stringify(check.problems));
    return riskSteps(check.policy)?.find((each) => each.kind === kind)?.steps ?? [];
  };

  it('are those of the example, which is usable without a warning', () => {
    expect(example).toMatchObject({ ok: true, warnings: [] });
  });

  it('grow while nothing moves, and stay within the limit', () => {
    const steps = stepsOf('flat');
    const ceilings = steps.map(({ ceilingRatio }) => ceilingRatio);
    expect(ceilings).toEqual([...ceilings].sort((a, b) => a - b));
    expect(ceilings[0]).toBeLessThan(1.5);
    expect(ceilings.at(-1)).toBe(2.2);
    for (const { p, dueRatio, ceilingRatio } of steps) {
      expect(p).toBeLessThanOrEqual(0.01);
      expect(dueRatio).toBeLessThan(ceilingRatio);
    }
  });

  it('shorten as a run nears the level, and say where even the shortest is over', () => {
    const steps = stepsOf('rising', { riskBudget: 0.02 });
    expect(Math.max(...steps.map(({ ceilingRatio }) => ceilingRatio))).toBeGreaterThan(1.3);
    expect(steps.at(-1)).toMatchObject({ isOver: true, ceilingRatio: 1.19 });
    expect(steps.slice(0, -1).every(({ isOver }) => !isOver)).toBe(true);
  });

  it('are none where nothing is limited', () => {
    expect(riskSteps(policyOf())).toBeNull();
  });
});
