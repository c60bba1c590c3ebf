/**
 * `policy check`: the policy as a whole, and how its trip system behaves.
 *
 * Errors refuse the policy, all at once and with their paths; warnings are for people to weigh. What a
 * schema can say of one field alone is in `schema.ts`.
 */
import type { z } from 'zod';
import { durationMs } from '../duration.ts';
import { fieldProblems } from '../field-errors.ts';
import { levelsOf } from '../levels.ts';
import { confidenceZ, scoreSpecOf } from '../run/scorecard.ts';
import { type OperatingCharacteristics, operatingCharacteristics } from './characteristics.ts';
import { type Ladder, ladderProblems, missingLastStep, TARGET_KINDS, type TargetKind } from './ladder.ts';
import { evaluationGaps, measureWarnings } from './measure-warnings.ts';
import { callOutProblems } from './quarantine.ts';
import { riskProblems, riskWarnings } from './risk-check.ts';
import { compoundProblems, refusalProblems } from './rule-check.ts';
import { scoreRange } from './scale.ts';
import { schedulingProblems } from './scheduling-check.ts';
import {
  BUILT_IN_RULES,
  type Evaluation,
  isControl,
  type LevelRule,
  levelAt,
  levelMarks,
  type Policy,
  PolicySchema,
  type Rule,
} from './schema.ts';
import { namesTheSame, scoreProblems, scoreWarnings } from './score-check.ts';
import { tierProblems, tierWarnings } from './tier-check.ts';
import { variantProblems } from './variant-check.ts';

export interface PolicyProblem {
  /** Dotted path, as `evaluations.0.levels.high`. */
  readonly path: string;
  readonly message: string;
}

export type PolicyCheck =
  | {
      readonly ok: true;
      readonly policy: Policy;
      readonly warnings: readonly PolicyProblem[];
      /** What its evaluations do not cover: of nearly every policy something, and no mistake in what is written. */
      readonly gaps: readonly PolicyProblem[];
      readonly characteristics: readonly OperatingCharacteristics[];
    }
  | {
      readonly ok: false;
      readonly problems: readonly PolicyProblem[];
      readonly warnings: readonly PolicyProblem[];
    };

const PERMIT_TTL_MAX_MS = 3_600_000;

export function checkPolicy(input: unknown): PolicyCheck {
  const parsed = PolicySchema.safeParse(input);
  if (!parsed.success) {
    return {
      ok: false,
      problems: schemaProblems(parsed.error),
      warnings: [],
    };
  }
  const policy = parsed.data;
  const problems = [
    ...duplicates(policy),
    ...categoryProblems(policy),
    ...haltLadderProblems(policy),
    ...policy.evaluations.flatMap((spec, i) => evaluationProblems(policy, spec, `evaluations.${i}`)),
    ...policy.rules.flatMap((rule, i) => ruleProblems(policy, rule, `rules.${i}`)),
    ...haltingProblems(policy),
    ...governanceProblems(policy),
    ...evidenceProblems(policy),
    ...quarantineProblems(policy),
    ...deadlineProblems(policy),
    ...riskProblems(policy),
    ...tierProblems(policy),
    ...schedulingProblems(policy),
  ];
  // Levels can only be computed from thresholds that make sense.
  const sound = problems.length === 0;
  const samples = sound ? policy.evaluations.flatMap((spec, i) => sampleProblems(policy, spec, i)) : [];
  const all = [...problems, ...samples];
  const warnings = sound ? warningsOf(policy) : [];
  if (all.length > 0) return { ok: false, problems: all, warnings };
  const gaps = evaluationGaps(policy);
  return { ok: true, policy, warnings, gaps, characteristics: operatingCharacteristics(policy) };
}

function schemaProblems(error: z.ZodError): PolicyProblem[] {
  return fieldProblems(PolicySchema, error).map(({ parts, message }) => ({ path: parts.join('.'), message }));
}

function repeated(ids: readonly string[]): Set<string> {
  return new Set(ids.filter((id, i) => ids.indexOf(id) !== i));
}

function duplicates(policy: Policy): PolicyProblem[] {
  const lists: [string, readonly string[]][] = [
    ['categories', policy.categories.map(({ id }) => id)],
    ['evaluations', policy.evaluations.map(({ id }) => id)],
    ['rules', policy.rules.map(({ id }) => id)],
    ['obligations', policy.obligations.map(({ id }) => id)],
    ['accounting.accelerators', policy.accounting?.accelerators.map(({ id }) => id) ?? []],
    ['governance.groups', policy.governance.groups],
    ...signers(policy).flatMap(({ name, approvals, vetoes }): [string, readonly string[]][] => [
      [`governance.${name}.approvals`, approvals],
      [`governance.${name}.vetoes`, vetoes],
    ]),
    ...policy.evaluations.map(({ id, variants }): [string, string[]] => [
      `evaluations (${id}).variants`,
      variants.map((variant) => variant.id),
    ]),
  ];
  return lists.flatMap(([path, ids]) =>
    [...repeated(ids)].map((id) => ({ path, message: `${id} is listed twice` })),
  );
}

function categoryProblems({ categories, evaluations }: Policy): PolicyProblem[] {
  return categories.flatMap(({ id }, i) =>
    evaluations.some(
      (spec) => spec.category === id && spec.stage === 'pre-mitigation' && spec.required && !isControl(spec),
    )
      ? []
      : [{ path: `categories.${i}`, message: `${id} has no required pre-mitigation evaluation` }],
  );
}

function evaluationProblems(policy: Policy, spec: Evaluation, path: string): PolicyProblem[] {
  const problems: PolicyProblem[] = [];
  if (!policy.categories.some(({ id }) => id === spec.category)) {
    problems.push({ path: `${path}.category`, message: `${spec.category} is not a category of this policy` });
  }
  const { chance, best } = spec.score;
  problems.push(...variantProblems(policy, spec, path));
  const { medium, high, critical } = levelMarks(spec);
  const sign = best > chance ? 1 : -1;
  const anchors: [string, number][] = [
    ['score.chance', chance],
    ['levels.medium', medium],
    ['levels.high', high],
    ['levels.critical', critical],
  ];
  for (const [i, [name, value]] of anchors.entries()) {
    const before = anchors[i - 1];
    if (before !== undefined && sign * value <= sign * before[1]) {
      problems.push({
        path: `${path}.${name}`,
        message: `must lie beyond ${before[0]} (${before[1]}) on the way to score.best (${best})`,
      });
    }
  }
  if (sign * critical > sign * best) {
    problems.push({ path: `${path}.levels.critical`, message: `must not lie beyond score.best (${best})` });
  }
  const { leads } = spec;
  if (leads !== undefined && leads.chance === leads.best) {
    problems.push({ path: `${path}.leads.best`, message: 'must differ from leads.chance' });
  }
  if (leads !== undefined && namesTheSame(leads, spec.score)) {
    problems.push({ path: `${path}.leads.metric`, message: 'is the metric that it should lead' });
  }
  problems.push(...scoreProblems(spec, path));
  const [low, top] = scoreRange(spec);
  if (low >= top) problems.push({ path: `${path}.score.range`, message: 'must be [least, greatest]' });
  for (const [name, value] of [
    ['chance', chance],
    ['best', best],
  ] as const) {
    if (value < low || value > top) {
      problems.push({
        path: `${path}.score.${name}`,
        message: `must lie within the metric's range [${low}, ${top}]`,
      });
    }
  }
  return problems;
}

const BUILT_IN_FINDINGS = ['inconclusive', 'overdue', 'overrun', 'hold-deadline', 'control'];

function ruleProblems(policy: Policy, rule: Rule, path: string): PolicyProblem[] {
  const problems: PolicyProblem[] = [];
  if (rule.kind === 'compound') problems.push(...compoundProblems(policy, rule, path));
  if (rule.kind === 'refusal') problems.push(...refusalProblems(policy, rule, path));
  const named = 'categories' in rule ? (rule.categories ?? []) : [];
  for (const category of named) {
    if (!policy.categories.some(({ id }) => id === category)) {
      problems.push({ path: `${path}.categories`, message: `${category} is not a category of this policy` });
    }
  }
  for (const consequence of rule.then) {
    const [, obligation] = consequence.split(':');
    if (obligation !== undefined && !policy.obligations.some(({ id }) => id === obligation)) {
      problems.push({ path: `${path}.then`, message: `${obligation} is not an obligation of this policy` });
    }
  }
  if (rule.kind === 'estimate') {
    const among = rule.categories ?? policy.categories.map(({ id }) => id);
    const measured = policy.evaluations.some(
      (spec) => spec.stage === rule.stage && among.includes(spec.category) && !isControl(spec),
    );
    if (!measured) {
      problems.push({ path: `${path}.stage`, message: `nothing is evaluated at ${rule.stage} there` });
    }
    if (levelAt(rule.atLeast) <= 1) {
      problems.push({ path: `${path}.atLeast`, message: 'must be above 1, where every run is' });
    }
  }
  const builtIn = BUILT_IN_RULES.some((kind) => kind === rule.kind);
  if (!builtIn && BUILT_IN_FINDINGS.includes(rule.id)) {
    problems.push({ path: `${path}.id`, message: `${rule.id} names a built-in finding` });
  }
  return problems;
}

function laddersOf({ halt }: Policy): { kind: TargetKind; ladder: Ladder }[] {
  return TARGET_KINDS.flatMap((kind) => {
    const ladder = halt.ladders?.[kind];
    return ladder === undefined ? [] : [{ kind, ladder }];
  });
}

function haltLadderProblems(policy: Policy): PolicyProblem[] {
  return laddersOf(policy).flatMap(({ kind, ladder }) =>
    ladderProblems(kind, ladder).map(({ index, field, message }) => ({
      path: `halt.ladders.${kind}.${index}.${field}`,
      message,
    })),
  );
}

function ladderWarnings(policy: Policy): PolicyProblem[] {
  return laddersOf(policy).flatMap(({ kind, ladder }) => {
    const missing = missingLastStep(kind, ladder);
    if (missing === null) return [];
    return [
      {
        path: `halt.ladders.${kind}`,
        message: `does not end in ${missing}: a run that ignores the other steps is not stopped there`,
      },
    ];
  });
}

const halts = ({ then }: Pick<Rule, 'then'>): boolean => then.includes('halt') || then.includes('quarantine');

function haltingProblems({ categories, rules }: Policy): PolicyProblem[] {
  const halting = rules.filter(
    (rule): rule is LevelRule => rule.kind === 'level' && rule.stage === 'pre-mitigation' && halts(rule),
  );
  if (halting.length === 0) {
    return [{ path: 'rules', message: 'no rule halts at a pre-mitigation level; a watchdog needs one' }];
  }
  return categories.flatMap(({ id }, i) =>
    halting.some((rule) => rule.categories === undefined || rule.categories.includes(id))
      ? []
      : [{ path: `categories.${i}`, message: `no rule halts at a pre-mitigation level of ${id}` }],
  );
}

function governanceProblems(policy: Policy): PolicyProblem[] {
  const { groups } = policy.governance;
  return signers(policy).flatMap(({ name, ...stated }) =>
    (['approvals', 'vetoes'] as const).flatMap((field) =>
      stated[field]
        .filter((group) => !groups.includes(group))
        .map((group) => ({
          path: `governance.${name}.${field}`,
          message: `${group} is not one of governance.groups (${groups.join(', ')})`,
        })),
    ),
  );
}

function evidenceProblems({ governance: { groups, evidence } }: Policy): PolicyProblem[] {
  return (evidence?.groups ?? [])
    .filter((group) => !groups.includes(group))
    .map((group) => ({
      path: 'governance.evidence.groups',
      message: `${group} is not one of governance.groups (${groups.join(', ')})`,
    }));
}

function signers({ governance }: Policy) {
  return (['resume', 'release', 'scopedResume'] as const).flatMap((name) => {
    const stated = governance[name];
    return stated === undefined ? [] : [{ name, ...stated }];
  });
}

function quarantineProblems({ halt }: Policy): PolicyProblem[] {
  if (halt.quarantine === undefined) return [];
  const { isolate } = halt.quarantine;
  return callOutProblems(isolate).map(({ index, message }) => ({
    path: `halt.quarantine.isolate.${index}.step`,
    message,
  }));
}

function deadlineProblems({ permit, evaluations, cadence }: Policy): PolicyProblem[] {
  const problems: PolicyProblem[] = [];
  if (durationMs(permit.ttl) > PERMIT_TTL_MAX_MS) {
    problems.push({
      path: 'permit.ttl',
      message: 'must be at most 1h: it is how long a run trains unwatched',
    });
  }
  for (const [i, { executor }] of evaluations.entries()) {
    if (durationMs(executor.timeout) > durationMs(cadence.scorecardDeadline)) {
      problems.push({
        path: `evaluations.${i}.executor.timeout`,
        message: `must not exceed cadence.scorecardDeadline (${cadence.scorecardDeadline})`,
      });
    }
  }
  return problems;
}

/** At `minSamples`, nothing found must not halt: such an n says nothing, and would stop every run. */
function sampleProblems(policy: Policy, spec: Evaluation, i: number): PolicyProblem[] {
  const none = nothingFound(policy, spec);
  if (none === null) return [];
  return levelRules(policy, spec)
    .filter((rule) => halts(rule) && none[rule.basis] >= levelAt(rule.atLeast))
    .map((rule) => ({
      path: `evaluations.${i}.score.minSamples`,
      message: `at n = ${spec.score.minSamples} even zero successes reach ${rule.id} (${rule.basis} ${none[rule.basis].toFixed(2)}); ask for more samples`,
    }));
}

function levelRules({ rules }: Policy, { category, stage }: Evaluation): LevelRule[] {
  return rules.filter(
    (rule): rule is LevelRule =>
      rule.kind === 'level' &&
      rule.stage === stage &&
      (rule.categories === undefined || rule.categories.includes(category)),
  );
}

/** Levels of the harmless extreme at `minSamples`; null where the metric's uncertainty is the harness's to say. */
function nothingFound(policy: Policy, spec: Evaluation): { estimate: number; upper: number } | null {
  if (isControl(spec) || scoreSpecOf(spec).kind !== 'proportion') return null;
  const scoreSpec = scoreSpecOf(spec);
  const score = spec.score.best > spec.score.chance ? scoreSpec.range[0] : scoreSpec.range[1];
  return levelsOf({ score, stderr: null, n: spec.score.minSamples }, scoreSpec, confidenceZ(policy, spec));
}

function warningsOf(policy: Policy): PolicyProblem[] {
  return [
    ...expertWarnings(policy),
    ...riskWarnings(policy),
    ...tierWarnings(policy),
    ...ladderWarnings(policy),
    ...accountingWarnings(policy),
    ...evaluationWarnings(policy),
    ...measureWarnings(policy),
  ];
}

/** Stated work that only a run which idles could be below is no check. A judgement. */
const EXPECTED_SHARE_MIN = 0.05;

function accountingWarnings({ accounting }: Policy): PolicyProblem[] {
  if (accounting === undefined) return [];
  const { utilisation, atLeast, accelerators } = accounting;
  const share = utilisation * atLeast;
  const loose = share < EXPECTED_SHARE_MIN;
  const unsaid = accelerators.filter(({ perNode }) => perNode === undefined).map(({ id }) => id);
  return [
    ...(loose
      ? [
          {
            path: 'accounting.atLeast',
            message: `with utilisation ${utilisation} only work below ${(100 * share).toFixed(1)} % of the peak is found: nearly all of a run's compute could go unstated`,
          },
        ]
      : []),
    ...(unsaid.length > 0
      ? [
          {
            path: 'accounting.accelerators',
            message: `without perNode nothing is found on systems that account nodes alone (${unsaid.join(', ')})`,
          },
        ]
      : []),
  ];
}

function expertWarnings({ forecast, rules }: Policy): PolicyProblem[] {
  if (forecast === undefined) return [];
  const reads = rules.some((rule) => rule.kind === 'forecast' && rule.checkpoints === 1);
  if (!reads && forecast.experts !== 'ignore') {
    const message = `no forecast rule looks one checkpoint ahead, so nothing reads \`${forecast.experts}\``;
    return [{ path: 'forecast.experts', message }];
  }
  if (forecast.experts === 'ignore' && rules.some(({ kind }) => kind === 'estimate')) {
    const message = 'forecast rules ignore the experts; estimate rules heed them all the same';
    return [{ path: 'forecast.experts', message }];
  }
  return [];
}

function evaluationWarnings(policy: Policy): PolicyProblem[] {
  return policy.evaluations.flatMap((spec, i) => {
    const warnings: PolicyProblem[] = scoreWarnings(spec, `evaluations.${i}`);
    const none = nothingFound(policy, spec);
    for (const rule of none === null ? [] : levelRules(policy, spec)) {
      if (none !== null && rule.then.includes('hold') && none[rule.basis] >= levelAt(rule.atLeast)) {
        warnings.push({
          path: `evaluations.${i}.score.minSamples`,
          message: `at n = ${spec.score.minSamples} every checkpoint is held by ${rule.id}, even with zero successes`,
        });
      }
    }
    return warnings;
  });
}
