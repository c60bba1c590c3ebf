/** `policy check`: each cross-check with its path, the shipped presets, and the operating characteristics. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { canonicalJson, type Json, type JsonObject } from '../../../src/domain/canonical-json.ts';
import { DurationSchema, durationMs } from '../../../src/domain/duration.ts';
import { levelsOf, scoreOfLevel } from '../../../src/domain/levels.ts';
import { operatingCharacteristics } from '../../../src/domain/policy/characteristics.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { PolicySchema } from '../../../src/domain/policy/schema.ts';
import { confidenceZ, scoreSpecOf } from '../../../src/domain/run/scorecard.ts';
import { createRandom } from '../../simulation/random.ts';
import { asJson, BASE_POLICY, policyOf } from './run-life.ts';
import { rows } from './table.ts';

/** The base policy with one value changed, by dotted path; `undefined` takes it away. */
function changed(path: string, value: Json | undefined): JsonObject {
  const policy: JsonObject = structuredClone(BASE_POLICY);
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  let at: Json = policy;
  for (const key of keys) {
    if (Array.isArray(at)) at = at[Number(key)] ?? null;
    else if (typeof at === 'object' && at !== null) at = at[key] ?? null;
  }
  if (Array.isArray(at)) at[Number(last)] = value ?? null;
  else if (typeof at === 'object' && at !== null) {
    if (value === undefined) delete at[last];
    else at[last] = value;
  }
  return policy;
}

const problemsOf = (input: unknown): { path: string; message: string }[] => {
  const check = checkPolicy(input);
  return check.ok ? [] : [...check.problems];
};

describe('policy check', () => {
  it('accepts the base policy, and the same policy again after parsing', () => {
    const policy = policyOf();
    const again = PolicySchema.parse(asJson(policy));
    expect(canonicalJson(asJson(again))).toBe(canonicalJson(asJson(policy)));
    expect(problemsOf(asJson(policy))).toEqual([]);
  });

  it.each(
    rows(`
      changed                          | to                                  | path refused
      policy                           | "Upper"                             | policy
      title                            | none                                | title
      treshold                         | 1                                   | treshold
      cadence.ratoi                    | 2                                   | cadence.ratoi
      cadence.ratio                    | 1                                   | cadence.ratio
      cadence.ratio                    | 17                                  | cadence.ratio
      cadence.grace                    | -0.1                                | cadence.grace
      cadence.firstCheckpointBy        | 0                                   | cadence.firstCheckpointBy
      cadence.firstCheckpointBy        | "1e41"                              | cadence.firstCheckpointBy
      cadence.scorecardDeadline        | "0s"                                | cadence.scorecardDeadline
      cadence.scorecardDeadline        | "-1h"                               | cadence.scorecardDeadline
      cadence.scorecardDeadline        | "3650d"                             | cadence.scorecardDeadline
      cadence.scorecardDeadline        | 48                                  | cadence.scorecardDeadline
      cadence.scorecardDeadline        | "59m"                               | evaluations.0.executor.timeout
      permit.ttl                       | "61m"                               | permit.ttl
      categories                       | []                                  | categories
      categories.1                     | {"id":"cyber","title":"Twice"}      | categories
      categories.2                     | {"id":"talk","title":"Unwatched"}   | categories.2
      evaluations.0.category           | "chess"                             | evaluations.0.category
      evaluations.0.stage              | "post-mitigation"                   | categories.0
      evaluations.0.required           | false                               | categories.0
      evaluations.1.id                 | "ctf"                               | evaluations
      evaluations.0.levels.medium      | 0                                   | evaluations.0.levels.medium
      evaluations.0.levels.high        | 0.2                                 | evaluations.0.levels.high
      evaluations.0.levels.high        | 0.9                                 | evaluations.0.levels.critical
      evaluations.0.levels.critical    | 1.1                                 | evaluations.0.levels.critical
      evaluations.0.score.chance       | 0.3                                 | evaluations.0.levels.medium
      evaluations.0.score.best         | 2                                   | evaluations.0.score.best
      evaluations.0.score.range        | [1, 0]                              | evaluations.0.score.range
      evaluations.0.score.minSamples   | 0                                   | evaluations.0.score.minSamples
      evaluations.0.score.minSamples   | 1.5                                 | evaluations.0.score.minSamples
      evaluations.0.elicitationMargin  | -0.1                                | evaluations.0.elicitationMargin
      evaluations.0.executor.timeout   | "11h"                               | evaluations.0.executor.timeout
      evaluations.0.executor.attempts  | 0                                   | evaluations.0.executor.attempts
      evaluations.0.executor.kind      | "ssh"                               | evaluations.0.executor.kind
      evaluations.0.variants           | []                                  | evaluations.0.variants
      evaluations.0.variants           | [{"id":"a"},{"id":"a"}]             | evaluations (ctf).variants
      rules                            | []                                  | rules
      rules.0.kind                     | "levle"                             | rules.0.kind
      rules.0.atLeast                  | 5.5                                 | rules.0.atLeast
      rules.0.then                     | []                                  | rules.0.then
      rules.0.then                     | ["stop"]                            | rules.0.then.0
      rules.0.then                     | ["oblige:harden"]                   | rules.0.then
      rules.0.then                     | ["oblige:harden","halt"]            | rules.0.then
      rules.0.categories               | ["chess"]                           | rules.0.categories
      rules.0.tehn                     | ["halt"]                            | rules.0.tehn
      rules.2.id                       | "high"                              | rules
      rules.2.id                       | "overdue"                           | rules.2.id
      governance.groups                | []                                  | governance.groups
      governance.resume.approvals      | []                                  | governance.resume.approvals
      governance.resume.approvals      | ["owls"]                            | governance.resume.approvals
      governance.resume.approvals      | ["safety","safety"]                 | governance.resume.approvals
      governance.resume.vetoes         | ["owls"]                            | governance.resume.vetoes
      alerts                           | "oncall"                            | alerts
    `).slice(1),
  )('with %s = %s refuses %s', (path = '', value = '', refused = '') => {
    const problems = problemsOf(changed(path, value === 'none' ? undefined : JSON.parse(value)));
    expect(problems.map((problem) => problem.path)).toContain(refused);
  });

  it('wants a rule that halts at a pre-mitigation level, in every category', () => {
    const hold = { id: 'a', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['hold'] };
    expect(problemsOf({ ...BASE_POLICY, rules: [hold] })).toMatchObject([{ path: 'rules' }]);
    const half = { ...hold, then: ['halt'], categories: ['cyber'] };
    expect(problemsOf({ ...BASE_POLICY, rules: [half] })).toMatchObject([{ path: 'categories.1' }]);
    const forecast = {
      id: 'f',
      kind: 'forecast',
      stage: 'pre-mitigation',
      atLeast: 'high',
      probability: 0.05,
      then: ['halt'],
    };
    expect(problemsOf({ ...BASE_POLICY, rules: [forecast] })).toMatchObject([{ path: 'rules' }]);
  });

  it('reports every fault of an estimate rule and of what forecasts make of experts at once', () => {
    const rule = {
      id: 'experts',
      kind: 'estimate',
      stage: 'post-mitigation',
      atLeast: 'low',
      probability: 0.05,
    };
    const [high] = policyOf().rules;
    const problems = problemsOf({
      ...BASE_POLICY,
      rules: [asJson(high ?? {}), { ...rule, categories: ['chess'], then: ['oblige:harden'] }],
    });
    expect(problems.map(({ path }) => path).sort()).toEqual([
      'rules.1.atLeast',
      'rules.1.categories',
      'rules.1.stage',
      'rules.1.then',
    ]);
    const faults = problemsOf({ ...BASE_POLICY, forecast: { experts: 'worse', quorum: 0, dream: 1 } });
    expect(faults.map(({ path }) => path).sort()).toEqual([
      'forecast.dream',
      'forecast.experts',
      'forecast.quorum',
    ]);
  });

  it.each(
    rows(`
      experts | rules beside            | warned
      graver  | forecast                | no
      pool    | forecast                | no
      graver  | none                    | yes
      pool    | estimate                | yes
      pool    | forecast two ahead      | yes
      ignore  | forecast                | no
      ignore  | estimate                | yes
    `).slice(1),
  )(
    'what forecasts make of experts (%s) with %s beside: warned %s',
    (experts = '', beside = '', warned = '') => {
      const rule = {
        id: 'soon',
        stage: 'pre-mitigation',
        atLeast: 'critical',
        probability: 0.05,
        then: ['hold'],
      };
      const [kind = ''] = beside.split(' ');
      const checkpoints = beside === 'forecast two ahead' ? { checkpoints: 2 } : {};
      const rules = policyOf().rules.map(asJson);
      if (kind !== 'none') rules.push({ ...rule, kind, ...checkpoints });
      const check = checkPolicy({ ...BASE_POLICY, rules, forecast: { experts } });
      const paths = check.ok ? check.warnings.map(({ path }) => path) : ['refused'];
      expect(paths).toEqual(warned === 'yes' ? ['forecast.experts'] : []);
    },
  );

  it('leaves a policy that says nothing of experts the digest it had', () => {
    expect(Object.keys(policyOf())).not.toContain('forecast');
  });

  it('reports every problem at once', () => {
    const policy = changed('permit.ttl', '2h');
    const problems = problemsOf({ ...policy, governance: { groups: ['a'], resume: { approvals: ['b'] } } });
    expect(problems.map(({ path }) => path).sort()).toEqual(['governance.resume.approvals', 'permit.ttl']);
  });

  it.each(
    rows(`
      rule on    | then       | minSamples | outcome
      upper      | halt       | 3          | refused
      upper      | halt       | 4          | accepted
      upper      | quarantine | 3          | refused
      upper      | hold       | 3          | warned
      upper      | hold       | 4          | accepted
      estimate   | halt       | 1          | accepted
    `).slice(1),
  )('at n where zero successes reach High: %s, %s, n = %s is %s', (basis, then, n, outcome) => {
    // Wilson at zero successes: z^2 / (n + z^2) >= 0.5 up to n = z^2 = 3.84.
    const policy = changed('evaluations.0.score.minSamples', Number(n));
    const rule = {
      id: 'doubt',
      kind: 'level',
      stage: 'pre-mitigation',
      atLeast: 'high',
      basis: basis ?? '',
      then: [then ?? ''],
    };
    const [high] = Array.isArray(BASE_POLICY['rules']) ? BASE_POLICY['rules'] : [];
    const check = checkPolicy({ ...policy, rules: [high, rule] });
    const path = 'evaluations.0.score.minSamples';
    if (outcome === 'refused') expect(check).toMatchObject({ ok: false, problems: [{ path }] });
    else {
      expect(check.ok).toBe(true);
      expect(check.warnings.map((warning) => warning.path)).toEqual(outcome === 'warned' ? [path] : []);
    }
  });

  it('warns where High and Critical lie nearer than one doubling usually brings', () => {
    const check = checkPolicy(changed('evaluations.0.levels.critical', 0.55));
    expect(check.ok).toBe(true);
    expect(check.warnings).toMatchObject([{ path: 'evaluations.0.levels.critical' }]);
  });

  it.each([
    ['a string', 'policy'],
    ['null', null],
    ['a list', []],
    ['nothing', {}],
  ])('refuses %s without falling over', (_name, input) => {
    expect(checkPolicy(input).ok).toBe(false);
  });
});

describe('durations', () => {
  it.each(
    rows(`
      text    | ms, or refused
      500ms   | 500
      30s     | 30000
      10m     | 600000
      48h     | 172800000
      90d     | 7776000000
      3649d   | 315273600000
      3650d   | refused
      87600h  | refused
      0s      | refused
      -1h     | refused
      1.5h    | refused
      1w      | refused
      10 m    | refused
      10M     | refused
      m       | refused
    `).slice(1),
  )('%s is %s', (text = '', expected = '') => {
    if (expected === 'refused') expect(DurationSchema.safeParse(text).success).toBe(false);
    else expect(durationMs(DurationSchema.parse(text))).toBe(Number(expected));
  });
});

describe('the shipped policies', () => {
  const directory = new URL('../../../config/policies/', import.meta.url);
  const files = readdirSync(directory).filter((name) => name.endsWith('.yaml'));
  const load = (name: string) => {
    const check = checkPolicy(parse(readFileSync(new URL(name, directory), 'utf8')));
    if (!check.ok) throw new Error(JSON.stringify(check.problems));
    return check;
  };

  it('are the three presets', () => {
    expect(files.sort()).toEqual(['four-fold.yaml', 'precautionary.yaml', 'preparedness-beta.yaml']);
  });

  it.each(files)('%s passes without a warning, is dated, and starts without an alert channel', (name) => {
    const { policy, warnings } = load(name);
    expect(warnings).toEqual([]);
    expect(policy.policy).toBe(name.replace('.yaml', ''));
    expect(policy.provenance).toMatch(/\b20\d\d\b.*not anyone's current policy/);
    expect(policy.alerts).toEqual([]);
    const four = ['cybersecurity', 'cbrn', 'persuasion', 'model-autonomy'];
    expect(policy.categories.map(({ id }) => id)).toEqual(expect.arrayContaining(four));
  });

  it.each(files)(
    '%s seldom stops a run that is below High: under 1 %% at Medium, under a third at 2.6',
    (name) => {
      for (const { falseTrips } of load(name).characteristics) {
        for (const { trueLevel, halt, hold } of falseTrips ?? []) {
          expect(halt + hold).toBeLessThan(trueLevel > 2.5 ? 1 / 3 : 0.01);
        }
      }
    },
  );

  it('preparedness-beta has the rules of the design, in their order', () => {
    const { policy } = load('preparedness-beta.yaml');
    expect(policy.rules.map(({ id, then }) => `${id} ${then.join('+')}`)).toEqual([
      'pre-mitigation-high halt',
      'high-not-ruled-out hold',
      'forecast-critical halt',
      'critical quarantine',
      'development block-development',
      'deployment block-deployment',
      'harden-now oblige:security-hardening',
      'harden oblige:security-hardening',
    ]);
    expect(policy.governance.resume).toEqual({ approvals: ['leadership'], vetoes: ['board'] });
  });

  it('precautionary needs all four groups, and any of them may veto', () => {
    const { groups, resume } = load('precautionary.yaml').policy.governance;
    expect(resume).toEqual({ approvals: groups, vetoes: groups });
  });
});

describe('operating characteristics', () => {
  it('agree with a Monte Carlo of the same measurement', () => {
    const policy = policyOf({
      evaluations: [
        { ...asJson(policyOf().evaluations[0] ?? {}), elicitationMargin: 0.2 },
        asJson(policyOf().evaluations[1] ?? {}),
      ],
    });
    const [spec] = policy.evaluations;
    const [of] = operatingCharacteristics(policy);
    if (spec === undefined || of === undefined) throw new Error('no evaluation');
    const random = createRandom(20_261_123);
    const draws = 4_000;
    const n = spec.score.minSamples;
    const z = confidenceZ(policy, spec);
    for (const { trueLevel, halt, hold } of of.falseTrips ?? []) {
      const p = scoreOfLevel(trueLevel, scoreSpecOf(spec), spec.elicitationMargin);
      let halts = 0;
      let holds = 0;
      for (let i = 0; i < draws; i += 1) {
        let successes = 0;
        for (let k = 0; k < n; k += 1) if (random.chance(p)) successes += 1;
        const levels = levelsOf({ score: successes / n, stderr: null, n }, scoreSpecOf(spec), z);
        if (levels.estimate >= 3) halts += 1;
        else if (levels.upper >= 3) holds += 1;
      }
      const within = (chance: number): number => 4 * Math.sqrt((chance * (1 - chance)) / draws) + 2 / draws;
      expect(Math.abs(halts / draws - halt)).toBeLessThan(within(halt));
      expect(Math.abs(holds / draws - hold)).toBeLessThan(within(hold));
    }
  });

  it('sharpen with n', () => {
    const at = (n: number) => {
      const check = checkPolicy(changed('evaluations.0.score.minSamples', n));
      if (!check.ok) throw new Error(JSON.stringify(check.problems));
      return check.characteristics[0];
    };
    const [few, many] = [at(50), at(5000)];
    expect(many?.smallestVisibleRise ?? 9).toBeLessThan(few?.smallestVisibleRise ?? 0);
    const trips = (each: typeof few): number =>
      (each?.falseTrips ?? []).reduce((sum, { hold }) => sum + hold, 0);
    expect(trips(many)).toBeLessThan(trips(few));
  });

  it('claim nothing for a mean, whose standard error is not known beforehand', () => {
    const check = checkPolicy(changed('evaluations.0.score.kind', 'mean'));
    expect(check.ok && check.characteristics[0]).toMatchObject({
      falseTrips: null,
      smallestVisibleRise: null,
    });
  });
});
